package backendtest

import (
	"errors"
	"fmt"
	"testing"

	"edged/infer/graph"
	"edged/offload"
)

// testStates checks over whole models the hidden states that embeddings are made of.
func (s *suite) testStates(t *testing.T) {
	for _, f := range families {
		t.Run(f.arch, func(t *testing.T) {
			rng := s.rng(t)
			m := &modelCheck{suite: s, prog: f.program(t, rng), rng: rng, elem: offload.F16}
			m.tok = tinyTokens(rng, 280)
			m.rig = newRig(t, m.backend, m.prog, statesLimits(m.prog, m.elem))
			q := m.rig.seq(0)
			m.base = m.rig.states(q, m.tok, len(m.tok))
			q.Free()
			judge := newRig(t, m.judge, m.prog, statesLimits(m.prog, m.elem))
			check(t, "states of one step against the reference", m.opt.Tolerance.Logits, m.base, judge.states(judge.seq(0), m.tok, 200))
			t.Run("chunks", m.statesInChunks)
			t.Run("sequences", m.statesOfSequences)
			t.Run("decode", m.decodeBehindStates)
			if s.keepsClass(offload.Paged) {
				t.Run("parts", m.statesOfParts)
			}
			t.Run("refuse", m.refuseStates)
		})
	}
}

// statesLimits leave fewer rows to logits than to states.
func statesLimits(p *graph.Program, elem offload.Elem) graph.Limits {
	l := tinyLimits(p, elem)
	l.MaxOut = 2
	return l
}

// states appends tokens in steps of at most chunk rows and returns the states
// of all of them.
func (r *rig) states(q *offload.Seq, tok []int32, chunk int) rows {
	r.t.Helper()
	return inChunks(r.stepStates, q, tok, chunk)
}

// stepStates runs and commits the pieces and returns the states of their tokens.
func (r *rig) stepStates(pieces ...piece) rows {
	r.t.Helper()
	for i := range pieces {
		pieces[i].out = func(int) bool { return false }
	}
	in, kv := r.assemble(pieces)
	in.States = true
	return r.run(in, kv, pieces, len(in.Tok))
}

func (m *modelCheck) statesInChunks(t *testing.T) {
	for _, n := range []int{1, 7, 16, 17, 279} {
		q := m.rig.seq(0)
		m.checkAgain(t, fmt.Sprintf("states in chunks of %d", n), m.rig.states(q, m.tok, n), m.base)
		q.Free()
	}
}

func (m *modelCheck) statesOfSequences(t *testing.T) {
	var pieces []piece
	var want rows
	for i, n := range []int{5, 64, 1, 130} {
		q := m.rig.seq(0)
		defer q.Free()
		m.rig.states(q, m.tok[:10*i], 20)
		pieces = append(pieces, piece{seq: q, tok: m.tok[10*i : 10*i+n]})
		want = append(want, m.base[10*i:10*i+n]...)
	}
	m.checkAgain(t, "states of several sequences", m.rig.stepStates(pieces...), want)
}

// decodeBehindStates goes on with logits: states leave the cache as logits do.
func (m *modelCheck) decodeBehindStates(t *testing.T) {
	run := func(fill func(q *offload.Seq)) rows {
		q := m.rig.seq(0)
		defer q.Free()
		fill(q)
		return m.rig.feed(q, m.tok[200:210], 1)
	}
	want := run(func(q *offload.Seq) { m.rig.feed(q, m.tok[:200], 2) })
	got := run(func(q *offload.Seq) { m.rig.states(q, m.tok[:200], 70) })
	m.checkAgain(t, "logits behind states", got, want)
}

// statesOfParts reads the prompt layer by layer, between steps of another sequence.
func (m *modelCheck) statesOfParts(t *testing.T) {
	full := fullCheck{suite: m.suite, prog: m.prog, rng: m.rng}
	lim := partLimits(m.prog, full.ways(offload.F16)[0])
	lim.MaxOut = 2
	r := newRig(t, m.backend, m.prog, lim)
	want := m.base
	for _, n := range []int{300, 64, 33} {
		q := r.seq(0)
		got := r.promptStates(q, m.tok, n)
		m.checkWithin(t, fmt.Sprintf("states of parts in chunks of %d", n), m.opt.Tolerance.Logits, got, want)
		q.Free()
	}
}

// promptStates reads a prompt in parts and returns the states of all its tokens.
func (r *rig) promptStates(q *offload.Seq, tok []int32, chunk int) rows {
	r.t.Helper()
	if err := q.BeginPrefill(len(tok)); err != nil {
		r.t.Fatal(err)
	}
	var got rows
	for part := range r.layers() + 1 {
		for lo := 0; lo < len(tok); lo += chunk {
			in := partRows(q, tok, span(lo, min(lo+chunk, len(tok))), false)
			in.States = part == r.layers()
			l, err := r.exec.Part(r.t.Context(), part, in, q)
			if err != nil {
				r.t.Fatalf("part %d: %v", part, err)
			}
			if in.States {
				got = append(got, copyRows(l)...)
			}
		}
	}
	if err := q.EndPrefill(); err != nil {
		r.t.Fatal(err)
	}
	return got
}

func (m *modelCheck) refuseStates(t *testing.T) {
	q := m.rig.seq(0)
	defer q.Free()
	in, kv := m.rig.assemble([]piece{{seq: q, tok: m.tok[:2]}})
	in.States = true
	if _, err := m.rig.exec.Step(t.Context(), in, kv); !errors.Is(err, graph.ErrRows) {
		t.Errorf("states beside logits: error is %v, want graph.ErrRows", err)
	}
	loose := *m.prog
	loose.Final = nil
	r := newRig(t, m.backend, &loose, statesLimits(&loose, m.elem))
	q = r.seq(0)
	in, kv = r.assemble([]piece{{seq: q, tok: m.tok[:2], out: func(int) bool { return false }}})
	in.States = true
	if _, err := r.exec.Step(t.Context(), in, kv); !errors.Is(err, graph.ErrRows) {
		t.Errorf("states of a program that has none: error is %v, want graph.ErrRows", err)
	}
}
