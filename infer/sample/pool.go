package sample

import "math"

// candidate is a token that is still in the pool.
type candidate struct {
	key   float64 // what the current filter ranks by, largest first
	logit float32 // adjusted, before temperature
	id    int32
}

// pool is the set of tokens that may still be drawn. It starts as the whole
// row and becomes an explicit list with the first filter that is on, so that
// plain temperature sampling never builds a list of the vocabulary.
type pool struct {
	row   []float32 // [vocab]; the pool while dense
	dense bool
	top   float32     // largest logit in row
	list  []candidate // the pool while not dense
	sums  []float64   // scratch of draw, one per block of the row
}

// reset fills the pool with row, whose largest logit is top.
func (p *pool) reset(row []float32, top float32) {
	p.row, p.dense, p.top, p.list = row, true, top, p.list[:0]
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
	m, sum := p.normalizer()
	lnSum := ln(sum)
	entropy := 0.0
	for _, c := range p.list {
		d := min(float64(c.logit)-m, 0)
		if e := expNeg(d); e > 0 {
			entropy += float64(e / sum * (lnSum - d))
		}
	}
	for i := range p.list {
		c := &p.list[i]
		surprise := lnSum - min(float64(c.logit)-m, 0)
		c.key = -math.Abs(surprise - entropy)
	}
	p.keepMass(mass*sum, m)
}

// topP keeps the fewest most probable tokens whose mass reaches mass.
func (p *pool) topP(mass float64) {
	var m, sum float64
	if p.dense {
		m, sum = finiteMax(p.top), sumExp(p.row, p.top)
		// Tokens below (1-mass)/n of the sum hold less than 1-mass together,
		// so the nucleus lies within the others. Half of it leaves room for
		// rounding.
		p.collect(m + ln((1-mass)*sum/float64(len(p.row))/2))
	} else {
		m, sum = p.normalizer()
	}
	for i := range p.list {
		p.list[i].key = float64(p.list[i].logit)
	}
	p.keepMass(mass*sum, m)
}

// minP keeps the tokens at least ratio times as probable as the best one.
func (p *pool) minP(ratio float64) {
	if p.dense {
		p.collect(finiteMax(p.top) + ln(ratio))
		return
	}
	floor := p.listMax() + ln(ratio)
	kept := p.list[:0]
	for _, c := range p.list {
		if float64(c.logit) >= floor {
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
			p.list = append(p.list, candidate{logit: l, id: int32(id)})
		}
	}
}

// listMax returns the largest logit of the list, made finite.
func (p *pool) listMax() float64 {
	m := p.list[0].logit
	for _, c := range p.list[1:] {
		m = max(m, c.logit)
	}
	return finiteMax(m)
}

// normalizer returns the list's largest logit m and the sum of e^(logit - m).
func (p *pool) normalizer() (m, sum float64) {
	m = p.listMax()
	for _, c := range p.list {
		sum += expNeg(float64(c.logit) - m)
	}
	return m, sum
}

// keepMass cuts the list to the shortest prefix, in descending order of key,
// whose sum of e^(logit - m) reaches target. It orders only as much of the
// list as it keeps, within a factor.
func (p *pool) keepMass(target, m float64) {
	const firstRun, growth = 64, 8
	sum := 0.0
	for done, run := 0, firstRun; done < len(p.list); run *= growth {
		rest := p.list[done:]
		if run < len(rest) {
			partition(rest, run)
			rest = rest[:run]
		}
		sortCandidates(rest)
		for _, c := range rest {
			sum += expNeg(float64(c.logit) - m)
			done++
			if sum >= target {
				p.list = p.list[:done]
				return
			}
		}
	}
	// Rounding kept the sum below target: everything survives.
}
