package offload

import "sort"

const (
	// leastSet and mostSet bound the working sets that a plan chooses itself,
	// in cold pages: 128 and 2,048 tokens.
	leastSet = 128 / ColdTok
	mostSet  = 2048 / ColdTok
	// defaultExchange is the cold pages that a step may exchange: 160 tokens.
	defaultExchange = 160 / ColdTok
)

// fillSets gives paged layers the largest working sets that fit, up to most
// cold pages; sets are whole pairs of those, which attention reads together.
func (p *Plan) fillSets(a Ask, most int) (err error) {
	fits := func(n int) bool {
		q := Plan{Config: p.Config}
		q.Config.Layers = append([]LayerPlan(nil), p.Config.Layers...)
		q.setBudget(2 * n)
		b, err := q.Config.Bytes()
		return err == nil && a.fits(b)
	}
	if least := p.pagedBudget() / 2; least > 0 {
		more := sort.Search(max(most/2-least, 0), func(i int) bool { return !fits(least + i + 1) })
		p.setBudget(2 * (least + more))
	}
	p.Bytes, err = p.Config.Bytes()
	return err
}

func (p *Plan) setBudget(n int) {
	for i := range p.Config.Layers {
		if l := &p.Config.Layers[i]; l.Class == Paged {
			l.Budget = n
		}
	}
}

// pagedBudget is the budget of paged layers, cold pages; 0 without one.
func (p *Plan) pagedBudget() int {
	for _, l := range p.Config.Layers {
		if l.Class == Paged {
			return l.Budget
		}
	}
	return 0
}
