package infer

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Generate answers one request and returns when the answer is complete. emit
// is called in order, in the caller's goroutine, first with the Progress of an
// accepted request, before it waits for its turn. When emit returns an error,
// Generate ends with that error; when ctx ends, with its cause, while the
// engine stops within one step. An emit that blocks pauses this request only.
func (e *Engine) Generate(ctx context.Context, req *Request, emit func(Delta) error) (Result, error) {
	model, err := e.admissible(req.Model, req.Owner)
	if err != nil {
		return Result{}, fmt.Errorf("accept request: %w", err)
	}
	f, err := e.front(model)
	if err != nil {
		return Result{}, fmt.Errorf("accept request: %w", err)
	}
	t, err := e.prepare(ctx, f, model, req)
	if err != nil {
		return Result{}, fmt.Errorf("prepare request: %w", err)
	}
	ctx, leave, err := e.enqueue(ctx, t)
	if err != nil {
		return Result{}, err
	}
	defer leave()
	res, err := e.converse(ctx, t, emit)
	if err != nil {
		e.abandon(t)
		return Result{}, fmt.Errorf("generate: %w", err)
	}
	res.Unsaved = e.passOn(ctx, t)
	return res, nil
}

// converse delivers an answer, taken apart as its model's family writes it.
func (e *Engine) converse(ctx context.Context, t *task, emit func(Delta) error) (Result, error) {
	deliver := delivering(func(emit func(Delta) error) (Result, error) { return e.deliver(ctx, t, emit) })
	if th := t.thoughts; th != nil {
		whole := deliver
		deliver = func(emit func(Delta) error) (Result, error) {
			res, err := th.converse(whole, emit)
			if err == nil {
				res.Usage.Thought = th.tokens(t.front.tok, t.ids[t.nPrompt:])
			}
			return res, err
		}
	}
	if t.calls != nil {
		return t.calls.converse(deliver, emit)
	}
	return deliver(emit)
}

// enqueue puts a task into the queue, for a caller that leaves when it has its
// answer. The task is given up with the context.
func (e *Engine) enqueue(ctx context.Context, t *task) (_ context.Context, leave func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	t.ctx = ctx
	if err := e.submit(t); err != nil {
		cancel()
		return nil, nil, fmt.Errorf("accept request: %w", err)
	}
	waited := func() bool { return true }
	if d := e.cfg.QueueTimeout; d > 0 {
		waited = time.AfterFunc(d, func() { e.expire(t) }).Stop
	}
	// The task's place is free at once, even while its caller is busy.
	stay := context.AfterFunc(ctx, func() { e.abandon(t) })
	return ctx, func() {
		stay()
		waited()
		cancel() // a wake ends with its request
	}, nil
}

// admissible resolves a model name and refuses what would be refused anyway,
// before work is spent on the request.
func (e *Engine) admissible(name string, owner uint32) (string, error) {
	if name == "" {
		name = e.cfg.Default
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return name, e.admit(name, owner)
}

// admit says why a user's request for the model is not accepted now, or nil.
// e.mu is held.
func (e *Engine) admit(model string, owner uint32) error {
	if _, ok := e.cfg.model(model); !ok {
		return &ModelError{Model: model, Known: e.cfg.names()}
	}
	if err := e.refusal(); err != nil {
		return err
	}
	if !e.cfg.AllowSwitch && e.served != "" && e.served != model {
		return e.otherServed(model)
	}
	if err := e.tooSoon(model); err != nil {
		return err
	}
	// A place to run counts as taken even before the owner has given it.
	if waiting := len(e.queue) + e.running - e.cfg.MaxSeqs; waiting >= e.maxQueue && !e.beyond(owner, waiting) {
		return &BusyError{Queued: waiting, Limit: e.maxQueue, Wait: e.slotTime * time.Duration(waiting) / time.Duration(e.cfg.MaxSeqs)}
	}
	return nil
}

// otherServed refuses a model in place of which another one is served. e.mu is held.
func (e *Engine) otherServed(model string) error {
	if e.state == Failed {
		return fmt.Errorf("%w: %s", ErrFailed, e.reason)
	}
	return &ModelError{Model: model, Known: e.cfg.names(), Resident: e.served}
}

// beyond says whether a user's request is taken although the queue is full: one
// user cannot shut the others out. e.mu is held.
func (e *Engine) beyond(owner uint32, waiting int) bool {
	return waiting < 2*e.maxQueue && !slices.ContainsFunc(e.queue, func(t *task) bool { return t.owner == owner })
}

// submit puts a task into the queue.
func (e *Engine) submit(t *task) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.admit(t.model, t.owner); err != nil {
		return err
	}
	t.accepted = time.Now()
	t.out.setProgress(Progress{Total: t.nPrompt})
	e.queue = append(e.queue, t)
	e.announceRequests()
	e.wakeOwner()
	return nil
}

// expire ends a task that has waited in the queue for Config.QueueTimeout.
func (e *Engine) expire(t *task) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t.gone || !slices.Contains(e.queue, t) {
		return
	}
	t.gone = true // for the owner
	t.out.finish(Result{}, &WaitError{Limit: e.cfg.QueueTimeout, Queued: len(e.queue)})
	e.wakeOwner()
}

// deliver hands what the owner puts into the outbox to emit.
func (e *Engine) deliver(ctx context.Context, t *task, emit func(Delta) error) (Result, error) {
	var d delivery
	for {
		select {
		case <-ctx.Done():
			return Result{}, context.Cause(ctx)
		case <-t.out.notify:
		}
		wasFull := t.out.take(&d)
		if wasFull {
			e.wakeOwner() // the task was paused
		}
		if err := d.emit(t.front.tok, emit); err != nil {
			return Result{}, err
		}
		if d.done {
			return d.result, d.err
		}
	}
}

// abandon tells the owner that nobody waits for the task any more. A step
// that serves no other is stopped.
func (e *Engine) abandon(t *task) {
	e.mu.Lock()
	t.gone = true
	e.release(t)
	if t.inStep {
		t.inStep = false
		if e.live--; e.live == 0 {
			e.stopStep()
		}
	}
	e.mu.Unlock()
	e.wakeOwner()
}
