package ref

import (
	"math"

	"edged/offload"
)

// probe is a query times a block's deviations, rounded to 8 bits in float32 as
// every backend does it, so that all choose alike: by channel for the pages'
// means, and by rank, times the planes' steps, for the codes.
type probe struct {
	mean, code []int
	meanUnit   float64 // score of one unit of mean
	unit       float64 // score of one unit of code
	base       float64 // score of the references
}

func newProbe(x index, q []float32, scale float32) probe {
	var p probe
	y := make([]float32, len(q))
	for c := range q {
		s := q[c] * scale
		p.base += float64(s) * float64(half(x.ref(c)))
		y[c] = s * half(x.step(c))
	}
	p.mean, p.meanUnit = toBytes(y)
	var ranked []float32
	for rank, c := range x.order() {
		if at, ok := x.placeOf(rank); ok {
			ranked = append(ranked, y[c]*at.Step)
		}
	}
	p.code, p.unit = toBytes(ranked)
	return p
}

// toBytes rounds values to [-127, 127] units.
func toBytes(y []float32) (codes []int, unit float64) {
	var top, inv float32
	for _, v := range y {
		top = max(top, float32(math.Abs(float64(v))))
	}
	if top > 0 {
		inv = 127 / top
	}
	codes = make([]int, len(y))
	for i, v := range y {
		codes[i] = rounded(v*inv, -127, 127)
	}
	return codes, float64(top / 127)
}

// weight is the logarithm of a page's summed e^score.
func (x index) weight(p probe, page int) float64 {
	var mean float64
	for c, code := range p.mean {
		mean += float64(code) * (float64(*x.mean(page, c)) - 128) / offload.IndexMeanUnits
	}
	score := make([]float64, offload.PageTok)
	for rank, code := range p.code {
		at, _ := x.placeOf(rank)
		for t := range score {
			c := int(*x.code(page, t, at)) >> at.shift & at.top()
			score[t] += float64(code) * (float64(c) - float64(at.top())/2)
		}
	}
	for t := range score {
		score[t] = p.base + p.meanUnit*mean + p.unit*score[t]
	}
	return logSum(score)
}
