package sample

import (
	"math/rand/v2"
	"testing"
)

const bigVocab = 262144 // Gemma 3

// normalRow returns vocab logits that are normally distributed (sums of twelve
// uniform numbers), the same ones on every machine and with every Go release.
func normalRow(vocab int, seed uint64, sigma float64) []float32 {
	r := rand.NewPCG(seed, 1)
	row := make([]float32, vocab)
	for i := range row {
		sum := -6.0
		for range 12 {
			sum += float64(r.Uint64()>>40) / (1 << 24)
		}
		row[i] = float32(sum * sigma)
	}
	return row
}

func BenchmarkSample(b *testing.B) {
	seed := uint64(1)
	for _, bc := range []struct {
		name string
		p    Params
	}{
		{"greedy", Params{}},
		{"greedy-repeat", Params{RepeatPenalty: 1.1}},
		{"temperature", Params{Temperature: 1, Seed: &seed}},
		{"top-k", Params{Temperature: 0.8, TopK: 40, TopP: 0.95, MinP: 0.05, Seed: &seed}},
		{"top-k-100k", Params{Temperature: 0.8, TopK: 100_000, Seed: &seed}},
		{"top-p", Params{Temperature: 1, TopP: 0.95, Seed: &seed}},
		{"min-p", Params{Temperature: 1, MinP: 0.05, Seed: &seed}},
		{"typical", Params{Temperature: 1, Typical: 0.95, Seed: &seed}},
		{"greedy-logprobs", Params{Logprobs: true}},
	} {
		b.Run(bc.name, func(b *testing.B) {
			s, err := New(bc.p, bigVocab)
			if err != nil {
				b.Fatal(err)
			}
			row := normalRow(bigVocab, 7, 3)
			b.ReportAllocs()
			for b.Loop() {
				s.Sample(row)
			}
		})
	}
}

func BenchmarkTopLogprobs(b *testing.B) {
	row := normalRow(bigVocab, 7, 3)
	dst := make([]TokenProb, 0, MaxTopLogprobs)
	b.ReportAllocs()
	for b.Loop() {
		dst = TopLogprobs(dst[:0], row, MaxTopLogprobs)
	}
}
