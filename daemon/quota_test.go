package daemon

import (
	"errors"
	"strings"
	"testing"

	"edged/ipc"
)

// limited is sessions of a store with limits per user.
func limited(t *testing.T, limits Store) sessions {
	s := testSessions(t)
	s.quota.limits = func() Store { return limits }
	return s
}

func wantQuota(t *testing.T, err error, text string) {
	t.Helper()
	var e *ipc.Error
	if !errors.As(err, &e) || e.Kind != ipc.KindStorage || e.Code != ipc.CodeQuota || !strings.Contains(e.Message, text) {
		t.Errorf("got %v, want quota_exceeded: %s", err, text)
	}
}

func TestUserSessionsAreLimited(t *testing.T) {
	s := limited(t, Store{UserSessions: 2})
	var last ipc.Session
	for range 2 {
		var err error
		if last, err = s.Create(t.Context(), 7, ipc.SessionNew{Model: "m"}); err != nil {
			t.Fatal(err)
		}
	}
	const want = "user id 7 has 2 sessions, and store.user_sessions allows 2; delete some first"
	_, err := s.Create(t.Context(), 7, ipc.SessionNew{Model: "m"})
	wantQuota(t, err, want)
	_, err = s.Fork(t.Context(), 7, last.ID, -1, "")
	wantQuota(t, err, want)
	_, err = s.Import(t.Context(), 7, strings.NewReader(""))
	wantQuota(t, err, want)
	if _, err := s.Create(t.Context(), 8, ipc.SessionNew{Model: "m"}); err != nil {
		t.Errorf("another user: %v", err)
	}
	if err := s.Delete(t.Context(), 7, last.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), 7, ipc.SessionNew{Model: "m"}); err != nil {
		t.Errorf("after a deletion: %v", err)
	}
}

func TestUserBytesAreLimited(t *testing.T) {
	s := limited(t, Store{UserBudget: 1000})
	u := s.store.User(7)
	for bytes, full := range map[int64]bool{0: false, 1000: false, 1001: true} {
		err := s.quota.fits(u, "", bytes)
		if full {
			wantQuota(t, err, "the user's sessions would take 1001 bytes, and store.user_budget allows 1000")
		} else if err != nil {
			t.Errorf("%d bytes: %v", bytes, err)
		}
	}
}
