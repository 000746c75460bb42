package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"edged/ipc/api"
	"edged/ipc/client"
)

// maxTextBytes bounds what is read from one file. The daemon takes requests of
// up to 32 MiB; JSON needs some of that for escapes.
const maxTextBytes = 24 << 20

const askHelp = `Ask questions about documents.

The documents come first, in the order of the files, then the question. With -q
there may be several questions, each asked on its own; the daemon keeps what it
has read of the documents, so that only the first question pays for them.

With --session NAME, documents, questions and answers are one conversation that the
daemon keeps, also when the machine is turned off. The session is made with the
documents; without FILE, the question goes on where it was: only the question is
read. When reading the documents is interrupted, the same command goes on with it. See "edged sessions".`

// asking is one `edged ask`.
type asking struct {
	to                target
	how               sampling
	system            string
	questions         []string
	session           string // name, "" = none
	recompute, asJSON bool
}

func (a *app) askCommand() *cobra.Command {
	var k asking
	cmd := &cobra.Command{
		Use:   "ask [FILE...] QUESTION",
		Short: "ask questions about documents",
		Long:  askHelp,
		Example: "  edged ask book.txt \"Who is the narrator?\"\n  edged ask -q \"Who?\" -q \"When?\" a.txt b.txt\n" +
			"  edged ask --session book book.txt \"Who is the narrator?\"\n  edged ask --session book \"And who is she?\"",
		RunE: func(cmd *cobra.Command, files []string) error {
			if n := len(files); len(k.questions) == 0 && n > 0 {
				k.questions, files = files[n-1:], files[:n-1]
			}
			if err := checkSessionFlag(cmd, k.session); err != nil {
				return err
			}
			if err := k.check(files); err != nil {
				return err
			}
			doc, err := a.readDocuments(cmd.Context(), files)
			if err != nil {
				return err
			}
			c, err := a.connect(cmd.Context(), k.to)
			if err != nil {
				return err
			}
			defer c.Close()
			if k.session != "" {
				return a.askSession(cmd.Context(), c, k, doc)
			}
			for _, q := range k.questions {
				req := api.ChatRequest{Model: k.to.model, Messages: conversation(k.system, doc+q), Options: k.how.options()}
				if err := a.askOne(cmd.Context(), c, k, q, req); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f := cmd.Flags()
	k.to.addFlags(f)
	k.how.addFlags(f)
	f.StringArrayVarP(&k.questions, "question", "q", nil, "a question; repeat for several (all arguments are then files)")
	f.StringVarP(&k.system, "system", "s", "", "system message")
	f.StringVar(&k.session, "session", "", "keep documents, questions and answers in the session `NAME`")
	f.BoolVar(&k.recompute, "recompute", false, recomputeHelp)
	f.BoolVar(&k.asJSON, "json", false, "print one JSON object per question instead of streaming text")
	_ = cmd.RegisterFlagCompletionFunc("session", a.completeSession(&k.to)) // fails only for a flag that is not there
	return cmd
}

func (k *asking) check(files []string) error {
	switch {
	case len(k.questions) == 0, len(files) == 0 && k.session == "":
		return usageError{errors.New("give at least one FILE and a QUESTION (or -q QUESTION)")}
	case k.recompute && k.session == "":
		return usageError{errors.New("--recompute needs a --session")}
	}
	for _, q := range k.questions {
		if err := checkArgument("question", q); err != nil {
			return err
		}
	}
	return nil
}

// askOne sends one question and prints its answer.
func (a *app) askOne(ctx context.Context, c *client.Client, k asking, question string, req api.ChatRequest) error {
	if len(k.questions) > 1 && !k.asJSON {
		if err := a.print("> " + question + "\n"); err != nil {
			return err
		}
	}
	return a.answer(ctx, func(ctx context.Context, f func(client.Delta) error) (client.Answer, error) {
		return c.Chat(ctx, req, f)
	}, question, k.asJSON, !k.asJSON)
}

// readDocuments joins the files, each ending with one newline. With several,
// each begins with its name.
func (a *app) readDocuments(ctx context.Context, files []string) (string, error) {
	var b strings.Builder
	for _, name := range files {
		text, err := readText(ctx, name, a.in)
		if err != nil {
			return "", err
		}
		if text == "" {
			return "", fmt.Errorf("read %s: the file is empty", name)
		}
		if len(files) > 1 {
			fmt.Fprintf(&b, "%s:\n", name)
		}
		b.WriteString(strings.TrimRight(text, "\n") + "\n")
	}
	return b.String(), nil
}

// checkArgument refuses text of the command line that JSON cannot carry as it
// is, and text that is missing.
func checkArgument(what, text string) error {
	if at := invalidUTF8([]byte(text)); at >= 0 {
		return usageError{fmt.Errorf("the %s is not UTF-8 text: bad byte 0x%02x at offset %d", what, text[at], at)}
	}
	if strings.TrimSpace(text) == "" {
		return usageError{fmt.Errorf("the %s is empty", what)}
	}
	return nil
}

// readText reads UTF-8 text from a file, or from stdin for "-". A pipe that
// nobody writes to, or that nobody has opened, does not outlive ctx.
func readText(ctx context.Context, name string, stdin io.Reader) (string, error) {
	type result struct {
		text string
		err  error
	}
	read := make(chan result, 1)
	go func() {
		text, err := readAllText(name, stdin)
		read <- result{text, err}
	}()
	select {
	case r := <-read:
		return r.text, r.err
	case <-ctx.Done():
		return "", fmt.Errorf("read %s: %w", name, context.Cause(ctx))
	}
}

func readAllText(name string, stdin io.Reader) (string, error) {
	r := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", fmt.Errorf("read document: %w", err)
		}
		defer f.Close()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, maxTextBytes+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > maxTextBytes {
		return "", fmt.Errorf("read %s: larger than %d bytes", name, maxTextBytes)
	}
	if at := invalidUTF8(b); at >= 0 {
		return "", fmt.Errorf("read %s: not UTF-8 text: bad byte 0x%02x at offset %d", name, b[at], at)
	}
	return string(b), nil
}

// invalidUTF8 is the offset of the first byte that is not part of valid UTF-8,
// -1 without one.
func invalidUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}
