// Reader answers questions about a document: an example of a desktop program on
// edged, with everything that such a program has to think of.
//
//	reader book.txt
//
// It finds the daemon, waits for it, keeps the document and the conversation in a
// session, so that tomorrow nothing has to be read again, shows answers while they
// come, and knows what to do when the session is full.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"edged/ipc/api"
	"edged/ipc/client"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: reader FILE")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	// $EDGED_SOCKET, then the user's own daemon, then the system's.
	c := client.New(client.Discover())
	defer c.Close()
	r := &reader{client: c, in: bufio.NewScanner(os.Stdin), out: os.Stdout}
	if err := r.run(ctx, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "reader:", err)
		os.Exit(1)
	}
}

// tag marks the sessions that this program has made.
const tag = "reader"

// reader is one conversation about a document.
type reader struct {
	client   *client.Client
	in       *bufio.Scanner
	out      io.Writer
	document string
	session  string // its id
	empty    bool   // the document has not been read yet
}

func (r *reader) run(ctx context.Context, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read document: %w", err)
	}
	r.document = string(text)
	if err := r.wait(ctx); err != nil {
		return err
	}
	if err := r.open(ctx, filepath.Base(path)); err != nil {
		return err
	}
	for {
		fmt.Fprint(r.out, "> ")
		if !r.in.Scan() {
			return r.in.Err()
		}
		question := strings.TrimSpace(r.in.Text())
		if question == "" {
			continue
		}
		if err := r.ask(ctx, question); err != nil {
			return err
		}
	}
}

// wait returns when the daemon has a model.
func (r *reader) wait(ctx context.Context) error {
	for {
		h, err := r.client.Ready(ctx)
		if err != nil {
			return err // client.ErrNotRunning and client.ErrNoAccess say what a person can do
		}
		if h.Status != "loading" {
			return nil // any other state has an error of its own for what is asked
		}
		fmt.Fprintf(r.out, "\r%s ", h.Text)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
	}
}

// open finds the session of an earlier day, or makes one.
func (r *reader) open(ctx context.Context, title string) error {
	found, err := r.client.Sessions(ctx, client.SessionFilter{Title: title, Tag: tag})
	if err != nil {
		return fmt.Errorf("look for the session: %w", err)
	}
	if len(found) > 0 {
		r.session, r.empty = found[0].ID, found[0].Messages == 0
		return nil
	}
	return r.begin(ctx, title)
}

func (r *reader) begin(ctx context.Context, title string) error {
	s, err := r.client.CreateSession(ctx, api.SessionNew{Title: title, Tags: []string{tag}})
	if err != nil {
		return fmt.Errorf("make a session: %w", err)
	}
	r.session, r.empty = s.ID, true
	return nil
}

// ask asks a question. The document goes with the first one only: later ones go on
// from what the session has.
func (r *reader) ask(ctx context.Context, question string) error {
	message := question
	if r.empty {
		message = r.document + "\n\n" + question
	}
	err := r.send(ctx, message)
	var refused *client.Error
	switch {
	case err == nil:
		r.empty = false
		return nil
	case !errors.As(err, &refused) || refused.Code == nil || *refused.Code != "context_length_exceeded":
		return err
	case r.empty:
		return fmt.Errorf("the document is too long: it has %d tokens, and the model's context %d", refused.NPromptTokens, refused.NCtx)
	}
	return r.full(ctx, question, refused)
}

// send sends a message and prints the answer as it comes.
func (r *reader) send(ctx context.Context, message string) error {
	reading := false
	_, err := r.client.Chat(ctx, api.ChatRequest{Session: r.session, Messages: []api.Message{{Role: "user", Content: message}}}, func(d client.Delta) error {
		if p := d.Progress; p != nil && p.Total-p.Cached > 1000 {
			reading = true
			fmt.Fprintf(r.out, "\rreading: %d of %d tokens", p.Done, p.Total)
		}
		if d.Text != "" && reading {
			reading = false
			fmt.Fprintln(r.out)
		}
		_, err := io.WriteString(r.out, d.Text)
		return err
	})
	fmt.Fprintln(r.out)
	return err
}

// full lets the person choose how to go on when the session has no room for the
// question. Nothing has been lost or cut: the session is as it was.
func (r *reader) full(ctx context.Context, question string, refused *client.Error) error {
	fmt.Fprintf(r.out, "The session is full: with this question it has %d tokens, and the model's context %d.\n"+
		"[f] ask it right after the first answer, [s] begin anew with a summary, [Enter] leave it: ", refused.NPromptTokens, refused.NCtx)
	if !r.in.Scan() {
		return r.in.Err()
	}
	var err error
	switch strings.TrimSpace(r.in.Text()) {
	case "f":
		err = r.fork(ctx)
	case "s":
		err = r.summarise(ctx)
	default:
		return nil
	}
	if err != nil {
		return err
	}
	return r.ask(ctx, question)
}

// fork goes on in a copy that ends behind the first answer. It shares the document
// with the session, on the disk too.
func (r *reader) fork(ctx context.Context) error {
	old, err := r.client.Session(ctx, r.session)
	if err != nil {
		return fmt.Errorf("read the session: %w", err)
	}
	first := 2 // messages: the document with a question, and its answer
	s, err := r.client.ForkSession(ctx, r.session, api.SessionFork{Title: old.Title, Messages: &first})
	if err != nil {
		return fmt.Errorf("fork the session: %w", err)
	}
	r.session = s.ID
	return nil
}

// summarise begins a session with the document and a summary of what was said.
func (r *reader) summarise(ctx context.Context) error {
	old, err := r.client.Session(ctx, r.session)
	if err != nil {
		return fmt.Errorf("read the session: %w", err)
	}
	var said strings.Builder
	for _, m := range old.History {
		fmt.Fprintf(&said, "%s: %s\n\n", m.Role, strings.TrimPrefix(m.Content, r.document))
	}
	// Without a session: nothing of this is kept.
	a, err := r.client.Chat(ctx, api.ChatRequest{Messages: []api.Message{{Role: "user", Content: "Summarise this conversation:\n\n" + said.String()}}}, nil)
	if err != nil {
		return fmt.Errorf("summarise the session: %w", err)
	}
	r.document += "\n\nWhat was said about it so far: " + a.Text
	return r.begin(ctx, old.Title)
}
