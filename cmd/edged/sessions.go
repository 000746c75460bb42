package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"edged/daemon"
	"edged/ipc/api"
	"edged/ipc/client"
)

const sessionsHelp = `Manage the conversations that the daemon keeps.

NAME is the name of a session, or its id; a name that several sessions have is
refused with their ids. "edged chat --session NAME" and "edged ask --session NAME"
make sessions and go on with them.`

func (a *app) sessionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "list, show, fork, move and delete stored conversations",
		Long:  sessionsHelp,
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		a.sessionsListCommand(), a.sessionsShowCommand(), a.sessionsResumeCommand(), a.sessionsForkCommand(), a.sessionsRenameCommand(),
		a.sessionsTagCommand(), a.sessionsExportCommand(), a.sessionsImportCommand(), a.sessionsRemoveCommand(),
	)
	return cmd
}

// sessionCommand is a command about the session that its first argument names.
func (a *app) sessionCommand(cmd *cobra.Command, run func(ctx context.Context, c *client.Client, s api.Session, args []string) error) *cobra.Command {
	var to target
	to.addSocketFlag(cmd.Flags())
	cmd.Args = usageArgs(cmd.Args)
	cmd.ValidArgsFunction = a.completeSession(&to)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c := a.dial(to)
		defer c.Close()
		s, err := findSession(cmd.Context(), c, args[0])
		if err != nil {
			return err
		}
		return run(cmd.Context(), c, s, args[1:])
	}
	return cmd
}

func (a *app) sessionsListCommand() *cobra.Command {
	var to target
	var f client.SessionFilter
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list sessions, the last changed first",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := a.dial(to)
			defer c.Close()
			list, err := c.Sessions(cmd.Context(), f)
			if err != nil {
				return err
			}
			if asJSON {
				for _, s := range list {
					if err := a.printJSON(s); err != nil {
						return err
					}
				}
				return nil
			}
			return a.printTable(func(w io.Writer) {
				fmt.Fprintln(w, "NAME\tID\tMESSAGES\tTOKENS\tSTORED\tCHANGED\tMODEL\tTAGS")
				for _, s := range list {
					fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\n", s.Title, s.ID, s.Messages, s.Tokens, daemon.FormatBytes(s.Bytes), ago(s.Updated), s.Model, strings.Join(s.Tags, ", "))
				}
			})
		},
	}
	to.addSocketFlag(cmd.Flags())
	cmd.Flags().StringVar(&f.Tag, "tag", "", "only sessions with this `TAG`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per session")
	return cmd
}

// shownCharacters is how much of a message `show` prints without --full.
const shownCharacters = 400

func (a *app) sessionsShowCommand() *cobra.Command {
	var asJSON, full bool
	cmd := a.sessionCommand(&cobra.Command{
		Use:   "show NAME",
		Short: "describe a session and print its messages",
		Args:  cobra.ExactArgs(1),
	}, func(ctx context.Context, c *client.Client, s api.Session, _ []string) error {
		d, err := c.Session(ctx, s.ID)
		if err != nil {
			return err
		}
		if asJSON {
			return a.printJSON(d)
		}
		if err := a.printTable(func(w io.Writer) { describeStored(w, d.Session) }); err != nil {
			return err
		}
		for i, m := range d.History {
			if err := a.print(fmt.Sprintf("\n[%d] %s:\n%s\n", i+1, m.Role, shorten(m.Content, full))); err != nil {
				return err
			}
		}
		return nil
	})
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object, with the messages in full")
	cmd.Flags().BoolVar(&full, "full", false, "print long messages in full")
	return cmd
}

func describeStored(w io.Writer, s api.Session) {
	row := func(name, format string, args ...any) {
		if text := fmt.Sprintf(format, args...); text != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, text)
		}
	}
	row("name", "%s", s.Title)
	row("id", "%s", s.ID)
	row("tags", "%s", strings.Join(s.Tags, ", "))
	row("model", "%s", s.Model)
	row("cache policy", "%s", s.Policy)
	row("forked from", "%s", s.Parent)
	row("created", "%s", ago(s.Created))
	row("changed", "%s", ago(s.Updated))
	row("used", "%s", ago(s.Used))
	row("messages", "%d", s.Messages)
	row("tokens", "%d, of which %d need not be read again", s.Tokens, s.StoredTokens)
	row("stored", "%s (%d bytes) beside the text", daemon.FormatBytes(s.Bytes), s.Bytes)
	row("damage", "%s", s.Damage)
}

