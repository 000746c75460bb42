package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edged/daemon"
	"edged/ipc/api"
	"edged/ipc/client"
)

var (
	errNoSession = errors.New("no such session")
	errAmbiguous = errors.New("several sessions have this name")
)

// findSession finds the session that has a name, or an id.
func findSession(ctx context.Context, c *client.Client, name string) (api.Session, error) {
	if name == "" {
		return api.Session{}, usageError{errors.New("the name of the session is empty")}
	}
	for _, f := range []client.SessionFilter{{ID: name}, {Title: name}} {
		found, err := c.Sessions(ctx, f)
		switch {
		case err != nil:
			return api.Session{}, err
		case len(found) == 1:
			return found[0], nil
		case len(found) > 1:
			return api.Session{}, fmt.Errorf("%w, give the id of one: %s", errAmbiguous, describeAll(found))
		}
	}
	return api.Session{}, fmt.Errorf("%w: %s", errNoSession, name)
}

// checkSessionFlag refuses a name that is empty, perhaps for a variable that is not
// set: the conversation would be kept nowhere.
func checkSessionFlag(cmd *cobra.Command, name string) error {
	if name == "" && cmd.Flags().Changed("session") {
		return usageError{errors.New("the name of the session is empty")}
	}
	return nil
}

// mayBeginWith refuses a system message for a session that has messages already.
func mayBeginWith(system string, s api.Session) error {
	if system == "" || s.Messages == 0 {
		return nil
	}
	return usageError{fmt.Errorf("session %s has %s already, and --system would have to come before them", s.Title, daemon.Counted(s.Messages, "message"))}
}

// describeAll tells sessions of one name apart.
func describeAll(list []api.Session) string {
	var parts []string
	for _, s := range list {
		parts = append(parts, fmt.Sprintf("%s (%s, %s)", s.ID, daemon.Counted(s.Messages, "message"), ago(s.Updated)))
	}
	return strings.Join(parts, ", ")
}

// describeSession is what a person sees before a session goes on.
func describeSession(s api.Session) string {
	text := fmt.Sprintf("session %s (%s): %s, %s", s.Title, s.ID, daemon.Counted(s.Messages, "message"), daemon.Counted(s.Tokens, "token"))
	if left := s.Tokens - s.StoredTokens; left > 0 {
		text += fmt.Sprintf(", %d of them to be read again", left)
	}
	return text + ", last changed " + ago(s.Updated)
}

// reportSession says what a person must know about a turn that was answered.
func (a *app) reportSession(r *api.SessionResult) {
	if r == nil {
		return
	}
	if r.Recomputed != "" {
		fmt.Fprintln(a.err, "edged: the session was read again:", r.Recomputed)
	}
	switch {
	case !r.Durable:
		fmt.Fprintln(a.err, "edged: this turn is not stored:", r.Reason)
	case r.Reason != "":
		fmt.Fprintln(a.err, "edged:", r.Reason)
	}
}

// recomputeHint is what helps against a refusal, "" when --recompute does not.
func recomputeHint(refused *client.Error) string {
	if refused.Code != nil && *refused.Code == "session_mismatch" {
		return "Add --recompute to have the model read the session's text again; its old state is then replaced."
	}
	return ""
}

const recomputeHelp = "read the session's text again when what is stored of it cannot be used"

// ago is how long a time in Unix seconds is past.
func ago(unix int64) string {
	d := time.Since(time.Unix(unix, 0))
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}

// completeSession offers the names of the sessions for the first argument.
func (a *app) completeSession(to *target) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		const patience = 500 * time.Millisecond // of somebody who has pressed Tab
		ctx, cancel := context.WithTimeout(cmd.Context(), patience)
		defer cancel()
		c := a.dial(*to)
		defer c.Close()
		list, err := c.Sessions(ctx, client.SessionFilter{})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		for _, s := range list {
			names = append(names, s.Title)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
