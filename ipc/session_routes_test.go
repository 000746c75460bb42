package ipc_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"edged/ipc"
	"edged/ipc/ipctest"
)

const session1 = `"id":"s1","object":"session","title":"book","tags":["a b","c"],"model":"scripted","created":1700000001,"updated":1700000001,"used":1700000001,"messages":0,"tokens":0,"stored_tokens":0,"bytes":0`

// TestSessionsGolden is one conversation with the routes of sessions.
func TestSessionsGolden(t *testing.T) {
	s, sessions := withSessions(t, ipctest.New())
	for i, tt := range []struct{ method, path, body, want string }{
		{"GET", "/v1/sessions", "", `{"object":"list","data":[],"has_more":false}`},
		{"POST", "/v1/sessions", `{"title":"book","tags":["a b","c"]}`, "{" + session1 + "}"},
		{"GET", "/sessions/s1/", "", "{" + session1 + `,"history":[]}`},
		{"POST", "/sessions", `{"title":"ü 😀","model":"scripted","tags":null}`, `{"id":"s2","object":"session","title":"ü 😀","tags":[],"model":"scripted","created":1700000002,"updated":1700000002,"used":1700000002,"messages":0,"tokens":0,"stored_tokens":0,"bytes":0}`},
		{"GET", "/v1/sessions?title=book", "", `{"object":"list","data":[{` + session1 + `}],"has_more":false}`},
		{"GET", "/v1/sessions?tag=a+b&limit=5", "", `{"object":"list","data":[{` + session1 + `}],"has_more":false}`},
		{"GET", "/v1/sessions?id=s1", "", `{"object":"list","data":[{` + session1 + `}],"has_more":false}`},
		{"GET", "/v1/sessions?after=s2&limit=1", "", `{"object":"list","data":[{` + session1 + `}],"has_more":false}`},
		{"PATCH", "/v1/sessions/s2", `{"title":"new","tags":["x"]}`, `{"id":"s2","object":"session","title":"new","tags":["x"],"model":"scripted","created":1700000002,"updated":1700000003,"used":1700000002,"messages":0,"tokens":0,"stored_tokens":0,"bytes":0}`},
		{"POST", "/v1/sessions/s2/fork", `{"title":"copy"}`, `{"id":"s3","object":"session","title":"copy","tags":["x"],"model":"scripted","parent":"s2","created":1700000004,"updated":1700000004,"used":1700000004,"messages":0,"tokens":0,"stored_tokens":0,"bytes":0}`},
		{"DELETE", "/v1/sessions/s3", "", `{"id":"s3","object":"session.deleted","deleted":true}`},
		{"DELETE", "/v1/sessions/s2", "", `{"id":"s2","object":"session.deleted","deleted":true}`},
		{"HEAD", "/v1/sessions/s1/export", "", ""},
		{"GET", "/v1/sessions/s2", "", `{"error":{"message":"there is no session \"s2\"; GET /v1/sessions lists yours","type":"not_found_error","param":"session","code":"session_not_found"}}`},
	} {
		a := s.do(t, tt.method, tt.path, tt.body)
		if d := cmp.Diff(tt.want, strings.TrimSpace(a.body)); d != "" || (a.status == 200) == strings.Contains(tt.want, "error") {
			t.Errorf("step %d, %s %s: status %d\n%s", i, tt.method, tt.path, a.status, d)
		}
	}
	sessions.Append("s1", ipc.SessionMessage{Tokens: 7, Message: ipc.Message{
		Role: "assistant", Name: "n", Content: "<c>", Reasoning: "r", ToolCalls: json.RawMessage(`[{"id":1}]`), ToolCallID: "i",
	}})
	a := s.do(t, "GET", "/v1/sessions/s1", "")
	want := `"history":[{"role":"assistant","name":"n","content":"<c>","reasoning_content":"r","tool_calls":[{"id":1}],"tool_call_id":"i","tokens":7}]}`
	if !strings.Contains(a.body, want) {
		t.Errorf("got %s", a.body)
	}
}

func TestSessionsArePaged(t *testing.T) {
	s, _ := withSessions(t, ipctest.New())
	for i := range 5 {
		s.do(t, "POST", "/v1/sessions", fmt.Sprintf(`{"title":"t%d"}`, i))
	}
	var got []string
	for query := "limit=2"; ; {
		var page struct {
			Data    []struct{ ID string }
			HasMore bool `json:"has_more"`
		}
		if err := json.Unmarshal([]byte(s.do(t, "GET", "/v1/sessions?"+query, "").body), &page); err != nil {
			t.Fatal(err)
		}
		for _, x := range page.Data {
			got = append(got, x.ID)
		}
		if !page.HasMore {
			break
		}
		query = "limit=2&after=" + got[len(got)-1]
	}
	if d := cmp.Diff([]string{"s5", "s4", "s3", "s2", "s1"}, got); d != "" {
		t.Error(d)
	}
}

