package tok

import (
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRefusals(t *testing.T) {
	bpe := byteMetadata(t, []string{"<|im_end|>"}, nil)
	tokens, _ := bpe.Strings(keyTokens)
	types, _ := bpe.Ints(keyTypes)
	spm := loadFixture(t, "spm-plain").Metadata
	spmTypes, _ := spm.Ints(keyTypes)
	edit := func(types []int32, i int, v int32) []int32 {
		types = slices.Clone(types)
		types[i] = v
		return types
	}
	replace := func(i int, text string) []string {
		s := slices.Clone(tokens)
		s[i] = text
		return s
	}
	const missing = "\x00" // as a value: take the key away
	for _, c := range []struct {
		name string
		base rawMetadata
		key  string
		val  any
		want string
	}{
		{"no model", bpe, keyModel, missing, "key tokenizer.ggml.model is missing"},
		{"unknown model", bpe, keyModel, "t5", `model "t5" is not supported (known: gpt2, llama)`},
		{"no pre-tokenizer", bpe, keyPre, missing, "(known: deepseek-r1-qwen, falcon3, gpt-2, llama-bpe, llama-v3, llama3, qwen2, smollm)"},
		{"unknown pre-tokenizer", bpe, keyPre, "tekken", `pre-tokenizer "tekken" is not supported (known: deepseek-r1-qwen,`},
		{"default pre-tokenizer", bpe, keyPre, "default", `pre-tokenizer "default" is not supported`},
		{"no tokens", bpe, keyTokens, []string{}, "key tokenizer.ggml.tokens is missing, empty"},
		{"no types", bpe, keyTypes, missing, "key tokenizer.ggml.token_type is missing"},
		{"short types", bpe, keyTypes, types[1:], "token_type has 300 entries for 301 tokens"},
		{"unknown type", bpe, keyTypes, edit(types, 7, 9), "token 7 has type 9, known are 0 to 6"},
		{"negative type", bpe, keyTypes, edit(types, 7, -1), "token 7 has type -1"},
		{"same token twice", bpe, keyTokens, replace(66, tokens[65]), `token 66 repeats the text`},
		{"same control token twice", bpe, keyTokens, replace(299, "<|im_end|>"), `special tokens 299 and 300 are both "<|im_end|>"`},
		{"control token with an escape", bpe, keyTokens, replace(300, "<\ufdd1>"), "control token 300"},
		{"no merges", bpe, keyMerges, missing, "key tokenizer.ggml.merges is missing"},
		{"merge without space", bpe, keyMerges, []string{"ab"}, `merge 0 ("ab") is not two texts`},
		{"merge of an unknown token", bpe, keyMerges, []string{"x y"}, `merge 0 ("x y"): a part or the result is not a token`},
		{"merge outside the alphabet", bpe, keyMerges, []string{"日 本"}, "outside the byte alphabet"},
		{"BOS out of range", bpe, keyBOS, 301, "bos_token_id is 301, but there are 301 tokens"},
		{"BOS wanted but missing", bpe, keyAddBOS, true, "the model wants a BOS token, but tokenizer.ggml.bos_token_id is missing"},
		{"EOS wanted but missing", bpe, keyAddEOS, true, "the model wants an EOS token, but tokenizer.ggml.eos_token_id is missing"},
		{"long model", bpe, keyModel, strings.Repeat("x", 1<<16), "is not supported (known: gpt2, llama)"},
		{"long pre-tokenizer", bpe, keyPre, strings.Repeat("x", 1<<16), "is not supported (known: "},
		{"long merge", bpe, keyMerges, []string{strings.Repeat("x", 1<<16)}, "is not two texts"},
		{"no scores", spm, keyScores, missing, "key tokenizer.ggml.scores is missing"},
		{"short scores", spm, keyScores, []float32{1}, "tokenizer.ggml.scores has 1 entries for 700 tokens"},
		{"byte token of another form", spm, keyTypes, edit(spmTypes, 0, 6), `byte token "<unk>" is not of the form <0xNN>`},
		{"byte that nothing can stand for", spm, keyUnknown, missing, ""},
	} {
		m := maps.Clone(c.base)
		if c.val == missing {
			delete(m, c.key)
		} else {
			m.set(t, c.key, c.val)
		}
		if c.name == "byte that nothing can stand for" {
			m.set(t, keyTypes, edit(spmTypes, slices.Index(spmTypes, 6), 1))
			c.want = "byte 0x00 has no token and tokenizer.ggml.unknown_token_id is missing"
		}
		_, err := FromMetadata(m)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		} else if len(err.Error()) > 1000 {
			t.Errorf("%s: the error has %d bytes", c.name, len(err.Error()))
		}
	}
}

