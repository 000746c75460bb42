package ipc_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"edged/ipc"
	"edged/ipc/ipctest"
)

// slowEngine answers a word a second, and never ends.
func slowEngine(ended *time.Duration) *ipctest.Engine {
	start := time.Now()
	return generating(func(ctx context.Context, emit func(ipc.Delta) error) error {
		for {
			if err := errors.Join(emit(ipc.Delta{Text: "x "}), sleep(ctx, time.Second)); err != nil {
				*ended = time.Since(start)
				return err
			}
		}
	})
}

func TestDeadlines(t *testing.T) {
	for _, c := range []struct {
		name, header string
		limit        time.Duration // the server's
		want         time.Duration
		by           string
	}{
		{"of the request", "2.5", 0, 2500 * time.Millisecond, "its header X-Request-Timeout"},
		{"of the server", "", 7 * time.Second, 7 * time.Second, "this daemon"},
		{"the shorter one, of the server", "100", 7 * time.Second, 7 * time.Second, "this daemon"},
		{"the shorter one, of the request", "3", 7 * time.Second, 3 * time.Second, "its header"},
	} {
		for _, stream := range []string{"false", "true"} {
			t.Run(c.name+", stream "+stream, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var ended time.Duration
					s := servePipe(t, slowEngine(&ended), func(s *ipc.Server) { s.SetMaxAnswer(c.limit) })
					header := []string{"X-Request-Timeout", c.header}
					if c.header == "" {
						header = nil
					}
					a := s.do(t, "POST", "/v1/chat/completions", `{"stream":`+stream+`,`+chatBody[1:], header...)
					if status := map[string]int{"false": 504, "true": 200}[stream]; a.status != status {
						t.Errorf("status %d", a.status)
					}
					if ended != c.want || !strings.Contains(a.body, c.want.String()) || !strings.Contains(a.body, c.by) || !strings.Contains(a.body, `"code":"deadline_exceeded"`) {
						t.Errorf("ended after %v, want %v: %s", ended, c.want, a.body)
					}
					if strings.Contains(a.body, "[DONE]") {
						t.Error("the stream claims to be complete")
					}
				})
			})
		}
	}
}

func TestBadTimeouts(t *testing.T) {
	s := serveSocket(t, ipctest.New())
	for _, v := range []string{"", "0", "-1", "NaN", "Inf", "1e9", "ten", "5s", "1,2"} {
		a := s.do(t, "POST", "/v1/chat/completions", chatBody, "X-Request-Timeout", v)
		if a.status != 400 || !strings.Contains(a.body, "must be a number of seconds above 0 and at most 86400, got ") {
			t.Errorf("%q: %d %s", v, a.status, a.body)
		}
	}
}
