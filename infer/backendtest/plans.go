package backendtest

import "edged/offload"

func (h headShape) spec(window int) offload.LayerSpec {
	return offload.LayerSpec{KVHeads: h.kvHeads, HeadDim: h.dim, Window: window}
}

func exactPlan(s offload.LayerSpec, e offload.Elem) offload.LayerPlan {
	return offload.LayerPlan{LayerSpec: s, Elem: e}
}

// windowPlan keeps some pages more than the window needs.
func windowPlan(s offload.LayerSpec, e offload.Elem, more int) offload.LayerPlan {
	pages := (s.Window+offload.PageTok-1)/offload.PageTok + 1 + more
	return offload.LayerPlan{LayerSpec: s, Class: offload.Window, Elem: e, Tail: pages * offload.PageTok}
}

func densePlan(s offload.LayerSpec, e offload.Elem, group, tail int) offload.LayerPlan {
	return offload.LayerPlan{LayerSpec: s, Class: offload.Dense, Elem: e, Group: group, Tail: tail}
}

func pagedPlan(s offload.LayerSpec, e offload.Elem, tail, budget, exchange int) offload.LayerPlan {
	return offload.LayerPlan{LayerSpec: s, Class: offload.Paged, Elem: e, Group: offload.ColdTok, Tail: tail, Budget: budget, Exchange: exchange}
}

// estimated lets a paged layer estimate what it leaves out.
func estimated(p offload.LayerPlan, estimate bool) offload.LayerPlan {
	p.Estimate = estimate
	return p
}

// stored are the formats of records.
var stored = []offload.Elem{offload.Q8, offload.Q64, offload.Q4, offload.Q2, offload.Q1, offload.F16}
