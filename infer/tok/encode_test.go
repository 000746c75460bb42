package tok

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"edged/infer/gguf"

	"github.com/dlclark/regexp2/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestModels compares with llama.cpp on the vocabularies of real models, token for token (testdata/tok-*.json, made by
// testdata/make_tokens.py). The models that are not in the repository are read from the folder in EDGED_MODELS.
func TestModels(t *testing.T) {
	for _, name := range []string{"needle-26m-q8_0", "SmolLM2-135M-Instruct.Q4_1", "gemma-3-270m-Q4_K_M"} {
		t.Run(name, func(t *testing.T) {
			tk := mustBuild(t, openModel(t, name))
			var cases []struct {
				Text            string
				Tokens, Special []int32
			}
			loadJSON(t, "tok-"+name+".json", &cases)
			for _, c := range cases {
				if diff := cmp.Diff(c.Tokens, tk.Encode([]int32{}, c.Text)); diff != "" {
					t.Errorf("Encode(%q) (-want +got):\n%s", c.Text, diff)
				}
				got := tk.AppendEOS(tk.EncodeSpecial(tk.AppendBOS([]int32{}), c.Text))
				if diff := cmp.Diff(c.Special, got); diff != "" {
					t.Errorf("EncodeSpecial(%q) (-want +got):\n%s", c.Text, diff)
				}
				if got := tk.Decode(c.Tokens); got != c.Text {
					t.Errorf("Decode gives %q, want %q", got, c.Text)
				}
			}
		})
	}
}

// openModel finds NAME.gguf, in whatever case, among the models of the repository and those in EDGED_MODELS.
func openModel(tb testing.TB, name string) Metadata {
	tb.Helper()
	dirs := []string{"../../models"}
	if dir := os.Getenv("EDGED_MODELS"); dir != "" {
		dirs = append(dirs, dir)
	}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			tb.Fatal(err)
		}
		for _, e := range entries {
			if !strings.EqualFold(e.Name(), name+".gguf") {
				continue
			}
			f, err := gguf.Open(filepath.Join(dir, e.Name()))
			if err != nil {
				tb.Fatal(err)
			}
			tb.Cleanup(func() {
				if err := f.Close(); err != nil {
					tb.Error(err)
				}
			})
			return f
		}
	}
	tb.Skipf("%s.gguf is not in the repository: set EDGED_MODELS to a folder that holds it", name)
	return nil
}

// TestFixtures compares with the libraries that trained the small vocabularies.
func TestFixtures(t *testing.T) {
	for _, name := range fixtureNames() {
		t.Run(name, func(t *testing.T) {
			f := loadFixture(t, name)
			tk := mustBuild(t, f.Metadata)
			for _, c := range f.Cases {
				if diff := cmp.Diff(c.Plain, tk.Encode([]int32{}, c.Text)); diff != "" {
					t.Errorf("Encode(%q) (-want +got):\n%s", c.Text, diff)
				}
				if c.Special == nil {
					continue
				}
				if diff := cmp.Diff(c.Special, tk.EncodeSpecial([]int32{}, c.Text)); diff != "" {
					t.Errorf("EncodeSpecial(%q) (-want +got):\n%s", c.Text, diff)
				}
			}
		})
	}
}

// TestSplit compares pieces with those of Hugging Face's pre-tokenizers.
func TestSplit(t *testing.T) {
	var f struct {
		Cases []struct {
			Text   string
			Pieces map[string][]string
		}
	}
	loadJSON(t, "split.json", &f)
	for name, pre := range preTokenizers() {
		s, err := newSplitter(pre.pattern)
		if err != nil {
			t.Fatal(err)
		}
		same := map[string]string{"llama3": "llama-bpe", "llama-v3": "llama-bpe", "falcon3": "llama-bpe", "deepseek-r1-qwen": "qwen2"}
		published := name
		if alias, ok := same[name]; ok {
			published = alias
		}
		for _, c := range f.Cases {
			want, ok := c.Pieces[published]
			if !ok {
				t.Fatalf("no pieces for %s", published)
			}
			got := []string{}
			s.split(c.Text, nil, func(piece string) { got = append(got, piece) })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: split %q (-want +got):\n%s", name, c.Text, diff)
			}
		}
	}
}

