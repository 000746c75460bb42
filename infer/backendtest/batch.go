package backendtest

import (
	"fmt"
	"testing"

	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/offload"
)

// batchCounts are numbers of sequences that go on in one step, up to batchSeqs.
var batchCounts = []int{1, 2, 3, 7, 8, 9, 16, 17, batchSeqs}

const batchSeqs = 20

// batchIdentical says whether the backend promises a sequence the same bits in any
// batch.
func (s *suite) batchIdentical() bool { return s.opt.BitIdentical || s.opt.BatchIdentical }

// each gives one row to each of as many fresh sequences as there are tokens.
func (r *rig) each(tok []int32) rows {
	r.t.Helper()
	var pieces []piece
	for i := range tok {
		q := r.seq(0)
		defer q.Free()
		pieces = append(pieces, piece{seq: q, tok: tok[i : i+1]})
	}
	return r.step(pieces...)
}

// batches compares steps of several sequences with the reference, and with steps of
// one.
func (p pair) batches(s *suite, tol Tol, tok []int32) {
	t := p.got.t
	t.Helper()
	want := p.want.each(tok)
	var alone rows
	for i := range tok {
		alone = append(alone, p.got.each(tok[i:i+1])...)
	}
	for _, n := range batchCounts {
		got := p.got.each(tok[:n])
		check(t, fmt.Sprintf("%d sequences", n), tol, got, want[:n])
		if s.batchIdentical() {
			checkSame(t, fmt.Sprintf("%d sequences, and each alone", n), got, alone[:n])
		}
	}
}

// testBatch checks that what a sequence gets does not depend on which others go on
// beside it, nor on how a prompt is cut.
func (s *suite) testBatch(t *testing.T) {
	for _, typ := range gguf.Types() {
		t.Run("wide/"+typ.String(), func(t *testing.T) { s.wideBatch(t, typ) })
	}
	for _, f := range families {
		t.Run(f.arch, func(t *testing.T) {
			m := &fullCheck{suite: s, prog: f.program(t, s.rng(t)), rng: s.rng(t)}
			t.Run("exact", func(t *testing.T) { m.batch(t, offload.ExactLayers(m.prog.KV, offload.F16)) })
			for i, name := range []string{"dense", "paged"} {
				if plans := m.batchPlans()[i]; m.keepsAll(plans) {
					t.Run(name, func(t *testing.T) { m.batch(t, plans) })
				}
			}
		})
	}
}

// batchPlans leave most pages of a paged layer out.
func (m *fullCheck) batchPlans() [][]offload.LayerPlan {
	elem := m.coded()
	return [][]offload.LayerPlan{
		m.plans(func(s offload.LayerSpec) offload.LayerPlan { return densePlan(s, elem, offload.ColdTok, fullTail) }),
		m.plans(func(s offload.LayerSpec) offload.LayerPlan { return pagedPlan(s, elem, fullTail, 4, 2) }),
	}
}

func (s *suite) keepsAll(plans []offload.LayerPlan) bool {
	for _, p := range plans {
		if s.opt.Keeps != nil && !s.opt.Keeps(p) {
			return false
		}
	}
	return true
}

// wideBatch is a product of more inputs than a GPU's warps take at once, behind a
// norm.
func (s *suite) wideBatch(t *testing.T, typ gguf.Type) {
	const k, n = 4352, 40
	b := newBuilder(s.rng(t), n)
	b.outlier = 3 // a norm would leave nothing else of its row
	x, h := b.input(k), b.buffer(k, graph.AllRows)
	b.emit(graph.RMSNorm{Dst: h, Src: x, W: b.vector(k, 1), Eps: 1e-6})
	y := b.buffer(n, graph.AllRows)
	b.emit(graph.GatedLinear{Dst: y, Src: h, Gate: b.weight(typ, n, k), Up: b.weight(typ, n, k)})
	b.emit(graph.Linear{Src: h, Parts: []graph.Part{{Dst: y, W: b.weight(typ, n, k), Bias: b.vector(n, 0), Add: true}}})
	p := b.program(t, y)
	l := limits(p, s.opt.Elems[0])
	l.MaxSeqs = batchSeqs
	tol := s.opt.Tolerance.linear(typ)
	s.pair(t, p, l).batches(s, Tol{RMS: 4 * tol.RMS, Max: 4 * tol.Max}, b.tokens(batchSeqs)) // of three products, two of which are multiplied
}

// batch reads prompts, and goes on with random choices of the sequences: each has a
// twin that is read in one piece and goes on alone.
func (m *fullCheck) batch(t *testing.T, plans []offload.LayerPlan) {
	l := partLimits(m.prog, plans)
	l.MaxSeqs = batchSeqs
	together, alone := newRig(t, m.backend, m.prog, l), newRig(t, m.backend, m.prog, l)
	together.reads, alone.reads = true, true
	rng := m.suite.rng(t)
	var twins [][2]*offload.Seq
	last := func(n int) func(int) bool { return func(i int) bool { return i == n-1 } }
	for range batchSeqs {
		n := 1 + rng.IntN(260)
		tok, w := tinyTokens(rng, n), [2]*offload.Seq{together.seq(0), alone.seq(0)}
		got := together.prompt(w[0], tok, func() int { return 1 + rng.IntN(90) }, last(n))
		want := alone.prompt(w[1], tok, func() int { return n }, last(n))
		m.sameBatch(t, fmt.Sprintf("prompt of %d tokens in pieces", n), got, want)
		twins = append(twins, w)
	}
	together.reads, alone.reads = false, false
	for _, n := range batchCounts {
		var pieces []piece
		var want rows
		for _, i := range rng.Perm(len(twins))[:n] {
			tok := tinyTokens(rng, 1)
			pieces = append(pieces, piece{seq: twins[i][0], tok: tok})
			want = append(want, alone.step(piece{seq: twins[i][1], tok: tok})...)
		}
		m.sameBatch(t, fmt.Sprintf("%d sequences go on", n), together.step(pieces...), want)
	}
}

// sameBatch compares bits where the backend promises them.
func (m *fullCheck) sameBatch(t *testing.T, what string, got, want rows) {
	t.Helper()
	if m.batchIdentical() {
		checkSame(t, what, got, want)
		return
	}
	check(t, what, m.opt.Tolerance.Coded, got, want)
}
