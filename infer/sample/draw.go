package sample

import "slices"

// SumBlock is how many logits share one partial sum, of which the row's sum is
// made: blocks can be summed side by side, and a draw recomputes at most one.
const SumBlock = 512

// draw returns the token at the quantile u, in [0, 1), of the pool's
// distribution at the given temperature. The pool must not be empty.
func (p *pool) draw(temperature float32, u float64) int32 {
	scale := 1 / float64(temperature)
	if p.dense {
		return p.drawRow(scale, u)
	}
	return p.drawList(scale, u)
}

func (p *pool) drawRow(scale, u float64) int32 {
	p.sums = p.sums[:0]
	total := 0.0
	for block := range slices.Chunk(p.row, SumBlock) {
		sum := sumBlock(block, p.top, scale)
		p.sums = append(p.sums, sum)
		total += sum
	}
	w := walk{target: float64(u * total), at: -1}
	for i, sum := range p.sums {
		if w.step(i, sum) {
			break
		}
	}
	first := w.at * SumBlock
	w = walk{target: w.target - w.before, at: -1}
	for i, l := range p.row[first:min(first+SumBlock, len(p.row))] {
		if w.step(i, expNeg(float64((float64(l)-p.top)*scale))) {
			break
		}
	}
	return int32(first + w.at)
}

func (p *pool) drawList(scale, u float64) int32 {
	top, total := p.listMax(), 0.0
	for _, c := range p.list {
		total += expNeg(float64(p.depth(c, top) * scale))
	}
	w := walk{target: float64(u * total), at: -1}
	for i, c := range p.list {
		if w.step(i, expNeg(float64(p.depth(c, top)*scale))) {
			break
		}
	}
	return p.list[w.at].id()
}

// walk finds the item at which a running sum of weights passes target. When
// rounding leaves target just out of reach, it is the last item with weight.
type walk struct {
	target float64
	passed float64 // sum of the weights so far
	before float64 // the same without item at
	at     int     // last item with weight
}

// step adds item i and reports whether the sum has passed the target.
func (w *walk) step(i int, weight float64) bool {
	if weight > 0 {
		w.at, w.before = i, w.passed
		w.passed += weight
	}
	return w.passed > w.target
}
