package ipc_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"edged/ipc"
)

// A large prompt takes a multiple of its size until it is tokenized and its
// length is known to fit, so few may be at that point at a time. What has been
// accepted does not hold up others.
func TestLargePromptsAreAcceptedFewAtATime(t *testing.T) {
	for _, stream := range []string{"false", "true"} {
		synctest.Test(t, func(t *testing.T) {
			var reading, accepted atomic.Int32
			fits, answer := make(chan struct{}), make(chan struct{})
			s := servePipe(t, generating(func(_ context.Context, emit func(ipc.Delta) error) error {
				reading.Add(1)
				<-fits
				reading.Add(-1)
				err := emit(ipc.Delta{Progress: &ipc.Progress{Total: 9}})
				accepted.Add(1)
				<-answer
				return errors.Join(err, emit(ipc.Delta{Text: "a"}))
			}))
			body := `{"stream":` + stream + `,"messages":[{"role":"user","content":"` + strings.Repeat("x", ipc.SmallBodyBytes) + `"}]}`
			const n = 2 * ipc.MaxLargeBodies
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() {
					if a := s.do(t, "POST", "/v1/chat/completions", body); a.status != 200 {
						t.Errorf("got %d %s", a.status, a.body)
					}
				})
			}
			synctest.Wait()
			if got := reading.Load(); got != ipc.MaxLargeBodies {
				t.Errorf("stream %s: %d large prompts are read at a time, want %d", stream, got, ipc.MaxLargeBodies)
			}
			close(fits)
			synctest.Wait()
			if got := accepted.Load(); got != n {
				t.Errorf("stream %s: %d prompts are accepted while others are answered, want %d", stream, got, n)
			}
			close(answer)
			wg.Wait()
		})
	}
}
