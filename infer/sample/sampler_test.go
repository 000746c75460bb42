package sample

import (
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func mustNew(t testing.TB, p Params, vocab int) *Sampler {
	t.Helper()
	s, err := New(p, vocab)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	negInf = float32(math.Inf(-1))
	posInf = float32(math.Inf(1))
	nan    = float32(math.NaN())
)

func TestGreedy(t *testing.T) {
	long := normalRow(1001, 3, 1)
	long[1000] = 50
	for _, tc := range []struct {
		name string
		p    Params
		row  []float32
		want int32
	}{
		{"largest", Params{}, []float32{1, 3, 2}, 1},
		{"tie to the lowest id", Params{}, []float32{1, 3, 3, 2, 3, 3, 3, 3, 3, 3}, 1},
		{"tie across blocks", Params{}, append(make([]float32, 7), 5, 1, 5), 7},
		{"last of a long row", Params{}, long, 1000},
		{"negative zero", Params{}, []float32{float32(math.Copysign(0, -1)), 0}, 0},
		{"masked", Params{}, []float32{negInf, -5, negInf}, 1},
		{"NaN is masked", Params{}, []float32{nan, -5, nan}, 1},
		{"infinity", Params{}, []float32{1, posInf, math.MaxFloat32}, 1},
		{"all masked", Params{}, []float32{negInf, nan, negInf}, NoToken},
		{"filters do not matter", Params{TopK: 2, TopP: 0.5, Typical: 0.01, MinP: 0.9}, []float32{1, 3, 2}, 1},
		{"ban", Params{LogitBias: map[int32]float32{1: -100}}, []float32{1, 500, 2}, 2},
		{"all banned", Params{LogitBias: map[int32]float32{0: -100, 1: -100, 2: -100}}, []float32{1, 3, 2}, 1},
		{"unmasked ones banned", Params{LogitBias: map[int32]float32{1: -100}}, []float32{negInf, 3, negInf}, 1},
		{"bias", Params{LogitBias: map[int32]float32{0: 2.5}}, []float32{1, 3, 2}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := mustNew(t, tc.p, len(tc.row)).Sample(tc.row); got.ID != tc.want {
				t.Errorf("ID = %d, want %d", got.ID, tc.want)
			}
			if tc.p.Typical > 0 {
				return // typical may rightly drop the largest logit once there is a draw
			}
			tc.p.Temperature, tc.p.TopK = 1, 1
			if got := mustNew(t, tc.p, len(tc.row)).Sample(tc.row); got.ID != tc.want {
				t.Errorf("with top-k 1: ID = %d, want %d", got.ID, tc.want)
			}
		})
	}
}

func TestSampleRefusesRowOfWrongLength(t *testing.T) {
	for _, n := range []int{0, 2, 4} {
		if got := mustNew(t, Params{}, 3).Sample(make([]float32, n)); got.ID != NoToken {
			t.Errorf("row of %d for a vocabulary of 3: ID = %d, want NoToken", n, got.ID)
		}
	}
}

func TestLogprob(t *testing.T) {
	row := []float32{0, float32(math.Log(3)), negInf, nan}
	// The bias changes the choice, not the reported probability.
	s := mustNew(t, Params{Logprobs: true, LogitBias: map[int32]float32{0: 100}}, 4)
	if got, want := s.Sample(row), float32(math.Log(0.25)); got.ID != 0 || math.Abs(float64(got.Logprob-want)) > 1e-6 {
		t.Errorf("Sample = %+v, want token 0 with %v", got, want)
	}
	if got := mustNew(t, Params{}, 4).Sample(row).Logprob; !math.IsNaN(float64(got)) {
		t.Errorf("Logprob without Params.Logprobs = %v, want NaN", got)
	}
	for id, want := range map[int32]float32{2: negInf, 3: negInf, 4: nan, -1: nan} {
		if got := Logprob(row, id); got != want && !(math.IsNaN(float64(got)) && math.IsNaN(float64(want))) {
			t.Errorf("Logprob(%d) = %v, want %v", id, got, want)
		}
	}
	if got := Logprob([]float32{negInf}, 0); !math.IsNaN(float64(got)) {
		t.Errorf("Logprob in an empty distribution = %v, want NaN", got)
	}
	if got := TopLogprobs(nil, []float32{negInf, nan}, 3); len(got) != 0 {
		t.Errorf("TopLogprobs of an empty distribution = %v", got)
	}
}

// window reports the tokens that a repeat penalty currently touches.
func window(s *Sampler) []int32 {
	return slices.Sorted(slices.Values(s.adjust.window.ids))
}

func TestPenaltyWindowSlides(t *testing.T) {
	s := mustNew(t, Params{RepeatPenalty: 2, PenaltyLastN: 3}, 10)
	s.AcceptPrompt([]int32{1, 1, 2})
	if diff := cmp.Diff([]int32{1, 2}, window(s)); diff != "" {
		t.Errorf("full window (-want +got):\n%s", diff)
	}
	s.Accept(3) // pushes out one of the two 1s
	if diff := cmp.Diff([]int32{1, 2, 3}, window(s)); diff != "" {
		t.Errorf("after one token (-want +got):\n%s", diff)
	}
	s.Accept(-7) // outside the vocabulary: takes a place, is not penalised
	s.Accept(99)
	if diff := cmp.Diff([]int32{3}, window(s)); diff != "" {
		t.Errorf("after foreign ids (-want +got):\n%s", diff)
	}
	for range DefaultPenaltyLastN {
		s.Accept(4)
	}
	if diff := cmp.Diff([]int32{4}, window(s)); diff != "" {
		t.Errorf("after many tokens (-want +got):\n%s", diff)
	}
}

