package backendtest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"edged/infer/graph"
	"edged/offload"
)

// tinyContext is how many tokens the tests of whole models feed at most.
const tinyContext = 512

// tinyLimits admit a whole prompt in one step.
func tinyLimits(p *graph.Program, elem offload.Elem) graph.Limits {
	l := limits(p, elem)
	l.MaxRows, l.MaxOut, l.Context = tinyContext, tinyContext, tinyContext
	return l
}

func (s *suite) testModels(t *testing.T) {
	for _, f := range families {
		for _, elem := range s.opt.Elems {
			t.Run(fmt.Sprintf("%s/%s", f.arch, elem), func(t *testing.T) {
				rng := s.rng(t)
				m := &modelCheck{suite: s, prog: f.program(t, rng), rng: rng, elem: elem}
				m.run(t)
			})
		}
	}
}

// modelCheck compares many ways to run the same tokens.
type modelCheck struct {
	*suite
	prog *graph.Program
	rng  *rand.Rand
	elem offload.Elem
	rig  *rig
	tok  []int32
	base rows // logits of tok, all in one step
}

func (m *modelCheck) run(t *testing.T) {
	m.rig = newRig(t, m.backend, m.prog, tinyLimits(m.prog, m.elem))
	m.tok = tinyTokens(m.rng, 280) // crosses pages, windows and 256 tokens
	q := m.rig.seq(0)
	m.base = m.rig.feed(q, m.tok, len(m.tok))
	q.Free()

	judge := newRig(t, m.judge, m.prog, tinyLimits(m.prog, m.elem))
	check(t, "one step against the reference", m.opt.Tolerance.Logits, m.base, judge.feed(judge.seq(0), m.tok, 512))
	m.chunks(t)
	m.threads(t)
	m.silent(t)
	m.fork(t)
	m.truncate(t)
	m.schedule(t)
}

// chunks cuts the prompt into steps of all sizes.
func (m *modelCheck) chunks(t *testing.T) {
	for _, n := range []int{1, 7, 279} {
		q := m.rig.seq(0)
		m.checkAgain(t, fmt.Sprintf("chunks of %d", n), m.rig.feed(q, m.tok, n), m.base)
		q.Free()
	}
}

func (m *modelCheck) threads(t *testing.T) {
	for _, n := range []int{1, 3} {
		l := tinyLimits(m.prog, m.elem)
		l.Threads = n
		r := newRig(t, m.backend, m.prog, l)
		m.checkAgain(t, fmt.Sprintf("%d threads", n), r.feed(r.seq(0), m.tok, 100), m.base)
	}
}

// silent runs the prompt without logits except for the last token's.
func (m *modelCheck) silent(t *testing.T) {
	q := m.rig.seq(0)
	defer q.Free()
	half, end := 200, len(m.tok)
	m.rig.step(piece{seq: q, tok: m.tok[:half], out: func(int) bool { return false }})
	got := m.rig.step(piece{seq: q, tok: m.tok[half:], out: func(i int) bool { return i == end-half-1 }})
	m.checkAgain(t, "only the last token's logits", got, m.base[end-1:])
}

// fork continues two sequences from a shared prefix that ends inside a page.
func (m *modelCheck) fork(t *testing.T) {
	a := m.rig.seq(0)
	defer a.Free()
	m.rig.feed(a, m.tok[:100], 64)
	b, err := a.Fork(70)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Free()
	m.rig.feed(b, tinyTokens(m.rng, 50), 20) // must not reach a's pages
	m.checkAgain(t, "after a fork diverged", m.rig.feed(a, m.tok[100:], 33), m.base[100:])
	if err := b.Truncate(70); err != nil {
		t.Fatal(err)
	}
	m.checkAgain(t, "a fork's own way", m.rig.feed(b, m.tok[70:], 50), m.base[70:])
}

// truncate takes back tokens, some of whole pages, and goes on.
func (m *modelCheck) truncate(t *testing.T) {
	q := m.rig.seq(0)
	defer q.Free()
	m.rig.feed(q, m.tok[:150], 150)
	m.rig.feed(q, tinyTokens(m.rng, 60), 11)
	if err := q.Truncate(150); err != nil {
		t.Fatal(err)
	}
	m.checkAgain(t, "after truncation", m.rig.feed(q, m.tok[150:], 90), m.base[150:])
}

// schedule advances sequences by random amounts in shared steps. They begin
// as forks of one finished sequence and are truncated now and then.
func (m *modelCheck) schedule(t *testing.T) {
	whole := m.rig.seq(0)
	defer whole.Free()
	m.rig.feed(whole, m.tok, len(m.tok))
	seqs := make([]*offload.Seq, 3)
	for i := range seqs {
		q, err := whole.Fork(m.rng.IntN(len(m.tok)))
		if err != nil {
			t.Fatal(err)
		}
		defer q.Free()
		seqs[i] = q
	}
	for range 25 {
		var pieces []piece
		var want rows
		for _, q := range seqs {
			if q.Len() == len(m.tok) || m.rng.IntN(8) == 0 {
				if err := q.Truncate(m.rng.IntN(q.Len() + 1)); err != nil {
					t.Fatal(err)
				}
			}
			n := min(m.rng.IntN(4), 1) // 0 in one of four: the sequence rests
			if m.rng.IntN(3) == 0 {
				n = m.rng.IntN(40)
			}
			n = min(n, len(m.tok)-q.Len())
			if n > 0 {
				pieces = append(pieces, piece{seq: q, tok: m.tok[q.Len() : q.Len()+n]})
				want = append(want, m.base[q.Len():q.Len()+n]...)
			}
		}
		if len(pieces) > 0 {
			m.checkAgain(t, "ragged steps", m.rig.step(pieces...), want)
		}
	}
}
