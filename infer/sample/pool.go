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
	if k := params.topK(len(p.row)); k > 0 {
		p.topK(k)
	}
	p.filterMore(params)
}

// filterMore runs what is behind top-k.
func (p *pool) filterMore(params *Params) {
	if params.hasTypical() {
		p.typical(float64(params.Typical))
	}
	if params.hasTopP() {
		p.topP(float64(params.TopP))
	}
	if params.MinP > 0 {
		p.minP(float64(params.MinP))
	}
}

// narrow fills the pool with a row's best tokens and filters them as filter would
// the row, whose other logits do not have to be there. It returns false where
// tokens that are not in the list may survive.
func (p *pool) narrow(row []float32, n *Narrow, params *Params) bool {
	p.row, p.dense, p.list = row, false, p.list[:0]
	for _, k := range n.Keys {
		c := candidate(k)
		p.list = append(p.list, c)
		row[c.id()] = c.logit()
	}
	p.top = p.listMax()
	all := len(p.list) < MaxKeys
	switch k := params.topK(len(row)); {
	case k > 0:
		p.list = p.list[:min(k, len(p.list))]
		p.filterMore(params)
	case params.hasTopP():
		mass := float64(params.TopP)
		all = p.cut(p.nucleus(mass, n.Total)) || all
		if !p.keepMass(mass*n.Total, p.top) && !all {
			return false
		}
		if params.MinP > 0 {
			p.minP(float64(params.MinP))
		}
	default:
		if all = p.cut(p.top+ln(float64(params.MinP))) || all; !all {
			return false
		}
		slices.SortFunc(p.list, func(a, b candidate) int { return int(a.id() - b.id()) }) // as collect leaves them
	}
	return true
}

// cut leaves of a ranked list the tokens whose logits are at least floor, and says
// whether there were others.
func (p *pool) cut(floor float64) bool {
	for i, c := range p.list {
		if float64(p.row[c.id()]) < floor {
			p.list = p.list[:i]
			return true
		}
	}
	return false
}

// nucleus is a logit below all those that mass of a row is made of, whose sum is sum.
// Tokens below (1-mass)/vocab of the sum hold less than 1-mass together, so the
// nucleus lies within the others. Half of that leaves room for rounding.
func (p *pool) nucleus(mass, sum float64) float64 {
	return p.top + ln((1-mass)*sum/float64(len(p.row))/2)
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
		p.collect(p.nucleus(mass, sum))
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
// e^(logit - top) reaches target, and says whether there is one. It sorts only what
// it keeps, within a factor.
func (p *pool) keepMass(target, top float64) bool {
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
				return true
			}
		}
	}
	return false // everything survives
}
