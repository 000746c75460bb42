package tok

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// prose is English and code, some 10 KB without repetition, repeated to a document of 100,000 words and more.
func prose(tb testing.TB) string {
	tb.Helper()
	var cases []struct{ Text string }
	loadJSON(tb, "tok-needle-26m-q8_0.json", &cases)
	var b strings.Builder
	for len(strings.Fields(b.String())) < 100_000 {
		for _, c := range cases {
			b.WriteString(c.Text)
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func benchmarkEncode(b *testing.B, tk *Tokenizer, text string) {
	var ids []int32
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		ids = tk.Encode(ids[:0], text)
	}
	b.ReportMetric(float64(len(ids)), "tokens")
}

func BenchmarkEncode(b *testing.B) {
	text := prose(b)
	for _, name := range []string{"needle-26m-q8_0", "SmolLM2-135M-Instruct.Q4_1", "gemma-3-270m-Q4_K_M"} {
		b.Run(name, func(b *testing.B) { benchmarkEncode(b, mustBuild(b, openModel(b, name)), text) })
	}
}

func BenchmarkEncodeHostile(b *testing.B) {
	for _, name := range []string{"bpe-qwen2", "bpe-smollm", "spm-plain"} {
		tk := mustBuild(b, loadFixture(b, name).Metadata)
		for _, kind := range []string{"letter", "space", "late end", "blank lines"} {
			text := hostileTexts(512 << 10)[kind]
			b.Run(name+"/"+kind, func(b *testing.B) { benchmarkEncode(b, tk, text) })
		}
	}
}

func BenchmarkGuard(b *testing.B) {
	tk := mustBuild(b, loadFixture(b, "bpe-qwen2").Metadata)
	text := prose(b)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		tk.Guard(text)
	}
}

func BenchmarkStream(b *testing.B) {
	tk := mustBuild(b, loadFixture(b, "bpe-qwen2").Metadata)
	ids := tk.Encode(nil, strings.Join(strings.Fields(prose(b))[:1000], " "))
	s := tk.NewStream(NoToken, false)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		for _, id := range ids {
			buf = s.Append(buf[:0], id)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(ids)), "ns/token")
}

// ready is metadata that costs nothing to read, so that building alone is measured.
type ready struct {
	Metadata
	strings map[string][]string
	floats  []float32
	ints    []int32
}

func (r ready) Strings(key string) ([]string, bool) { s, ok := r.strings[key]; return s, ok }
func (r ready) Floats(string) ([]float32, bool)     { return r.floats, r.floats != nil }
func (r ready) Ints(string) ([]int32, bool)         { return r.ints, true }

func newReady(m Metadata) ready {
	r := ready{Metadata: m, strings: map[string][]string{}}
	for _, key := range []string{keyTokens, keyMerges} {
		if s, ok := m.Strings(key); ok {
			r.strings[key] = s
		}
	}
	r.floats, _ = m.Floats(keyScores)
	r.ints, _ = m.Ints(keyTypes)
	return r
}

func BenchmarkFromMetadata(b *testing.B) {
	run := func(name string, open func(testing.TB) Metadata) {
		b.Run(name, func(b *testing.B) {
			m := newReady(open(b))
			for b.Loop() {
				mustBuild(b, m)
			}
		})
	}
	run("synthetic-128k", func(tb testing.TB) Metadata { return syntheticBPE(tb, 128<<10) })
	run("SmolLM2-49k", func(tb testing.TB) Metadata { return openModel(tb, "SmolLM2-135M-Instruct.Q4_1") })
	run("gemma-262k", func(tb testing.TB) Metadata { return openModel(tb, "gemma-3-270m-Q4_K_M") })
}

// syntheticBPE describes a vocabulary of n merges, of the size that Llama 3 and Qwen have.
func syntheticBPE(tb testing.TB, n int) Metadata {
	m := byteMetadata(tb, nil, nil)
	tokens, _ := m.Strings(keyTokens)
	merges, _ := m.Strings(keyMerges)
	seen := map[string]bool{}
	for _, token := range tokens {
		seen[token] = true
	}
	for i := 0; len(merges) < n; i++ {
		left, right := tokens['a'+i/26%26], tokens['a'+i%26]
		if i >= 26*26 {
			left = tokens[300+i/26-26]
		}
		if seen[left+right] {
			continue
		}
		seen[left+right] = true
		tokens = append(tokens, left+right)
		merges = append(merges, fmt.Sprintf("%s %s", left, right))
	}
	types := make([]int32, len(tokens))
	for i := range types {
		types[i] = 1
	}
	for key, v := range map[string]any{keyTokens: tokens, keyMerges: merges, keyTypes: types} {
		raw, err := json.Marshal(v)
		if err != nil {
			tb.Fatal(err)
		}
		m[key] = raw
	}
	return m
}
