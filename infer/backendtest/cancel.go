package backendtest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"edged/offload"
)

// countdown is a context that is cancelled when it is looked at once too
// often: cancellation in the middle of a step, without a clock.
type countdown struct {
	mu   sync.Mutex
	left int
	done chan struct{}
}

func newCountdown(looks int) *countdown { return &countdown{left: looks, done: make(chan struct{})} }

func (c *countdown) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left--
	if c.left == -1 {
		close(c.done)
	}
}

func (c *countdown) Err() error {
	c.look()
	select {
	case <-c.done:
		return context.Canceled
	default:
		return nil
	}
}

func (c *countdown) Done() <-chan struct{} {
	c.look()
	return c.done
}

func (c *countdown) Deadline() (time.Time, bool) { return time.Time{}, false }
func (c *countdown) Value(any) any               { return nil }

func (s *suite) testCancel(t *testing.T) {
	rng := s.rng(t)
	p := families[0].program(t, rng)
	r := newRig(t, s.backend, p, tinyLimits(p, s.opt.Elems[0]))
	tok := tinyTokens(rng, 300)
	q := r.seq(0)
	want := r.feed(q, tok, 300)
	q.Free()

	q = r.seq(0)
	r.feed(q, tok[:40], 40)
	stopped := 0
	for looks := range 12 {
		in, kv := r.assemble([]piece{{seq: q, tok: tok[40:]}})
		_, err := r.exec.Step(newCountdown(looks), in, kv)
		switch {
		case err != nil && !errors.Is(err, context.Canceled):
			t.Fatalf("a cancelled step failed with %v, want context.Canceled", err)
		case err == nil && looks == 0:
			t.Fatal("a step ran although its context was cancelled before")
		case err != nil && looks > 0:
			stopped++
		}
		if q.Len() != 40 {
			t.Fatalf("a cancelled step left %d tokens, want 40", q.Len())
		}
	}
	if stopped == 0 {
		t.Error("no step noticed a cancellation after it had begun")
	}
	s.checkAgain(t, "after cancelled steps", r.feed(q, tok[40:], 200), want[40:])
	s.cancelWhileRunning(t, r, tok, want)
}

// cancelWhileRunning cancels at arbitrary moments; whichever side wins, the
// sequence stays usable.
func (s *suite) cancelWhileRunning(t *testing.T, r *rig, tok []int32, want rows) {
	q := r.seq(0)
	defer func(q *offload.Seq) { q.Free() }(q)
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		in, kv := r.assemble([]piece{{seq: q, tok: tok}})
		var wg sync.WaitGroup
		wg.Go(cancel)
		_, err := r.exec.Step(ctx, in, kv)
		wg.Wait()
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("a cancelled step failed with %v, want context.Canceled", err)
		}
	}
	s.checkAgain(t, "after a race with cancellation", r.feed(q, tok, 300), want)
}
