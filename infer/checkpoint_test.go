package infer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"edged/infer/chat"
	"edged/infer/graph"
	"edged/offload"
)

// slow is a toy whose prompts take a second for a chunk, in a bubble's time.
func slow(rows *int) *toyBackend {
	return &toyBackend{step: func(ctx context.Context, r *graph.Rows) error {
		*rows += len(r.Tok)
		if len(r.Tok) > 1 {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}}
}

func checkpointConfig() Config {
	c := toyConfig()
	c.Checkpoint = 10 * time.Second
	return c
}

// TestPromptGoesOnFromItsCheckpoint lets a caller leave in the middle of a prompt,
// and another process take it up.
func TestPromptGoesOnFromItsCheckpoint(t *testing.T) {
	a := newArchive()
	synctest.Test(t, func(t *testing.T) {
		rows := 0
		e := startToy(t, checkpointConfig(), slow(&rows))
		ctx, cancel := context.WithTimeout(t.Context(), 35*time.Second) // 560 of 636 tokens
		defer cancel()
		if _, _, _, err := a.turn(ctx, e, "s", book); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		synctest.Wait()
	})
	if s := a.sessions["s"]; a.staged != 2 || len(s.staged) != 2 || len(s.blocks) != 0 {
		t.Fatalf("%d checkpoints, %d blocks", a.staged, len(s.staged))
	}
	synctest.Test(t, func(t *testing.T) {
		rows := 0
		e := startToy(t, checkpointConfig(), slow(&rows))
		rows = 0
		r := a.mustTurn(t, e, "s", book)
		if r.Usage.Restored != 2*offload.BlockTok || rows > r.Usage.Prompt-2*offload.BlockTok+9 {
			t.Errorf("usage %+v, %d rows", r.Usage, rows)
		}
	})
	if s := a.sessions["s"]; s.exact != 2 || len(s.blocks) != 2 || s.staged != nil {
		t.Errorf("%d blocks, %d exact", len(s.blocks), s.exact)
	}
}

// TestCheckpointOfAnotherPromptIsNotUsed.
func TestCheckpointOfAnotherPromptIsNotUsed(t *testing.T) {
	a := newArchive()
	synctest.Test(t, func(t *testing.T) {
		rows := 0
		e := startToy(t, checkpointConfig(), slow(&rows))
		ctx, cancel := context.WithTimeout(t.Context(), 35*time.Second)
		defer cancel()
		if _, _, _, err := a.turn(ctx, e, "s", book); err == nil {
			t.Fatal("no error")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		rows := 0
		e := startToy(t, checkpointConfig(), slow(&rows))
		if r := a.mustTurn(t, e, "s", "x"+book); r.Usage.Restored != 0 || r.Recomputed != nil {
			t.Errorf("usage %+v, recomputed: %v", r.Usage, r.Recomputed)
		}
	})
}

// TestCheckpointsThatFailCostNothingElse: the prompt is read, and not tried again.
func TestCheckpointsThatFailCostNothingElse(t *testing.T) {
	a := newArchive()
	tried := 0
	a.staging = func(context.Context) error { tried++; return errors.New("no room") }
	synctest.Test(t, func(t *testing.T) {
		rows := 0
		e := startToy(t, checkpointConfig(), slow(&rows))
		a.mustTurn(t, e, "s", book)
	})
	if tried != 1 {
		t.Errorf("%d tries", tried)
	}
}

// TestCheckpointOutlivesItsRequest: memory that is being saved stays as it is
// when its caller leaves, and is given back afterwards.
func TestCheckpointOutlivesItsRequest(t *testing.T) {
	a := newArchive()
	gate := make(chan struct{})
	a.staging = func(context.Context) error { <-gate; return nil }
	synctest.Test(t, func(t *testing.T) {
		gate = make(chan struct{})
		rows := 0
		e := startToy(t, checkpointConfig(), slow(&rows))
		total := e.Status().FreeTok
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
		defer cancel()
		if _, _, _, err := a.turn(ctx, e, "s", book); err == nil {
			t.Fatal("no error")
		}
		synctest.Wait()
		if e.owner.stagings == nil {
			t.Fatal("no checkpoint is under way")
		}
		close(gate)
		synctest.Wait()
		e.mu.Lock()
		defer e.mu.Unlock()
		for len(e.owner.kept) > 0 {
			e.owner.forget(0)
		}
		if free := e.owner.res.pool.FreeTok(); free != total || len(e.owner.stagings) > 0 {
			t.Errorf("%d of %d tokens are free, %d checkpoints under way", free, total, len(e.owner.stagings))
		}
	})
}

// TestLayersGoOnFromTheirCheckpoint is the same where prompts are read layer by
// layer, with a real model: the answer has the same bits as without a break.
func TestLayersGoOnFromTheirCheckpoint(t *testing.T) {
	if testing.Short() {
		t.Skip("evaluates prompts of a real model")
	}
	cfg := Config{
		Models:  []ModelConfig{{Name: "toy", Path: "../models/needle-26m-q8_0.gguf", Context: 2048, Policy: "auto", Cache: offload.Options{Sparse: true, Budget: 256}}},
		Threads: 2, HostBytes: 1 << 30, MaxSeqs: 2, CacheSeqs: 1, ChunkTok: 128, Checkpoint: 1,
	}
	start := func() *Engine {
		e, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Load(t.Context(), "", nil); err != nil {
			t.Fatal(err)
		}
		return e
	}
	ask := func(ctx context.Context, a *archive, e *Engine) (probs []float32, first Progress, used Usage, err error) {
		req := &Request{Messages: []chat.Message{{Role: "user", Content: strings.Repeat(book, 4) + "who?"}}, MaxTokens: 20, Logprobs: true,
			Keeper: keeper{a, "s"}, Session: &Session{ID: "s"}}
		res, err := e.Generate(ctx, req, func(d Delta) error {
			for _, p := range d.Logprobs {
				probs = append(probs, p.Logprob)
			}
			if d.Progress != nil && d.Progress.Done > 0 && first.Total == 0 {
				first = *d.Progress
			}
			return nil
		})
		return probs, first, res.Usage, err
	}
	steady := newArchive()
	steady.sessions["s"] = &archived{}
	e := start()
	want, _, whole, err := ask(t.Context(), steady, e)
	if err != nil || e.Close() != nil || steady.staged == 0 || whole.Cached != 0 {
		t.Fatalf("%v, %d checkpoints, %+v", err, steady.staged, whole)
	}

	a := newArchive()
	a.sessions["s"] = &archived{}
	ctx, cancel := context.WithCancel(t.Context())
	a.staging = func(context.Context) error {
		if a.staged == 2 { // in the third, so that two are kept
			cancel()
			return context.Canceled
		}
		return nil
	}
	e = start()
	if _, _, _, err := ask(ctx, a, e); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	a.staging = nil
	var state []byte
	for b, err := range a.sessions["s"].tail[0].All() {
		if err != nil {
			t.Fatal(err)
		}
		state = append(state, b...)
	}
	way, _, ok := decodeHeadway(state)
	if !ok || way.layers < 2 {
		t.Fatalf("the checkpoint has %+v", way)
	}
	e = start()
	got, first, used, err := ask(t.Context(), a, e)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("after a break: %v, want %v; %v", got, want, err)
	}
	// Some layers were kept, and tokens are counted by all layers: those kept are cached,
	// as they came from the Keeper, and the rest was read.
	layers := len(e.owner.res.prog.KV)
	kept := way.layers * used.Prompt / layers
	if first.Done < kept || first.Cached != kept || used.Cached != kept || used.Restored != kept {
		t.Errorf("it went on from %+v with %d layers of %d: %+v", first, way.layers, layers, used)
	}
	if n := e.Status().ReadTok; n != uint64(used.Prompt-kept) {
		t.Errorf("%d tokens were read, %+v", n, used)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}
