package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"edged/ipc/api"
	"edged/ipc/client"
)

const chatHelp = `Talk with the model. Each answer sees the whole conversation.

A line that ends with a backslash continues on the next one; a line that begins
with """ opens a block that ends with """. Pasted text is one message.
Ctrl-C cancels the answer or the line, Ctrl-D at an empty line leaves. Lines of
a terminal are remembered in a file that only you can read.

With --session NAME the daemon keeps the conversation, and what it has read of it,
also when the machine is turned off. The session is made if there is none of this
name; otherwise it goes on where it was, and only new messages are sent. An answer
that is cancelled is not kept. See "edged sessions".`

const chatCommands = `/help           this list
/system [TEXT]  set the system message, or remove it; starts a new conversation
                (of a session: before its first message only)
/undo           forget the last question and its answer, of a session for good: what is
                left takes its place, with its name and an id of its own
/clear          forget the conversation (not of a session)
/exit           leave, as Ctrl-D does`

// chatFlags are the flags of everything that talks.
type chatFlags struct {
	to               target
	how              sampling
	noHistory, stats bool
	recompute        bool
}

func (c *chatFlags) addFlags(f *pflag.FlagSet) {
	c.to.addFlags(f)
	c.how.addFlags(f)
	f.BoolVar(&c.noHistory, "no-history", false, "neither read nor write the history file")
	f.BoolVar(&c.stats, "stats", false, "print token counts and speed after each answer")
	f.BoolVar(&c.recompute, "recompute", false, recomputeHelp)
}

func (a *app) chatCommand() *cobra.Command {
	var c chatFlags
	var system, session string
	cmd := &cobra.Command{
		Use:         "chat",
		Short:       "talk with the model",
		Long:        chatHelp + "\n\nCommands:\n" + indent(chatCommands),
		Example:     "  edged chat\n  edged chat --session book",
		Args:        usageArgs(onlyFlags("--model")),
		Annotations: map[string]string{ownSignals: "yes"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkSessionFlag(cmd, session); err != nil {
				return err
			}
			if session == "" && c.recompute {
				return usageError{errors.New("--recompute needs a --session")}
			}
			return a.converse(cmd.Context(), c, func(ctx context.Context, t *talk) error {
				if t.system = system; session == "" {
					return nil
				}
				t.kept = &kept{name: session, recompute: c.recompute}
				return t.openOrNewKept(ctx)
			})
		},
	}
	f := cmd.Flags()
	c.addFlags(f)
	f.StringVarP(&system, "system", "s", "", "system message")
	f.StringVar(&session, "session", "", "keep the conversation in the session `NAME`, and go on with it if it is there")
	_ = cmd.RegisterFlagCompletionFunc("session", a.completeSession(&c.to)) // fails only for a flag that is not there
	return cmd
}

// converse talks until the input ends. prepare completes the conversation.
func (a *app) converse(ctx context.Context, c chatFlags, prepare func(context.Context, *talk) error) error {
	conn, err := a.connect(ctx, c.to)
	if err != nil {
		return err
	}
	defer conn.Close()
	t := &talk{app: a, client: conn, model: c.to.model, options: c.how.options(), stats: c.stats}
	if err := prepare(ctx, t); err != nil {
		return err
	}
	historyFile := ""
	if !c.noHistory {
		historyFile = historyPath(os.Getenv)
	}
	if t.lines, err = a.openLines(historyFile); err != nil {
		return err
	}
	return errors.Join(t.loop(ctx), t.lines.close())
}

func indent(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }

// talk is one conversation.
type talk struct {
	app     *app
	client  *client.Client
	lines   lineReader
	model   string
	options api.Options
	system  string
	stats   bool
	turns   []api.Message // user and assistant by turns; not of a session
	kept    *kept         // the session that all this is kept in, or nil
}

// loop answers until the input ends.
func (t *talk) loop(ctx context.Context) error {
	for {
		message, err := t.readMessage()
		if errors.Is(err, errLineCancelled) {
			continue
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read input: %w", err)
		}
		text := strings.TrimSpace(message)
		switch {
		case text == "":
		case text == "/exit":
			return nil
		case strings.HasPrefix(text, "/") && !strings.Contains(text, "\n"):
			if err := t.command(ctx, text); err != nil {
				fmt.Fprintln(t.app.err, "edged:", err)
			}
		default:
			if err := t.say(ctx, message); err != nil {
				return err
			}
		}
	}
}

