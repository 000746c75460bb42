package sample

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// Sampling from a set is sampling from a row whose other tokens are banned.
func TestSampleAllowed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vocab := rapid.IntRange(1, 200).Draw(t, "vocab")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		allowed := make([]uint64, (vocab+63)/64)
		row, banned := make([]float32, vocab), make([]float32, vocab)
		share := r.Float64()
		for id := range row {
			row[id] = float32(r.NormFloat64())
			banned[id] = float32(math.Inf(-1))
			if r.Float64() < share {
				allowed[id/64] |= 1 << (id % 64)
				banned[id] = row[id]
			}
		}
		seed := uint64(7)
		p := Params{Temperature: rapid.SampledFrom([]float32{0, 1}).Draw(t, "temperature"), TopK: rapid.SampledFrom([]int{0, 3}).Draw(t, "top-k"),
			RepeatPenalty: rapid.SampledFrom([]float32{0, 1.5}).Draw(t, "penalty"), Seed: &seed, Logprobs: true}
		a, err := New(p, vocab)
		if err != nil {
			t.Fatal(err)
		}
		b, err := New(p, vocab)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			got, want := a.SampleAllowed(row, allowed), b.Sample(banned)
			if got.ID != want.ID {
				t.Fatalf("token %d, want %d", got.ID, want.ID)
			}
			if got.ID == NoToken {
				return
			}
			if l := Logprob(row, got.ID); got.Logprob != l {
				t.Fatalf("log probability %g, want %g of the row as it was", got.Logprob, l)
			}
			a.Accept(got.ID)
			b.Accept(got.ID)
		}
	})
}

// A set of the wrong size is a defect of the caller, not a reason to sample from
// all tokens.
func TestSampleAllowedSize(t *testing.T) {
	s, err := New(Params{}, 65)
	if err != nil {
		t.Fatal(err)
	}
	if c := s.SampleAllowed(make([]float32, 65), []uint64{^uint64(0)}); c.ID != NoToken {
		t.Errorf("token %d from a set of 64 of 65 tokens", c.ID)
	}
}
