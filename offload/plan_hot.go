package offload

import "sort"

// minHot is the fewest hot pages per KV head: one that is read, and one that
// is brought meanwhile.
const minHot = 2

// fillHot gives paged layers their hot pages: as many as were asked for, or
// all that the fast tier has left. Without a limit nothing is "left": twice
// the budget holds what the last two steps chose.
func (p *Plan) fillHot(a Ask, asked int) (err error) {
	budget, most := p.pagedBudget(), min(pagesFor(p.Config.Tokens), maxHot)
	switch {
	case budget == 0:
	case asked > most:
		p.Notes = append(p.Notes, "more hot pages were asked for than there can be")
		p.setHot(max(most, minHot))
	case asked > 0:
	case a.Fast == 0:
		p.setHot(max(min(2*budget, most), minHot))
	default:
		p.setHot(max(p.mostHot(a, budget, most), minHot))
	}
	p.Bytes, err = p.Config.Bytes()
	return err
}

// mostHot is the most hot pages that fit. From the budget on, sequences need no
// place of their own for what they fetch, so that more pages may take less.
func (p *Plan) mostHot(a Ask, budget, most int) int {
	fits := func(n int) bool {
		q := Plan{Config: p.Config}
		q.Config.Layers = append([]LayerPlan(nil), p.Config.Layers...)
		q.setHot(n)
		b, err := q.Config.Bytes()
		return err == nil && a.fits(b)
	}
	least := minHot
	if budget <= most && fits(budget) {
		least = max(budget, minHot)
	} else {
		most = min(most, budget-1)
	}
	return least - 1 + sort.Search(most-least+1, func(i int) bool { return !fits(least + i) })
}

func (p *Plan) setHot(n int) {
	for i := range p.Config.Layers {
		if l := &p.Config.Layers[i]; l.Class == Paged {
			l.Hot = n
		}
	}
}

// pagedBudget is the largest budget of any paged layer, pages; 0 without one.
func (p *Plan) pagedBudget() int {
	most := 0
	for _, l := range p.Config.Layers {
		if l.Class == Paged {
			most = max(most, l.Budget)
		}
	}
	return most
}
