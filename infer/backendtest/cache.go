package backendtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"edged/infer/graph"
	"edged/offload"
)

// testCache compares layers of every class with the reference over random
// prompts, decode steps, forks, truncations and cancelled prompts.
func (s *suite) testCache(t *testing.T) {
	for i, elem := range stored {
		shape := s.shapes()[i]
		t.Run(fmt.Sprintf("%s/%s", elem, shape), func(t *testing.T) { s.cacheCase(t, shape, elem) })
	}
	t.Run("not_finite", s.testNotFinite)
}

// shapes are all head shapes in an order of this run: tests take turns, so that
// together they see all, and each sees others next time.
func (s *suite) shapes() []headShape {
	shapes := slices.Clone(headShapes)
	rng := rand.New(rand.NewPCG(s.seed, 0))
	rng.Shuffle(len(shapes), func(i, j int) { shapes[i], shapes[j] = shapes[j], shapes[i] })
	return shapes
}

// mixedPlans keep layers in as many ways as one pool can.
func (s *suite) mixedPlans(rng *rand.Rand, shape headShape, elem offload.Elem) []offload.LayerPlan {
	group := offload.PageTok << rng.IntN(2)
	tail := group + offload.PageTok*(1+rng.IntN(4))
	other := stored[rng.IntN(len(stored))]
	plans := []offload.LayerPlan{
		densePlan(shape.spec(0), elem, group, tail),
		windowPlan(shape.spec(1+rng.IntN(90)), offload.Elem(rng.IntN(2)), rng.IntN(4)),
		exactPlan(shape.spec(rng.IntN(2)*50), offload.F16),
		densePlan(shape.spec(0), other, group, tail),
	}
	if group == offload.PageTok {
		plans[3] = estimated(pagedPlan(shape.spec(0), other, tail, 40, 1+rng.IntN(8)), rng.IntN(2) == 0)
	}
	return s.kept(plans)
}

func (s *suite) cacheCase(t *testing.T, shape headShape, elem offload.Elem) {
	rng := s.rng(t)
	plans := s.mixedPlans(rng, shape, elem)
	toy := newCacheToy(t, rng, shape, 1+2*rng.Float64(), plans)
	p := s.pair(t, toy.prog, toy.limits(plans))
	l := &lockstep{t: t, rng: rng, rigs: []*rig{p.got, p.want}, seqs: make([]*twin, 3), tokens: toy.tokens, most: 600, longest: 200}
	l.check = func(what string, got []rows) {
		t.Helper()
		check(t, what, s.opt.Tolerance.attendAll(plans), got[0], got[1])
	}
	l.open(0)
	l.prompt(l.seqs[0], 280)
	for range 2 {
		for range 3 {
			l.act()
		}
		for _, w := range l.seqs {
			if w != nil {
				sameRecords(t, w.q[0], w.q[1])
				closeToExact(t, toy, w.q[0], w.tok)
			}
		}
	}
	l.run(0)
	sameTraffic(t, p.got.pool.Traffic(), p.want.pool.Traffic())
}

// sameTraffic compares what two rigs counted, but for what prompts streamed,
// which depends on their chunks.
func sameTraffic(t *testing.T, got, want offload.Traffic) {
	t.Helper()
	got.Prompt, want.Prompt = 0, 0
	if got != want {
		t.Errorf("traffic is %+v, want %+v", got, want)
	}
}

// testNotFinite keeps tokens whose channels are not numbers, or beyond float16.
// What reads them must not look healthy.
func (s *suite) testNotFinite(t *testing.T) {
	for _, elem := range stored {
		for name, bad := range map[string]float32{"nan": float32(math.NaN()), "inf": 1e6} {
			t.Run(fmt.Sprintf("%s/%s", elem, name), func(t *testing.T) { s.notFiniteCase(t, elem, bad) })
		}
	}
}

func (s *suite) notFiniteCase(t *testing.T, elem offload.Elem, bad float32) {
	rng := s.rng(t)
	shape := headShapes[rng.IntN(len(headShapes))]
	plans := s.kept([]offload.LayerPlan{densePlan(shape.spec(0), elem, offload.PageTok, 64), estimated(pagedPlan(shape.spec(0), elem, 64, 4, 2), rng.IntN(2) == 0)})
	toy := newCacheToy(t, rng, shape, 1, plans)
	for c := range toyInputs {
		toy.table[c] = bad // token 0
	}
	copy(toy.p.Weights[0].Data, floatBytes(toy.table))
	r := newRig(t, s.backend, toy.prog, toy.limits(plans))
	q := r.seq(0)
	tok := toy.tokens(300)
	for i := range tok {
		tok[i] = max(tok[i], 1)
	}
	at := rng.IntN(200)
	tok[at] = 0
	r.prompt(q, tok, func() int { return 50 }, func(i int) bool { return i == len(tok)-1 })
	for i := range plans {
		l := layerOf(q, i)
		pos := at / l.mem.Plan.Group * l.mem.Plan.Group
		for head := range shape.kvHeads {
			if u := l.unpack(pos, head); u.finite() {
				t.Errorf("layer %d, head %d: nothing in the record of token %d shows its %g", i, head, at, bad)
			}
		}
	}
	for range 20 {
		if got := r.step(piece{seq: q, tok: []int32{1}}); finite(got[0]) {
			t.Fatalf("%g in token %d is not seen in a decode step", bad, at)
		}
	}
}

// finite says whether all floats are numbers.
func (u unpacked) finite() bool {
	for _, h := range u.halves {
		if h&0x7c00 == 0x7c00 {
			return false
		}
	}
	return true
}

func finite(row []float32) bool {
	for _, v := range row {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return false
		}
	}
	return true
}

// partLimits are a model's limits with layers that are kept as planned.
func partLimits(p *graph.Program, plans []offload.LayerPlan) graph.Limits {
	l := tinyLimits(p, offload.F16)
	l.KV = plans
	return l
}
