package infer

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"edged/infer/chat"
	"edged/infer/graph"
)

func TestCancelStopsAChunk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var block atomic.Bool
		e := startToy(t, toyConfig(), &toyBackend{step: func(ctx context.Context, rows *graph.Rows) error {
			if block.Load() && len(rows.Tok) > 1 {
				<-ctx.Done() // a chunk that would take for ever
				return ctx.Err()
			}
			return nil
		}})
		block.Store(true)
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error, 1)
		go func() {
			_, _, err := collect(ctx, e, &Request{Prompt: prompt(longPrompt(1, 100)...)})
			done <- err
		}()
		synctest.Wait() // the owner is in the chunk
		why := errors.New("user pressed stop")
		cancel(why)
		if err := <-done; !errors.Is(err, why) {
			t.Errorf("got %v", err)
		}
		block.Store(false)
		ids := longPrompt(2, 30)
		if text, _, err := collect(t.Context(), e, &Request{Prompt: prompt(ids...), MaxTokens: 4}); err != nil || text != toyText(toyAnswer(ids, 4, toyContext, true)) {
			t.Errorf("after the cancel: %q, %v", text, err)
		}
		if s := e.Status(); s.Running != 0 || s.State != Ready {
			t.Errorf("status %+v", s)
		}
	})
}

// A chunk that others benefit from goes on when one of them leaves.
func TestCancelOfOneLeavesTheStepToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		second, gate := make(chan struct{}), make(chan struct{})
		var stopped atomic.Bool
		e := startToy(t, toyConfig(), &toyBackend{step: func(ctx context.Context, rows *graph.Rows) error {
			switch {
			case len(rows.Tok) == 1 && rows.Pos[0] == 20:
				<-second // the first request has begun to decode
			case len(rows.Tok) > 16:
				<-gate // a decode row and a chunk
				stopped.CompareAndSwap(false, ctx.Err() != nil)
			}
			return nil
		}})
		ids := longPrompt(1, 5)
		var wg sync.WaitGroup
		wg.Go(func() {
			text, _, err := collect(t.Context(), e, &Request{Prompt: prompt(ids...), Sampling: noEnd()})
			if err != nil || text != toyText(toyAnswer(ids, 0, toyContext, false)) {
				t.Errorf("the other request: %q, %v", text, err)
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			if _, _, err := collect(ctx, e, &Request{Prompt: prompt(longPrompt(2, 400)...)}); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
		synctest.Wait() // it waits in the queue
		close(second)
		synctest.Wait() // both are in a step
		cancel()
		synctest.Wait()
		close(gate)
		wg.Wait()
		if stopped.Load() {
			t.Error("the step was stopped although a request in it goes on")
		}
	})
}

