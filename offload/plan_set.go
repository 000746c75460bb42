package offload

import "sort"

const (
	// leastSet and mostSet bound the working sets that a plan chooses itself,
	// in cold pages: 128 and 2,048 tokens where all layers have them.
	leastSet = 128 / ColdTok
	mostSet  = 2048 / ColdTok
	// moreSet is how many times as large they may be where most layers have a window.
	moreSet = 4
	// defaultGain is that of [LayerPlan], with which a step may exchange
	// defaultExchange cold pages: 640 tokens.
	defaultGain, defaultExchange = 1.5, 640 / ColdTok
)

// setLimit is the largest working set that a plan chooses, in cold pages. What a step
// reads in all layers is bounded: where some see a window only, the others' sets may
// be as much larger.
func setLimit(a Ask) int {
	long := 0
	for _, l := range a.Layers {
		if l.Window == 0 {
			long++
		}
	}
	pairs := mostSet / 2 * min(len(a.Layers), moreSet*long) / max(long, 1)
	return min(2*pairs, pagesFor(a.Context)*PageTok/ColdTok)
}

// pagedPlan is how a layer with working sets is kept.
func (s settings) pagedPlan(l LayerSpec, e Elem, budget int) LayerPlan {
	p := LayerPlan{LayerSpec: l, Class: Paged, Elem: e, Group: ColdTok, Tail: recordTail, Budget: budget,
		Exchange: s.exchange, Gain: defaultGain, ByRecord: true, Estimate: s.estimate}
	if p.Exchange == 0 {
		p.Exchange = defaultExchange
	}
	return p
}

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
