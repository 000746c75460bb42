package eval

import (
	"math/rand/v2"
	"slices"
)

// resamples is how many samples a bootstrap draws. Its seed is fixed: one
// report gives one interval, whoever computes it.
const (
	resamples     = 10_000
	bootstrapSeed = 0x6564676564
)

// Interval is a 95 % confidence interval by the percentile bootstrap.
type Interval struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// bootstrap takes the interval of a statistic of a random resample.
func bootstrap(statistic func(r *rand.Rand) float64) Interval {
	r := rand.New(rand.NewPCG(bootstrapSeed, 0))
	values := make([]float64, resamples)
	for i := range values {
		values[i] = statistic(r)
	}
	slices.Sort(values)
	const tail = resamples * 25 / 1000 // left out at each end
	return Interval{Low: values[tail], High: values[resamples-1-tail]}
}