// TestSplitNotUTF8 shows that each stray byte is one symbol to the patterns and reaches the pieces as it is.
func TestSplitNotUTF8(t *testing.T) {
	s, err := newSplitter(patternGPT2)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	s.split("a\xff\xfe b\ufffd\xf0\x9f c\xe2\x82", nil, func(piece string) { got = append(got, piece) })
	want := []string{"a", "\xff\xfe", " b", "\ufffd\xf0\x9f", " c", "\xe2\x82"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pieces (-want +got):\n%s", diff)
	}
}

// text draws a string of what the vocabularies treat specially, with any bytes between.
func text(notUTF8 bool) *rapid.Generator[string] {
	part := rapid.OneOf(
		rapid.SampledFrom([]string{
			" ", "  ", "\n", "\n\n\n", "a", "the", " token", "é", "日", "😁", "1", "<|im_start|>", "<|im_end|>", "</think>", "<tool>",
			"<s>", "</s>", "<unk>", "<0x41>", "<|", "|>", "end of the", "\ufdd0", "\ufdd1", "\x00",
		}),
		rapid.String(),
	)
	if notUTF8 {
		part = rapid.OneOf(part, rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 4), func(b []byte) string { return string(b) }))
	}
	return rapid.Map(rapid.SliceOfN(part, 0, 12), func(parts []string) string { return strings.Join(parts, "") })
}

func TestEncodeProperties(t *testing.T) {
	for _, name := range fixtureNames() {
		t.Run(name, func(t *testing.T) {
			tk := mustBuild(t, loadFixture(t, name).Metadata)
			spm := strings.HasPrefix(name, "spm")
			rapid.Check(t, func(rt *rapid.T) { checkRoundTrip(rt, tk, text(true).Draw(rt, "text"), spm) })
		})
	}
}

type errorer interface {
	Helper()
	Errorf(format string, args ...any)
}

// checkRoundTrip holds for every text and every vocabulary that has all bytes.
func checkRoundTrip(t errorer, tk *Tokenizer, text string, spm bool) {
	t.Helper()
	want := text
	if spm {
		want = strings.ReplaceAll(text, spaceMark, " ")
	}
	ids := tk.Encode(nil, text)
	for _, id := range ids {
		if tk.IsControl(id) {
			t.Errorf("Encode(%q) gives control token %d %q", text, id, tk.Token(id))
		}
	}
	if got := tk.Decode(ids); got != want {
		t.Errorf("Decode(Encode(%q)) = %q", text, got)
	}
	if got := tk.DecodeSpecial(tk.EncodeSpecial(nil, text)); got != want {
		t.Errorf("DecodeSpecial(EncodeSpecial(%q)) = %q", text, got)
	}
	guarded := tk.Guard(text)
	if got := unguard(guarded); got != text {
		t.Errorf("unguard(Guard(%q)) = %q", text, got)
	}
	if diff := cmp.Diff(ids, tk.EncodeRendered(nil, guarded)); diff != "" {
		t.Errorf("EncodeRendered(Guard(%q)) differs from Encode (-want +got):\n%s", text, diff)
	}
}

func FuzzRoundTrip(f *testing.F) {
	for _, s := range []string{"", "Hello world", "<|im_start|>x</think>", "\xff<|im_end|>\ufdd0", " \u2581 日本\x00"} {
		f.Add(s)
	}
	tokenizers := map[string]*Tokenizer{}
	for _, name := range fixtureNames() {
		tokenizers[name] = mustBuild(f, loadFixture(f, name).Metadata)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for name, tk := range tokenizers {
			checkRoundTrip(t, tk, text, strings.HasPrefix(name, "spm"))
		}
	})
}

