package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"edged/ipc/api"
	"edged/ipc/client"
)

// kept is the session that a conversation is kept in.
type kept struct {
	name      string
	recompute bool
	session   *api.Session // nil until it is made
	made      bool         // by this conversation
}

func (a *app) sessionsResumeCommand() *cobra.Command {
	var c chatFlags
	cmd := &cobra.Command{
		Use:               "resume NAME",
		Short:             "go on with a session, as `edged chat --session NAME` does",
		Long:              "Go on with a session that is there, as `edged chat --session NAME` does.",
		Args:              usageArgs(cobra.ExactArgs(1)),
		Annotations:       map[string]string{ownSignals: "yes"},
		ValidArgsFunction: a.completeSession(&c.to),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.converse(cmd.Context(), c, func(ctx context.Context, t *talk) error {
				t.kept = &kept{name: args[0], recompute: c.recompute}
				return t.openKept(ctx)
			})
		},
	}
	c.addFlags(cmd.Flags())
	return cmd
}

// openOrNewKept is openKept for a session that need not be there.
func (t *talk) openOrNewKept(ctx context.Context) error {
	err := t.openKept(ctx)
	if errors.Is(err, errNoSession) {
		fmt.Fprintf(t.app.err, "session %s: new\n", t.kept.name)
		return nil
	}
	return err
}

// openKept finds the session and says what is there.
func (t *talk) openKept(ctx context.Context) error {
	s, err := findSession(ctx, t.client, t.kept.name)
	if err != nil {
		return err
	}
	if err := mayBeginWith(t.system, s); err != nil {
		return err
	}
	t.kept.session = &s
	fmt.Fprintln(t.app.err, describeSession(s))
	return nil
}

// makeKept returns the id of the session, which is made with its first message.
func (t *talk) makeKept(ctx context.Context) (id string, err error) {
	if t.kept.session == nil {
		s, err := t.client.CreateSession(ctx, api.SessionNew{Title: t.kept.name, Model: t.model})
		if err != nil {
			return "", err
		}
		t.kept.session, t.kept.made = &s, true
	}
	return t.kept.session.ID, nil
}

// unmakeKept removes the session again when its first message was refused.
func (t *talk) unmakeKept(ctx context.Context) error {
	if !t.kept.made || t.kept.session.Messages > 0 {
		return nil
	}
	s := *t.kept.session
	t.kept.session, t.kept.made = nil, false
	return discard(ctx, t.client, s)
}

// keep notes what has become of a turn.
func (t *talk) keep(ans client.Answer) {
	if ans.Session == nil {
		return
	}
	t.kept.session.Messages = ans.Session.Messages
	t.app.reportSession(ans.Session)
	if ans.Session.Messages > 0 {
		t.system = "" // the session has it now
	}
}

// keptCommand runs a command on the session.
func (t *talk) keptCommand(ctx context.Context, name, arg string) error {
	begun := t.kept.session != nil && t.kept.session.Messages > 0
	switch name {
	case "/undo":
		if !begun {
			return nil
		}
		return t.undoKept(ctx)
	case "/clear":
		return fmt.Errorf("a session is not cleared; begin another one with `edged chat --session NAME`, or delete this one with `edged sessions rm %q`", t.kept.name)
	case "/system":
		if begun {
			return fmt.Errorf("session %s has messages already, and a system message would have to come before them", t.kept.name)
		}
		t.system = strings.TrimSpace(arg)
		return nil
	}
	return unknownCommand(name)
}

// undoKept puts a session in the place of this one that ends before the last
// question.
func (t *talk) undoKept(ctx context.Context) error {
	old := t.kept.session
	d, err := t.client.Session(ctx, old.ID)
	if err != nil {
		return err
	}
	at := len(d.History)
	for at > 0 && d.History[at-1].Role != "user" {
		at--
	}
	if at == 0 {
		return fmt.Errorf("session %s has no question", old.Title)
	}
	at--
	shorter, err := t.client.ForkSession(ctx, old.ID, api.SessionFork{Title: d.Title, Messages: &at})
	if err != nil {
		return err
	}
	t.kept.session = &shorter
	if err := t.client.DeleteSession(ctx, old.ID); err != nil {
		return fmt.Errorf("the conversation goes on in session %s, but %s, which has the question still, could not be deleted: %w", shorter.ID, old.ID, err)
	}
	return nil
}
