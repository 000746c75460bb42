package ref

import (
	"math"

	"edged/offload"
)

// probe is a query times a block's deviations, rounded to 8 bits in float32 as
// every backend does it, so that all choose alike: by channel, for the pages'
// means; and by rank, times the codes' step, for the codes.
type probe struct {
	mean, ranked         []int
	meanUnit, rankedUnit float64 // score of one unit, times one of mean or scale
	base                 float64 // score of the references
}

func newProbe(x index, q []float32, scale float32) probe {
	var p probe
	y := make([]float32, len(q))
	for c := range q {
		s := q[c] * scale
		p.base += float64(s) * float64(half(x.ref(c)))
		y[c] = s * half(x.step(c))
	}
	var ranked []float32
	for _, c := range x.order()[:x.at.Coded()] {
		ranked = append(ranked, y[c]*offload.IndexStep)
	}
	p.mean, p.meanUnit = toBytes(y)
	p.ranked, p.rankedUnit = toBytes(ranked)
	return p
}

// toBytes rounds values to [-127, 127] units, times offload.IndexUnits.
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
	return codes, float64(top/127) / offload.IndexUnits
}

// quadOne is 1 as a factor of products of 16 bits.
const quadOne = 1 << 15

// coded is the probe against one page's codes, whose scales are its own: 8 bits
// again, of the largest product with them, and how many units one of these is.
func (x index) coded(p probe, page int) (codes []int, units float64) {
	codes = make([]int, len(p.ranked))
	most := 0
	for rank, v := range p.ranked {
		codes[rank] = v * int(*x.scale(page, rank))
		most = max(most, codes[rank], -codes[rank])
	}
	factor := quadOne - 1
	if most > 0 {
		factor = min(factor, rounded(float32(quadOne*127)/float32(most), 1, quadOne))
	}
	for rank, v := range codes {
		codes[rank] = (v*factor + quadOne/2) >> 15
	}
	return codes, quadOne / float64(factor)
}

// scores are the largest score of each of a page's two cold ones' tokens, and
// that of the page's mean key.
func (x index) scores(p probe, page int) (top [offload.PageTok / offload.ColdTok]float64, mean float64) {
	mean = p.base
	for c, code := range p.mean {
		mean += p.meanUnit * float64(code) * (float64(*x.mean(page, c)) - 128)
	}
	score := make([]float64, offload.PageTok)
	codes, units := x.coded(p, page)
	for rank, code := range codes {
		for t := range score {
			b, shift := x.code(page, t, rank)
			c := int(*b) >> shift & offload.IndexTop
			score[t] += float64(code) * (float64(c) - float64(offload.IndexTop)/2)
		}
	}
	for i := range top {
		top[i] = math.Inf(-1)
		for _, s := range score[i*offload.ColdTok : (i+1)*offload.ColdTok] {
			top[i] = math.Max(top[i], mean+p.rankedUnit*units*s)
		}
	}
	return top, mean
}
