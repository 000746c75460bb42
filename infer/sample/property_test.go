package sample

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// drawLogits draws a row with ties, masked tokens and, rarely, hostile values.
func drawLogits(t *rapid.T) []float32 {
	logit := rapid.OneOf(
		rapid.Float32Range(-20, 20),
		rapid.Map(rapid.IntRange(-3, 3), func(i int) float32 { return float32(i) }),
		rapid.SampledFrom([]float32{negInf, negInf, 0, 0, nan, posInf, math.MaxFloat32, -math.MaxFloat32, 1e-45}),
	)
	return rapid.SliceOfN(logit, 1, 200).Draw(t, "logits")
}

func drawParams(t *rapid.T, vocab int) Params {
	share := func(name string) float32 {
		return rapid.OneOf(rapid.Just(float32(0)), rapid.Float32Range(0, 1)).Draw(t, name)
	}
	id := rapid.Int32Range(0, int32(vocab-1))
	return Params{
		Temperature:      rapid.OneOf(rapid.Float32Range(0, 3), rapid.SampledFrom([]float32{1e-45, 100})).Draw(t, "temperature"),
		TopK:             rapid.IntRange(0, vocab+1).Draw(t, "topK"),
		Typical:          share("typical"),
		TopP:             share("topP"),
		MinP:             share("minP"),
		RepeatPenalty:    rapid.Float32Range(0, 3).Draw(t, "repeat"),
		PresencePenalty:  rapid.Float32Range(-2, 2).Draw(t, "presence"),
		FrequencyPenalty: rapid.Float32Range(-2, 2).Draw(t, "frequency"),
		LogitBias:        rapid.MapOfN(id, rapid.SampledFrom([]float32{-100, -1, 3, 100}), 0, 5).Draw(t, "bias"),
		Logprobs:         true,
	}
}

func usable(l float32) bool { return l > negInf }

// Whatever the row and the parameters are, Sample chooses a token that is not
// masked, unless all are, leaves the row alone and repeats itself.
func TestSampleAlwaysChooses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		row := drawLogits(t)
		p := drawParams(t, len(row))
		seed := rapid.Uint64().Draw(t, "seed")
		p.Seed = &seed
		history := rapid.SliceOf(rapid.Int32Range(-1, int32(len(row)))).Draw(t, "history")
		before := slices.Clone(row)
		var first []Choice
		for range 2 {
			s, err := New(p, len(row))
			if err != nil {
				t.Fatal(err)
			}
			s.AcceptPrompt(history)
			var choices []Choice
			for range 3 {
				c := s.Sample(row)
				choices = append(choices, c)
				s.Accept(c.ID)
				if c.ID == NoToken {
					if slices.ContainsFunc(s.lastRow(row), usable) {
						t.Fatalf("no token chosen from %v", row)
					}
					continue
				}
				if !usable(row[c.ID]) {
					t.Fatalf("chose masked token %d of %v", c.ID, row)
				}
				if !(c.Logprob <= 0) {
					t.Fatalf("logprob %v of token %d", c.Logprob, c.ID)
				}
			}
			if first == nil {
				first = choices
			} else if !slices.EqualFunc(first, choices, func(a, b Choice) bool { return a.ID == b.ID }) {
				t.Fatalf("same seed, other choices: %v and %v", first, choices)
			}
		}
		for i := range row {
			if math.Float32bits(row[i]) != math.Float32bits(before[i]) {
				t.Fatalf("logit %d was modified", i)
			}
		}
	})
}

// lastRow returns the row that Sample last worked on: penalties may push a
// finite logit below the range of float32.
func (s *Sampler) lastRow(logits []float32) []float32 {
	if s.adjust == nil {
		return logits
	}
	return s.adjust.work
}

func drawFiniteRow(t *rapid.T) []float32 {
	logit := rapid.OneOf(
		rapid.Float32Range(-15, 15),
		rapid.Map(rapid.IntRange(-3, 3), func(i int) float32 { return float32(i) }),
	)
	return rapid.SliceOfN(logit, 1, 3000).Draw(t, "logits")
}

