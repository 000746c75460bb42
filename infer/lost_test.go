package infer

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"edged/infer/graph"
)

// TestLostDevice: nothing more runs on a device that is lost, every request ends
// with the reason, and whoever runs the engine is told.
func TestLostDevice(t *testing.T) {
	steps := 0
	b := &toyBackend{step: func(context.Context, *graph.Rows) error {
		if steps++; steps <= 2 { // those of the proof after loading
			return nil
		}
		return fmt.Errorf("illegal address: %w", graph.ErrLost)
	}}
	told := make(chan error, 2)
	cfg := toyConfig()
	cfg.Lost = func(err error) { told <- err }
	e := startToy(t, cfg, b)
	_, _, err := collect(t.Context(), e, &Request{Prompt: prompt(1, 2)})
	if !errors.Is(err, ErrFailed) || !errors.Is(err, graph.ErrLost) {
		t.Errorf("request ended with %v, want ErrFailed and ErrLost", err)
	}
	if err := <-told; !errors.Is(err, graph.ErrLost) {
		t.Errorf("told of %v, want ErrLost", err)
	}
	if _, _, err := collect(t.Context(), e, &Request{Prompt: prompt(1, 2)}); !errors.Is(err, ErrFailed) {
		t.Errorf("the next request ended with %v, want ErrFailed", err)
	}
	if steps != 3 || len(told) != 0 {
		t.Errorf("%d steps, told %d times more; want 3 steps and to be told once", steps, len(told))
	}
}
