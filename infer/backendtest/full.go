package backendtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"edged/infer/graph"
	"edged/offload"
)

// testFullBudget checks over whole models that a cache which reads all that it
// keeps is the same, to the bit where the backend promises that, however it is
// kept: pages among which nothing is left out are dense records, records of
// float16 are exact pages, and a window's ring is a window over exact pages.
func (s *suite) testFullBudget(t *testing.T) {
	for _, f := range families {
		t.Run(f.arch, func(t *testing.T) {
			rng := s.rng(t)
			m := &fullCheck{suite: s, prog: f.program(t, rng), rng: rng}
			t.Run("exact", func(t *testing.T) {
				m.same(t, m.opt.Tolerance.Logits, append(m.ways(offload.F16), offload.ExactLayers(m.prog.KV, offload.F16))...)
			})
			t.Run("coded", func(t *testing.T) {
				m.same(t, m.opt.Tolerance.Coded, m.ways(m.coded())[:2]...)
			})
			t.Run("chunks", m.chunks)
			t.Run("between", m.between)
		})
	}
}

// fullCheck compares the ways in which one model's cache may be kept.
type fullCheck struct {
	*suite
	prog *graph.Program
	rng  *rand.Rand
}

// fullTail is the exact tail behind records.
const fullTail = 96

// ways are plans whose logits are the same: dense, paged with working sets of
// all pages, and, if records of elem lose nothing, a mixture of classes.
func (m *fullCheck) ways(elem offload.Elem) [][]offload.LayerPlan {
	pages := tinyContext / offload.ColdTok
	exchange := 1 + m.rng.IntN(4)
	dense := m.plans(func(s offload.LayerSpec) offload.LayerPlan { return densePlan(s, elem, offload.ColdTok, fullTail) })
	paged := m.plans(func(s offload.LayerSpec) offload.LayerPlan { return pagedPlan(s, elem, fullTail, pages, exchange) })
	mixed := slices.Clone(paged)
	for i, s := range m.prog.KV {
		switch i % 3 {
		case 0:
			mixed[i] = exactPlan(s, offload.F16)
		case 1:
			mixed[i] = dense[i]
		}
	}
	return [][]offload.LayerPlan{dense, paged, mixed}
}

// coded is a format of codes. In one or two bits a code that rounding flips is
// most of a value, so that only backends that round alike can be compared.
func (m *fullCheck) coded() offload.Elem {
	n := len(stored) - 1
	if !m.opt.BitIdentical {
		n -= 2
	}
	return stored[m.rng.IntN(n)]
}

// plans keep every layer that has no window as plan says.
func (m *fullCheck) plans(plan func(offload.LayerSpec) offload.LayerPlan) []offload.LayerPlan {
	plans := make([]offload.LayerPlan, len(m.prog.KV))
	for i, s := range m.prog.KV {
		if plans[i] = plan(s); s.Window > 0 {
			plans[i] = windowPlan(s, offload.F16, m.rng.IntN(3))
		}
	}
	return plans
}

// same runs all plans over prompts that are read in one go, decode steps and
// forks.
func (m *fullCheck) same(t *testing.T, tol Tol, plans ...[]offload.LayerPlan) {
	rng := m.suite.rng(t)
	l := &lockstep{t: t, rng: rng, seqs: make([]*twin, 3), most: tinyContext - 12, longest: 60}
	for _, p := range plans {
		l.rigs = append(l.rigs, newRig(t, m.backend, m.prog, partLimits(m.prog, p)))
	}
	l.tokens = func(n int) []int32 { return tinyTokens(rng, n) }
	l.check = func(what string, got []rows) {
		t.Helper()
		for i, g := range got[1:] {
			m.checkWithin(t, fmt.Sprintf("%s, plan %d", what, 1+i), tol, g, got[0])
		}
	}
	l.open(0)
	l.prompt(l.seqs[0], 280)
	l.run(6)
}

// chunks reads prompts in parts of all sizes: what they give and leave behind
// must not depend on them.
func (m *fullCheck) chunks(t *testing.T) {
	plans := m.ways(m.coded())[2]
	r := newRig(t, m.backend, m.prog, partLimits(m.prog, plans))
	first, second, rest := tinyTokens(m.rng, 130+m.rng.IntN(40)), tinyTokens(m.rng, 1+m.rng.IntN(40)), tinyTokens(m.rng, 5)
	run := func(chunk int) rows {
		q := r.seq(0)
		defer q.Free()
		size := func() int { return chunk }
		got := append(r.prompt(q, first, size, nil), r.prompt(q, second, size, nil)...)
		return append(got, r.feed(q, rest, 1)...)
	}
	want := run(tinyContext)
	for _, n := range []int{1, 37} {
		m.checkWithin(t, fmt.Sprintf("parts in chunks of %d", n), m.opt.Tolerance.Coded, run(n), want)
	}
}

// between decodes one sequence between the parts of another's prompt.
func (m *fullCheck) between(t *testing.T) {
	plans := m.ways(m.coded())[2]
	r := newRig(t, m.backend, m.prog, partLimits(m.prog, plans))
	prompt, other := tinyTokens(m.rng, 200), tinyTokens(m.rng, 300)
	size := func() int { return 70 }
	undisturbed := r.seq(0)
	want := r.prompt(undisturbed, prompt, size, nil)
	q := r.seq(0)
	r.prompt(q, other[:150], size, nil)
	fork, err := q.Fork(q.Len())
	if err != nil {
		t.Fatal(err)
	}
	var steps rows
	r.between = func() { steps = append(steps, r.feed(q, other[150+len(steps):151+len(steps)], 1)...) }
	got := r.prompt(r.seq(0), prompt, size, nil)
	m.checkWithin(t, "a prompt with steps between its parts", m.opt.Tolerance.Coded, got, want)
	m.checkWithin(t, "steps between a prompt's parts", m.opt.Tolerance.Coded, steps, r.feed(fork, other[150:150+len(steps)], 1))
}
