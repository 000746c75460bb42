package backendtest

import (
	"context"

	"edged/offload"
)

// discard runs a step of other tokens and does not commit it.
func (l *lockstep) discard(step []*twin) {
	l.t.Helper()
	tok := l.tokens(len(step))
	for i, r := range l.rigs {
		var pieces []piece
		for s, w := range step {
			pieces = append(pieces, piece{seq: w.q[i], tok: tok[s : s+1]})
		}
		in, kv := r.assemble(pieces)
		if _, err := r.exec.Step(l.t.Context(), in, kv); err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *lockstep) fork(w *twin) {
	l.t.Helper()
	for i, s := range l.seqs {
		if s != nil {
			continue
		}
		n := w.keepable(l.rng.IntN(len(w.tok) + 1))
		f := &twin{tok: append([]int32(nil), w.tok[:n]...)}
		for _, q := range w.q {
			child, err := q.Fork(n)
			if err != nil {
				l.t.Fatal(err)
			}
			f.q = append(f.q, child)
		}
		l.seqs[i] = f
		return
	}
}

func (l *lockstep) truncate(w *twin, n int) {
	l.t.Helper()
	for _, q := range w.q {
		if err := q.Truncate(n); err != nil {
			l.t.Fatal(err)
		}
	}
	w.tok = w.tok[:n]
}

// cancel begins a prompt and gives it up somewhere.
func (l *lockstep) cancel(w *twin) {
	l.t.Helper()
	n := min(1+l.rng.IntN(l.longest), l.most-len(w.tok))
	if n <= 0 {
		return
	}
	tok := l.tokens(n)
	for i, r := range l.rigs {
		if r.pool.LayerMajor() {
			l.giveUp(r, w.q[i], tok)
		}
	}
}

func (l *lockstep) giveUp(r *rig, q *offload.Seq, tok []int32) {
	l.t.Helper()
	if err := q.BeginPrefill(len(tok)); err != nil {
		l.t.Fatal(err)
	}
	stop := l.rng.IntN(r.layers() * len(tok))
	for part := range r.layers() {
		for lo := 0; lo < len(tok) && part*len(tok)+lo < stop; {
			n := min(1+l.rng.IntN(r.lim.MaxRows), len(tok)-lo)
			r.part(part, q, tok, span(lo, lo+n), false)
			lo += n
		}
	}
	gone, cancel := context.WithCancel(l.t.Context())
	cancel()
	if _, err := r.exec.Part(gone, 0, partRows(q, tok, span(0, 1), false), q); err == nil {
		l.t.Error("a part ran although its context was cancelled before")
	}
	q.CancelPrefill()
}
