package infer

import (
	"errors"
	"fmt"
	"time"

	"edged/offload"
)

// prefill prepares the next chunk of a task's tokens and returns its rows, 0
// when the task has to wait for pages.
func (o *owner) prefill(t *task) int {
	if t.seq == nil {
		if t.fault = o.begin(t); t.seq == nil {
			return 0
		}
	}
	if !t.roomy {
		t.roomy = o.room(t)
	}
	if !t.roomy {
		return 0
	}
	if !o.checkpoint(t) {
		return 0
	}
	n := min(t.pending(), o.cfg.ChunkTok)
	switch {
	case o.res.pool.LayerMajor() && (t.pending() > 1 || t.embed != nil):
		if !o.stageTaken() {
			o.beginReading(t)
		}
		return 0
	case t.embed != nil:
		if o.reserve(t, n) > 0 {
			o.reading = t
		}
		return 0
	}
	return o.reserve(t, n)
}

// reserve makes the next n positions of a task writable and returns n, or 0
// when the pages are held by older tasks. Kept sequences give way first, then
// parked tasks, then those that are paused or younger. The oldest task that is not paused always
// succeeds: everything else gives way, and the pool holds a whole context.
func (o *owner) reserve(t *task, n int) int {
	return o.claim(t, n, t.seq.Reserve)
}

// claim makes room until take succeeds for n positions.
func (o *owner) claim(t *task, n int, take func(int) error) int {
	for {
		err := take(n)
		if err == nil {
			return n
		}
		if !errors.Is(err, offload.ErrNoPages) {
			t.fault = err
			return 0
		}
		if !o.evict() && !o.setBackParked(nil) && !o.setBackFor(t) {
			return 0
		}
	}
}

// room says whether a prompt should be started: whether the pages that it
// needs are free or can be taken from kept sequences, or from parked tasks that
// come after it. Starting it anyway would
// only end in setting it back. A task that was set back once waits until
// everything that runs has all the pages that it can ever need, so that it
// cannot be set back again and again.
func (o *owner) room(t *task) bool {
	if o.first(t) {
		return true
	}
	need := t.pending()
	for _, begun := range [...][]*task{o.running, o.parked} {
		for _, r := range begun {
			need += o.res.pool.UnitTok()
			if t.setBack {
				need += max(r.left(o.res.context), 0)
			}
		}
	}
	have := o.res.pool.FreeTok()
	for _, k := range o.kept {
		have += len(k.ids) // at most: pages may be shared
	}
	for have >= need && o.res.pool.FreeTok() < need && o.evict() {
	}
	for o.res.pool.FreeTok() < need && o.setBackParked(t) {
	}
	return o.res.pool.FreeTok() >= need
}

// first says whether t is the oldest task that is not paused.
func (o *owner) first(t *task) bool {
	for _, r := range o.running {
		if r == t {
			return true
		}
		if !r.out.full() {
			return false
		}
	}
	return false
}

// setBackFor takes the pages of the youngest task that is paused or younger
// than t, and reports whether there was one.
func (o *owner) setBackFor(t *task) bool {
	for i := len(o.running) - 1; i >= 0; i-- {
		v := o.running[i]
		if v == t {
			break
		}
		if v.seq != nil && !v.pinned() {
			o.setBack(v)
			return true
		}
	}
	for i := len(o.running) - 1; i >= 0; i-- {
		if v := o.running[i]; v != t && v.seq != nil && v.rows == 0 && v.out.full() && !v.pinned() {
			o.setBack(v)
			return true
		}
	}
	return false
}

func (o *owner) setBack(t *task) {
	o.log.Info("request set back, its KV pages are needed", "request", t.id, "tokens", t.seq.Len())
	t.seq.Free()
	t.seq, t.rows, t.roomy, t.setBack, t.reading = nil, 0, false, true, reading{}
	t.woken, t.points = false, checkpoints{now: t.points.now}
	if o.reading == t {
		o.reading = nil
	}
}

// begin gives a task its sequence: one that shares the longest prefix with
// its tokens, or a new one. The last token is always evaluated, for its
// logits. Without an error, there may be none yet: ended sequences that are being
// saved have all the slots.
func (o *owner) begin(t *task) error {
	for {
		src := o.longestPrefix(t)
		seq, err := o.adopt(t, src)
		if err == nil {
			t.seq = seq
			o.begun(t, src.n, src.exact)
			return nil
		}
		if !errors.Is(err, offload.ErrNoSlots) {
			return fmt.Errorf("begin request: %w", err)
		}
		if i := o.oldest(); i >= 0 {
			o.forget(i)
			continue
		}
		o.e.mu.Lock()
		lent := o.lent()
		o.e.mu.Unlock()
		if !lent {
			return fmt.Errorf("begin request: %w", err)
		}
		return nil
	}
}

// begun notes what a task's sequence began with.
func (o *owner) begun(t *task, n, exact int) {
	t.adopted, t.adoptedExact = n, exact
	t.paid = max(t.paid, float64(n))
	if t.embed != nil {
		t.embed.restart()
	}
	if t.begun.IsZero() {
		t.cached = n
		t.begun = time.Now()
		t.out.setProgress(Progress{Done: n, Total: t.nPrompt, Cached: n})
	}
}
