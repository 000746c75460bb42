package main

import (
	"context"
	"errors"
	"fmt"

	"edged/daemon"
	"edged/ipc/api"
	"edged/ipc/client"
)

// askSession asks the questions in turn, in one session. The documents, if there
// are any, come before the first of them, and so need a session without messages.
func (a *app) askSession(ctx context.Context, c *client.Client, k asking, doc string) error {
	s, made, err := sessionForQuestions(ctx, c, k, doc != "")
	if err != nil {
		return err
	}
	if !made && !k.asJSON {
		fmt.Fprintln(a.err, describeSession(s))
	}
	for i, q := range k.questions {
		req := api.ChatRequest{Model: k.to.model, Session: s.ID, Recompute: k.recompute, Options: k.how.options()}
		if req.Messages = conversation("", q); i == 0 {
			req.Messages = conversation(k.system, doc+q)
		}
		if err := a.askOne(ctx, c, k, q, req); err != nil {
			switch {
			case made && i == 0 && refusedAtOnce(err):
				err = errors.Join(err, discard(ctx, c, s))
			case doc != "" && i == 0 && errors.Is(err, errInterrupted):
				fmt.Fprintf(a.err, "session %s: the same command goes on with the documents\n", s.Title)
			}
			return err
		}
	}
	return nil
}

// sessionForQuestions finds the session, or makes it for documents.
func sessionForQuestions(ctx context.Context, c *client.Client, k asking, documents bool) (s api.Session, made bool, err error) {
	s, err = findSession(ctx, c, k.session)
	switch {
	case errors.Is(err, errNoSession) && documents:
		s, err = c.CreateSession(ctx, api.SessionNew{Title: k.session, Model: k.to.model})
		return s, true, err
	case errors.Is(err, errNoSession):
		return s, false, fmt.Errorf("%w; give a FILE to make it", err)
	case err != nil:
		return s, false, err
	case !documents && s.Messages == 0:
		return s, false, fmt.Errorf("session %s has no messages; give the FILE to ask about", s.Title)
	case documents && s.Messages > 0:
		return s, false, usageError{fmt.Errorf("session %s has %s already, and would get the documents a second time; leave out FILE to ask about what it has, or name another session", s.Title, daemon.Counted(s.Messages, "message"))}
	}
	return s, false, mayBeginWith(k.system, s)
}

// refusedAtOnce says that the daemon has read nothing for a request. After all
// other errors, an interrupted prompt goes on from where it was saved last.
func refusedAtOnce(err error) bool {
	var refused *client.Error
	return errors.As(err, &refused) && refused.Status >= 400 && refused.Status < 500
}

// discard removes a session whose first question was refused.
func discard(ctx context.Context, c *client.Client, s api.Session) error {
	now, err := c.Sessions(ctx, client.SessionFilter{ID: s.ID})
	if err != nil || len(now) == 0 || now[0].Messages > 0 {
		return err
	}
	if err := c.DeleteSession(ctx, s.ID); err != nil {
		return fmt.Errorf("delete the empty session %s: %w", s.ID, err)
	}
	return nil
}
