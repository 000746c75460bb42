package infer

import (
	"context"
	"fmt"
	"time"

	"edged/offload"
)

// save claims what a Keeper needs of an answered request, until Generate has
// passed it on or its caller has left.
func (o *owner) save(t *task) error {
	if t.session == nil || t.keeper == nil {
		return nil
	}
	begun := time.Now()
	hold, err := t.seq.Hold()
	if err != nil {
		return fmt.Errorf("save session: %w", err)
	}
	s := &Saved{Tokens: t.ids, Prompt: t.nPrompt, Same: t.same, Exact: o.exactTok(t) / offload.BlockTok, Recomputed: t.recomputed, hold: hold}
	o.hold = max(o.hold, time.Since(begun))
	o.e.mu.Lock()
	defer o.e.mu.Unlock()
	o.e.holds++
	if t.saved, t.key = s, o.res.key; t.gone {
		o.e.release(t)
	}
	return nil
}

// release gives a task's claim back. e.mu is held.
func (e *Engine) release(t *task) {
	if t.saved != nil {
		e.released = append(e.released, t.saved.hold)
		t.saved = nil
	}
}

// passOn lets the Keeper of an answered request save its sequence. The caller
// may have left: the answer is complete, and belongs to the session.
func (e *Engine) passOn(ctx context.Context, t *task) (err error) {
	e.mu.Lock()
	s := t.saved
	t.saved = nil // from here on, a caller that leaves ends nothing
	e.mu.Unlock()
	if s == nil {
		return nil
	}
	defer func() {
		e.mu.Lock()
		e.released = append(e.released, s.hold)
		e.mu.Unlock()
		e.wakeOwner()
	}()
	defer catch(&err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(e.closing, cancel)()
	if err := t.keeper.Save(ctx, t.key, s); err != nil {
		return fmt.Errorf("save session: %w", err)
	}
	return nil
}

// exactTok is how many of a task's first tokens have K and V that depend on the
// tokens alone: those of a prompt that was read without a break in this.
func (o *owner) exactTok(t *task) int {
	switch {
	case t.adoptedExact < t.adopted:
		return t.adoptedExact
	case t.adopted > 0 && o.res.pool.LayerMajor():
		return t.adopted // what follows has attended to quantized K and V
	}
	return min(t.nPrompt, t.seq.Len())
}
