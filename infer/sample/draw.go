package sample

import "slices"

// blockLen is how many logits share one partial sum of draw: the second walk
// then recomputes at most one block.
const blockLen = 512

// draw returns the token at the quantile u, in [0, 1), of the pool's
// distribution at the given temperature. The pool must not be empty.
func (p *pool) draw(temperature float32, u float64) int32 {
	t := float64(temperature)
	if !p.dense {
		return drawList(p.list, p.listMax(), t, u)
	}
	m := finiteMax(p.top)
	p.sums = p.sums[:0]
	total := 0.0
	for block := range slices.Chunk(p.row, blockLen) {
		sum := 0.0
		for _, l := range block {
			sum += expNeg((float64(l) - m) / t)
		}
		p.sums = append(p.sums, sum)
		total += sum
	}
	target := float64(u * total)
	at, before, passed := 0, 0.0, 0.0
	for i, sum := range p.sums {
		if sum > 0 {
			at, before = i, passed
			if passed += sum; passed > target {
				break
			}
		}
	}
	return drawBlock(p.row, at*blockLen, m, t, target-before)
}

// drawBlock walks the block of row that starts at start until its cumulated
// weight passes target. Rounding may leave target just out of reach; the last
// token with weight is then right.
func drawBlock(row []float32, start int, m, t, target float64) int32 {
	id, sum := start, 0.0
	for i := start; i < min(start+blockLen, len(row)); i++ {
		if e := expNeg((float64(row[i]) - m) / t); e > 0 {
			id = i
			if sum += e; sum > target {
				break
			}
		}
	}
	return int32(id)
}

func drawList(list []candidate, m, t, u float64) int32 {
	total := 0.0
	for _, c := range list {
		total += expNeg((float64(c.logit) - m) / t)
	}
	target, sum, id := float64(u*total), 0.0, list[0].id
	for _, c := range list {
		if e := expNeg((float64(c.logit) - m) / t); e > 0 {
			id = c.id
			if sum += e; sum > target {
				break
			}
		}
	}
	return id
}
