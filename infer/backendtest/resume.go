package backendtest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"edged/infer/graph"
	"edged/offload"
)

// resumeTok is the tokens that a restored sequence is followed for.
const resumeTok = 64

// resumeShapes are cheap ones: what is copied depends on formats and lengths,
// which do not depend on how heads are shared.
var resumeShapes = []headShape{{1, 1, 80}, {2, 1, 64}}

// testResume saves sequences and lets them go on in pools of other free memory:
// logits must have the same bits as if nothing had happened.
func (s *suite) testResume(t *testing.T) {
	for _, f := range []family{families[0], families[len(families)-1]} { // without windows, and with
		for _, elem := range s.opt.Elems {
			t.Run(fmt.Sprintf("%s/%s", f.arch, elem), func(t *testing.T) {
				rng := s.rng(t)
				prog := f.program(t, rng)
				lim := limits(prog, elem)
				lim.Context = 640
				s.resumeCase(t, rng, prog, lim, func(n int) []int32 { return tinyTokens(rng, n) })
			})
		}
	}
	if s.opt.ExactOnly {
		return
	}
	for i, elem := range stored {
		shape := resumeShapes[i%len(resumeShapes)]
		t.Run(fmt.Sprintf("records/%s/%s", elem, shape), func(t *testing.T) {
			rng := s.rng(t)
			plans := mixedPlans(rng, shape, elem)
			plans[0].Group = offload.PageTok // as paged layers want it
			plans[3] = estimated(pagedPlan(shape.spec(0), elem, plans[0].Tail, 2+2*rng.IntN(4), 1+rng.IntN(2)), rng.IntN(2) == 0)
			s.resumeToy(t, rng, shape, plans)
		})
	}
	t.Run("gathered", func(t *testing.T) {
		rng := s.rng(t)
		shape := resumeShapes[rng.IntN(len(resumeShapes))]
		s.resumeToy(t, rng, shape, gatheredPlans(rng, shape))
	})
}

func (s *suite) resumeToy(t *testing.T, rng *rand.Rand, shape headShape, plans []offload.LayerPlan) {
	t.Helper()
	toy := newCacheToy(t, rng, shape, 1+2*rng.Float64(), plans)
	s.resumeCase(t, rng, toy.prog, toy.limits(plans), toy.tokens)
}

// resumeCase has two turns of a session, each saved as a store would, and two
// ways to go on: with the next token, and with a new prompt.
func (s *suite) resumeCase(t *testing.T, rng *rand.Rand, prog *graph.Program, lim graph.Limits, tokens func(int) []int32) {
	t.Helper()
	first, second := newRig(t, s.backend, prog, lim), newRig(t, s.backend, prog, lim)
	q, fill := first.seq(0), 260
	var v snapshot
	for range 2 {
		n := fill + rng.IntN(80)
		goOn(first, q, tokens(n+8+rng.IntN(30)), n)
		v.save(t, q)
		fill = 20
	}
	other := second.seq(0) // takes memory, and leaves what it wrote in some of it
	goOn(second, other, tokens(120), 110)
	if err := other.Truncate(other.Keepable(60)); err != nil {
		t.Fatal(err)
	}
	fork, err := q.Fork(q.Len())
	if err != nil {
		t.Fatal(err)
	}
	next := tokens(resumeTok)
	for _, c := range []struct {
		what   string
		q      *offload.Seq
		prompt int // of the next tokens
	}{{"decoding", q, 0}, {"a prompt", fork, 1 + rng.IntN(50)}} {
		again := v.restore(t, second.pool)
		checkSame(t, c.what+" after a restore", goOn(second, again, next, c.prompt), goOn(first, c.q, next, c.prompt))
		again.Free()
	}
}

// goOn reads some tokens as a prompt, decodes the others, and gives all logits.
func goOn(r *rig, q *offload.Seq, tok []int32, prompt int) rows {
	r.t.Helper()
	var got rows
	if prompt > 0 {
		got = r.prompt(q, tok[:prompt], func() int { return 20 }, nil)
	}
	for i := prompt; i < len(tok); i++ {
		got = append(got, r.step(piece{seq: q, tok: tok[i : i+1]})...)
	}
	return got
}

// snapshot is what a store would keep of a sequence.
type snapshot struct {
	blocks []map[int][]byte
	tail   map[int][]byte
}

// save adds the blocks that are new and replaces the tail.
func (v *snapshot) save(t *testing.T, q *offload.Seq) {
	t.Helper()
	for len(v.blocks) < q.Blocks() {
		parts, err := q.SnapshotBlock(len(v.blocks))
		if err != nil {
			t.Fatal(err)
		}
		v.blocks = append(v.blocks, copyParts(parts))
	}
	v.tail = copyParts(q.SnapshotTail())
}

func copyParts(parts []offload.Part) map[int][]byte {
	m := map[int][]byte{}
	for _, p := range parts {
		m[p.ID] = bytes.Join(p.Data, nil)
	}
	return m
}

func (v *snapshot) restore(t *testing.T, p *offload.Pool) *offload.Seq {
	t.Helper()
	r, err := p.BeginRestore(v.tail[offload.StatePart])
	if err != nil {
		t.Fatal(err)
	}
	for i, parts := range v.blocks {
		for id, data := range parts {
			if err := r.PutBlock(i, id, 0, data); err != nil {
				t.Fatal(err)
			}
		}
	}
	for id, data := range v.tail {
		if id == offload.StatePart {
			continue
		}
		if err := r.PutTail(id, 0, data); err != nil {
			t.Fatal(err)
		}
	}
	q, err := r.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return q
}