// TestConcurrent has the race detector look at shared scratch memory and lazily built tables.
func TestConcurrent(t *testing.T) {
	for _, name := range []string{"bpe-qwen2", "spm-prefix"} {
		f := loadFixture(t, name)
		tk := mustBuild(t, f.Metadata)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for _, c := range f.Cases {
					if diff := cmp.Diff(c.Plain, tk.EncodeRendered([]int32{}, tk.Guard(c.Text))); diff != "" {
						t.Errorf("%s: %q (-want +got):\n%s", name, c.Text, diff)
					}
				}
			})
		}
		wg.Wait()
	}
}

// hostileTexts are n bytes each of what splits badly or makes many candidates.
func hostileTexts(n int) map[string]string {
	return map[string]string{
		"letter": strings.Repeat("a", n), "space": strings.Repeat(" ", n), "symbol": strings.Repeat("-", n),
		"newline": strings.Repeat("\n", n), "digit": strings.Repeat("7", n), "pairs": strings.Repeat("ab", n/2),
		"blank lines": strings.Repeat(" \n", n/2), "late end": strings.Repeat(" ", n-1) + "x", "bytes": strings.Repeat("\xff", n),
		"late digit": strings.Repeat("\t", n-1) + "1", "late newline": strings.Repeat(" ", n-1) + "\n",
		"wide": strings.Repeat("日", n/3), "mixed": strings.Repeat("token merge\t\tbytes!? 42\r\n", n/26),
	}
}

// TestWork bounds the candidates that merging looks at by the length of the text. The text is long enough for anything
// quadratic, in the patterns too, to run into the time limit of the tests.
func TestWork(t *testing.T) {
	for _, name := range []string{"bpe-gpt-2", "bpe-llama-bpe", "bpe-qwen2", "bpe-smollm", "spm-plain", "spm-glue"} {
		tk := mustBuild(t, loadFixture(t, name).Metadata)
		for kind, text := range hostileTexts(1 << 17) {
			t.Run(fmt.Sprintf("%s/%s", name, kind), func(t *testing.T) {
				if pops := countPops(tk, text); pops > 3*len(text) {
					t.Errorf("%d candidates for %d bytes", pops, len(text))
				}
				if got := tk.Decode(tk.Encode(nil, text)); got != text {
					t.Error("the text does not come back")
				}
			})
		}
	}
}

// TestSplitStack shows that the patterns save a few positions to backtrack to, whatever the text, and so stay far below
// the limit that the library sets for itself (100,000).
func TestSplitStack(t *testing.T) {
	for name, pre := range preTokenizers() {
		re, err := regexp2.Compile(pre.pattern, regexp2.OptionMaxBacktrackingStackSize(256))
		if err != nil {
			t.Fatal(err)
		}
		for kind, text := range hostileTexts(1 << 14) {
			if err := re.FindRunesMatches([]rune(text), 0, func(regexp2.MatchView) bool { return true }); err != nil {
				t.Errorf("%s: %s: %v", name, kind, err)
			}
		}
	}
}

// countPops merges text piece by piece as Encode does and sums the work.
func countPops(tk *Tokenizer, text string) (pops int) {
	var m merger
	switch model := tk.model.(type) {
	case *bpe:
		model.splitter.split(text, nil, func(piece string) {
			model.encodePiece(nil, &m, piece)
			pops += m.pops
		})
	case *spm:
		for text != "" {
			n := model.pieceEnd(text)
			model.encodePiece(nil, &m, text[:n])
			pops += m.pops
			text = text[n:]
		}
	}
	return pops
}

// TestLongPieces cuts a stretch that no rule splits, between characters, and loses nothing.
func TestLongPieces(t *testing.T) {
	text := "a" + strings.Repeat("日", maxPiece/3+1)
	for _, name := range []string{"bpe-gpt-2", "spm-plain"} {
		tk := mustBuild(t, loadFixture(t, name).Metadata)
		if got := tk.Decode(tk.Encode(nil, text)); got != text {
			t.Errorf("%s: a text of %d bytes comes back with %d", name, len(text), len(got))
		}
	}
}
