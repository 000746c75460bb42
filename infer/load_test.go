package infer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"edged/infer/graph"
)

// gated is a toy whose steps wait while it is held.
type gated struct {
	held atomic.Bool
	gate chan struct{}
}

func (g *gated) backend() *toyBackend {
	return &toyBackend{step: func(context.Context, *graph.Rows) error {
		if g.held.Load() {
			<-g.gate
		}
		return nil
	}}
}

func TestLoadWaitsForRunningRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gated{gate: make(chan struct{})}
		e := startToy(t, toyConfig(), g.backend())
		g.held.Store(true)
		var wg sync.WaitGroup
		ids := longPrompt(1, 40)
		wg.Go(func() {
			if text, _, err := collect(t.Context(), e, &Request{Prompt: prompt(ids...), MaxTokens: 5}); err != nil || text != toyText(toyAnswer(ids, 5, toyContext, true)) {
				t.Errorf("the running request: %q, %v", text, err)
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("operator changed his mind")
		wg.Go(func() {
			if err := e.Load(ctx, "other", nil); !errors.Is(err, why) {
				t.Errorf("the load that was taken back: %v", err)
			}
		})
		synctest.Wait()
		if _, _, err := collect(t.Context(), e, &Request{Prompt: prompt(1)}); !errors.Is(err, ErrLoading) || !strings.Contains(err.Error(), "other") {
			t.Errorf("while a load waits: %v", err)
		}
		cancel(why)
		synctest.Wait()
		g.held.Store(false)
		close(g.gate)
		wg.Wait()
		if s := e.Status(); s.Model != "toy" || s.State != Ready {
			t.Errorf("status %+v", s)
		}
	})
}

// A request that waited while the operator loaded another model is told so.
func TestLoadLeavesNoRequestBehind(t *testing.T) {
	for _, c := range []struct {
		model string
		want  error
		state State
	}{{"other", ErrModelNotFound, Ready}, {"bad", ErrFailed, Failed}} {
		synctest.Test(t, func(t *testing.T) {
			g := &gated{gate: make(chan struct{})}
			cfg := toyConfig()
			cfg.MaxSeqs = 1
			e := startToy(t, cfg, g.backend())
			g.held.Store(true)
			var wg sync.WaitGroup
			errs := make([]error, 2)
			for i := range errs { // one runs, one waits
				wg.Go(func() {
					_, _, errs[i] = collect(t.Context(), e, &Request{Prompt: prompt(1, 2), MaxTokens: 5})
				})
				synctest.Wait()
			}
			wg.Go(func() {
				if err := e.Load(t.Context(), c.model, nil); (err != nil) != (c.state == Failed) {
					t.Errorf("load %s: %v", c.model, err)
				}
			})
			synctest.Wait()
			g.held.Store(false)
			close(g.gate)
			wg.Wait()
			if err := errs[0]; err != nil {
				t.Errorf("the request that ran: %v", err)
			}
			if err := errs[1]; !errors.Is(err, c.want) {
				t.Errorf("the request that waited: %v, want %v", err, c.want)
			}
			if s := e.Status().State; s != c.state {
				t.Errorf("engine is %v", s)
			}
		})
	}
}

func TestCloseEndsALoadThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gated{gate: make(chan struct{})}
		e := startToy(t, toyConfig(), g.backend())
		g.held.Store(true)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, _, err := collect(t.Context(), e, &Request{Prompt: prompt(1, 2)}); !errors.Is(err, ErrClosed) {
				t.Errorf("request: %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if err := e.Load(t.Context(), "other", nil); !errors.Is(err, ErrClosed) {
				t.Errorf("load: %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		close(g.gate)
		wg.Wait()
	})
}

// Drain counts requests that wait: one that leaves before it ran must wake it,
// or it waits for something that will not come.
func TestDrainSeesAQueuedRequestLeave(t *testing.T) {
	m := loadToy(t, toyConfig())
	defer m.close(t)
	c := m.submit(t, longPrompt(1, 20), 0)
	changed := m.e.changed
	m.e.abandon(c.t)
	c.left = true
	m.o.settle()
	select {
	case <-changed:
	default:
		t.Error("the queue became empty, and nobody was told")
	}
}

