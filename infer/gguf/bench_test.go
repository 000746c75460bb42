package gguf_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"edged/infer/gguf"
	"edged/infer/gguf/gguftest"
)

// writeLargeHeader writes a file with the header of a model of 152k tokens
// and 400 small tensors.
func writeLargeHeader(b *testing.B) string {
	const nTok, nMerges = 151_936, 151_387
	rng := rand.New(rand.NewPCG(1, 1))
	word := func() string { return fmt.Sprintf("%x", rng.Uint64()>>rng.IntN(60)) }
	tokens, merges := make([]string, nTok), make([]string, nMerges)
	for i := range tokens {
		tokens[i] = word()
	}
	for i := range merges {
		merges[i] = word() + " " + word()
	}
	m := new(gguftest.Builder)
	m.Set("tokenizer.ggml.tokens", tokens)
	m.Set("tokenizer.ggml.merges", merges)
	m.Set("tokenizer.ggml.token_type", make([]int32, nTok))
	m.Set("tokenizer.ggml.scores", make([]float32, nTok))
	for i := range 400 {
		m.Float32s(fmt.Sprintf("blk.%d.weight", i), []uint64{1}, []float32{0})
	}
	path := filepath.Join(b.TempDir(), "large.gguf")
	if err := m.WriteFile(path); err != nil {
		b.Fatal(err)
	}
	return path
}

// BenchmarkOpen is the time to a checked File.
func BenchmarkOpen(b *testing.B) {
	path := writeLargeHeader(b)
	b.ReportAllocs()
	for b.Loop() {
		f, err := gguf.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(f.Size())
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpenVocabulary adds what a tokenizer reads.
func BenchmarkOpenVocabulary(b *testing.B) {
	path := writeLargeHeader(b)
	b.ReportAllocs()
	for b.Loop() {
		f, err := gguf.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		for _, key := range []string{"tokenizer.ggml.tokens", "tokenizer.ggml.merges"} {
			if _, ok := f.Strings(key); !ok {
				b.Fatalf("no key %q", key)
			}
		}
		if _, ok := f.Ints("tokenizer.ggml.token_type"); !ok {
			b.Fatal("no token types")
		}
		if _, ok := f.Floats("tokenizer.ggml.scores"); !ok {
			b.Fatal("no scores")
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDequantize is the plain decoder's speed per type, in bytes decoded.
func BenchmarkDequantize(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	dst := make([]float32, 4096)
	for _, typ := range gguf.Types() {
		src := gguftest.RandomBlocks(rng, typ, len(dst)/typ.BlockElems(), 1)
		b.Run(typ.String(), func(b *testing.B) {
			b.SetBytes(int64(4 * len(dst)))
			for b.Loop() {
				if err := typ.Dequantize(dst, src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