var badSessions = []struct {
	method, path, body string
	status             int
	want               string // part of the message
}{
	{"POST", "/v1/sessions", ``, 400, "the body is empty"},
	{"POST", "/v1/sessions", `{}`, 400, "title is required: a name of 1 to 200 characters"},
	{"POST", "/v1/sessions", `{"title":null}`, 400, "title is required"},
	{"POST", "/v1/sessions", `{"title":""}`, 400, "title must have 1 to 200 characters, got 0"},
	{"POST", "/v1/sessions", `{"title":"` + strings.Repeat("ü", 201) + `"}`, 400, "title must have 1 to 200 characters, got 201"},
	{"POST", "/v1/sessions", `{"title":" a"}`, 400, `title must not begin or end with a space, got \" a\"`},
	{"POST", "/v1/sessions", `{"title":"a\nb"}`, 400, `title must have printable characters only, got \"a\\nb\"`},
	{"POST", "/v1/sessions", `{"title":"a\u001b[2Jb"}`, 400, `title must have printable characters only`},
	{"POST", "/v1/sessions", `{"title":"a\u202eb"}`, 400, `title must have printable characters only`},
	{"POST", "/v1/sessions", `{"titel":"a"}`, 400, `the body has the field \"titel\"; known are title, tags, model`},
	{"POST", "/v1/sessions", `{"title":"a","tags":"x"}`, 400, `tags must be an array of strings, got \"x\"`},
	{"POST", "/v1/sessions", `{"title":"a","tags":["x",5]}`, 400, "tags[1] must be a string, got 5"},
	{"POST", "/v1/sessions", `{"title":"a","tags":["x",""]}`, 400, "tags [1] must have 1 to 64 characters, got 0"},
	{"POST", "/v1/sessions", `{"title":"a","tags":["x","x"]}`, 400, `tags [1] is \"x\", as one before it`},
	{"POST", "/v1/sessions", `{"title":"a","tags":[` + strings.Repeat(`"x",`, 64) + `"x"]}`, 400, "tags must be at most 64, got 65"},
	{"POST", "/v1/sessions", `{"title":"a","model":"absent"}`, 404, `the model \"absent\" is not served`},
	{"PATCH", "/v1/sessions/s1", `{}`, 400, "the body changes nothing; give title or tags"},
	{"PATCH", "/v1/sessions/s1", `{"title":5}`, 400, "title must be a string, got 5"},
	{"PATCH", "/v1/sessions/absent", `{"title":"x"}`, 404, "there is no session"},
	{"PUT", "/v1/sessions/s1", `{}`, 405, "PUT is not possible on /v1/sessions/s1; allowed: DELETE, GET, PATCH, HEAD, OPTIONS"},
	{"GET", "/v1/sessions/import", "", 405, "GET is not possible"},
	{"POST", "/v1/sessions/s1/fork", `{}`, 400, "title is required"},
	{"POST", "/v1/sessions/s1/fork", `{"title":"f","messages":-1}`, 400, "messages must be an integer from 0 to 2147483647, got -1"},
	{"POST", "/v1/sessions/s1/fork", `{"title":"f","messages":1}`, 400, "the session has 0 messages, got 1"},
	{"POST", "/v1/sessions/absent/fork", `{"title":"f"}`, 404, "there is no session"},
	{"GET", "/v1/sessions/absent/export", "", 404, "there is no session"},
	{"HEAD", "/v1/sessions/absent/export", "", 404, ""},
	{"DELETE", "/v1/sessions/absent", "", 404, "there is no session"},
	{"GET", "/v1/sessions/..%2f..%2fetc", "", 404, "no such route"},
	{"GET", "/v1/sessions/%00", "", 404, "there is no session"},
	{"GET", "/v1/sessions/s1/fork/x", "", 404, "no such route"},
	{"GET", "/v1/sessions/s1/thing", "", 404, "no such route"},
	{"GET", "/v1/sessions//", "", 404, "no such route"},
	{"GET", "/v1/sessions?limit=0", "", 400, `limit must be an integer from 1 to 10000, got \"0\"`},
	{"GET", "/v1/sessions?limit=x", "", 400, `limit must be an integer from 1 to 10000, got \"x\"`},
	{"GET", "/v1/sessions?titel=x", "", 400, `the query has \"titel\"; known are id, title, tag, after and limit`},
	{"GET", "/v1/sessions?tag=x&tag=y", "", 400, `the query has \"tag\" 2 times; give it once`},
	{"GET", "/v1/sessions?tag=", "", 400, "tag must not be empty"},
	{"GET", "/v1/sessions?after=absent", "", 404, "there is no session"},
	{"GET", "/v1/sessions?%zz", "", 400, "the query is malformed"},
	{"POST", "/v1/sessions/import", "no session", 400, "the stream is no session"},
}

