package infer

import (
	"context"
	"sync"
	"testing"
)

// Several requests with one prompt, of which the first is accepted first, read
// the prompt once.
func TestRequestsWithOnePromptReadItOnce(t *testing.T) {
	cfg := toyConfig()
	cfg.MaxSeqs = 4
	e := startToy(t, cfg, &toyBackend{})
	ids := longPrompt(1, 100)
	results := make([]Result, 4)
	accepted := make(chan struct{})
	var all sync.WaitGroup
	run := func(i int, accept func()) {
		_, err := generate(t.Context(), e, &Request{Prompt: prompt(ids...), MaxTokens: 5, Sampling: noEnd()}, accept, &results[i])
		if err != nil {
			t.Errorf("request %d: %v", i, err)
		}
	}
	all.Go(func() { run(0, sync.OnceFunc(func() { close(accepted) })) })
	<-accepted
	for i := 1; i < 4; i++ {
		all.Go(func() { run(i, func() {}) })
	}
	all.Wait()
	for i, r := range results {
		if want := map[bool]int{true: 0, false: len(ids) - 1}[i == 0]; r.Usage.Cached != want || r.Usage.Completion != 5 {
			t.Errorf("request %d: %+v, want %d cached", i, r.Usage, want)
		}
	}
}

func generate(ctx context.Context, e *Engine, req *Request, each func(), res *Result) (string, error) {
	var text []byte
	var err error
	*res, err = e.Generate(ctx, req, func(d Delta) error {
		text = append(text, d.Text...)
		each()
		return nil
	})
	return string(text), err
}
