package backendtest

import (
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
	if !s.keepsClass(offload.Paged) {
		return
	}
	for i, elem := range stored {
		shape := resumeShapes[i%len(resumeShapes)]
		t.Run(fmt.Sprintf("records/%s/%s", elem, shape), func(t *testing.T) {
			rng := s.rng(t)
			plans := s.mixedPlans(rng, shape, elem)
			plans[0].Group = offload.PageTok // as paged layers want it
			plans[3] = estimated(pagedPlan(shape.spec(0), elem, plans[0].Tail, 2+2*rng.IntN(4), 1+rng.IntN(2)), rng.IntN(2) == 0)
			s.resumeToy(t, rng, shape, s.kept(plans))
		})
	}
	if !s.keepsClass(offload.Gathered) {
		return
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
	first, second := newTieredRig(t, s.backend, prog, lim), newTieredRig(t, s.backend, prog, lim)
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
	if first.pool.LayerMajor() {
		q.Free()
		s.resumePrompt(t, rng, first, second, prog, tokens(150+rng.IntN(150)))
	}
}

// resumePrompt gives a prompt up between two layers, and takes it up in another
// program and pool.
func (s *suite) resumePrompt(t *testing.T, rng *rand.Rand, first, second *rig, prog *graph.Program, tok []int32) {
	t.Helper()
	q := first.seq(0)
	if err := q.BeginPrefill(len(tok)); err != nil {
		t.Fatal(err)
	}
	layers := len(prog.KV)
	done := 1 + rng.IntN(layers)
	for l := range done {
		first.layer(q, l, tok)
	}
	ahead, err := q.Ahead()
	if err != nil {
		t.Fatal(err)
	}
	parts, err := ahead.Tail(done)
	if err != nil {
		t.Fatal(err)
	}
	v := snapshot{tail: copyParts(t, parts)}
	for i := range ahead.Blocks() {
		v.blocks = append(v.blocks, copyParts(t, ahead.Block(i, 0, done)))
	}
	r, err := second.pool.BeginRestoreAhead(v.tail[offload.StatePart], done)
	if err != nil {
		t.Fatal(err)
	}
	again := v.fill(t, r)
	copy(second.exec.(graph.HiddenStates).Hidden(len(tok)), first.exec.(graph.HiddenStates).Hidden(len(tok)))
	checkSame(t, fmt.Sprintf("a prompt that was given up after %d of %d layers", done, layers),
		second.rest(again, done, layers, tok), first.rest(q, done, layers, tok))
	next := tok[:8]
	checkSame(t, "decoding after it", goOn(second, again, next, 0), goOn(first, q, next, 0))
}

// layer runs one layer's part over a prompt.
func (r *rig) layer(q *offload.Seq, layer int, tok []int32) {
	r.t.Helper()
	for at := 0; at < len(tok); at += 50 {
		in := &graph.Rows{}
		for i := at; i < min(at+50, len(tok)); i++ {
			in.Add(tok[i], int32(i), 0, false)
		}
		if _, err := r.exec.Part(r.t.Context(), layer, in, q); err != nil {
			r.t.Fatalf("layer %d: %v", layer, err)
		}
	}
}

// rest runs the layers that are not done, and the head over the last token.
func (r *rig) rest(q *offload.Seq, done, layers int, tok []int32) rows {
	r.t.Helper()
	for l := done; l < layers; l++ {
		r.layer(q, l, tok)
	}
	in := &graph.Rows{}
	in.Add(tok[len(tok)-1], int32(len(tok)-1), 0, true)
	l, err := r.exec.Part(r.t.Context(), layers, in, q)
	if err != nil {
		r.t.Fatalf("head: %v", err)
	}
	out := copyRows(l)
	if err := q.EndPrefill(); err != nil {
		r.t.Fatal(err)
	}
	return out
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
		v.blocks = append(v.blocks, copyParts(t, parts))
	}
	parts, err := q.SnapshotTail()
	if err != nil {
		t.Fatal(err)
	}
	v.tail = copyParts(t, parts)
}

func copyParts(t *testing.T, parts []offload.Part) map[int][]byte {
	t.Helper()
	m := map[int][]byte{}
	for _, p := range parts {
		for b, err := range p.All() {
			if err != nil {
				t.Fatal(err)
			}
			m[p.ID] = append(m[p.ID], b...)
		}
	}
	return m
}

func (v *snapshot) restore(t *testing.T, p *offload.Pool) *offload.Seq {
	t.Helper()
	r, err := p.BeginRestore(v.tail[offload.StatePart])
	if err != nil {
		t.Fatal(err)
	}
	return v.fill(t, r)
}

// fill gives a restore all that it wants.
func (v *snapshot) fill(t *testing.T, r *offload.Restore) *offload.Seq {
	t.Helper()
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
