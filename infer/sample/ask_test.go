package sample

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// narrowRow is a row as models give them, or a strange one.
func narrowRow(r *rand.Rand, vocab int) []float32 {
	row := make([]float32, vocab)
	sigma, step := 3*r.Float64(), 0.0
	if r.IntN(3) == 0 {
		step = 0.5 // many are equal
	}
	for i := range row {
		l := r.NormFloat64() * sigma
		if step > 0 {
			l = math.Round(l/step) * step
		}
		row[i] = float32(l)
		if r.IntN(300) == 0 {
			row[i] = []float32{nan, negInf, float32(math.Copysign(0, -1)), 0}[r.IntN(4)]
		}
	}
	return row
}

func askParams(t *rapid.T, r *rand.Rand, vocab int) Params {
	one := func(name string, v ...float32) float32 { return rapid.SampledFrom(v).Draw(t, name) }
	seed := uint64(r.IntN(1000))
	p := Params{
		Temperature: one("temperature", 0, 0.7, 1, 40), TopK: rapid.SampledFrom([]int{0, 0, 1, 40, MaxKeys, 200}).Draw(t, "top-k"),
		Typical: one("typical", 0, 0, 0.9), TopP: one("top-p", 0, 0.2, 0.95, 1), MinP: one("min-p", 0, 0, 0.05, 1),
		RepeatPenalty: one("repeat", 0, 0, 1.3), PresencePenalty: one("presence", 0, 0, 0.5), FrequencyPenalty: one("frequency", 0, 0, -1),
		Seed: &seed, Logprobs: rapid.Bool().Draw(t, "logprobs"),
	}
	if rapid.IntRange(0, 3).Draw(t, "bias") == 0 {
		p.LogitBias = map[int32]float32{}
		for range 1 + r.IntN(vocab) {
			p.LogitBias[int32(r.IntN(vocab))] = []float32{-100, 3, -2}[r.IntN(3)]
		}
	}
	return p
}

// Tokens chosen of narrowed rows are those chosen of whole rows, and a row that
// was narrowed too far is found to be.
func TestNarrowed(t *testing.T) {
	narrowed, whole := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		vocab := rapid.SampledFrom([]int{1, 7, 100, 700, 3000}).Draw(t, "vocab")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		p := askParams(t, r, vocab)
		a, err := New(p, vocab)
		if err != nil {
			t.Fatal(err)
		}
		b, err := New(p, vocab)
		if err != nil {
			t.Fatal(err)
		}
		var n Narrow
		for range 4 {
			row := narrowRow(r, vocab)
			var allowed []uint64
			if r.IntN(3) == 0 {
				allowed = make([]uint64, maskWords(vocab))
				for id := range vocab {
					allowed[id/64] |= uint64(r.IntN(2)) << (id % 64)
				}
			}
			want := b.SampleAllowed(row, allowed)
			got, ok := Choice{}, false
			if ask := a.Ask(allowed); ask != nil {
				if r.IntN(2) == 0 {
					ask = a.Ask(allowed) // asking again changes nothing
				}
				n.Fill(ask, row)
				got, ok = a.Choose(&n)
			}
			if ok {
				narrowed++
			} else {
				whole++
				got = a.SampleAllowed(row, allowed)
			}
			if got.ID != want.ID || math.Float32bits(got.Logprob) != math.Float32bits(want.Logprob) {
				t.Fatalf("%+v narrowed (%t), %+v of the whole row; %+v", got, ok, want, p)
			}
			if ok && p.Logprobs {
				if diff := cmp.Diff(TopLogprobs(nil, row, 20), n.TopLogprobs(nil, 20)); diff != "" {
					t.Fatalf("alternatives (-whole +narrowed):\n%s", diff)
				}
			}
			if got.ID != NoToken {
				a.Accept(got.ID)
				b.Accept(got.ID)
			}
		}
	})
	if narrowed < 20 || whole < 20 {
		t.Errorf("%d rows narrowed, %d whole: one of them was hardly tested", narrowed, whole)
	}
}

// What cannot be narrowed is not.
func TestAskRefuses(t *testing.T) {
	seed := uint64(1)
	for _, tc := range []struct {
		name string
		p    Params
		mask bool
		want bool
	}{
		{"greedy", Params{}, false, true},
		{"greedy among some", Params{}, true, true},
		{"log probabilities", Params{Logprobs: true}, false, true},
		{"log probabilities among some", Params{Logprobs: true}, true, false},
		{"log probabilities and penalties", Params{Logprobs: true, PresencePenalty: 1}, false, false},
		{"as many as there are keys", Params{Temperature: 1, TopK: MaxKeys}, false, true},
		{"more than keys", Params{Temperature: 1, TopK: MaxKeys + 1}, false, false},
		{"more than the vocabulary", Params{Temperature: 1, TopK: 5000}, false, true},
		{"typical of some", Params{Temperature: 1, Typical: 0.5, TopK: 20}, false, true},
		{"typical of all", Params{Temperature: 1, Typical: 0.5}, false, false},
		{"nucleus", Params{Temperature: 1, TopP: 0.5}, false, true},
		{"all", Params{Temperature: 1}, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.p.Seed = &seed
			s := mustNew(t, tc.p, 5000)
			var allowed []uint64
			if tc.mask {
				allowed = make([]uint64, maskWords(5000))
			}
			if got := s.Ask(allowed) != nil; got != tc.want {
				t.Errorf("narrowed: %t, want %t", got, tc.want)
			}
		})
	}
	s := mustNew(t, Params{FrequencyPenalty: 1}, 5000)
	for id := range int32(MaxEdits) {
		s.Accept(id)
	}
	if s.Ask(nil) == nil {
		t.Errorf("%d edits are too many", MaxEdits)
	}
	s.Accept(MaxEdits)
	if s.Ask(nil) != nil {
		t.Errorf("%d edits are not too many", MaxEdits+1)
	}
}

// Keys are in order, and say what their logits are.
func TestKeys(t *testing.T) {
	row := []float32{posInf, math.MaxFloat32, 2, 1e-40, 0, -1e-40, -3, -math.MaxFloat32}
	var keys []uint64
	for i, l := range row {
		k := NewKey(l, int32(len(row)-i))
		if got := candidate(k); got.logit() != l || got.id() != int32(len(row)-i) {
			t.Errorf("key of %g and %d gives %g and %d", l, len(row)-i, got.logit(), got.id())
		}
		keys = append(keys, k)
	}
	if !slices.IsSorted(keys) {
		t.Errorf("keys %x are not in the order of their logits", keys)
	}
}