func TestDefaultWindowAndWholeHistory(t *testing.T) {
	for lastN, want := range map[int]int{0: DefaultPenaltyLastN, -1: 200, 100: 100} {
		s := mustNew(t, Params{RepeatPenalty: 2, PenaltyLastN: lastN}, 1000)
		for id := range int32(200) {
			s.Accept(id)
		}
		if got := len(window(s)); got != want {
			t.Errorf("PenaltyLastN %d: %d tokens in the window, want %d", lastN, got, want)
		}
	}
}

func TestSamplerCopiesWhatTheCallerOwns(t *testing.T) {
	seed, bias := uint64(5), map[int32]float32{1: -100}
	s := mustNew(t, Params{Seed: &seed, LogitBias: bias}, 3)
	seed, bias[1] = 6, 100
	if got := s.Seed(); got != 5 {
		t.Errorf("Seed = %d after the caller changed its own, want 5", got)
	}
	if got := s.Sample([]float32{1, 5, 0}).ID; got != 0 {
		t.Errorf("ID = %d after the caller changed its map, want 0", got)
	}
}

func TestDrawnSeedReproduces(t *testing.T) {
	a := mustNew(t, Params{Temperature: 1}, 1000)
	seed := a.Seed()
	b := mustNew(t, Params{Temperature: 1, Seed: &seed}, 1000)
	row := normalRow(1000, 2, 1)
	for i := range 50 {
		if x, y := a.Sample(row).ID, b.Sample(row).ID; x != y {
			t.Fatalf("draw %d: %d and %d", i, x, y)
		}
	}
	if c := mustNew(t, Params{}, 2); c.Seed() == seed {
		t.Error("two samplers drew the same seed")
	}
}

// The expected ids are what this package drew when they were recorded. They
// change only when seeded completions change for users, which needs a reason.
func TestSeededDrawsAreStable(t *testing.T) {
	row := normalRow(5000, 11, 2)
	for _, tc := range []struct {
		name string
		p    Params
		seed uint64
		want []int32
	}{
		{"temperature", Params{Temperature: 1}, 42, []int32{2215, 1939, 309, 3675, 1147, 1088, 3229, 2293}},
		{"default chain", Params{Temperature: 0.8, TopK: 40, TopP: 0.95, MinP: 0.05}, 42, []int32{555, 4588, 2518, 4541, 4605, 4605, 4273, 555}},
		{"top-p", Params{Temperature: 1.2, TopP: 0.9}, 7, []int32{4423, 179, 4596, 2518, 2979, 752, 1367, 4601}},
		{"typical", Params{Temperature: 1, Typical: 0.8}, math.MaxUint64, []int32{672, 650, 2458, 4833, 79, 1030, 2607, 4541}},
		{"min-p", Params{Temperature: 2, MinP: 0.1}, 0, []int32{885, 1353, 2518, 473, 3148, 3961, 1193, 4541}},
		{"penalties", Params{Temperature: 1, TopK: 3, RepeatPenalty: 1.5, FrequencyPenalty: 1, PresencePenalty: 0.5}, 1, []int32{337, 2791, 4588, 4605, 555, 2518, 892, 2052}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.p.Seed = &tc.seed
			s := mustNew(t, tc.p, len(row))
			var got []int32
			for range 8 {
				id := s.Sample(row).ID
				s.Accept(id)
				got = append(got, id)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("ids (-want +got):\n%s\ngot %#v", diff, got)
			}
		})
	}
}

func TestSampleDoesNotAllocate(t *testing.T) {
	row := normalRow(bigVocab, 7, 3)
	for name, p := range map[string]Params{
		"greedy":      {},
		"temperature": {Temperature: 1},
		"all filters": {Temperature: 0.8, TopK: 200, Typical: 0.99, TopP: 0.95, MinP: 0.01, RepeatPenalty: 1.1, PresencePenalty: 0.1, LogitBias: map[int32]float32{3: -100}},
		"top-p":       {Temperature: 1, TopP: 0.9},
		"typical":     {Temperature: 1, Typical: 0.9},
		"min-p":       {Temperature: 1, MinP: 0.1, Logprobs: true},
	} {
		s := mustNew(t, p, bigVocab)
		s.Sample(row) // grows the working memory
		if n := testing.AllocsPerRun(3, func() { s.Sample(row) }); n != 0 {
			t.Errorf("%s: %v allocations per call", name, n)
		}
	}
	dst := make([]TokenProb, 0, MaxTopLogprobs)
	if n := testing.AllocsPerRun(3, func() { TopLogprobs(dst, row, MaxTopLogprobs) }); n != 0 {
		t.Errorf("TopLogprobs: %v allocations per call", n)
	}
	s := mustNew(t, Params{RepeatPenalty: 1.1, PenaltyLastN: 16}, bigVocab)
	for id := range int32(64) {
		s.Accept(id)
	}
	if n := testing.AllocsPerRun(100, func() { s.Accept(9) }); n != 0 {
		t.Errorf("Accept: %v allocations per call", n)
	}
}
