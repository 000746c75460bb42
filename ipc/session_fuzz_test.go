package ipc_test

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"edged/ipc"
)

// FuzzSessionBody feeds the decoders of the routes of sessions: what they accept
// must be names that a terminal can print.
func FuzzSessionBody(f *testing.F) {
	for _, tt := range badSessions {
		f.Add([]byte(tt.body))
	}
	f.Add([]byte(`{"title":"a","tags":["b","c"]}`))
	f.Add([]byte(`{"title":"ü 😀","messages":3}`))
	f.Add([]byte(`{"tags":[]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		n, e, at, errs := ipc.DecodeSession(body)
		for _, err := range errs {
			if err != nil && (err.Message == "" || err.Kind != ipc.KindInvalidRequest || len(err.Message) > 1000) {
				t.Errorf("bad error %+v", err)
			}
		}
		if n != nil {
			checkNames(t, []string{n.Title}, 200)
			checkNames(t, n.Tags, 64)
		}
		if e != nil && e.Title != nil {
			checkNames(t, []string{*e.Title}, 200)
		}
		if e != nil && e.Tags != nil {
			checkNames(t, *e.Tags, 64)
		}
		if at < -1 {
			t.Errorf("fork at %d", at)
		}
	})
}

func checkNames(t *testing.T, names []string, most int) {
	t.Helper()
	if len(names) > 64 {
		t.Errorf("%d names", len(names))
	}
	for i, s := range names {
		n := utf8.RuneCountInString(s)
		if !utf8.ValidString(s) || n < 1 || n > most || strings.TrimSpace(s) != s || slices.Contains(names[:i], s) ||
			strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("the name %q was accepted", s)
		}
	}
}

func FuzzSessionQuery(f *testing.F) {
	for _, q := range []string{"", "title=a+b&tag=%20", "limit=10000", "limit=10001", "after=x&after=y", "id=%ff", "a=b", "%zz", "title=a;b", "limit=+5"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		got, err := ipc.DecodeSessionQuery(query)
		switch {
		case err != nil && (err.Message == "" || err.Kind != ipc.KindInvalidRequest || len(err.Message) > 1000):
			t.Errorf("bad error %+v", err)
		case err == nil && (got.Limit < 1 || got.Limit > ipc.MaxListed):
			t.Errorf("limit %d", got.Limit)
		}
	})
}
