package webui

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"edged/ipc"
	"edged/ipc/api"
	"edged/ipc/ipctest"
)

// start serves the page of a scripted engine.
func start(t *testing.T, engine *ipctest.Engine, sessions *ipctest.Sessions) *Server {
	t.Helper()
	return startAt(t, ipctest.Serve(t, engine, ipc.Options{Sessions: sessions, Operator: operator{}}))
}

// operator tells of a machine with a GPU.
type operator struct{ ipc.Operator }

func (operator) Prove(context.Context) error { return nil }

func (operator) Status(context.Context) (api.Status, error) {
	return api.Status{
		Model: &api.LoadedModel{ID: "scripted", Cache: "paged q8", CacheTokens: 4096, FreeTokens: 4000, IdleKept: 2},
		Memory: []api.MemoryUse{
			{Tier: "device", Purpose: "weights", Bytes: 5 << 30}, {Tier: "device", Purpose: "kv-index", Bytes: 1 << 30},
			{Tier: "host", Purpose: "kv-pages", Bytes: 9 << 30},
		},
		Host:  api.HostStatus{Total: 64 << 30, Available: 40 << 30},
		Store: &api.StoreStatus{Sessions: 3, DiskBytes: 7 << 30, Budget: 100 << 30},
	}, nil
}

func startAt(t *testing.T, socket string) *Server {
	t.Helper()
	s, err := New(socket, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// request asks the port. Headers are pairs; a header "Host" is the request's host.
func request(t *testing.T, s *Server, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, s.origin+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(raw)
}

// authorization is the header of a page that has the key.
func authorization(t *testing.T, s *Server) []string {
	t.Helper()
	_, token, _ := strings.Cut(s.Link(), "#")
	resp, body := request(t, s, "POST", "/login", `{"token":"`+token+`"}`)
	var out struct{ Key string }
	if err := json.Unmarshal([]byte(body), &out); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("login: %s %s (%v)", resp.Status, body, err)
	}
	return []string{"Authorization", "Bearer " + out.Key}
}

func TestTheLinkIsGoodOnce(t *testing.T) {
	s := start(t, ipctest.New(), new(ipctest.Sessions))
	_, token, _ := strings.Cut(s.Link(), "#")
	for _, c := range []struct {
		body   string
		status int
		says   string
	}{
		{`{"token":"AAAA"}`, 403, "not of the page that runs now"},
		{`{"token":""}`, 403, "not of the page that runs now"},
		{`{"token":7}`, 400, "read the body"},
		{strings.Repeat("x", maxBody+1), 400, "too large"},
		{`{"token":"` + token + `"}`, 200, `"key":`},
		{`{"token":"` + token + `"}`, 403, "was used before"},
	} {
		if resp, body := request(t, s, "POST", "/login", c.body); resp.StatusCode != c.status || !strings.Contains(body, c.says) {
			t.Errorf("login with %.40s: %s %s, want %d %q", c.body, resp.Status, body, c.status, c.says)
		}
	}
}

func TestNothingIsServedWithoutTheKey(t *testing.T) {
	engine := ipctest.New()
	s := start(t, engine, new(ipctest.Sessions))
	key := authorization(t, s)
	paths := []struct{ method, path string }{
		{"GET", "/v1/models"}, {"GET", "/v1/sessions"}, {"POST", "/v1/chat/completions"}, {"GET", "/readyz"}, {"POST", "/ticket"}, {"GET", "/anything"},
	}
	for _, p := range paths {
		for _, h := range [][]string{nil, {"Authorization", "Bearer wrong"}, {"Authorization", key[1][len("Bearer "):]}, {"Cookie", "key=" + key[1]}} {
			if resp, _ := request(t, s, p.method, p.path, "", h...); resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s %s with %v: %s", p.method, p.path, h, resp.Status)
			}
		}
	}
	if resp, body := request(t, s, "GET", "/v1/models", "", key...); resp.StatusCode != http.StatusOK || !strings.Contains(body, "scripted") {
		t.Errorf("with the key: %s %s", resp.Status, body)
	}
	if n := len(engine.Requests()); n != 0 {
		t.Errorf("%d requests reached the engine", n)
	}
}

// A name that an attacker has made to point to this machine, and a page of
// another origin, get nothing even if they knew the key.
func TestOtherHostsAndOriginsAreRefused(t *testing.T) {
	s := start(t, ipctest.New(), new(ipctest.Sessions))
	key := authorization(t, s)
	port := s.origin[strings.LastIndexByte(s.origin, ':'):]
	for _, c := range []struct {
		headers []string
		status  int
	}{
		{[]string{"Host", "evil.example" + port}, http.StatusMisdirectedRequest},
		{[]string{"Host", "localhost" + port}, http.StatusMisdirectedRequest},
		{[]string{"Host", "127.0.0.1"}, http.StatusMisdirectedRequest},
		{[]string{"Origin", "http://evil.example"}, http.StatusForbidden},
		{[]string{"Origin", "null"}, http.StatusForbidden},
		{[]string{"Origin", "http://127.0.0.1:1"}, http.StatusForbidden},
		{[]string{"Origin", s.origin}, http.StatusOK},
	} {
		for _, path := range []string{"/v1/models", "/"} {
			if resp, body := request(t, s, "GET", path, "", append(c.headers, key...)...); resp.StatusCode != c.status {
				t.Errorf("GET %s with %v: %s %.80s", path, c.headers, resp.Status, body)
			}
		}
	}
}