// A file that makes a parser panic costs its own request or load, nothing else.
func TestPanicWhileAModelIsOpened(t *testing.T) {
	cfg := toyConfig()
	cfg.AllowSwitch = true
	e, err := newEngine(cfg, func(path string) (*modelFile, error) {
		if path == "missing" {
			panic("index out of range")
		}
		return toyOpen(toyContext)(path)
	}, func(string) (graph.Backend, error) { return &toyBackend{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	go e.owner.run()
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := e.Load(t.Context(), "", nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := collect(t.Context(), e, &Request{Model: "bad", Prompt: prompt(1)}); err == nil || !strings.Contains(err.Error(), "index out of range") {
		t.Errorf("request: %v", err)
	}
	if err := e.Load(t.Context(), "bad", nil); err == nil || !strings.Contains(err.Error(), "index out of range") {
		t.Errorf("load: %v", err)
	}
	if s := e.Status(); s.State != Failed {
		t.Errorf("after the load: %+v", s)
	}
	if text, _, err := collect(t.Context(), e, &Request{Prompt: prompt(1, 2), MaxTokens: 5}); err != nil || text != toyText(toyAnswer([]int32{1, 2}, 5, toyContext, true)) {
		t.Errorf("the next request: %q, %v", text, err)
	}
}

// A context that is not the model's own is never given silently.
func TestContextLoweredForMemoryIsReported(t *testing.T) {
	cfg := toyConfig()
	plan, err := kvPlan{layers: toyProgram(1).KV, policy: "full", slots: cfg.MaxSeqs + cfg.CacheSeqs, Memory: Memory{Host: 1 << 30}}.plan(600, 600)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cfg.Models[0].Policy = "full"
	cfg.HostBytes, cfg.Logger = plan.Bytes.Fast.Total()+plan.Bytes.Host.Total()+workingBytes(toyProgram(1), cfg.ChunkTok+cfg.MaxSeqs), slog.New(slog.NewTextHandler(&log, nil))
	e := startToy(t, cfg, &toyBackend{})
	s := e.Status()
	if s.Context >= toyContext || s.Context < 500 || s.TrainContext != toyContext {
		t.Errorf("context %d of %d", s.Context, s.TrainContext)
	}
	want := fmt.Sprintf("context=%d model_context=%d", s.Context, toyContext)
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), want) {
		t.Errorf("no warning with %q in the log:\n%s", want, &log)
	}
	if m := e.Models()[0]; m.Context != s.Context || m.TrainContext != toyContext {
		t.Errorf("model %+v", m)
	}
	// The whole context fits, or the configuration asks for less: no warning.
	for _, change := range []func(*Config){func(c *Config) { c.HostBytes = 1 << 26 }, func(c *Config) { c.Models[0].Context = 64 }} {
		log.Reset()
		change(&cfg)
		startToy(t, cfg, &toyBackend{})
		if strings.Contains(log.String(), "WARN") {
			t.Errorf("log:\n%s", &log)
		}
	}
}

func TestOpenModelRefuses(t *testing.T) {
	junk := filepath.Join(t.TempDir(), "junk.gguf")
	if err := os.WriteFile(junk, []byte("not a model"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"absent.gguf": "absent.gguf", junk: "gguf"} {
		e, err := New(Config{Models: []ModelConfig{{Name: "m", Path: path}}, Backend: "ref", HostBytes: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Load(t.Context(), "", nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
		if s := e.Status(); s.State != Failed || s.Reason == "" {
			t.Errorf("%s: %+v", path, s)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestStateNames(t *testing.T) {
	var names []string
	for s := Empty; s <= Closed; s++ {
		names = append(names, s.String())
	}
	if got := strings.Join(names, " "); got != "empty loading ready draining failed closed" {
		t.Error(got)
	}
}
