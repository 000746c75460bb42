package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"edged/ipc"
	"edged/ipc/api"
	"edged/ipc/client"
	"edged/ipc/ipctest"
)

// sessionClient is a client of a daemon with empty sessions in memory.
func sessionClient(t *testing.T, engine ipc.Engine) (*client.Client, *ipctest.Sessions) {
	t.Helper()
	sessions := &ipctest.Sessions{}
	c := client.New(ipctest.Serve(t, engine, ipc.Options{Sessions: sessions}))
	t.Cleanup(c.Close)
	return c, sessions
}

func TestSessions(t *testing.T) {
	c, sessions := sessionClient(t, ipctest.New())
	x, err := c.CreateSession(t.Context(), api.SessionNew{Title: "book", Tags: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	if x.ID != "s1" || x.Title != "book" || x.Model != "scripted" {
		t.Errorf("got %+v", x)
	}
	for i := range 3 {
		sessions.Append(x.ID, ipc.SessionMessage{Tokens: i, Message: ipc.Message{Role: "user", Content: fmt.Sprint(i)}})
	}
	if x, err = c.EditSession(t.Context(), x.ID, api.SessionEdit{Title: new("new"), Tags: &[]string{}}); err != nil || x.Title != "new" || len(x.Tags) != 0 {
		t.Errorf("edit: %+v, %v", x, err)
	}
	fork, err := c.ForkSession(t.Context(), x.ID, api.SessionFork{Title: "fork", Messages: new(2)})
	if err != nil || fork.Messages != 2 || fork.Parent != x.ID {
		t.Errorf("fork: %+v, %v", fork, err)
	}
	detail, err := c.Session(t.Context(), fork.ID)
	if err != nil {
		t.Fatal(err)
	}
	want := api.SessionDetail{Session: fork, History: []api.SessionMessage{{Role: "user", Content: "0"}, {Role: "user", Content: "1", Tokens: 1}}}
	if d := cmp.Diff(want, detail); d != "" {
		t.Error(d)
	}
	if list, err := c.Sessions(t.Context(), client.SessionFilter{Title: "fork"}); err != nil || len(list) != 1 || list[0].ID != fork.ID {
		t.Errorf("list: %+v, %v", list, err)
	}
	if err := c.DeleteSession(t.Context(), x.ID); err != nil {
		t.Error(err)
	}
	var refused *client.Error
	if err := c.DeleteSession(t.Context(), x.ID); !errors.As(err, &refused) || *refused.Code != "session_not_found" {
		t.Errorf("a second time: %v", err)
	}
}

func TestSessionsOfManyPages(t *testing.T) {
	c, sessions := sessionClient(t, ipctest.New())
	const n = 2100
	for i := range n {
		if _, err := sessions.Create(t.Context(), 0, ipc.SessionNew{Title: fmt.Sprint(i), Model: "scripted"}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := c.Sessions(t.Context(), client.SessionFilter{})
	if err != nil || len(list) != n || list[0].Title != fmt.Sprint(n-1) || list[n-1].Title != "0" {
		t.Errorf("%d sessions, %v", len(list), err)
	}
}

func TestChatOfASession(t *testing.T) {
	engine := ipctest.New()
	engine.GenerateFunc = func(_ context.Context, req *ipc.Request, emit func(ipc.Delta) error) (ipc.Result, error) {
		err := emit(ipc.Delta{Text: "x"})
		return ipc.Result{FinishReason: ipc.FinishStop, Session: &ipc.SessionResult{ID: req.Session, Reason: "disk full", Messages: 2, Recomputed: "other model"}}, err
	}
	c, _ := sessionClient(t, engine)
	x, err := c.CreateSession(t.Context(), api.SessionNew{Title: "book"})
	if err != nil {
		t.Fatal(err)
	}
	req := ask("What?")
	req.Session, req.Recompute = x.ID, true
	a, err := c.Chat(t.Context(), req, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&api.SessionResult{ID: x.ID, Reason: "disk full", Messages: 2, Recomputed: "other model"}, a.Session); d != "" {
		t.Error(d)
	}
	if got := engine.Requests()[0]; got.Session != x.ID || !got.Recompute {
		t.Errorf("the engine was asked %+v", got)
	}
}

func TestExportAndImport(t *testing.T) {
	c, sessions := sessionClient(t, ipctest.New())
	x, err := c.CreateSession(t.Context(), api.SessionNew{Title: "book"})
	if err != nil {
		t.Fatal(err)
	}
	sessions.Append(x.ID, ipc.SessionMessage{Message: ipc.Message{Role: "user", Content: strings.Repeat("x", 1<<20)}})
	var file bytes.Buffer
	if n, err := c.ExportSession(t.Context(), x.ID, &file); err != nil || n != int64(file.Len()) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	y, err := c.ImportSession(t.Context(), bytes.NewReader(file.Bytes()))
	if err != nil || y.ID == x.ID || y.Title != "book" || y.Messages != 1 {
		t.Errorf("got %+v, %v", y, err)
	}
	broken := errors.New("disk broken")
	if _, err := c.ExportSession(t.Context(), x.ID, brokenWriter{broken}); !errors.Is(err, broken) || errors.Is(err, client.ErrCutOff) {
		t.Errorf("a writer that fails: %v", err)
	}
	if _, err := c.ImportSession(t.Context(), io.MultiReader(bytes.NewReader(file.Bytes()[:1000]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("a reader that fails: %v", err)
	}
	var refused *client.Error
	if _, err := c.ExportSession(t.Context(), "absent", io.Discard); !errors.As(err, &refused) || refused.Status != 404 {
		t.Errorf("an absent session: %v", err)
	}
	// Refused while the client still sends.
	if _, err := c.ImportSession(t.Context(), io.MultiReader(strings.NewReader("no session"), io.LimitReader(zeros{}, 1<<30))); !errors.As(err, &refused) || !strings.Contains(err.Error(), "the stream is no session") {
		t.Errorf("something else: %v", err)
	}
	if list, err := c.Sessions(t.Context(), client.SessionFilter{}); err != nil || len(list) != 2 {
		t.Errorf("%d sessions, %v", len(list), err)
	}
}

func TestExportThatIsCutOff(t *testing.T) {
	c, sessions := sessionClient(t, ipctest.New())
	x, err := c.CreateSession(t.Context(), api.SessionNew{Title: "book"})
	if err != nil {
		t.Fatal(err)
	}
	sessions.ExportFunc = func(_ context.Context, w io.Writer) error {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			return err
		}
		return errors.New("damaged")
	}
	if _, err := c.ExportSession(t.Context(), x.ID, io.Discard); !errors.Is(err, client.ErrCutOff) || !strings.Contains(err.Error(), "req-") {
		t.Errorf("got %v", err)
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
