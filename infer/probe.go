package infer

import (
	"context"
	"fmt"
	"time"
)

// proof is one call of Prove that waits.
type proof struct {
	age  time.Duration
	done chan error // [1]
}

// Prove returns nil when a step has succeeded within age, or when the resident
// model decodes now, between the steps of what runs. A model that cannot makes the
// engine's state Failed. One that could not be loaded begins to load again when its
// file is another one by now. When ctx ends first, Prove returns its cause. It costs
// nothing unless it is called.
func (e *Engine) Prove(ctx context.Context, age time.Duration) error {
	p := &proof{age: age, done: make(chan error, 1)}
	e.mu.Lock()
	e.proofs = append(e.proofs, p)
	e.mu.Unlock()
	e.wakeOwner()
	select {
	case err := <-p.done:
		return err
	case <-e.ended:
		return fmt.Errorf("prove model: %w", ErrClosed)
	case <-ctx.Done():
		return fmt.Errorf("prove model: %w", context.Cause(ctx))
	}
}

// takeProofs are the calls of Prove that wait. Engine.mu is held.
func (o *owner) takeProofs() []*proof {
	p := o.e.proofs
	o.e.proofs = nil
	return p
}

// answerProofs decodes at most once for all of them.
func (o *owner) answerProofs(proofs []*proof) {
	for _, p := range proofs {
		p.done <- o.proveSince(p.age)
	}
}

func (o *owner) proveSince(age time.Duration) error {
	o.e.mu.Lock()
	last, state, reason := o.e.status.LastStep, o.e.state, o.e.reason
	o.e.mu.Unlock()
	switch {
	case state == Failed && o.mended():
		return fmt.Errorf("prove model: %w", ErrLoading)
	case state == Failed:
		return fmt.Errorf("prove model: %w: %s", ErrFailed, reason)
	case o.res == nil || state != Ready:
		return fmt.Errorf("prove model: %w", ErrLoading)
	case time.Since(last) <= age:
		return nil
	}
	if err := o.res.unchanged(); err != nil {
		o.loadAgain(err)
		return fmt.Errorf("prove model: %w: %w", ErrLoading, err)
	}
	err := o.prove(o.res)
	if err != nil {
		o.fail(err)
	}
	return err
}