// readMessage reads one message, which may have several lines.
func (t *talk) readMessage() (string, error) {
	line, err := t.lines.read("> ")
	if err != nil {
		return "", err
	}
	if rest, ok := strings.CutPrefix(line, `"""`); ok {
		return t.readBlock(rest)
	}
	var b strings.Builder
	for {
		part, more := strings.CutSuffix(line, `\`)
		b.WriteString(part)
		if !more {
			return b.String(), nil
		}
		b.WriteByte('\n')
		if line, err = t.lines.read("... "); err != nil {
			return "", err
		}
	}
}

// readBlock reads up to the line that ends with """.
func (t *talk) readBlock(line string) (string, error) {
	var b strings.Builder
	for {
		if last, ok := strings.CutSuffix(line, `"""`); ok {
			b.WriteString(last)
			return strings.Trim(b.String(), "\n"), nil
		}
		b.WriteString(line + "\n")
		var err error
		line, err = t.lines.read("... ")
		if errors.Is(err, io.EOF) {
			return "", errors.New(`the block has no closing """`)
		}
		if err != nil {
			return "", err
		}
	}
}

// command runs a line that begins with a slash.
func (t *talk) command(ctx context.Context, line string) error {
	name, arg, _ := strings.Cut(line, " ")
	if t.kept != nil && name != "/help" {
		return t.keptCommand(ctx, name, strings.TrimSpace(arg))
	}
	switch name {
	case "/help":
		fmt.Fprintln(t.app.err, chatCommands)
	case "/clear":
		t.turns = nil
	case "/undo":
		t.turns = t.turns[:max(len(t.turns)-2, 0)]
	case "/system":
		t.system, t.turns = strings.TrimSpace(arg), nil
	default:
		return unknownCommand(name)
	}
	return nil
}

func unknownCommand(name string) error {
	return fmt.Errorf("%s is not a command; /help lists them", name)
}

// say sends a message and prints the answer. A refusal is printed and the
// message forgotten; only the loss of the daemon ends the conversation.
func (t *talk) say(ctx context.Context, message string) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	ans, err := t.app.stream(ctx, func(ctx context.Context, f func(client.Delta) error) (client.Answer, error) {
		req, err := t.request(ctx, message)
		if err != nil {
			return client.Answer{}, err
		}
		return t.client.Chat(ctx, req, f)
	})
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(t.app.err, "edged: answer cancelled")
	case errors.Is(err, client.ErrNotRunning), errors.Is(err, client.ErrNoAccess):
		return err
	case err != nil:
		t.app.complain(err)
		if t.kept != nil && refusedAtOnce(err) {
			return t.unmakeKept(ctx)
		}
	case t.stats:
		fmt.Fprintln(t.app.err, describe(ans))
	}
	if t.kept != nil {
		t.keep(ans)
		return nil
	}
	// What was seen of a cancelled answer belongs to the conversation.
	if ans.Text != "" {
		t.turns = append(t.turns, api.Message{Role: "user", Content: message}, api.Message{Role: "assistant", Content: ans.Text})
	}
	return nil
}

// request is what a message is sent with: the conversation before it, or the
// session that has it.
func (t *talk) request(ctx context.Context, message string) (api.ChatRequest, error) {
	req := api.ChatRequest{Model: t.model, Messages: t.turns, Options: t.options}
	if t.kept != nil {
		var err error
		if req.Session, err = t.makeKept(ctx); err != nil {
			return req, err
		}
		req.Recompute = t.kept.recompute
	}
	req.Messages = append(slices.Clone(req.Messages), api.Message{Role: "user", Content: message})
	if t.system != "" {
		req.Messages = append([]api.Message{{Role: "system", Content: t.system}}, req.Messages...)
	}
	return req, nil
}

// openLines reads from the terminal with editing and history, or plain lines
// when there is none.
func (a *app) openLines(historyFile string) (lineReader, error) {
	if !term.IsTerminal(int(a.in.Fd())) || !a.outTTY {
		return newPipeLines(a.in), nil
	}
	var h *history
	if historyFile != "" {
		var err error
		if h, err = openHistory(historyFile); err != nil {
			return nil, err
		}
	}
	fmt.Fprintln(a.err, "/help lists the commands, Ctrl-D leaves.")
	return newTerminalLines(a.in, a.out, h), nil
}
