package backendtest

import (
	"errors"
	"testing"

	"edged/infer/graph"
	"edged/offload"
)

// refuseParts runs parts that are wrong in one way each, and then the prompt.
func (s *suite) refuseParts(t *testing.T) {
	rng := s.rng(t)
	shape := headShapes[rng.IntN(len(headShapes))]
	plans := []offload.LayerPlan{densePlan(shape.spec(0), offload.Q8, offload.PageTok, 64), windowPlan(shape.spec(40), offload.F16, 0)}
	toy := newCacheToy(t, rng, shape, 1, plans)
	lim := toy.limits(plans)
	lim.MaxRows, lim.MaxOut = 8, 4
	r := newRig(t, s.backend, toy.prog, lim)
	q, other := r.seq(0), r.seq(0)
	tok := toy.tokens(120)
	whole := func(q *offload.Seq) rows { return r.prompt(q, tok[4:], func() int { return 8 }, nil) }
	r.prompt(q, tok[:4], func() int { return 8 }, nil)
	want := whole(q)
	q.Free()

	q = r.seq(0)
	r.prompt(q, tok[:4], func() int { return 8 }, nil)
	refuse := func(name string, part int, in graph.Rows, q *offload.Seq) {
		t.Helper()
		if _, err := r.exec.Part(t.Context(), part, &in, q); !errors.Is(err, graph.ErrRows) {
			t.Errorf("%s: error is %v, want graph.ErrRows", name, err)
		}
	}
	one := graph.Rows{Tok: []int32{1}, Pos: []int32{4}, Seq: []int32{0}}
	refuse("no prompt was begun", 0, one, q)
	if err := q.BeginPrefill(len(tok) - 4); err != nil {
		t.Fatal(err)
	}
	if err := other.BeginPrefill(1); !errors.Is(err, offload.ErrPrefill) {
		t.Errorf("second prompt: error is %v, want offload.ErrPrefill", err)
	}
	refuse("another sequence's prompt", 0, graph.Rows{Tok: []int32{1}, Pos: []int32{0}, Seq: []int32{0}}, other)
	for _, c := range []struct {
		name string
		part int
		rows graph.Rows
	}{
		{"no such part", 3, one},
		{"negative part", -1, one},
		{"no rows", 0, graph.Rows{}},
		{"too many rows", 0, graph.Rows{Tok: make([]int32, 9), Pos: []int32{4, 5, 6, 7, 8, 9, 10, 11, 12}, Seq: make([]int32, 9)}},
		{"missing positions", 0, graph.Rows{Tok: []int32{1, 2}, Pos: []int32{4}, Seq: []int32{0, 0}}},
		{"position before the prompt", 0, graph.Rows{Tok: []int32{1}, Pos: []int32{3}, Seq: []int32{0}}},
		{"position behind the prompt", 0, graph.Rows{Tok: []int32{1}, Pos: []int32{120}, Seq: []int32{0}}},
		{"positions with a gap", 0, graph.Rows{Tok: []int32{1, 2}, Pos: []int32{4, 6}, Seq: []int32{0, 0}}},
		{"token beyond the vocabulary", 0, graph.Rows{Tok: []int32{toyWidth}, Pos: []int32{4}, Seq: []int32{0}}},
		{"negative token", 0, graph.Rows{Tok: []int32{-1}, Pos: []int32{4}, Seq: []int32{0}}},
		{"another sequence's row", 0, graph.Rows{Tok: []int32{1}, Pos: []int32{4}, Seq: []int32{1}}},
		{"logits of a layer", 1, graph.Rows{Tok: []int32{1}, Pos: []int32{4}, Seq: []int32{0}, Out: []int32{0}}},
		{"head without logits", 2, one},
		{"head with too many logits", 2, graph.Rows{Tok: make([]int32, 5), Pos: []int32{4, 5, 6, 7, 8}, Seq: make([]int32, 5), Out: []int32{0, 1, 2, 3, 4}}},
	} {
		refuse(c.name, c.part, c.rows, q)
	}
	q.CancelPrefill()
	s.checkAgain(t, "after refused parts", whole(q), want)
	s.refuseRowsOfParts(t, r, q, other)
}

// refuseRowsOfParts steps sequences whose pool reads prompts in parts with
// several rows, and takes prompts to sequences that cannot read any.
func (s *suite) refuseRowsOfParts(t *testing.T, r *rig, q, other *offload.Seq) {
	if err := q.Reserve(2); err == nil {
		t.Error("two positions beyond a bounded tail were reserved")
	}
	if err := errors.Join(q.Reserve(1), other.Reserve(1)); err != nil {
		t.Fatal(err)
	}
	at := int32(q.Len())
	both := []*offload.Seq{q, other}
	for name, in := range map[string]graph.Rows{
		"several rows of a sequence": {Tok: []int32{1, 2}, Pos: []int32{at, at + 1}, Seq: []int32{0, 0}},
		"several rows of the last":   {Tok: []int32{1, 2, 3}, Pos: []int32{at, 0, 1}, Seq: []int32{0, 1, 1}},
	} {
		if _, err := r.exec.Step(t.Context(), &in, both); !errors.Is(err, graph.ErrRows) {
			t.Errorf("%s: error is %v, want graph.ErrRows", name, err)
		}
	}
	other.Free()
	one := graph.Rows{Tok: []int32{1}, Pos: []int32{0}, Seq: []int32{0}}
	if _, err := r.exec.Part(t.Context(), 0, &one, other); !errors.Is(err, graph.ErrRows) {
		t.Errorf("part of a freed sequence: error is %v, want graph.ErrRows", err)
	}
}

// refuseStepPools takes a prompt's part to a pool that reads prompts in steps.
func (s *suite) refuseStepPools(t *testing.T) {
	p := families[0].program(t, s.rng(t))
	r := newRig(t, s.backend, p, tinyLimits(p, s.opt.Elems[0]))
	q := r.seq(0)
	if err := q.BeginPrefill(1); err != nil {
		t.Fatal(err)
	}
	one := graph.Rows{Tok: []int32{1}, Pos: []int32{0}, Seq: []int32{0}}
	if _, err := r.exec.Part(t.Context(), 0, &one, q); !errors.Is(err, graph.ErrRows) {
		t.Errorf("part of a prompt that is read in steps: error is %v, want graph.ErrRows", err)
	}
}
