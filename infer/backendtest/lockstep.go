package backendtest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"edged/offload"
)

// lockstep does the same things to the same sequences in several rigs: random
// prompts, decode steps, forks, truncations and cancelled prompts.
type lockstep struct {
	t      *testing.T
	rng    *rand.Rand
	rigs   []*rig
	seqs   []*twin // nil where none is open
	tokens func(n int) []int32
	// check judges the rigs' logits of the same tokens.
	check func(what string, got []rows)
	// deciding and decoded look at sequences before and after a step; both may
	// be nil.
	deciding, decoded func(step []*twin)
	most              int // tokens of a sequence
	longest           int // tokens of a prompt
}

// twin is one sequence in every rig.
type twin struct {
	q   []*offload.Seq // [rigs]
	tok []int32
}

// keepable is the longest prefix of at most n tokens that every rig can keep.
func (w *twin) keepable(n int) int {
	for {
		least := n
		for _, q := range w.q {
			least = min(least, q.Keepable(least))
		}
		if least == n {
			return n
		}
		n = least
	}
}

// run takes random actions and frees everything.
func (l *lockstep) run(actions int) {
	l.t.Helper()
	for range actions {
		l.act()
	}
	for i := range l.seqs {
		l.free(i)
	}
}

func (l *lockstep) act() {
	l.t.Helper()
	i := l.rng.IntN(len(l.seqs))
	w := l.seqs[i]
	if w == nil {
		l.open(i)
		return
	}
	switch l.rng.IntN(12) {
	case 0:
		l.fork(w)
	case 1:
		l.truncate(w, w.keepable(l.rng.IntN(len(w.tok)+1)))
	case 2:
		l.cancel(w)
	case 3:
		l.prompt(w, 1+l.rng.IntN(l.longest))
	case 4:
		l.free(i)
	default:
		for range 1 + l.rng.IntN(12) {
			l.decode()
		}
	}
}

func (l *lockstep) open(i int) {
	l.t.Helper()
	w := &twin{}
	for _, r := range l.rigs {
		w.q = append(w.q, r.seq(0))
	}
	l.seqs[i] = w
	l.prompt(w, 1+l.rng.IntN(l.longest))
}

func (l *lockstep) free(i int) {
	if l.seqs[i] == nil {
		return
	}
	for _, q := range l.seqs[i].q {
		q.Free()
	}
	l.seqs[i] = nil
}

// sizes are random sizes of a prompt's chunks, large and small.
func (l *lockstep) sizes() func() int {
	most := []int{3, 40, 1000}[l.rng.IntN(3)]
	return func() int { return 1 + l.rng.IntN(most) }
}

func (l *lockstep) prompt(w *twin, n int) {
	l.t.Helper()
	if n = min(n, l.most-len(w.tok)); n <= 0 {
		return
	}
	tok, every := l.tokens(n), 1+l.rng.IntN(3)
	var got []rows
	for i, r := range l.rigs {
		got = append(got, r.prompt(w.q[i], tok, l.sizes(), func(i int) bool { return (n-1-i)%every == 0 }))
	}
	l.check(fmt.Sprintf("prompt of %d tokens behind %d", n, len(w.tok)), got)
	w.tok = append(w.tok, tok...)
}

// decode gives a random choice of the sequences one token each.
func (l *lockstep) decode() {
	l.t.Helper()
	var step []*twin
	var tok []int32
	for _, w := range l.seqs {
		if w != nil && len(w.tok) < l.most && l.rng.IntN(4) > 0 {
			step, tok = append(step, w), append(tok, l.tokens(1)...)
		}
	}
	if len(step) == 0 {
		return
	}
	if l.rng.IntN(6) == 0 {
		l.discard(step)
	}
	if l.deciding != nil {
		l.deciding(step)
	}
	what := "decode step behind"
	var got []rows
	for i, r := range l.rigs {
		var pieces []piece
		for s, w := range step {
			pieces = append(pieces, piece{seq: w.q[i], tok: tok[s : s+1]})
		}
		got = append(got, r.step(pieces...))
	}
	for s, w := range step {
		what += fmt.Sprintf(" %d", len(w.tok))
		w.tok = append(w.tok, tok[s])
	}
	if l.decoded != nil {
		l.decoded(step)
	}
	l.check(what+" tokens", got)
}