func TestBadSessionRequests(t *testing.T) {
	s, _ := withSessions(t, ipctest.New())
	s.do(t, "POST", "/v1/sessions", `{"title":"book"}`)
	for _, tt := range badSessions {
		a := s.do(t, tt.method, tt.path, tt.body)
		if a.status != tt.status || !strings.Contains(a.body, tt.want) {
			t.Errorf("%s %s %.60s: got %d %s", tt.method, tt.path, tt.body, a.status, a.body)
		}
		if tt.method != "HEAD" {
			if err := checkErrorBody([]byte(a.body)); err != nil {
				t.Errorf("%s %s: %v", tt.method, tt.path, err)
			}
		}
	}
	if a := s.do(t, "GET", "/v1/sessions", ""); strings.Count(a.body, `"object":"session"`) != 1 {
		t.Errorf("a refused request has changed something: %s", a.body)
	}
}

// TestOthersSessions asks for another user's session in every way.
func TestOthersSessions(t *testing.T) {
	s, sessions := withSessions(t, ipctest.New())
	x, err := sessions.Create(t.Context(), uint32(os.Geteuid())+1, ipc.SessionNew{Title: "theirs", Tags: []string{"t"}, Model: "scripted"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ method, path, body string }{
		{"GET", "", ""}, {"PATCH", "", `{"title":"mine"}`}, {"DELETE", "", ""}, {"POST", "/fork", `{"title":"f"}`}, {"GET", "/export", ""},
	} {
		a := s.do(t, tt.method, "/v1/sessions/"+x.ID+tt.path, tt.body)
		absent := s.do(t, tt.method, "/v1/sessions/absent"+tt.path, tt.body)
		if a.status != 404 || strings.ReplaceAll(a.body, x.ID, "absent") != absent.body {
			t.Errorf("%s %s: %d %s differs from that for none, %s", tt.method, tt.path, a.status, a.body, absent.body)
		}
	}
	for _, query := range []string{"", "?title=theirs", "?tag=t"} {
		if a := s.do(t, "GET", "/v1/sessions"+query, ""); !strings.Contains(a.body, `"data":[]`) {
			t.Errorf("%q lists %s", query, a.body)
		}
	}
}

func TestSessionRoutesWithoutSessions(t *testing.T) {
	s := serveSocket(t, ipctest.New())
	for _, r := range []string{"GET ", "POST ", "GET /x", "PATCH /x", "DELETE /x", "POST /x/fork", "GET /x/export", "POST /import"} {
		method, path, _ := strings.Cut(r, " ")
		a := s.do(t, method, "/v1/sessions"+path, "{}")
		if a.status != 404 || !strings.Contains(a.body, `"code":"sessions_disabled"`) {
			t.Errorf("%s: %d %s", r, a.status, a.body)
		}
	}
}

// TestExportsMove moves a session that is larger than other bodies may be.
func TestExportsMove(t *testing.T) {
	s, sessions := withSessions(t, ipctest.New())
	s.do(t, "POST", "/v1/sessions", `{"title":"book"}`)
	sessions.Append("s1", ipc.SessionMessage{Message: ipc.Message{Role: "user", Content: strings.Repeat("x", ipc.MaxBodyBytes+1)}})
	a := s.do(t, "GET", "/v1/sessions/s1/export", "")
	if a.status != 200 || a.header.Get("Content-Type") != "application/vnd.edged.session" || a.header.Get("Content-Disposition") != `attachment; filename="s1.edged"` {
		t.Fatalf("got %d %v", a.status, a.header)
	}
	b := s.do(t, "POST", "/v1/sessions/import", a.body)
	if b.status != 200 || !strings.Contains(b.body, `"id":"s2"`) || !strings.Contains(b.body, `"messages":1`) {
		t.Fatalf("got %d %.200s", b.status, b.body)
	}
	if c := s.do(t, "POST", "/v1/sessions/import", a.body, "Content-Encoding", "gzip"); c.status != 415 {
		t.Errorf("compressed: %d %s", c.status, c.body)
	}
}

// A failure must not look like the end of the export.
func TestExportThatFails(t *testing.T) {
	s, sessions := withSessions(t, ipctest.New())
	s.do(t, "POST", "/v1/sessions", `{"title":"book"}`)
	damaged := &ipc.Error{Kind: ipc.KindStorage, Code: ipc.CodeSessionDamaged, Message: "block 3 is damaged"}
	sessions.ExportFunc = func(context.Context, io.Writer) error { return damaged }
	if a := s.do(t, "GET", "/v1/sessions/s1/export", ""); a.status != 500 || !strings.Contains(a.body, "block 3 is damaged") {
		t.Errorf("at once: %d %s", a.status, a.body)
	}
	sessions.ExportFunc = func(_ context.Context, w io.Writer) error {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			return err
		}
		return damaged
	}
	resp, err := s.client.Get("http://localhost/v1/sessions/s1/export")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("the failure after %d bytes looks like an end", n)
	}
	if !strings.Contains(s.log.String(), "block 3 is damaged") {
		t.Error("the failure is not in the log")
	}
	s.mustServe(t)
}