// A caller that does not read pauses its own request and nothing else.
func TestSlowReaderPausesItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := startToy(t, toyConfig(), &toyBackend{})
		read := make(chan struct{})
		slow := longPrompt(1, 10)
		var got []byte
		done := make(chan error, 1)
		go func() {
			_, err := e.Generate(t.Context(), &Request{Prompt: prompt(slow...), Sampling: noEnd()}, func(d Delta) error {
				<-read
				got = append(got, d.Text...)
				return nil
			})
			done <- err
		}()
		synctest.Wait()
		ids := longPrompt(2, 40)
		if text, _, err := collect(t.Context(), e, &Request{Prompt: prompt(ids...), Sampling: noEnd()}); err != nil || text != toyText(toyAnswer(ids, 0, toyContext, false)) {
			t.Errorf("the other request: %q, %v", text, err)
		}
		synctest.Wait()
		if s := e.Status(); s.Running != 1 {
			t.Errorf("the slow request has ended: %+v", s)
		}
		close(read)
		if err := <-done; err != nil || string(got) != toyText(toyAnswer(slow, 0, toyContext, false)) {
			t.Errorf("slow request: %q, %v", got, err)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var hold atomic.Bool
		e := startToy(t, toyConfig(), &toyBackend{step: func(context.Context, *graph.Rows) error {
			if hold.Load() {
				<-gate
			}
			return nil
		}})
		hold.Store(true)
		var wg sync.WaitGroup
		for i := range 3 + 4 {
			wg.Go(func() {
				if _, _, err := collect(t.Context(), e, &Request{Prompt: prompt(int32(i)), MaxTokens: 2}); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		_, _, err := collect(t.Context(), e, &Request{Prompt: prompt(9)})
		var busy *BusyError
		if !errors.As(err, &busy) || busy.Queued != 4 || busy.Limit != 4 || !errors.Is(err, ErrBusy) {
			t.Errorf("got %v", err)
		}
		e.SetMaxQueue(2) // fewer than wait already
		if _, _, err := collect(t.Context(), e, &Request{Prompt: prompt(9)}); !errors.As(err, &busy) || busy.Limit != 2 || busy.Queued != 4 {
			t.Errorf("after lowering the limit: %v", err)
		}
		e.SetMaxQueue(5)
		wg.Go(func() {
			if _, _, err := collect(t.Context(), e, &Request{Prompt: prompt(9), MaxTokens: 2}); err != nil {
				t.Errorf("after raising the limit: %v", err)
			}
		})
		synctest.Wait()
		if s := e.Status(); s.Running+s.Queued != 3+5 {
			t.Errorf("%d requests run, %d wait", s.Running, s.Queued)
		}
		close(gate)
		wg.Wait()
	})
}

func TestStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newToy(t, toyConfig(), &toyBackend{})
		go e.owner.run()
		if s := e.Status().State; s != Empty {
			t.Errorf("new engine is %v", s)
		}
		if _, _, err := collect(t.Context(), e, &Request{Prompt: prompt(1)}); !errors.Is(err, ErrLoading) {
			t.Errorf("without a model: %v", err)
		}
		if err := e.Load(t.Context(), "nobody", nil); !errors.Is(err, ErrModelNotFound) {
			t.Errorf("unknown model: %v", err)
		}
		var last LoadProgress
		if err := e.Load(t.Context(), "toy", func(p LoadProgress) { last = p }); err != nil {
			t.Fatal(err)
		}
		if s := e.Status(); s.State != Ready || s.Model != "toy" || s.Context != toyContext || s.LastStep.IsZero() || last.Total != 64 {
			t.Errorf("after loading: %+v, progress %+v", s, last)
		}
		if err := e.Load(t.Context(), "toy", nil); err != nil {
			t.Errorf("loading again: %v", err)
		}
		if err := e.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		if _, _, err := collect(t.Context(), e, &Request{Prompt: prompt(1)}); !errors.Is(err, ErrDraining) {
			t.Errorf("while draining: %v", err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if _, _, err := collect(t.Context(), e, &Request{Prompt: prompt(1)}); !errors.Is(err, ErrClosed) {
			t.Errorf("after closing: %v", err)
		}
		if err := e.Load(t.Context(), "toy", nil); !errors.Is(err, ErrClosed) {
			t.Errorf("loading after closing: %v", err)
		}
		if s := e.Status(); s.State != Closed || s.Memory.Total() != 0 {
			t.Errorf("after closing: %+v", s)
		}
	})
}

func TestDrainWaitsAndCloseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := startToy(t, toyConfig(), &toyBackend{step: func(ctx context.Context, rows *graph.Rows) error {
			if len(rows.Tok) == 16 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}})
		done := make(chan error, 1)
		go func() {
			_, _, err := collect(t.Context(), e, &Request{Prompt: prompt(longPrompt(1, 30)...)})
			done <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := e.Drain(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "1 requests") {
			t.Errorf("drain with a request that hangs: %v", err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("the request ended with %v", err)
		}
	})
}

