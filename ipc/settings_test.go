package ipc_test

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"edged/ipc"
	"edged/ipc/ipctest"
)

func TestSetAllowedUIDs(t *testing.T) {
	const friend = 4_000_002
	s := serveSocket(t, ipctest.New(), func(s *ipc.Server) { s.SetPeerUID(friend) })
	for _, tc := range []struct {
		uids []uint32
		want int
	}{{nil, http.StatusForbidden}, {[]uint32{7, friend}, http.StatusOK}, {[]uint32{7}, http.StatusForbidden}} {
		s.SetAllowedUIDs(tc.uids)
		s.client.CloseIdleConnections() // who may connect is asked when they do
		if a := s.do(t, "GET", "/healthz", ""); a.status != tc.want {
			t.Errorf("with %v: status %d, want %d: %s", tc.uids, a.status, tc.want, a.body)
		}
	}
}

func TestSetKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := servePipe(t, generating(func(ctx context.Context, emit func(ipc.Delta) error) error {
			return errors.Join(emit(ipc.Delta{Progress: &ipc.Progress{Total: 9}}), sleep(ctx, 70*time.Second))
		}))
		for _, tc := range []struct{ interval, first time.Duration }{
			{30 * time.Second, 30 * time.Second}, {0, ipc.DefaultKeepAlive},
		} {
			s.SetKeepAlive(tc.interval)
			start := time.Now()
			resp := s.openStream(t, t.Context(), streamBody)
			first := time.Duration(-1)
			for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
				if first < 0 && sc.Text() == ": keepalive" {
					first = time.Since(start)
				}
			}
			if first != tc.first {
				t.Errorf("interval %v: the first comment came after %v, want %v", tc.interval, first, tc.first)
			}
		}
	})
}
