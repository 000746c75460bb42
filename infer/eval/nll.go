package eval

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
)

// divergenceBlock is how many positions the bootstrap draws together: near
// tokens are hard or easy together, and an interval of single ones would be
// too narrow.
const divergenceBlock = 64

// Divergence compares two streams of logits over the same tokens, such as an
// exact cache's and an approximate one's. The zero value is ready; it is for
// one goroutine.
type Divergence struct {
	vocab  int
	rows   int
	agree  int
	kl     float64 // sum
	maxKL  float64
	blocks []nllBlock
}

// nllBlock holds the sums of up to divergenceBlock positions.
type nllBlock struct{ base, other float64 }

// DivergenceReport is what a Divergence adds up to.
type DivergenceReport struct {
	Positions int      `json:"positions"`
	BaseNLL   float64  `json:"base_nll"`  // nats per token
	OtherNLL  float64  `json:"other_nll"` // nats per token
	Percent   float64  `json:"percent"`   // by which OtherNLL exceeds BaseNLL
	PercentCI Interval `json:"percent_ci"`
	MeanKL    float64  `json:"mean_kl"` // nats, KL(base || other)
	MaxKL     float64  `json:"max_kl"`
	Top1      float64  `json:"top1"` // share of positions with the same largest logit
}

// Add takes both logits rows of one position and the token that follows it.
// Rows are read during the call only.
func (d *Divergence) Add(base, other []float32, next int32) error {
	if err := d.check(base, other, next); err != nil {
		return fmt.Errorf("compare logits of position %d: %w", d.rows, err)
	}
	b, o := largest(base), largest(other)
	kl, logB, logO := compareRows(base, other, base[b], other[o])
	if math.IsNaN(kl) || math.IsInf(kl, 0) {
		return fmt.Errorf("compare logits of position %d: a logit is not finite", d.rows)
	}
	d.vocab = len(base)
	if d.rows%divergenceBlock == 0 {
		d.blocks = append(d.blocks, nllBlock{})
	}
	block := &d.blocks[len(d.blocks)-1]
	block.base += logB - (float64(base[next]) - float64(base[b]))
	block.other += logO - (float64(other[next]) - float64(other[o]))
	d.rows++
	d.kl += kl
	d.maxKL = max(d.maxKL, kl)
	if b == o {
		d.agree++
	}
	return nil
}

func (d *Divergence) check(base, other []float32, next int32) error {
	want := len(base)
	if d.rows > 0 {
		want = d.vocab
	}
	switch {
	case len(base) == 0:
		return errors.New("no logits")
	case len(base) != want || len(other) != want:
		return fmt.Errorf("%d and %d logits, want %d of each", len(base), len(other), want)
	case next < 0 || int(next) >= want:
		return fmt.Errorf("next token %d is outside the vocabulary of %d", next, want)
	}
	return nil
}

// largest is the index of the largest logit, the first of equal ones.
func largest(logits []float32) int {
	best := 0
	for i, v := range logits {
		if v > logits[best] {
			best = i
		}
	}
	return best
}

// compareRows gives KL(base || other) and, for each row, the logarithm of the
// sum of exp(logit - largest). Logits count from the largest of their row, so
// that nothing overflows and a shift of a row changes nothing.
func compareRows(base, other []float32, maxB, maxO float32) (kl, logB, logO float64) {
	var sumB, sumO, cross float64
	for i, v := range base {
		b := float64(v) - float64(maxB)
		o := float64(other[i]) - float64(maxO)
		e := math.Exp(b)
		sumB += e
		sumO += math.Exp(o)
		cross += e * (b - o)
	}
	logB, logO = math.Log(sumB), math.Log(sumO)
	kl = cross/sumB - logB + logO
	return max(0, kl), logB, logO // rounding may leave a little less than none
}

// Report sums up. Fewer than two blocks have no interval and are refused.
func (d *Divergence) Report() (DivergenceReport, error) {
	if len(d.blocks) < 2 {
		return DivergenceReport{}, fmt.Errorf("compare logits: at least %d positions are needed, got %d", divergenceBlock+1, d.rows)
	}
	var sum nllBlock
	for _, b := range d.blocks {
		sum.base += b.base
		sum.other += b.other
	}
	if sum.base <= 0 {
		return DivergenceReport{}, errors.New("compare logits: the base is certain of every token, so there is no relative difference")
	}
	n := float64(d.rows)
	return DivergenceReport{
		Positions: d.rows,
		BaseNLL:   sum.base / n,
		OtherNLL:  sum.other / n,
		Percent:   sum.percent(),
		PercentCI: bootstrap(d.resample),
		MeanKL:    d.kl / n,
		MaxKL:     d.maxKL,
		Top1:      float64(d.agree) / n,
	}, nil
}

// percent is by how much other exceeds base.
func (b nllBlock) percent() float64 { return 100 * (b.other - b.base) / b.base }

// resample draws again where it hits only blocks that the base is certain of.
// Report made sure that there are others.
func (d *Divergence) resample(r *rand.Rand) float64 {
	for {
		var sum nllBlock
		for range d.blocks {
			b := d.blocks[r.IntN(len(d.blocks))]
			sum.base += b.base
			sum.other += b.other
		}
		if sum.base > 0 {
			return sum.percent()
		}
	}
}
