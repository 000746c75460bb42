package ref

import (
	"math"

	"edged/offload"
)

// probe is a query times a block's deviations: by channel, rounded to 8 bits in
// float32 as every backend does it, so that all choose alike, for the pages'
// means; and by rank, times the planes' steps, for the codes.
type probe struct {
	mean     []int
	meanUnit float64 // score of one unit of mean
	base     float64 // score of the references
	ranked   []float32
	top      float32 // the largest |ranked|
}

func newProbe(x index, q []float32, scale float32) probe {
	var p probe
	y := make([]float32, len(q))
	var top float32
	for c := range q {
		s := q[c] * scale
		p.base += float64(s) * float64(half(x.ref(c)))
		y[c] = s * half(x.step(c))
		top = max(top, float32(math.Abs(float64(y[c]))))
	}
	p.mean, p.meanUnit = toBytes(y, top)
	for rank, c := range x.order() {
		if at, ok := x.placeOf(rank); ok {
			p.ranked = append(p.ranked, y[c]*at.Step)
			p.top = max(p.top, float32(math.Abs(float64(p.ranked[rank]))))
		}
	}
	return p
}

// toBytes rounds values of at most top to [-127, 127] units.
func toBytes(y []float32, top float32) (codes []int, unit float64) {
	var inv float32
	if top > 0 {
		inv = 127 / top
	}
	codes = make([]int, len(y))
	for i, v := range y {
		codes[i] = rounded(v*inv, -127, 127)
	}
	return codes, float64(top / 127)
}

// coded is the probe against one page's codes, whose scales are its own: 8 bits
// again, of the largest product that there could be.
func (x index) coded(p probe, page int) (codes []int, unit float64) {
	var most float32
	y := make([]float32, len(p.ranked))
	for rank, v := range p.ranked {
		s := float32(*x.scale(page, rank))
		most = max(most, s)
		y[rank] = v * s
	}
	codes, unit = toBytes(y, p.top*most)
	return codes, unit / offload.IndexUnits
}

// weights are the logarithms of the summed e^score of a page's two cold ones.
func (x index) weights(p probe, page int) []float64 {
	var mean float64
	for c, code := range p.mean {
		mean += float64(code) * (float64(*x.mean(page, c)) - 128) / offload.IndexUnits
	}
	score := make([]float64, offload.PageTok)
	codes, unit := x.coded(p, page)
	for rank, code := range codes {
		at, _ := x.placeOf(rank)
		for t := range score {
			c := int(*x.code(page, t, at)) >> at.shift & at.top()
			score[t] += float64(code) * (float64(c) - float64(at.top())/2)
		}
	}
	for t := range score {
		score[t] = p.base + p.meanUnit*mean + unit*score[t]
	}
	return []float64{logSum(score[:offload.ColdTok]), logSum(score[offload.ColdTok:])}
}
