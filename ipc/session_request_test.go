package ipc_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"edged/ipc"
	"edged/ipc/ipctest"
)

// withSessions serves engine beside sessions of its own.
func withSessions(t testing.TB, engine ipc.Engine) (*served, *ipctest.Sessions) {
	sessions := &ipctest.Sessions{}
	return serveSocket(t, engine, func(s *ipc.Server) { s.SetSessions(sessions) }), sessions
}

// inSession answers "Hi" and what it was told about the session.
func inSession(ctx context.Context, req *ipc.Request, emit func(ipc.Delta) error) (ipc.Result, error) {
	res, err := two(ctx, req, emit)
	if req.Session != "" {
		res.Session = &ipc.SessionResult{ID: req.Session, Title: "book", Durable: true, Messages: 4}
		res.RestoredTokens, res.RestoreTime = 3, 1500*time.Microsecond
	}
	return res, err
}

func TestSessionOfAChat(t *testing.T) {
	engine := scripted(func(e *ipctest.Engine) {
		e.GenerateFunc = inSession
		e.List = append(e.List, ipc.ModelInfo{ID: "second"})
	})
	s, sessions := withSessions(t, engine)
	me := uint32(os.Geteuid())
	for uid, model := range map[uint32]string{me: "second", me + 1: "scripted"} {
		if _, err := sessions.Create(t.Context(), uid, ipc.SessionNew{Title: "book", Model: model}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := sessions.List(t.Context(), me, ipc.SessionFilter{})
	if err != nil {
		t.Fatal(err)
	}
	mine := list[0].ID
	theirs := map[string]string{"s1": "s2", "s2": "s1"}[mine]
	const object = `"session":{"id":"%s","title":"book","durable":true,"messages":4}`
	for _, tt := range []struct {
		name, fields string
		header       []string
		status       int
		want         string // part of the body
		model        string // that the engine is asked for
	}{
		{"field", fmt.Sprintf(`"session":%q`, mine), nil, 200, fmt.Sprintf(object, mine), "second"},
		{"restored", fmt.Sprintf(`"session":%q`, mine), nil, 200, `"timings":{"cache_n":4,"restored_n":3,"restore_ms":1.5,"prompt_n":8,`, "second"},
		{"header", `"x":1`, []string{"Edged-Session", mine}, 200, fmt.Sprintf(object, mine), "second"},
		{"both", fmt.Sprintf(`"session":%q,"recompute":true`, mine), []string{"Edged-Session", mine}, 200, fmt.Sprintf(object, mine), "second"},
		{"another model", fmt.Sprintf(`"session":%q,"model":"scripted"`, mine), nil, 200, fmt.Sprintf(object, mine), "scripted"},
		{"stream", fmt.Sprintf(`"stream":true,"session":%q`, mine), nil, 200, `"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],` + fmt.Sprintf(object, mine) + "}\n\ndata: [DONE]", "second"},
		{"none", `"session":null,"recompute":false`, nil, 200, `"finish_reason":"stop"`, "scripted"},
		{"both, different", fmt.Sprintf(`"session":%q`, mine), []string{"Edged-Session", "other"}, 400, "the request names two sessions, " + mine + " and, in the header Edged-Session, other; give one", ""},
		{"bad header", `"x":1`, []string{"Edged-Session", "a b"}, 400, `the header Edged-Session must be the id of a session, got \"a b\"`, ""},
		{"empty header", `"x":1`, []string{"Edged-Session", ""}, 400, `the header Edged-Session must be the id of a session, got \"\"`, ""},
		{"recompute alone", `"recompute":true`, nil, 400, "recompute is only allowed together with a session", ""},
		{"absent", `"session":"absent"`, nil, 404, `there is no session \"absent\"; GET /v1/sessions lists yours`, ""},
		{"another user's", fmt.Sprintf(`"session":%q`, theirs), nil, 404, "session_not_found", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(engine.Requests())
			a := s.do(t, "POST", "/v1/chat/completions", chatWith(tt.fields), tt.header...)
			if a.status != tt.status || !strings.Contains(a.body, tt.want) {
				t.Errorf("got %d %s", a.status, a.body)
			}
			asked := engine.Requests()[before:]
			if tt.status != 200 {
				if len(asked) > 0 {
					t.Errorf("the engine was asked: %+v", asked[0])
				}
				return
			}
			got := *asked[0]
			want := ipc.Request{ID: got.ID, Model: tt.model, UID: me, Client: "pid " + itoa(os.Getpid()), Recompute: tt.name == "both", Messages: got.Messages}
			if tt.name != "none" {
				want.Session = mine
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestNoSessionOfARawPrompt(t *testing.T) {
	s, _ := withSessions(t, ipctest.New())
	a := s.do(t, "POST", "/v1/completions", `{"prompt":"x"}`, "Edged-Session", "s1")
	if a.status != 400 || !strings.Contains(a.body, "the header Edged-Session is not supported for raw prompts, got s1") {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

func TestNoSessionsAreKept(t *testing.T) {
	s := serveSocket(t, ipctest.New())
	a := s.do(t, "POST", "/v1/chat/completions", chatWith(`"session":"s1"`))
	if a.status != 404 || !strings.Contains(a.body, `store.enabled = false","type":"not_found_error","param":"session","code":"sessions_disabled"`) {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

func TestPeerOfARequest(t *testing.T) {
	const peer = 4242
	engine := ipctest.New()
	s := serveSocket(t, engine, func(s *ipc.Server) { s.SetPeerUID(peer); s.SetAllowedUIDs([]uint32{peer}) })
	for range 2 { // the second on the same connection
		s.mustServe(t)
	}
	for _, r := range engine.Requests() {
		if r.UID != peer {
			t.Errorf("the peer is %d, want %d", r.UID, peer)
		}
	}
}