// only returns the survivors of one set of filters at temperature 1.
func only(t *rapid.T, p Params, row []float32) ([]int32, []float64) {
	p.Temperature = 1
	s, err := New(p, len(row))
	if err != nil {
		t.Fatal(err)
	}
	return survivors(s, row)
}

func subset(a, b []int32) bool {
	for _, x := range a {
		if _, found := slices.BinarySearch(b, x); !found {
			return false
		}
	}
	return true
}

func TestTopKProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		row := drawFiniteRow(t)
		k := rapid.IntRange(1, len(row)).Draw(t, "k")
		ids, _ := only(t, Params{TopK: k}, row)
		if len(ids) != k {
			t.Fatalf("%d survivors of top-k %d of %d", len(ids), k, len(row))
		}
		order := make([]int32, len(row))
		for i := range order {
			order[i] = int32(i)
		}
		slices.SortStableFunc(order, func(a, b int32) int {
			switch {
			case row[a] > row[b]:
				return -1
			case row[a] < row[b]:
				return 1
			}
			return 0
		})
		want := slices.Sorted(slices.Values(order[:k]))
		if !slices.Equal(ids, want) {
			t.Fatalf("top-k %d: %v, want %v", k, ids, want)
		}
	})
}

// massFilters are the filters that keep a share of the probability mass.
var massFilters = map[string]func(float32) Params{
	"top-p":           func(x float32) Params { return Params{TopP: x} },
	"typical":         func(x float32) Params { return Params{Typical: x} },
	"top-k and top-p": func(x float32) Params { return Params{TopK: 1 << 30, TopP: x} },
}

func TestMassFilterProperties(t *testing.T) {
	for name, params := range massFilters {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				row := drawFiniteRow(t)
				small := rapid.Float32Range(0.001, 1).Draw(t, "small")
				large := rapid.Float32Range(small, 1).Draw(t, "large")
				_, full := only(t, Params{}, row)
				few, _ := only(t, params(small), row)
				many, _ := only(t, params(large), row)
				if len(few) == 0 || !subset(few, many) {
					t.Fatalf("survivors at %v are not among those at %v", small, large)
				}
				mass, least := 0.0, 1.0
				for _, id := range few {
					mass += full[id]
					least = min(least, full[id])
				}
				if mass < float64(small)-1e-9 {
					t.Fatalf("surviving mass %v < %v", mass, small)
				}
				// Dropping any one survivor of top-p must miss the target.
				if name != "typical" && len(few) > 1 && mass-least >= float64(small)+1e-9 {
					t.Fatalf("surviving mass %v is not minimal for %v: least is %v", mass, small, least)
				}
			})
		})
	}
}

func TestMinPProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		row := drawFiniteRow(t)
		ratio := rapid.Float32Range(0.001, 1).Draw(t, "ratio")
		_, full := only(t, Params{}, row)
		ids, _ := only(t, Params{MinP: ratio}, row)
		floor := slices.Max(full) * float64(ratio)
		for id, p := range full {
			_, kept := slices.BinarySearch(ids, int32(id))
			if math.Abs(p-floor) > 1e-9*floor && kept != (p > floor) {
				t.Fatalf("token %d with probability %v, floor %v: kept = %v", id, p, floor, kept)
			}
		}
		if !slices.Contains(ids, argmax(row)) {
			t.Fatal("the most probable token was dropped")
		}
	})
}

func TestBanProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		row := drawLogits(t)
		bans := rapid.SliceOfDistinct(rapid.Int32Range(0, int32(len(row)-1)), rapid.ID).Draw(t, "bans")
		bias := make(map[int32]float32)
		for _, id := range bans {
			bias[id] = -MaxLogitBias
		}
		left := false
		for id, l := range row {
			left = left || usable(l) && bias[int32(id)] == 0
		}
		ids, _ := only(t, Params{LogitBias: bias}, row)
		for _, id := range ids {
			if left && bias[id] != 0 {
				t.Fatalf("banned token %d survived", id)
			}
		}
		if len(ids) == 0 && slices.ContainsFunc(row, usable) {
			t.Fatal("bans emptied the pool")
		}
	})
}
