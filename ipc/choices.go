package ipc

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// sink takes what the engine emits, one call at a time.
type sink interface {
	delta(choice int, d Delta) error
	finish(choice int, res Result) error
}

// generate asks the engine for every choice of a job. What it returns counts
// all of them.
func (s *Server) generate(ctx context.Context, j *job, out sink) (Result, error) {
	j.req.Client = clientOf(ctx, j.user)
	ctx, cancel := s.limited(ctx)
	defer cancel()
	if j.choices == 1 {
		return s.generateOne(ctx, j, &j.req, 0, out)
	}
	c := &choices{s: s, j: j, out: out, results: make([]Result, j.choices), accepted: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	defer c.cancel(nil)
	c.run()
	if c.err != nil {
		return Result{}, explain(ctx, c.err, j.req.promptField())
	}
	return c.total(), nil
}

// choices are several answers to one prompt. They are requests of their own for
// the engine, which reads a prompt that another one has read only once.
type choices struct {
	s      *Server
	j      *job
	ctx    context.Context
	cancel context.CancelCauseFunc

	accepted chan struct{} // closed when the first one is
	once     sync.Once

	mu      sync.Mutex // guards everything that follows
	out     sink
	results []Result
	err     error // the first one
}

// run returns when all choices have ended. The first has to be accepted before
// the others are tried: it is the one that reads the prompt.
func (c *choices) run() {
	var all sync.WaitGroup
	defer all.Wait()
	first := make(chan struct{})
	all.Go(func() { defer close(first); c.one(0) })
	select {
	case <-c.accepted:
	case <-first:
	}
	for i := 1; i < len(c.results); i++ {
		all.Go(func() { c.one(i) })
	}
}

func (c *choices) one(i int) {
	if c.ctx.Err() != nil {
		return
	}
	req := c.j.req
	if i > 0 {
		req.ID = fmt.Sprintf("%s-%d", req.ID, i)
		if req.Sampling.Seed != nil { // the same seed would give the same answer
			seed := *req.Sampling.Seed + int64(i)
			req.Sampling.Seed = &seed
		}
	}
	res, err := c.s.generateOne(c.ctx, c.j, &req, i, c)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.results[i] = res
	if err != nil && c.err == nil {
		c.err = err
		c.cancel(err)
	}
}

// delta implements sink.
func (c *choices) delta(i int, d Delta) error {
	if i == 0 {
		c.once.Do(func() { close(c.accepted) })
	} else if d.Progress = nil; d.Thought == "" && d.Text == "" && len(d.Logprobs) == 0 && len(d.Calls) == 0 {
		return nil // of the same prompt
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.delta(i, d)
}

// finish implements sink.
func (c *choices) finish(i int, res Result) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.finish(i, res)
}

// total counts the prompt once and the answers all.
func (c *choices) total() Result {
	sum := c.results[0]
	for _, r := range c.results[1:] {
		sum.CompletionTokens += r.CompletionTokens
		sum.ThoughtTokens += r.ThoughtTokens
		sum.PredictTime = max(sum.PredictTime, r.PredictTime)
	}
	return sum
}

// generateOne calls the engine and turns a panic in it into an error: the daemon
// serves other clients too.
func (s *Server) generateOne(ctx context.Context, j *job, req *Request, choice int, out sink) (res Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("ipc: panic in engine", "id", req.ID, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic in engine: %v", p)
		}
	}()
	res, err = s.engine.Generate(ctx, req, func(d Delta) error {
		j.accepted()
		return out.delta(choice, d)
	})
	if err == nil && !res.FinishReason.known() {
		return res, fmt.Errorf("engine ended with unknown finish reason %q", res.FinishReason)
	}
	if err == nil {
		err = out.finish(choice, res)
	}
	return res, explain(ctx, err, req.promptField())
}
