package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"edged/ipc/api"
	"edged/ipc/client"
)

const chatHelp = `Talk with the model. Each answer sees the whole conversation.

A line that ends with a backslash continues on the next one; a line that begins
with """ opens a block that ends with """. Pasted text is one message.
Ctrl-C cancels the answer or the line, Ctrl-D at an empty line leaves. Lines of
a terminal are remembered in a file that only you can read.`

const chatCommands = `/help           this list
/system [TEXT]  set the system message, or remove it; starts a new conversation
/undo           forget the last question and its answer
/clear          forget the conversation
/exit           leave, as Ctrl-D does`

func (a *app) chatCommand() *cobra.Command {
	var (
		to               target
		how              sampling
		system           string
		noHistory, stats bool
	)
	cmd := &cobra.Command{
		Use:         "chat",
		Short:       "talk with the model",
		Long:        chatHelp + "\n\nCommands:\n" + indent(chatCommands),
		Args:        usageArgs(onlyFlags("--model")),
		Annotations: map[string]string{ownSignals: "yes"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context(), to)
			if err != nil {
				return err
			}
			defer c.Close()
			historyFile := ""
			if !noHistory {
				historyFile = historyPath(os.Getenv)
			}
			in, err := a.openLines(historyFile)
			if err != nil {
				return err
			}
			t := &talk{app: a, client: c, lines: in, model: to.model, options: how.options(), system: system, stats: stats}
			return errors.Join(t.loop(cmd.Context()), in.close())
		},
	}
	f := cmd.Flags()
	to.addFlags(f)
	how.addFlags(f)
	f.StringVarP(&system, "system", "s", "", "system message")
	f.BoolVar(&noHistory, "no-history", false, "neither read nor write the history file")
	f.BoolVar(&stats, "stats", false, "print token counts and speed after each answer")
	return cmd
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
	turns   []api.Message // user and assistant by turns
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
			if err := t.command(text); err != nil {
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
func (t *talk) command(line string) error {
	name, arg, _ := strings.Cut(line, " ")
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
		return fmt.Errorf("%s is not a command; /help lists them", name)
	}
	return nil
}

// say sends a message and prints the answer. A refusal is printed and the
// message forgotten; only the loss of the daemon ends the conversation.
func (t *talk) say(ctx context.Context, message string) error {
	var messages []api.Message
	if t.system != "" {
		messages = append(messages, api.Message{Role: "system", Content: t.system})
	}
	messages = append(messages, t.turns...)
	messages = append(messages, api.Message{Role: "user", Content: message})

	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	ans, err := t.app.stream(ctx, func(ctx context.Context, f func(client.Delta) error) (client.Answer, error) {
		return t.client.Chat(ctx, api.ChatRequest{Model: t.model, Messages: messages, Options: t.options}, f)
	})
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(t.app.err, "edged: answer cancelled")
	case errors.Is(err, client.ErrNotRunning), errors.Is(err, client.ErrNoAccess):
		return err
	case err != nil:
		fmt.Fprintln(t.app.err, "edged:", err)
	case t.stats:
		fmt.Fprintln(t.app.err, describe(ans))
	}
	// What was seen of a cancelled answer belongs to the conversation.
	if ans.Text != "" {
		t.turns = append(t.turns, api.Message{Role: "user", Content: message}, api.Message{Role: "assistant", Content: ans.Text})
	}
	return nil
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