func TestSwitchModel(t *testing.T) {
	cfg := toyConfig()
	cfg.AllowSwitch, cfg.MaxQueue = true, 16
	e := startToy(t, cfg, &toyBackend{})
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			name := []string{"toy", "other"}[i%2]
			ids := longPrompt(i, 20+i)
			text, res, err := collect(t.Context(), e, &Request{Model: name, Prompt: prompt(ids...), MaxTokens: 20})
			if err != nil || res.Model != name || text != toyText(toyAnswer(ids, 20, toyContext, true)) {
				t.Errorf("request %d: %q from %q, %v", i, text, res.Model, err)
			}
		})
	}
	wg.Wait()
	if _, _, err := collect(t.Context(), e, &Request{Model: "other", Messages: []chat.Message{{Role: "user", Content: "x"}}}); !errors.Is(err, ErrNoTemplate) {
		t.Errorf("chat without a template: %v", err)
	}
	if _, _, err := collect(t.Context(), e, &Request{Model: "nobody", Prompt: prompt(1)}); !errors.Is(err, ErrModelNotFound) {
		t.Errorf("unknown model: %v", err)
	}
	// A file that cannot be opened is refused while the present model stays.
	before := e.Status().Model
	if _, _, err := collect(t.Context(), e, &Request{Model: "bad", Prompt: prompt(1)}); err == nil || !strings.Contains(err.Error(), "no such toy") {
		t.Errorf("missing file: %v", err)
	}
	if s := e.Status(); s.State != Ready || s.Model != before {
		t.Errorf("after a missing file: %+v", s)
	}
}

func TestSwitchNotAllowed(t *testing.T) {
	e := startToy(t, toyConfig(), &toyBackend{})
	_, _, err := collect(t.Context(), e, &Request{Model: "other", Prompt: prompt(1)})
	var m *ModelError
	if !errors.As(err, &m) || m.Resident != "toy" || !strings.Contains(err.Error(), "switching is off") {
		t.Errorf("got %v", err)
	}
	if err := e.Load(t.Context(), "other", nil); err != nil { // the operator may
		t.Error(err)
	}
	if s := e.Status(); s.Model != "other" {
		t.Errorf("resident: %q", s.Model)
	}
}