// shorten keeps the begin of a long text and says what it leaves out.
func shorten(text string, full bool) string {
	text = strings.TrimRight(text, "\n")
	runes := []rune(text)
	if full || len(runes) <= shownCharacters {
		return text
	}
	return fmt.Sprintf("%s\n[%d more characters; --full prints them]", string(runes[:shownCharacters]), len(runes)-shownCharacters)
}

func (a *app) sessionsForkCommand() *cobra.Command {
	var at int
	var cmd *cobra.Command
	cmd = a.sessionCommand(&cobra.Command{
		Use:     "fork NAME NEW",
		Short:   "make a session of the beginning of another",
		Long:    "Make the session NEW of the messages of NAME, or of the first of them. Both share\nwhat is stored of what they have in common, and go on independently.",
		Example: "  edged sessions fork book other-questions --at 2",
		Args:    cobra.ExactArgs(2),
	}, func(ctx context.Context, c *client.Client, s api.Session, args []string) error {
		f := api.SessionFork{Title: args[0]}
		if cmd.Flags().Changed("at") {
			f.Messages = &at
		}
		made, err := c.ForkSession(ctx, s.ID, f)
		if err != nil {
			return err
		}
		return a.print(made.ID + "\n")
	})
	cmd.Flags().IntVar(&at, "at", 0, "messages that NEW begins with (default: all); `show` numbers them")
	return cmd
}

func (a *app) sessionsRenameCommand() *cobra.Command {
	return a.sessionCommand(&cobra.Command{
		Use:   "rename NAME NEW",
		Short: "give a session another name",
		Args:  cobra.ExactArgs(2),
	}, func(ctx context.Context, c *client.Client, s api.Session, args []string) error {
		_, err := c.EditSession(ctx, s.ID, api.SessionEdit{Title: &args[0]})
		return err
	})
}

func (a *app) sessionsTagCommand() *cobra.Command {
	var remove bool
	cmd := a.sessionCommand(&cobra.Command{
		Use:   "tag NAME TAG...",
		Short: "add tags to a session, or remove them",
		Args:  cobra.MinimumNArgs(2),
	}, func(ctx context.Context, c *client.Client, s api.Session, args []string) error {
		tags := s.Tags
		for _, tag := range args {
			has := slices.Contains(tags, tag)
			switch {
			case remove && !has:
				return fmt.Errorf("session %s has no tag %q; it has %q", s.Title, tag, s.Tags)
			case remove:
				tags = slices.DeleteFunc(slices.Clone(tags), func(t string) bool { return t == tag })
			case !has:
				tags = append(slices.Clone(tags), tag)
			}
		}
		_, err := c.EditSession(ctx, s.ID, api.SessionEdit{Tags: &tags})
		return err
	})
	cmd.Flags().BoolVar(&remove, "remove", false, "remove the tags")
	return cmd
}

func (a *app) sessionsRemoveCommand() *cobra.Command {
	var to target
	cmd := &cobra.Command{
		Use:   "rm NAME...",
		Short: "delete sessions for good",
		Long: "Delete sessions: their text, and what is stored of it unless another session\n" +
			"shares it. There is no way back; docs/STORE.md says what is left on the disk.",
		Args:              usageArgs(cobra.MinimumNArgs(1)),
		ValidArgsFunction: a.completeSession(&to),
		RunE: func(cmd *cobra.Command, args []string) error {
			c := a.dial(to)
			defer c.Close()
			var found []api.Session // all, before anything is deleted
			for _, name := range args {
				s, err := findSession(cmd.Context(), c, name)
				if err != nil {
					return err
				}
				found = append(found, s)
			}
			var errs []error
			for _, s := range found {
				if err := c.DeleteSession(cmd.Context(), s.ID); err != nil {
					errs = append(errs, fmt.Errorf("delete %s: %w", s.Title, err))
				}
			}
			return errors.Join(errs...)
		},
	}
	to.addSocketFlag(cmd.Flags())
	return cmd
}
