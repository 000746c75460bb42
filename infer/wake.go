package infer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"edged/infer/graph"
	"edged/offload"
)

// wake is a task's sequence on its way back from its Keeper. A goroutine opens
// the snapshot, the owner claims memory for it, the goroutine copies, and the
// owner gives the sequence to the task. Each waits for the other's word only.
type wake struct {
	since time.Time
	begun chan *offload.Restore // [1] the owner's word; closed when the snapshot is not wanted

	// Of the owner.
	t       *task     // nil when it has left
	hidden  []float32 // where the hidden states of a prompt go; nil: there are none
	said    bool      // begun has got its word
	restore *offload.Restore

	// Of the goroutine until it has said that the snapshot is open.
	snap    Snapshot // nil: nothing is kept
	state   []byte   // of the tail
	headway *headway // nil: it is of a turn that has ended

	// Guarded by Engine.mu.
	phase wakePhase
	err   error
}

type wakePhase int

const (
	opening wakePhase = iota // the snapshot
	opened                   // until the owner has said its word and all is copied
	ended                    // the snapshot is closed
)

// rouse lets a task's Keeper give the task its sequence, when it has more of it
// than the cache. It returns false while that is under way.
func (o *owner) rouse(t *task) bool {
	if t.wake == nil {
		if t.keeper == nil || t.woken || !o.worthWaking(t) {
			return true
		}
		t.woken = true
		o.startWake(t)
		return false
	}
	w := t.wake
	o.e.mu.Lock()
	phase, err := w.phase, w.err
	o.e.mu.Unlock()
	switch {
	case phase == opening || phase == opened && w.said:
		return false
	case phase == opened:
		return o.answerWake(t, w, err)
	}
	o.endWake(t, w, err)
	return true
}

// worthWaking says whether a Keeper may have more of a task's tokens than the
// cache: a block more, or, of a session's own blocks, anything.
func (o *owner) worthWaking(t *task) bool {
	live := o.longestPrefix(t).n
	if n := t.storedTok(); n > 0 {
		return live < n
	}
	return (len(t.ids)-1)/offload.BlockTok*offload.BlockTok-live >= offload.BlockTok
}

// storedTok is the tokens of a session's stored blocks that its next turn begins with.
func (t *task) storedTok() int {
	if t.session == nil {
		return 0
	}
	return min(t.session.Blocks, t.same/offload.BlockTok) * offload.BlockTok
}

// wakeTok is the tokens that a Keeper is asked for: of a session that has
// blocks, those that its next turn begins with.
func (t *task) wakeTok() []int32 {
	if t.storedTok() > 0 {
		return t.ids[:min(t.same, len(t.ids)-1)]
	}
	return t.ids[:len(t.ids)-1]
}

func (o *owner) startWake(t *task) {
	w := &wake{t: t, since: time.Now(), begun: make(chan *offload.Restore, 1)}
	t.wake = w
	o.wakes = append(o.wakes, w)
	go o.e.fetch(t.ctx, w, t.keeper, o.res.key, slices.Clone(t.wakeTok()))
}

// fetch is a wake's goroutine.
func (e *Engine) fetch(ctx context.Context, w *wake, k Keeper, key Key, tokens []int32) {
	err := w.open(ctx, k, key, tokens)
	e.setPhase(w, opened, err)
	if r, ok := <-w.begun; ok {
		err = w.copy(ctx, r)
	}
	if w.snap != nil {
		err = errors.Join(err, w.snap.Close())
	}
	e.setPhase(w, ended, err)
}

func (e *Engine) setPhase(w *wake, phase wakePhase, err error) {
	e.mu.Lock()
	w.phase, w.err = phase, err
	e.mu.Unlock()
	e.wakeOwner()
}

