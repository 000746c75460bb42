package backendtest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"edged/offload"
)

// gatheredGroup is TailorKV's, as is the format.
const gatheredGroup = 64

func gatheredPlan(s offload.LayerSpec, tail, budget, channels, sink int) offload.LayerPlan {
	return offload.LayerPlan{LayerSpec: s, Class: offload.Gathered, Elem: offload.F16, Group: gatheredGroup, Tail: tail,
		Budget: budget, Channels: channels, Sink: sink}
}

// testGathered checks layers that choose single tokens.
func (s *suite) testGathered(t *testing.T) {
	// The classes' common parts are checked over all shapes elsewhere.
	for _, i := range s.rng(t).Perm(len(headShapes))[:4] {
		shape := headShapes[i]
		t.Run("choice/"+shape.String(), func(t *testing.T) { s.gatheredCase(t, shape) })
	}
	t.Run("traffic", s.gatheredTraffic)
	for name, bad := range map[string]float32{"nan": float32(math.NaN()), "inf": 1e6} {
		t.Run("not_finite/"+name, func(t *testing.T) { s.gatheredNotFinite(t, bad) })
	}
	for _, f := range families {
		t.Run("full_budget/"+f.arch, func(t *testing.T) { s.gatheredFull(t, f) })
	}
}

// gatheredPlans are two layers that choose, the second with a predicted query,
// and one that keeps the same groups in few bits.
func gatheredPlans(rng *rand.Rand, shape headShape) []offload.LayerPlan {
	tail := gatheredGroup + offload.PageTok*(1+rng.IntN(3))
	gathered := func() offload.LayerPlan {
		budget := 1 + rng.IntN(150)
		return gatheredPlan(shape.spec(0), tail, budget, 1+rng.IntN(12), rng.IntN(min(budget, 64)+1))
	}
	coded := densePlan(shape.spec(0), []offload.Elem{offload.Q1, offload.Q2}[rng.IntN(2)], gatheredGroup, tail)
	return []offload.LayerPlan{gathered(), gathered(), coded}
}

// gatheredCase lets decode steps attend to fewer tokens than there are.
func (s *suite) gatheredCase(t *testing.T, shape headShape) {
	rng := s.rng(t)
	plans := gatheredPlans(rng, shape)
	toy := newCacheToy(t, rng, shape, 1+3*rng.Float64(), plans)
	p := s.pair(t, toy.prog, toy.limits(plans))
	j := &tokenJudge{t: t, toy: toy}
	l := &lockstep{t: t, rng: rng, rigs: []*rig{p.got, p.want}, seqs: make([]*twin, 3), tokens: toy.tokens, most: 620, longest: 200}
	l.decoded = j.look
	l.check = func(what string, got []rows) {
		t.Helper()
		for i := range got[0] {
			if j.differ != nil && j.differ[i] {
				continue
			}
			if err := s.opt.Tolerance.Attend.compare(got[0][i], got[1][i]); err != nil {
				t.Fatalf("%s: row %d of %d: %v", what, i, len(got[0]), err)
			}
		}
		j.differ = nil
	}
	l.open(0)
	l.prompt(l.seqs[0], 350)
	l.open(1)
	for range 16 {
		l.decode()
	}
	if j.chosen == 0 || j.ties > j.chosen/10 {
		t.Errorf("%d of %d choices differ from the reference's", j.ties, j.chosen)
	}
	if j.ties == 0 {
		sameTraffic(t, p.got.pool.Traffic(), p.want.pool.Traffic())
	}
	// From here on, prompts that were cancelled at different places may have
	// left different peaks.
	for range 3 {
		l.act()
	}
	for layer := range 2 {
		for _, w := range l.seqs {
			if w == nil {
				continue
			}
			if err := errors.Join(peaksOf(w.q[0], layer, false), rowsOf(w.q[0], layer)); err != nil {
				t.Error(err)
			}
		}
	}
	l.run(0)
}