func TestOnlyThePagesRoutesArePassedOn(t *testing.T) {
	s := start(t, ipctest.New(), new(ipctest.Sessions))
	key := authorization(t, s)
	for _, c := range []struct{ method, path string }{
		{"POST", "/v1/completions"}, {"GET", "/v1/sessions/a/export"}, {"POST", "/tokenize"}, {"PUT", "/v1/sessions/a"},
		{"GET", "/v1/sessions/a%2Fexport"}, {"GET", "/v1/models/x"}, {"GET", "/metrics"},
	} {
		if resp, body := request(t, s, c.method, c.path, "{}", key...); resp.StatusCode != http.StatusNotFound || !strings.Contains(body, "no such route") {
			t.Errorf("%s %s: %s %s", c.method, c.path, resp.Status, body)
		}
	}
}

func TestDownloadsNeedATicketEach(t *testing.T) {
	sessions := new(ipctest.Sessions)
	s := start(t, ipctest.New(), sessions)
	key := authorization(t, s)
	made, err := sessions.Create(t.Context(), uint32(os.Getuid()), ipc.SessionNew{Title: "a book"})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/models", "/v1/sessions/../models", "/v1/sessions/" + made.ID} {
		if resp, _ := request(t, s, "POST", "/ticket", `{"path":"`+path+`"}`, key...); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("ticket for %s: %s", path, resp.Status)
		}
	}
	resp, body := request(t, s, "POST", "/ticket", `{"path":"/v1/sessions/`+made.ID+`/export"}`, key...)
	var out struct{ Path string }
	if err := json.Unmarshal([]byte(body), &out); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("ticket: %s %s", resp.Status, body)
	}
	resp, body = request(t, s, "GET", out.Path, "")
	if resp.StatusCode != http.StatusOK || len(body) == 0 {
		t.Errorf("download: %s, %d bytes", resp.Status, len(body))
	}
	if got := resp.Header.Get("Content-Disposition"); !strings.HasPrefix(got, "attachment;") {
		t.Errorf("Content-Disposition is %q", got)
	}
	if resp, _ := request(t, s, "GET", out.Path, ""); resp.StatusCode != http.StatusForbidden {
		t.Errorf("second download: %s", resp.Status)
	}
}

func TestTicketsEnd(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	k := newTickets(func() time.Time { return now })
	first, err := k.issue("/a")
	if err != nil {
		t.Fatal(err)
	}
	for range maxTickets - 1 {
		if _, err := k.issue("/b"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := k.issue("/c"); !errors.Is(err, errTickets) {
		t.Errorf("ticket %d: %v", maxTickets+1, err)
	}
	now = now.Add(ticketTime + 1)
	if _, err := k.take(first); !errors.Is(err, errTicket) {
		t.Errorf("old ticket: %v", err)
	}
	if _, err := k.issue("/c"); err != nil {
		t.Errorf("after the others have ended: %v", err)
	}
}

func TestThePageMayLoadNothingElse(t *testing.T) {
	s := start(t, ipctest.New(), new(ipctest.Sessions))
	want := map[string]string{"/": "text/html; charset=utf-8", "/page/app.js": "text/javascript; charset=utf-8", "/page/style.css": "text/css; charset=utf-8"}
	for path, kind := range want {
		resp, body := request(t, s, "GET", path, "")
		got := map[string]string{}
		for _, h := range []string{"Content-Type", "Content-Security-Policy", "X-Content-Type-Options", "Cache-Control", "Referrer-Policy"} {
			got[h] = resp.Header.Get(h)
		}
		if diff := cmp.Diff(map[string]string{
			"Content-Type": kind, "Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff",
			"Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
		}, got); diff != "" || len(body) == 0 {
			t.Errorf("GET %s, %d bytes (-want +got):\n%s", path, len(body), diff)
		}
	}
	for _, path := range []string{"/page/none.js", "/page/..%2Fwebui.go"} {
		if resp, _ := request(t, s, "GET", path, ""); resp.StatusCode != http.StatusNotFound {
			t.Errorf("GET %s: %s", path, resp.Status)
		}
	}
}

func TestADaemonThatIsNotThereIsSaid(t *testing.T) {
	s := startAt(t, filepath.Join(t.TempDir(), "none"))
	resp, body := request(t, s, "GET", "/readyz", "", authorization(t, s)...)
	var out api.ErrorResponse
	if err := json.Unmarshal([]byte(body), &out); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusBadGateway || !strings.HasPrefix(out.Error.Message, "the daemon is not running") {
		t.Errorf("%s %+v", resp.Status, out)
	}
}

// Leaving the page ends the answer in the daemon.
func TestLeavingEndsTheAnswer(t *testing.T) {
	engine := ipctest.New()
	engine.Script = append(engine.Script, make([]string, 1_000_000)...)
	s := start(t, engine, new(ipctest.Sessions))
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, err := http.NewRequestWithContext(ctx, "POST", s.origin+"/v1/chat/completions", strings.NewReader(`{"stream":true,"messages":[{"role":"user","content":"x"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", authorization(t, s)[1])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := resp.Body.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	leave()
	<-engine.Cancelled()
}
