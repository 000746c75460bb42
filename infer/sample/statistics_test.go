package sample

import (
	"math"
	"testing"
)

// chiSquare returns Pearson's statistic of counts against probabilities,
// pooling what is expected less than 5 times, and its degrees of freedom.
func chiSquare(counts map[int32]int, ids []int32, probs []float64) (stat float64, df int) {
	draws := 0
	for _, c := range counts {
		draws += c
	}
	restSeen, restExpected := 0, 0.0
	for i, id := range ids {
		expected := probs[i] * float64(draws)
		if expected < 5 {
			restSeen, restExpected = restSeen+counts[id], restExpected+expected
			continue
		}
		d := float64(counts[id]) - expected
		stat, df = stat+d*d/expected, df+1
	}
	if restExpected >= 5 {
		d := float64(restSeen) - restExpected
		stat, df = stat+d*d/restExpected, df+1
	}
	return stat, df - 1
}

// All seeds are fixed, so the outcome is. Were they not, a fair sampler would
// exceed the bound, five standard deviations of chi-square, about once in
// 100,000 runs.
func TestDrawsFollowTheDistribution(t *testing.T) {
	const draws = 20_000
	row := normalRow(300, 5, 1.5)
	for name, p := range map[string]Params{
		"temperature": {Temperature: 1},
		"cold":        {Temperature: 0.4},
		"hot":         {Temperature: 2.5},
		"chain":       {Temperature: 0.8, TopK: 40, TopP: 0.95, MinP: 0.05},
		"typical":     {Temperature: 1, Typical: 0.7},
		"min-p":       {Temperature: 1.5, MinP: 0.05},
		"bias":        {Temperature: 1, LogitBias: map[int32]float32{1: 6, 2: 6}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, mode := range []string{"one stream", "consecutive seeds"} {
				seed := uint64(99)
				p.Seed = &seed
				s := mustNew(t, p, len(row))
				ids, probs := survivors(s, row)
				n, next := draws, func() int32 { return s.Sample(row).ID }
				if mode == "consecutive seeds" {
					n, next = draws/10, func() int32 {
						seed++
						return mustNew(t, p, len(row)).Sample(row).ID
					}
				}
				counts := make(map[int32]int)
				for range n {
					counts[next()]++
				}
				stat, df := chiSquare(counts, ids, probs)
				if bound := float64(df) + 5*math.Sqrt(2*float64(df)); df < 1 || stat > bound {
					t.Errorf("%s: chi-square %.1f with %d degrees of freedom, bound %.1f", mode, stat, df, bound)
				}
			}
		})
	}
}

// A sampler that ignored its weights must fail the check above.
func TestChiSquareDetectsAWrongDistribution(t *testing.T) {
	row := normalRow(300, 5, 1.5)
	seed := uint64(99)
	s := mustNew(t, Params{Temperature: 1.1, Seed: &seed}, len(row))
	ids, probs := survivors(mustNew(t, Params{Temperature: 1}, len(row)), row)
	counts := make(map[int32]int)
	for range 20_000 {
		counts[s.Sample(row).ID]++
	}
	stat, df := chiSquare(counts, ids, probs)
	if bound := float64(df) + 5*math.Sqrt(2*float64(df)); stat < bound {
		t.Errorf("chi-square %.1f below %.1f although the temperature differs by 10%%", stat, bound)
	}
}
