package sample

import (
	"math"
	"slices"
)

// pool is the set of tokens that may still be drawn. It starts as the whole
// row and becomes an explicit list with the first filter that is on, so that
// plain temperature sampling never builds a list of the vocabulary.
type pool struct {
	row   []float32 // [vocab] adjusted logits, before temperature
	dense bool      // the pool is all of row
	top   float64   // largest logit in row, made finite
	list  []candidate
	sums  []float64 // scratch of draw, one per block of the row
}

// reset fills the pool with row, whose largest logit is top.
func (p *pool) reset(row []float32, top float32) {
	p.row, p.dense, p.top, p.list = row, true, finiteMax(top), p.list[:0]
}

// filter runs the truncating filters. They never empty the pool.
func (p *pool) filter(params *Params) {
	if params.TopK > 0 && params.TopK < len(p.row) {
		p.topK(params.TopK)
	}
	if params.Typical > 0 && params.Typical < 1 {
		p.typical(float64(params.Typical))
	}
	if params.TopP > 0 && params.TopP < 1 {
		p.topP(float64(params.TopP))
	}
	if params.MinP > 0 {
		p.minP(float64(params.MinP))
	}
}

// topK keeps the k largest logits.
func (p *pool) topK(k int) {
	p.list = selectTop(p.list, p.row, k)
	p.dense = false
}

// typical keeps the tokens whose surprise -ln p is closest to the entropy,
// until their mass reaches mass.
func (p *pool) typical(mass float64) {
	p.collect(math.Inf(-1))
	top := p.listMax()
	sum := p.listSum(top)
	lnSum := ln(sum)
	entropy := 0.0
	for _, c := range p.list {
		d := p.depth(c, top)
		entropy += float64(expNeg(d) / sum * (lnSum - max(d, expFloor)))
	}
	for i, c := range p.list {
		surprise := lnSum - p.depth(c, top)
		p.list[i] = newCandidate(-float32(math.Abs(surprise-entropy)), c.id())
	}
	p.keepMass(mass*sum, top)
	for i, c := range p.list {
		p.list[i] = newCandidate(p.row[c.id()], c.id())
	}
}

// topP keeps the fewest most probable tokens whose mass reaches mass.
func (p *pool) topP(mass float64) {
	if p.dense {
		sum := sumExp(p.row, p.top, 1)
		// Tokens below (1-mass)/vocab of the sum hold less than 1-mass
		// together, so the nucleus lies within the others. Half of that
		// leaves room for rounding.
		p.collect(p.top + ln((1-mass)*sum/float64(len(p.row))/2))
		p.keepMass(mass*sum, p.top)
		return
	}
	top := p.listMax()
	p.keepMass(mass*p.listSum(top), top)
}

// minP keeps the tokens at least ratio times as probable as the best one.
func (p *pool) minP(ratio float64) {
	if p.dense {
		p.collect(p.top + ln(ratio))
		return
	}
	floor := p.listMax() + ln(ratio)
	kept := p.list[:0]
	for _, c := range p.list {
		if float64(p.row[c.id()]) >= floor {
			kept = append(kept, c)
		}
	}
	p.list = kept
}

// collect turns a dense pool into the list of its tokens whose logits are at
// least floor and above minus infinity.
func (p *pool) collect(floor float64) {
	if !p.dense {
		return
	}
	p.dense = false
	lowest := float32(math.Inf(-1))
	for id, l := range p.row {
		if l > lowest && float64(l) >= floor {
			p.list = append(p.list, newCandidate(l, int32(id)))
		}
	}
}

// depth returns how far the logit of c lies below top, as a number <= 0.
func (p *pool) depth(c candidate, top float64) float64 {
	return min(float64(p.row[c.id()])-top, 0)
}

// listMax returns the largest logit of the list, made finite.
func (p *pool) listMax() float64 {
	top := p.row[p.list[0].id()]
	for _, c := range p.list[1:] {
		top = max(top, p.row[c.id()])
	}
	return finiteMax(top)
}

// listSum returns the sum of e^(logit - top) over the list.
func (p *pool) listSum(top float64) float64 {
	sum := 0.0
	for _, c := range p.list {
		sum += expNeg(p.depth(c, top))
	}
	return sum
}

// keepMass cuts the list to the shortest prefix, in rank order, whose sum of
// e^(logit - top) reaches target. It sorts only what it keeps, within a factor.
func (p *pool) keepMass(target, top float64) {
	const firstRun, growth = 64, 8
	sum := 0.0
	for done, run := 0, firstRun; done < len(p.list); run *= growth {
		rest := p.list[done:]
		if run < len(rest) {
			partition(rest, run)
			rest = rest[:run]
		}
		slices.Sort(rest)
		for _, c := range rest {
			sum += expNeg(p.depth(c, top))
			done++
			if sum >= target {
				p.list = p.list[:done]
				return
			}
		}
	}
	// Rounding kept the sum below target: everything survives.
}