// TestSlowImports checks both bounds of a body: what hangs, and what trickles.
func TestSlowImports(t *testing.T) {
	for _, tt := range []struct {
		name  string
		pause time.Duration
		most  time.Duration // until it is refused
	}{
		{"hangs", time.Hour, 2 * ipc.BodyTimeout},
		{"trickles", time.Second, 2 * ipc.BodyTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sessions := &ipctest.Sessions{}
				s := servePipe(t, ipctest.New(), func(s *ipc.Server) { s.SetSessions(sessions) })
				c, err := s.dial()
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				answered := make(chan struct{})
				defer close(answered)
				go func() {
					io.WriteString(c, "POST /v1/sessions/import HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
					for {
						select {
						case <-time.After(tt.pause):
						case <-answered:
							return
						}
						if _, err := io.WriteString(c, " "); err != nil {
							return
						}
					}
				}()
				began := time.Now()
				body := readAnswer(t, c)
				if took := time.Since(began); !strings.Contains(body, `"code":"body_timeout"`) || took > tt.most {
					t.Errorf("after %v: %s", took, body)
				}
			})
		})
	}
}

// readAnswer reads the body of one response.
func readAnswer(t *testing.T, c net.Conn) string {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// A transfer whose client does not go on must not hold up the daemon's end.
func TestTransfersEndWithTheDaemon(t *testing.T) {
	for _, tt := range []struct{ name, request, want string }{
		{"import", "POST /v1/sessions/import HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", `"code":"draining"`},
		{"export", "GET /v1/sessions/s1/export HTTP/1.1\r\nHost: x\r\n\r\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sessions := &ipctest.Sessions{}
				var ended error
				sessions.ExportFunc = func(_ context.Context, w io.Writer) error {
					for ended == nil {
						_, ended = w.Write(make([]byte, 1<<20))
					}
					return ended
				}
				if _, err := sessions.Create(t.Context(), uint32(os.Geteuid()), ipc.SessionNew{Title: "book"}); err != nil {
					t.Fatal(err)
				}
				s := servePipe(t, ipctest.New(), func(s *ipc.Server) { s.SetSessions(sessions) })
				c, err := s.dial()
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if _, err := io.WriteString(c, tt.request); err != nil {
					t.Fatal(err)
				}
				var body string
				var reading sync.WaitGroup
				if tt.want != "" {
					reading.Go(func() { body = readAnswer(t, c) })
				}
				synctest.Wait() // the transfer hangs
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("the drain ended with %v", err)
				}
				if took := time.Since(began); took > 4*time.Second { // the drain, and a moment to tell the client
					t.Errorf("the end took %v", took)
				}
				if tt.name == "export" && ended == nil {
					t.Error("the export goes on")
				}
				if reading.Wait(); !strings.Contains(body, tt.want) {
					t.Errorf("got %s", body)
				}
			})
		})
	}
}

func TestImportThatIsCutOff(t *testing.T) {
	s, _ := withSessions(t, ipctest.New())
	err := s.refuses(hostile{name: "cut", raw: "POST /v1/sessions/import HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", status: http.StatusBadRequest})
	if err != nil {
		t.Error(err)
	}
	if a := s.do(t, "GET", "/v1/sessions", ""); !strings.Contains(a.body, `"data":[]`) {
		t.Errorf("something is left behind: %s", a.body)
	}
}
