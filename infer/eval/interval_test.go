package eval

import (
	"math/rand/v2"
	"testing"
)

// A bootstrap of the mean of a large sample agrees with the normal interval.
func TestBootstrapCovers(t *testing.T) {
	sample := make([]float64, 400)
	source := rand.New(rand.NewPCG(1, 2))
	var mean float64
	for i := range sample {
		sample[i] = source.NormFloat64()
		mean += sample[i] / float64(len(sample))
	}
	ci := bootstrap(func(r *rand.Rand) float64 {
		var sum float64
		for range sample {
			sum += sample[r.IntN(len(sample))]
		}
		return sum / float64(len(sample))
	})
	const half = 1.96 / 20 // of the standard error of 400 values
	if ci.Low < mean-1.15*half || ci.Low > mean-0.85*half || ci.High > mean+1.15*half || ci.High < mean+0.85*half {
		t.Errorf("interval %+v around %v, want about %v at each side", ci, mean, half)
	}
}
