package tok

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// rawMetadata is GGUF metadata in a JSON object.
type rawMetadata map[string]json.RawMessage

func field[T any](m rawMetadata, key string) (T, bool) {
	var v T
	raw, ok := m[key]
	return v, ok && json.Unmarshal(raw, &v) == nil
}

func (m rawMetadata) String(key string) (string, bool)    { return field[string](m, key) }
func (m rawMetadata) Uint(key string) (uint64, bool)      { return field[uint64](m, key) }
func (m rawMetadata) Bool(key string) (bool, bool)        { return field[bool](m, key) }
func (m rawMetadata) Strings(key string) ([]string, bool) { return field[[]string](m, key) }
func (m rawMetadata) Floats(key string) ([]float32, bool) { return field[[]float32](m, key) }
func (m rawMetadata) Ints(key string) ([]int32, bool)     { return field[[]int32](m, key) }

// set replaces a value.
func (m rawMetadata) set(tb testing.TB, key string, v any) {
	tb.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	m[key] = raw
}

// encoding is a text with its ids. Special is nil where the oracle does not parse control tokens.
type encoding struct {
	Text           string
	Plain, Special []int32
}

// fixture is a small vocabulary with texts that its trainer encoded.
type fixture struct {
	Metadata rawMetadata
	Cases    []encoding
}

func loadJSON(tb testing.TB, name string, v any) {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		tb.Fatal(err)
	}
}

func loadFixture(tb testing.TB, name string) fixture {
	tb.Helper()
	var f fixture
	loadJSON(tb, name+".json", &f)
	if len(f.Cases) == 0 {
		tb.Fatalf("fixture %s has no cases", name)
	}
	return f
}

func mustBuild(tb testing.TB, m Metadata) *Tokenizer {
	tb.Helper()
	t, err := FromMetadata(m)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func fixtureNames() []string {
	return []string{"bpe-gpt-2", "bpe-llama-bpe", "bpe-qwen2", "bpe-smollm", "spm-plain", "spm-prefix", "spm-glue"}
}

// byteMetadata describes a byte-level vocabulary of the 256 bytes, whose ids are their values, a few merges, and the given special tokens: control
// tokens have the ids from 300, user-defined ones follow.
func byteMetadata(tb testing.TB, control, user []string) rawMetadata {
	tb.Helper()
	var spell [256]string
	for r, b := range newByteAlphabet() {
		if b >= 0 {
			spell[b] = string(rune(r))
		}
	}
	var tokens, merges []string
	var types []int32
	for b := range 256 {
		tokens, types = append(tokens, spell[b]), append(types, 1)
	}
	for _, pair := range [][2]string{{"<", "|"}, {"|", ">"}, {"i", "m"}, {"im", "_"}, {"a", "a"}, {"aa", "aa"}, {"e", "n"}, {"en", "d"}} {
		merges = append(merges, pair[0]+" "+pair[1])
		tokens, types = append(tokens, pair[0]+pair[1]), append(types, 1)
	}
	for len(tokens) < 300 {
		tokens, types = append(tokens, ""), append(types, 5)
	}
	for _, text := range control {
		tokens, types = append(tokens, text), append(types, 3)
	}
	for _, text := range user {
		tokens, types = append(tokens, text), append(types, 4)
	}
	m := rawMetadata{}
	for key, v := range map[string]any{
		keyModel: "gpt2", keyPre: "gpt-2", keyTokens: tokens, keyTypes: types, keyMerges: merges, keyAddBOS: false,
	} {
		m.set(tb, key, v)
	}
	return m
}