func (w *wake) open(ctx context.Context, k Keeper, key Key, tokens []int32) (err error) {
	defer catch(&err)
	if w.snap, err = k.Open(ctx, key, tokens); err != nil || w.snap == nil || !w.snap.Shape().Tail {
		return err
	}
	var state [][]byte
	err = w.snap.Fill(ctx, math.MaxInt, func(x Span) ([]offload.Target, error) { // the tail alone
		if x.Part != offload.StatePart {
			return nil, nil
		}
		state = append(state, make([]byte, x.Size))
		return []offload.Target{{Mem: state[len(state)-1]}}, nil
	})
	if err == nil { // else copy meets it again, when a request can do without
		w.state = slices.Concat(state...)
	}
	if r, rest, ok := decodeHeadway(w.state); ok {
		w.headway, w.state = &r, rest
	}
	if len(w.state) == 0 {
		w.state = nil
	}
	return nil
}

// copy fills a restore.
func (w *wake) copy(ctx context.Context, r *offload.Restore) (err error) {
	defer catch(&err)
	hidden := int64(4 * len(w.hidden)) // bytes to come
	err = w.snap.Fill(ctx, 0, func(x Span) ([]offload.Target, error) {
		switch {
		case w.state == nil && (x.Block == TailBlock || x.Block >= r.Blocks()):
			return nil, nil // without a tail, it may want fewer blocks than there are
		case x.Block == TailBlock && x.Part == offload.StatePart:
			return nil, nil
		case x.Block == TailBlock && x.Part == hiddenPart && w.hidden != nil:
			hidden -= x.Size
			return placeHidden(w.hidden, x)
		case x.Block == TailBlock:
			return r.PlaceTail(x.Part, x.Off, x.Size)
		}
		return r.PlaceBlock(x.Block, x.Part, x.Off, x.Size)
	})
	if err != nil {
		return err
	}
	if hidden != 0 {
		return fmt.Errorf("%w: %d bytes of hidden states are missing", offload.ErrSnapshot, hidden)
	}
	return nil
}

// answerWake claims memory for an open snapshot, or does without it. It returns
// false when the task has to wait, for memory or for the copy.
func (o *owner) answerWake(t *task, w *wake, err error) bool {
	if err != nil {
		t.fault = fmt.Errorf("wake session: %w", err)
		o.leaveWake(t)
		return false
	}
	for {
		r, err := o.beginRestore(t, w)
		switch {
		case err == nil && r == nil:
			o.leaveWake(t)
			return true
		case err == nil:
			w.restore, w.said = r, true
			w.begun <- r
			return false
		case errors.Is(err, offload.ErrPrefill):
			return false // until the other prompt is read
		case !errors.Is(err, offload.ErrNoPages) && !errors.Is(err, offload.ErrNoSlots):
			o.recompute(t, err)
			o.leaveWake(t)
			return true
		case !o.evict() && !o.setBackFor(t):
			return false // older tasks have the memory
		}
	}
}

// beginRestore claims memory for as much of a snapshot as can be used, nil when
// that is no more than the cache has.
func (o *owner) beginRestore(t *task, w *wake) (*offload.Restore, error) {
	if w.snap == nil {
		return nil, nil
	}
	pool, shape := o.res.pool, w.snap.Shape()
	if w.headway != nil {
		return o.beginReach(t, w)
	}
	if w.state != nil {
		return pool.BeginRestore(w.state)
	}
	n := min(shape.Blocks, (len(t.ids)-1)/offload.BlockTok)
	if t.storedTok() > 0 {
		n = min(n, t.storedTok()/offload.BlockTok)
	}
	switch {
	case n == 0 || n*offload.BlockTok <= o.longestPrefix(t).n:
		return nil, nil
	case shape.Tail:
		return nil, fmt.Errorf("%w: its state cannot be read", offload.ErrSnapshot)
	case pool.NeedsTail() && t.storedTok() > 0:
		return nil, fmt.Errorf("%w: it has no tail, as after a fork, and %s needs one", offload.ErrSnapshot, o.res.cache)
	case pool.NeedsTail():
		return nil, nil
	}
	return pool.BeginRestoreBlocks(n)
}

