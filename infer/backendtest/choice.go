package backendtest

import (
	"fmt"
	"slices"
	"testing"

	"edged/offload"
)

// testChoice lets decode steps attend to fewer pages than there are.
func (s *suite) testChoice(t *testing.T) {
	shapes := s.shapes()[len(stored)-1:]
	if s.opt.AnyHeadDim {
		shapes = append(shapes, headShape{2, 1, 8}, headShape{6, 2, 24})
	}
	for i, shape := range shapes {
		elem := stored[(int(s.seed%uint64(len(stored)))+i)%len(stored)]
		t.Run(fmt.Sprintf("%s/%s", elem, shape), func(t *testing.T) { s.choiceCase(t, shape, elem) })
	}
	// What plans choose unless told otherwise, for which backends have kernels of their own.
	common := headShapes
	if s.opt.AnyHeadDim {
		common = append(slices.Clone(common), headShape{2, 1, 64}, headShape{4, 1, 128}, headShape{6, 1, 128}, headShape{13, 1, 64})
	}
	for _, shape := range common {
		if shape.dim%64 == 0 {
			t.Run(fmt.Sprintf("%s/default/%s", offload.Q64, shape), func(t *testing.T) { s.choiceCase(t, shape, offload.Q64) })
		}
	}
}

func (s *suite) choiceCase(t *testing.T, shape headShape, elem offload.Elem) {
	rng := s.rng(t)
	budget := 4 + 2*rng.IntN(5)
	tail := offload.PageTok * (2 + rng.IntN(2))
	var plans []offload.LayerPlan
	for range 2 {
		plan := pagedPlan(shape.spec(0), elem, tail, budget, 1+rng.IntN(budget))
		plans = append(plans, byRecord(gaining(estimated(plan, rng.IntN(2) == 0), float32(rng.IntN(2))), rng.IntN(2) == 0))
	}
	plans = s.kept(plans)
	toy := newCacheToy(t, rng, shape, 1+3*rng.Float64(), plans)
	p := s.pair(t, toy.prog, toy.limits(plans))
	j := &choiceJudge{t: t, toy: toy, got: p.got, want: p.want}
	l := &lockstep{t: t, rng: rng, rigs: []*rig{p.got, p.want}, seqs: make([]*twin, 3), tokens: toy.tokens, most: 620, longest: 200}
	l.deciding, l.decoded = j.remember, j.look
	l.check = func(what string, got []rows) {
		t.Helper()
		for i := range got[0] {
			if j.skip(i) {
				continue
			}
			if err := s.opt.Tolerance.attend(elem).compare(got[0][i], got[1][i]); err != nil {
				t.Fatalf("%s: row %d of %d: %v", what, i, len(got[0]), err)
			}
		}
		j.differ = nil
	}
	l.open(0)
	l.prompt(l.seqs[0], 350)
	for range 20 {
		l.decode()
	}
	l.run(5)
	if j.chosen == 0 {
		t.Error("no step had to choose")
	}
	if j.ties > j.chosen/10 {
		t.Errorf("%d of %d choices differ from the reference's", j.ties, j.chosen)
	}
	if j.ties == 0 {
		sameTraffic(t, p.got.pool.Traffic(), p.want.pool.Traffic())
	}
}
