package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edged/ipc"
	"edged/ipc/client"
	"edged/ipc/ipctest"
)

// room is how many messages a session of the test's daemon has room for, in place of
// tokens.
const room = 4

// daemon answers with the last line of what it was asked, and refuses sessions that
// are full.
type daemon struct {
	*ipctest.Engine
	store *ipctest.Sessions
	asked []string
}

func newDaemon(t *testing.T) (*daemon, string) {
	d := &daemon{Engine: ipctest.New(), store: &ipctest.Sessions{}}
	d.GenerateFunc = d.answer
	d.Store = d.store
	return d, ipctest.Serve(t, d, ipc.Options{Sessions: d.store})
}

func (d *daemon) answer(ctx context.Context, req *ipc.Request, emit func(ipc.Delta) error) (ipc.Result, error) {
	last := req.Messages[len(req.Messages)-1].Content
	if req.Session != "" {
		list, err := d.store.List(ctx, req.UID, ipc.SessionFilter{ID: req.Session})
		if err != nil {
			return ipc.Result{}, err
		}
		if list[0].Messages >= room || strings.Contains(last, "endless") {
			return ipc.Result{}, ipc.ContextLengthError(5000, 4096)
		}
	}
	d.asked = append(d.asked, last)
	answer := "Re: " + last[strings.LastIndex(last, "\n")+1:]
	for _, x := range []ipc.Delta{{Progress: &ipc.Progress{Done: 0, Total: 2000}}, {Progress: &ipc.Progress{Done: 2000, Total: 2000}}, {Text: answer}} {
		if err := emit(x); err != nil {
			return ipc.Result{}, err
		}
	}
	return ipc.Result{FinishReason: ipc.FinishStop, PromptTokens: 2000, CompletionTokens: 1}, nil
}

// read runs the program with what a person types, and returns what it shows.
func read(t *testing.T, socket, document, typed string) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "book.txt")
	if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	c := client.New(socket)
	defer c.Close()
	var out strings.Builder
	r := &reader{client: c, in: bufio.NewScanner(strings.NewReader(typed)), out: &out}
	err := r.run(t.Context(), path)
	return out.String(), err
}

func TestReaderReadsTheDocumentOnce(t *testing.T) {
	d, socket := newDaemon(t)
	out, err := read(t, socket, "The book.", "Who?\n")
	if err != nil || !strings.Contains(out, "reading: 2000 of 2000 tokens\nRe: Who?\n") {
		t.Fatalf("%v; %q", err, out)
	}
	if out, err = read(t, socket, "The book.", "\nAnd then?\n"); err != nil || !strings.Contains(out, "Re: And then?\n") {
		t.Fatalf("the next day: %v; %q", err, out)
	}
	if got := strings.Join(d.asked, "|"); got != "The book.\n\nWho?|And then?" {
		t.Errorf("asked %q", got)
	}
}

func TestReaderKnowsWhatToDoWithAFullSession(t *testing.T) {
	for _, c := range []struct {
		name, typed string
		want        []string // what the daemon is asked after the session is full
	}{
		{"left", "\n", nil},
		{"forked", "f\n", []string{"Third?"}},
		{"summarised", "s\n", []string{
			"Summarise this conversation:\n\nuser: \n\nFirst?\n\nassistant: Re: First?\n\nuser: Second?\n\nassistant: Re: Second?\n\n",
			"The book.\n\nWhat was said about it so far: Re: \n\nThird?"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, socket := newDaemon(t)
			out, err := read(t, socket, "The book.", "First?\nSecond?\nThird?\n"+c.typed)
			if err != nil || !strings.Contains(out, "The session is full: with this question it has 5000 tokens, and the model's context 4096.") {
				t.Fatalf("%v; %q", err, out)
			}
			if got := d.asked[2:]; strings.Join(got, "|") != strings.Join(c.want, "|") {
				t.Errorf("asked %q, want %q", got, c.want)
			}
			if answered := strings.Contains(out, "Re: Third?"); answered != (c.want != nil) {
				t.Errorf("shown: %q", out)
			}
		})
	}
}

func TestReaderSaysWhatIsWrong(t *testing.T) {
	_, socket := newDaemon(t)
	if _, err := read(t, socket, "An endless book.", "Who?\n"); err == nil || !strings.Contains(err.Error(), "the document is too long: it has 5000 tokens") {
		t.Errorf("got %v", err)
	}
	if _, err := read(t, socket+"-none", "x", "Who?\n"); !errors.Is(err, client.ErrNotRunning) {
		t.Errorf("got %v", err)
	}
}
