package offload

// candidate is one way in which a policy would keep a model's layers.
type candidate struct {
	name   string
	layers []LayerPlan
	most   int // cold pages of a working set, which may grow to them; 0 without any
	notes  []string
}

const (
	// windowSlack is how many tokens beyond its window a layer keeps, so that a
	// sequence can be cut by as many and still fill the window.
	windowSlack = 256
	// recordGroup and recordTail are those of resident and paged records: at
	// most one page of exact tokens. The newest page of records is chosen
	// always, so that more would buy nothing.
	recordGroup, recordTail = PageTok, PageTok + PageTok
	// tailorGroup and tailorTail are TailorKV's, groups of 64 and 128 exact
	// tokens (arXiv:2505.19586, section 5.1).
	tailorGroup, tailorTail = 64, 128 + PageTok
)

// placeEach lets place decide about all layers but those with a window.
func placeEach(specs []LayerSpec, place func(i int, s LayerSpec) LayerPlan) []LayerPlan {
	plans := make([]LayerPlan, len(specs))
	for i, s := range specs {
		plans[i] = place(i, s)
		if s.Window > 0 {
			tail := (pagesFor(s.Window+windowSlack) + 1) * PageTok
			plans[i] = LayerPlan{LayerSpec: s, Class: Window, Elem: plans[i].tailElem(), Tail: tail}
		}
	}
	return plans
}

func placeFull(a Ask, s settings) []candidate {
	c := candidate{name: "exact " + s.elem.String()}
	if s.exact {
		c.layers = ExactLayers(a.Layers, s.elem)
	} else {
		c.layers = placeEach(a.Layers, func(_ int, l LayerSpec) LayerPlan { return LayerPlan{LayerSpec: l, Elem: s.elem} })
	}
	return []candidate{c}
}

func placeResident(a Ask, s settings) []candidate {
	return []candidate{{name: s.elem.String() + " resident", layers: placeEach(a.Layers, func(i int, l LayerSpec) LayerPlan {
		return dense(l, s.elemOf(i), recordGroup, recordTail)
	})}}
}

// placeAuto is a tiering by memory: exact where that fits, records that are
// all read where they fit, and pages in the host tier where nothing else does.
func placeAuto(a Ask, s settings) []candidate {
	paged := pagedCandidates(a, s)
	if s.sparse {
		return paged
	}
	exact := settings{elem: F16}
	return append(append(placeFull(a, exact), placeResident(a, s)...), paged...)
}

// pagedCandidates prefers the largest working set in 8 bits. Where that does
// not fit, more tokens are worth more than bits.
func pagedCandidates(a Ask, s settings) []candidate {
	most := setLimit(a)
	switch {
	case s.budget > 0:
		return []candidate{placePaged(a, s, s.elem, s.budget, s.budget)}
	case s.elemGiven:
		return []candidate{placePaged(a, s, s.elem, min(leastSet, most), most)}
	}
	return []candidate{placePaged(a, s, s.elem, most, most), placePaged(a, s, Q64, min(leastSet, most), most)}
}

// placePaged has working sets of least to most cold pages.
func placePaged(a Ask, s settings, e Elem, least, most int) candidate {
	return candidate{name: "paged " + e.String(), notes: s.notes, most: most, layers: placeEach(a.Layers, func(i int, l LayerSpec) LayerPlan {
		if s.dense[i] {
			return dense(l, s.denseElem, recordGroup, recordTail)
		}
		return s.pagedPlan(l, e, least)
	})}
}

func placeTailor(a Ask, s settings) []candidate {
	return []candidate{{name: "gathered " + s.elem.String(), notes: s.notes, layers: placeEach(a.Layers, func(i int, l LayerSpec) LayerPlan {
		if s.dense[i] {
			return dense(l, s.denseElem, tailorGroup, tailorTail)
		}
		return LayerPlan{LayerSpec: l, Class: Gathered, Elem: s.elem, Group: tailorGroup, Tail: tailorTail,
			Budget: s.budget, Channels: min(s.channels, l.HeadDim), Sink: s.sink}
	})}}
}

func dense(l LayerSpec, e Elem, group, tail int) LayerPlan {
	return LayerPlan{LayerSpec: l, Class: Dense, Elem: e, Group: group, Tail: tail}
}

// elemOf is the format of a layer's records.
func (s settings) elemOf(layer int) Elem {
	if s.dense[layer] {
		return s.denseElem
	}
	return s.elem
}
