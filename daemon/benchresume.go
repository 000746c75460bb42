package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"edged/infer"
	"edged/ipc"
	"edged/store"
)

// ResumeReport is what coming back to a session of a real model takes.
type ResumeReport struct {
	Model    string  `json:"model"`
	Cache    string  `json:"cache"`
	Prompt   int     `json:"prompt_tokens"`   // of the first turn
	Read     float64 `json:"read_seconds"`    // until the first token of its answer
	Restored int     `json:"restored_tokens"` // in the second turn, by a new engine and store
	Restore  float64 `json:"restore_seconds"`
	First    float64 `json:"first_token_seconds"`      // from the second request to its first token, all included
	Live     float64 `json:"live_first_token_seconds"` // the same where the session was still in memory
	Hold     float64 `json:"hold_seconds"`             // that steps waited at a turn's end for its sequence to be claimed, at most
	Step     float64 `json:"step_seconds"`             // of one token beside the session
}

// Resume measures the first token of a session's next answer, after the engine
// and the store were closed and opened again. The page cache stays warm.
func (e Evaluation) Resume(ctx context.Context, tokens int) (r ResumeReport, err error) {
	dir, err := os.MkdirTemp("", "edged-bench-")
	if err != nil {
		return r, fmt.Errorf("bench resume: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &resumeBench{e: e, dir: filepath.Join(dir, "sessions")}
	for turn := range 3 {
		if turn != 1 {
			if err := b.open(ctx, &r); err != nil {
				return r, errors.Join(fmt.Errorf("bench resume: %w", err), b.close())
			}
		}
		if err := b.turn(ctx, &r, turn, tokens); err != nil {
			return r, errors.Join(fmt.Errorf("bench resume: turn %d: %w", turn+1, err), b.close())
		}
		if turn != 0 {
			if err := b.close(); err != nil {
				return r, err
			}
		}
	}
	return r, nil
}

// resumeBench is a session over the lives of engines.
type resumeBench struct {
	e      Evaluation
	dir    string
	id     string
	engine *infer.Engine
	store  *store.Store
	api    *adapter
}

func (b *resumeBench) open(ctx context.Context, r *ResumeReport) (err error) {
	if b.engine, err = b.e.Engine(ctx); err != nil {
		return err
	}
	s := b.engine.Status()
	r.Model, r.Cache = s.Model, s.Cache
	if b.store, err = store.Open(ctx, store.Options{Dir: b.dir}); err != nil {
		return err
	}
	def := DefaultConfig().Sampling
	def.Temperature = 0
	b.api = newAdapter(b.engine, def, b.store, slog.New(slog.DiscardHandler))
	return nil
}

func (b *resumeBench) close() error {
	var errs []error
	if b.engine != nil {
		errs = append(errs, b.engine.Close())
	}
	errs = append(errs, closeSessions(b.store))
	b.engine, b.store = nil, nil
	return errors.Join(errs...)
}

// turn asks the session's next question: the first reads a document of so many
// tokens, the second finds all of it in memory, the third in the store.
func (b *resumeBench) turn(ctx context.Context, r *ResumeReport, turn, tokens int) error {
	question := "And the next line?"
	if turn == 0 {
		s, err := b.store.User(0).Create(store.New{Title: "bench", Model: r.Model})
		if err != nil {
			return err
		}
		b.id = s.ID
		if question, err = b.document(ctx, r.Model, tokens); err != nil {
			return err
		}
	}
	begun, first := time.Now(), time.Duration(0)
	res, err := b.api.Generate(ctx, &ipc.Request{ID: "bench", Model: r.Model, Session: b.id, MaxTokens: 8, Logprobs: true, Messages: []ipc.Message{{Role: "user", Content: question}}},
		func(d ipc.Delta) error {
			if first == 0 && len(d.Logprobs) > 0 {
				first = time.Since(begun)
			}
			return nil
		})
	switch {
	case err != nil:
		return err
	case !res.Session.Durable || res.Session.Reason != "":
		return fmt.Errorf("the turn was not stored: %s", res.Session.Reason)
	}
	s := b.engine.Status()
	r.Hold, r.Step = max(r.Hold, s.LongestHold.Seconds()), s.LastStepTime.Seconds()
	switch turn {
	case 0:
		r.Prompt, r.Read = res.PromptTokens, first.Seconds()
	case 1:
		r.Live = first.Seconds()
	default:
		r.Restored, r.Restore, r.First = res.RestoredTokens, res.RestoreTime.Seconds(), first.Seconds()
	}
	return nil
}

// document is text of about so many tokens.
func (b *resumeBench) document(ctx context.Context, model string, tokens int) (string, error) {
	var text strings.Builder
	for line, have := 0, 0; have < tokens; {
		from := text.Len()
		for range 10 {
			fmt.Fprintf(&text, "Line %d: the quiet river carries leaf %d past the mill.\n", line, 7*line%1000)
			line++
		}
		ids, err := b.engine.Tokenize(ctx, model, text.String()[from:], false, false)
		if err != nil {
			return "", err
		}
		have += len(ids)
	}
	return text.String() + "What is on line 3?", nil
}