// gatheredTraffic compares what decode steps count with what a plan foresees,
// and the peaks with the keys.
func (s *suite) gatheredTraffic(t *testing.T) {
	rng := s.rng(t)
	shape := headShapes[rng.IntN(len(headShapes))]
	plans := gatheredPlans(rng, shape)
	toy := newCacheToy(t, rng, shape, 1, plans)
	r := newRig(t, s.backend, toy.prog, toy.limits(plans))
	plan := offload.Plan{Config: offload.Config{Layers: plans, Context: r.lim.Context}}
	q := r.seq(0)
	r.prompt(q, toy.tokens(1+rng.IntN(400)), func() int { return 70 }, nil)
	for range 140 {
		before := r.pool.Traffic()
		r.step(piece{seq: q, tok: toy.tokens(1)})
		got, want := r.pool.Traffic(), plan.Step(q.Len(), true)
		for _, c := range []struct {
			name      string
			got, want int64
		}{
			{"streamed", got.Streamed - before.Streamed, want.Streamed},
			{"fetched", got.Fetched - before.Fetched, want.Fetched + want.Sinks},
			{"cold", got.ColdBytes - before.ColdBytes, want.Cold},
		} {
			if c.got != c.want {
				t.Fatalf("at %d tokens, %d bytes are counted as %s, the plan says %d", q.Len(), c.got, c.name, c.want)
			}
		}
	}
	for layer := range 2 {
		if err := errors.Join(peaksOf(q, layer, true), rowsOf(q, layer)); err != nil {
			t.Error(err)
		}
	}
}

// gatheredNotFinite keeps a token whose channels are not numbers: every choice
// must take it.
func (s *suite) gatheredNotFinite(t *testing.T, bad float32) {
	rng := s.rng(t)
	shape := headShapes[rng.IntN(len(headShapes))]
	plans := gatheredPlans(rng, shape)[:1]
	plans[0].Sink = 0
	toy := newCacheToy(t, rng, shape, 1, plans)
	for c := range toyInputs {
		toy.table[c] = bad // token 0
	}
	copy(toy.p.Weights[0].Data, floatBytes(toy.table))
	r := newRig(t, s.backend, toy.prog, toy.limits(plans))
	q := r.seq(0)
	tok := toy.tokens(400)
	for i := range tok {
		tok[i] = max(tok[i], 1)
	}
	tok[rng.IntN(200)] = 0
	r.prompt(q, tok, func() int { return 50 }, func(i int) bool { return i == len(tok)-1 })
	for range 20 {
		if got := r.step(piece{seq: q, tok: []int32{1 + int32(rng.IntN(toyWidth-1))}}); finite(got[0]) {
			t.Fatalf("%g is not seen in a decode step", bad)
		}
	}
}

// gatheredFull compares layers whose budget is the whole context with exact
// ones over a model: its predicted queries must then change nothing.
func (s *suite) gatheredFull(t *testing.T, f family) {
	rng := s.rng(t)
	m := &fullCheck{suite: s, prog: f.program(t, rng), rng: rng}
	tail := gatheredGroup + offload.PageTok*(1+rng.IntN(3))
	layer := 0
	gathered := m.plans(func(s offload.LayerSpec) offload.LayerPlan {
		return gatheredPlan(s, tail, tinyContext, 1+rng.IntN(12), rng.IntN(64))
	})
	mixed := m.plans(func(s offload.LayerSpec) offload.LayerPlan {
		if layer++; layer%2 == 0 {
			return densePlan(s, offload.F16, gatheredGroup, tail)
		}
		return gatheredPlan(s, tail, tinyContext, 1, 0)
	})
	m.same(t, s.opt.Tolerance.Logits, offload.ExactLayers(m.prog.KV, offload.F16), gathered, mixed)
}

func (j *tokenJudge) fail(layer, head int, format string, args ...any) {
	j.t.Helper()
	j.t.Fatalf("layer %d, head %d: %s", layer, head, fmt.Sprintf(format, args...))
}
