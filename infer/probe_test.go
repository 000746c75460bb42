package infer

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"edged/infer/graph"
)

// An idle engine computes nothing by itself; proofs asked for together cost one.
func TestProveDecodesOnDemandOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var steps atomic.Int64
		e := startToy(t, toyConfig(), &toyBackend{step: func(context.Context, *graph.Rows) error {
			steps.Add(1)
			time.Sleep(time.Millisecond) // of the bubble's clock
			return nil
		}})
		loaded := steps.Load()
		time.Sleep(time.Hour)
		if n := steps.Load(); n != loaded {
			t.Fatalf("%d steps in an idle hour", n-loaded)
		}
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if err := e.Prove(t.Context(), time.Minute); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := steps.Load() - loaded; n != 2 {
			t.Errorf("ten proofs took %d steps, want the 2 of one", n)
		}
		if age := time.Since(e.Status().LastStep); age > time.Second {
			t.Errorf("the last step was %v ago", age)
		}
	})
}

func TestProveWhileARequestRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gated{gate: make(chan struct{})}
		e := startToy(t, toyConfig(), g.backend())
		before := e.Status()
		g.held.Store(true)
		ids := longPrompt(1, 40)
		var wg sync.WaitGroup
		wg.Go(func() {
			text, _, err := collect(t.Context(), e, &Request{Prompt: prompt(ids...), MaxTokens: 5})
			if err != nil || text != toyText(toyAnswer(ids, 5, toyContext, true)) {
				t.Errorf("the running request: %q, %v", text, err)
			}
		})
		synctest.Wait()
		time.Sleep(2 * time.Minute) // the step hangs
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := e.Prove(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while a step hangs: %v", err)
		}
		g.held.Store(false)
		close(g.gate)
		if err := e.Prove(t.Context(), time.Minute); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		wg.Wait()
		s := e.Status()
		if read, made := s.ReadTok-before.ReadTok, s.GeneratedTok-before.GeneratedTok; read != 40 || made == 0 || made > 5 {
			t.Errorf("%d tokens read, %d generated", read, made)
		}
	})
}

func TestProofThatFailsFailsTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead := errors.New("device lost")
		var broken atomic.Bool
		e := startToy(t, toyConfig(), &toyBackend{step: func(context.Context, *graph.Rows) error {
			if broken.Load() {
				return dead
			}
			return nil
		}})
		broken.Store(true)
		time.Sleep(2 * time.Minute)
		if err := e.Prove(t.Context(), time.Minute); !errors.Is(err, dead) {
			t.Errorf("got %v", err)
		}
		if err := e.Prove(t.Context(), time.Minute); !errors.Is(err, ErrFailed) {
			t.Errorf("again: %v", err)
		}
		if s := e.Status(); s.State != Failed {
			t.Errorf("state %v", s.State)
		}
	})
}

func TestProveWithoutAModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := newEngine(toyConfig(), toyOpen(toyContext), func(string) (graph.Backend, error) { return &toyBackend{}, nil })
		if err != nil {
			t.Fatal(err)
		}
		go e.owner.run()
		if err := e.Prove(t.Context(), time.Minute); !errors.Is(err, ErrLoading) {
			t.Errorf("before a model: %v", err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if err := e.Prove(t.Context(), time.Minute); !errors.Is(err, ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	})
}