// beginReach claims memory for a prompt that was given up, nil when it was
// another one.
func (o *owner) beginReach(t *task, w *wake) (*offload.Restore, error) {
	pool, r := o.res.pool, w.headway
	switch {
	case !r.of(t):
		return nil, nil
	case r.layers == 0 && (pool.NeedsTail() || r.tokens <= o.longestPrefix(t).n):
		return nil, nil
	case r.layers == 0:
		return pool.BeginRestoreBlocks(r.tokens / offload.BlockTok)
	}
	states, ok := o.res.exec.(graph.HiddenStates)
	if !ok {
		return nil, nil
	}
	w.hidden = states.Hidden(r.tokens)
	return pool.BeginRestoreAhead(w.state, r.layers)
}

// recompute notes why tokens that a Keeper has are evaluated again.
func (o *owner) recompute(t *task, err error) {
	o.log.Warn("stored sequence cannot be used, its tokens are computed again", "request", t.id, "error", err)
	t.recomputed = err
}

// endWake gives the task what was copied.
func (o *owner) endWake(t *task, w *wake, err error) {
	exact := w.snap.Shape().Exact * offload.BlockTok
	if w.headway != nil {
		exact = w.headway.tokens
	}
	n, seq := 0, (*offload.Seq)(nil)
	if err == nil {
		if seq, err = w.restore.Finish(); err == nil {
			n, err = o.cutToUse(t, w, seq)
		}
	}
	w.restore.Cancel()
	o.leaveWake(t)
	if err != nil {
		o.recompute(t, err)
	}
	if n == 0 && (seq == nil || seq.Prefilling() == 0) {
		if seq != nil {
			seq.Free()
		}
		return
	}
	t.seq, t.restored, t.restoring = seq, n, time.Since(w.since)
	o.begun(t, n, min(n, exact))
	if w.headway != nil {
		o.takeUp(t, *w.headway)
	}
}

// takeUp lets a prompt go on from where it was given up.
func (o *owner) takeUp(t *task, r headway) {
	o.log.Info("prompt is taken up again", "request", t.id, "tokens", r.tokens, "layers", r.layers)
	t.points = checkpoints{last: time.Now(), layers: r.layers}
	t.reading, t.roomy = reading{part: r.layers}, true
	if r.layers == 0 {
		t.points.blocks = r.tokens / offload.BlockTok
		return
	}
	// All tokens have passed some layers: in tokens, that share of the work.
	n := o.tokensRead(t, t.pending())
	t.reading.kept, t.cached, t.restored, t.paid = n, n, n, max(t.paid, float64(n))
	t.out.setProgress(Progress{Done: n, Total: t.nPrompt, Cached: n})
}

// cutToUse shortens a restored sequence to what the task's tokens share with it.
func (o *owner) cutToUse(t *task, w *wake, seq *offload.Seq) (int, error) {
	use := len(t.ids) - 1
	if t.session != nil && (t.storedTok() > 0 || w.state != nil && w.headway == nil) {
		if use = min(use, t.same); seq.Len() > len(t.session.Tokens) {
			return 0, fmt.Errorf("%w: it has %d tokens, the session has %d", offload.ErrSnapshot, seq.Len(), len(t.session.Tokens))
		}
	}
	n := seq.Keepable(use)
	return n, seq.Truncate(n)
}

// leaveWake ends a task's interest in its wake.
func (o *owner) leaveWake(t *task) {
	if w := t.wake; w != nil {
		w.t, t.wake = nil, nil
		if !w.said {
			w.said = true
			close(w.begun)
		}
	}
}

// sweep gives back what ended wakes, stagings and saves have held. Engine.mu is held.
func (o *owner) sweep() {
	o.wakes = slices.DeleteFunc(o.wakes, func(w *wake) bool {
		over := w.t == nil && w.phase == ended
		if over && w.restore != nil {
			w.restore.Cancel()
		}
		return over
	})
	o.stagings = slices.DeleteFunc(o.stagings, func(s *staging) bool {
		if s.over && s.hold != nil {
			s.hold.Release()
		}
		if s.over && s.seq != nil {
			s.seq.Free()
		}
		return s.over
	})
	for _, h := range o.e.released {
		h.Release()
	}
	o.e.holds -= len(o.e.released)
	o.e.released = nil
	o.trim()
}

// lent says whether others read or write the pool's memory. Engine.mu is held.
func (o *owner) lent() bool { return len(o.wakes)+len(o.stagings)+o.e.holds > 0 }
