package backendtest

import (
	"slices"
	"testing"

	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

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

// gaining lets a page enter a working set only where it is worth so much more.
func gaining(p offload.LayerPlan, gain float32) offload.LayerPlan {
	p.Gain = gain
	return p
}

// byRecord says whether the pages of a working set are weighed by their records.
func byRecord(p offload.LayerPlan, is bool) offload.LayerPlan {
	p.ByRecord = is
	return p
}

// stored are the formats of records.
var stored = []offload.Elem{offload.Q8, offload.Q64, offload.Q4, offload.Q2, offload.Q1, offload.F16}

// plansOf are the layers that tests keep in some way of a class.
func plansOf(class offload.Class) []offload.LayerPlan {
	spec := headShapes[0].spec(0)
	switch class {
	case offload.Dense:
		return []offload.LayerPlan{densePlan(spec, offload.Q8, offload.PageTok, 64)}
	case offload.Paged:
		p := pagedPlan(spec, offload.Q8, 64, 4, 2)
		return []offload.LayerPlan{p, estimated(p, true), gaining(p, 1), byRecord(p, true)}
	case offload.Gathered:
		return []offload.LayerPlan{gatheredPlan(spec, gatheredGroup+offload.PageTok, 100, 8, 0)}
	case offload.Window:
		return []offload.LayerPlan{windowPlan(headShapes[0].spec(40), offload.F16, 0), windowPlan(headShapes[0].spec(40), offload.F32, 0)}
	}
	return []offload.LayerPlan{exactPlan(spec, offload.F16)}
}

// keeps says whether the backend keeps a layer so.
func (s *suite) keeps(p offload.LayerPlan) bool { return s.opt.Keeps == nil || s.opt.Keeps(p) }

// keepsClass says whether the backend keeps layers of a class in any way.
func (s *suite) keepsClass(c offload.Class) bool {
	return c == offload.Exact || slices.ContainsFunc(plansOf(c), s.keeps)
}

// kept changes plans that the backend refuses: to float16, and to no estimate.
func (s *suite) kept(plans []offload.LayerPlan) []offload.LayerPlan {
	for i := range plans {
		p := &plans[i]
		if !s.keeps(*p) && p.Elem == offload.F32 {
			p.Elem = offload.F16
		}
		if !s.keeps(*p) {
			p.Estimate = false
		}
		if !s.keeps(*p) {
			p.Gain = 0
		}
		if !s.keeps(*p) {
			p.ByRecord = false
		}
	}
	return plans
}

// refusePlans compiles layers that the backend says it refuses.
func (s *suite) refusePlans(t *testing.T) {
	rng := s.rng(t)
	for _, class := range []offload.Class{offload.Window, offload.Dense, offload.Paged, offload.Gathered} {
		for _, p := range plansOf(class) {
			if s.keeps(p) {
				continue
			}
			plans := []offload.LayerPlan{p}
			toy := newCacheToy(t, rng, headShapes[0], 1, plans)
			l := toy.limits(plans)
			l.Host = pinnedmem.NewHost(0)
			s.refuses(t, toy.prog, l)
			if err := l.Host.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func (s *suite) refuses(t *testing.T, p *graph.Program, l graph.Limits) {
	t.Helper()
	if exec, err := s.backend.Compile(p, l); err == nil {
		t.Errorf("a layer that it refuses was compiled: %+v", l.KV[0])
		_ = exec.Close() // the failure is already reported
	}
}