func TestFailedSwitchIsReportedAndNotHidden(t *testing.T) {
	cfg := toyConfig()
	cfg.AllowSwitch = true
	broken := errors.New("device lost")
	var fail atomic.Bool
	e := startToy(t, cfg, &toyBackend{compile: func() error {
		if fail.Load() {
			return broken
		}
		return nil
	}})
	fail.Store(true)
	if _, _, err := collect(t.Context(), e, &Request{Model: "other", Prompt: prompt(1)}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if s := e.Status(); s.State != Failed || s.Model != "" || !strings.Contains(s.Reason, "device lost") {
		t.Errorf("status %+v", s)
	}
	fail.Store(false)
	if _, res, err := collect(t.Context(), e, &Request{Model: "toy", Prompt: prompt(1), MaxTokens: 1}); err != nil || res.Model != "toy" {
		t.Errorf("the next request: %+v, %v", res, err)
	}
	if s := e.Status(); s.State != Ready || s.Reason != "" {
		t.Errorf("status %+v", s)
	}
}

func TestStepErrorEndsItsRequestsOnly(t *testing.T) {
	bad := errors.New("bad step")
	var left atomic.Int32
	e := startToy(t, toyConfig(), &toyBackend{step: func(_ context.Context, rows *graph.Rows) error {
		if len(rows.Tok) > 4 && left.Add(-1) == 0 {
			return bad
		}
		return nil
	}})
	left.Store(2)
	ids := longPrompt(1, 60)
	if _, _, err := collect(t.Context(), e, &Request{Prompt: prompt(ids...)}); !errors.Is(err, bad) {
		t.Errorf("got %v", err)
	}
	text, res, err := collect(t.Context(), e, &Request{Prompt: prompt(ids...), MaxTokens: 9})
	if err != nil || text != toyText(toyAnswer(ids, 9, toyContext, true)) || res.Usage.Cached != 0 {
		t.Errorf("after the error: %q, %+v, %v", text, res, err)
	}
	if s := e.Status(); s.State != Ready {
		t.Errorf("status %+v", s)
	}
}

func TestUnrecoverableBackendFailsTheEngine(t *testing.T) {
	for _, c := range []struct {
		name string
		step func() error
	}{
		{"every step fails", func() error { return errors.New("device lost") }},
		{"panic", func() error { panic("device lost") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var broken atomic.Bool
			e := startToy(t, toyConfig(), &toyBackend{step: func(context.Context, *graph.Rows) error {
				if broken.Load() {
					return c.step()
				}
				return nil
			}})
			broken.Store(true)
			for range 2 {
				if _, _, err := collect(t.Context(), e, &Request{Prompt: prompt(1, 2)}); !errors.Is(err, ErrFailed) && !strings.Contains(err.Error(), "device lost") {
					t.Errorf("got %v", err)
				}
			}
			if s := e.Status(); s.State != Failed || !strings.Contains(s.Reason, "device lost") {
				t.Errorf("status %+v", s)
			}
			broken.Store(false)
			if err := e.Load(t.Context(), "toy", nil); err != nil { // the operator's way out
				t.Fatal(err)
			}
			if _, _, err := collect(t.Context(), e, &Request{Prompt: prompt(1, 2), MaxTokens: 2}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLoadFailsWhenTheModelCannotDecode(t *testing.T) {
	e := newToy(t, toyConfig(), &toyBackend{step: func(context.Context, *graph.Rows) error { return errors.New("no kernel") }})
	go e.owner.run()
	if err := e.Load(t.Context(), "", nil); err == nil || !strings.Contains(err.Error(), "no kernel") {
		t.Errorf("got %v", err)
	}
	if s := e.Status(); s.State != Failed || s.Memory.Total() != 0 {
		t.Errorf("status %+v", s)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

func TestTokenizeAndDetokenize(t *testing.T) {
	e := startToy(t, toyConfig(), &toyBackend{})
	toks, err := e.Tokenize(t.Context(), "", "abc", true, false)
	if err != nil || len(toks) != 3 || toks[0].ID != toyBOS || toks[1].ID != toyAB || string(toks[2].Piece) != "c" {
		t.Errorf("got %v, %v", toks, err)
	}
	if s, err := e.Detokenize(t.Context(), "toy", []int32{toyBOS, toyAB, 0xff}); err != nil || s != "<|bos|>ab\uFFFD" {
		t.Errorf("got %q, %v", s, err)
	}
	if _, err := e.Detokenize(t.Context(), "toy", []int32{toyVocab}); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if _, err := e.Tokenize(t.Context(), "nobody", "x", true, false); !errors.Is(err, ErrModelNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestModelsAreDescribedOnceUsed(t *testing.T) {
	cfg := toyConfig()
	cfg.Default, cfg.AllowSwitch = "other", true
	e := startToy(t, cfg, &toyBackend{})
	names := func() (s []string) {
		for _, m := range e.Models() {
			s = append(s, m.Name)
		}
		return s
	}
	if got := strings.Join(names(), " "); got != "other toy bad" {
		t.Errorf("models %s: the default comes first", got)
	}
	other := e.Models()[0]
	if !other.Resident || other.Context != toyContext || other.Vocab != toyVocab || other.Chat || other.Arch != "toy" {
		t.Errorf("resident model: %+v", other)
	}
	if toy := e.Models()[1]; toy.Resident || toy.Vocab != 0 {
		t.Errorf("unused model: %+v", toy)
	}
	if _, _, err := collect(t.Context(), e, &Request{Model: "toy", Prompt: prompt(1), MaxTokens: 1}); err != nil {
		t.Fatal(err)
	}
	if m := e.Models(); m[0].Resident || m[0].Context != toyContext || !m[1].Resident || !m[1].Chat {
		t.Errorf("after a switch: %+v", m)
	}
}

// A caller that neither reads nor waits gives its place up.
func TestCancelWhileEmitBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := startToy(t, toyConfig(), &toyBackend{})
		ctx, cancel := context.WithCancel(t.Context())
		read := make(chan struct{})
		done := make(chan error, 1)
		go func() {
			_, err := e.Generate(ctx, &Request{Prompt: prompt(1, 2), Sampling: noEnd()}, func(Delta) error {
				<-read
				return nil
			})
			done <- err
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if s := e.Status(); s.Running != 0 || s.KeptSeqs != 1 {
			t.Errorf("status %+v", s)
		}
		close(read)
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