func TestRoles(t *testing.T) {
	control := []string{"<|begin_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "</s>", "<|other|>"} // from 300
	user := []string{"<|fim_pad|>", "<eos>"}                                                                     // from 306
	m := byteMetadata(t, control, user)
	for key, v := range map[string]any{keyPre: "llama-bpe", keyBOS: 300, keyEOS: 305, keyAddBOS: nil} {
		if delete(m, key); v != nil {
			m.set(t, key, v)
		}
	}
	tk := mustBuild(t, m)
	if tk.BOS() != 300 || tk.EOS() != 305 || tk.EOT() != 301 {
		t.Errorf("BOS %d, EOS %d, EOT %d", tk.BOS(), tk.EOS(), tk.EOT())
	}
	if got := tk.AppendEOS(tk.AppendBOS(nil)); !slices.Equal(got, []int32{300}) { // Llama 3's default, no key needed
		t.Errorf("BOS and EOS that are added: %v", got)
	}
	var eog []int32
	for id := int32(-1); int(id) <= tk.Size(); id++ {
		if tk.IsEOG(id) {
			eog = append(eog, id)
		}
	}
	// "<|fim_pad|>" is a control token whatever its type; "<eos>" as a user-defined token is only text.
	if diff := cmp.Diff([]int32{301, 302, 303, 304, 305, 306}, eog); diff != "" {
		t.Errorf("end of generation (-want +got):\n%s", diff)
	}
	if !tk.IsControl(306) || tk.IsControl(307) || tk.IsControl(-1) || tk.IsControl(int32(tk.Size())) {
		t.Error("IsControl is wrong for ids 306, 307, -1 or Size()")
	}
	if id, ok := tk.Lookup("<|eot_id|>"); !ok || id != 301 {
		t.Errorf("Lookup(<|eot_id|>) = %d, %v", id, ok)
	}
	if id, ok := tk.Lookup("no such token"); ok {
		t.Errorf("Lookup of a text without a token = %d", id)
	}
}

// TestInert shows that tokens which merges cannot meet do not stand in the way of those that they can.
func TestInert(t *testing.T) {
	m := byteMetadata(t, []string{"<|"}, nil) // the same text as the merge of "<" and "|" makes
	tokens, _ := m.Strings(keyTokens)
	tokens[256], tokens[270] = "日", "unused"
	m.set(t, keyTokens, tokens)
	tk := mustBuild(t, m)
	if got := tk.Token(256); got != "日" {
		t.Errorf("token 256 is %q", got)
	}
	if diff := cmp.Diff([]int32{0xE6, 0x97, 0xA5, '<', '|'}, tk.Encode(nil, "日<|")); diff != "" {
		t.Errorf("BPE (-want +got):\n%s", diff)
	}

	m = loadFixture(t, "spm-plain").Metadata
	tokens, _ = m.Strings(keyTokens)
	the := slices.Index(tokens, "▁the")
	tokens[len(tokens)-1] = " the"
	m.set(t, keyTokens, tokens)
	if got := mustBuild(t, m).Encode(nil, "x the"); got[len(got)-1] != int32(the) {
		t.Errorf("SentencePiece: ids %v, want the last to be %d", got, the)
	}
}

func TestMissingBytes(t *testing.T) {
	m := byteMetadata(t, nil, nil)
	tokens, _ := m.Strings(keyTokens)
	tokens[0], tokens[255] = "unreachable one", "unreachable two"
	m.set(t, keyTokens, tokens)
	tk := mustBuild(t, m)
	if diff := cmp.Diff([]byte{0, 255}, tk.MissingBytes()); diff != "" {
		t.Errorf("missing bytes (-want +got):\n%s", diff)
	}
	if got := tk.Decode(tk.Encode(nil, "a\x00b\xffc")); got != "abc" {
		t.Errorf("text with missing bytes comes back as %q", got)
	}
}

// TestPriority checks that scores order as numbers, highest first, with both zeros equal.
func TestPriority(t *testing.T) {
	m := loadFixture(t, "spm-plain").Metadata
	scores, _ := m.Floats(keyScores)
	copy(scores, []float32{1e30, 2, 1, 1e-30, 0, float32(math.Copysign(0, -1)), -1e-30, -1, -2, -1e30})
	s := &spm{vocab: &vocab{class: make([]class, len(scores))}}
	if err := s.readScores(floats{m, scores}); err != nil {
		t.Fatal(err)
	}
	p := s.priority[:10]
	if p[4] != p[5] {
		t.Errorf("zeros have priorities %d and %d", p[4], p[5])
	}
	for _, i := range []int{0, 1, 2, 3, 5, 6, 7, 8} {
		if p[i] >= p[i+1] {
			t.Errorf("score %g has priority %d, score %g has %d", scores[i], p[i], scores[i+1], p[i+1])
		}
	}
	scores[3] = float32(math.NaN())
	if err := s.readScores(floats{m, scores}); err == nil || !strings.Contains(err.Error(), "token 3: score is not a number") {
		t.Errorf("error for NaN: %v", err)
	}
}

// floats replaces the scores of metadata by values that JSON cannot hold.
type floats struct {
	rawMetadata
	scores []float32
}

func (f floats) Floats(string) ([]float32, bool) { return f.scores, true }
