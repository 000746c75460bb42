package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"edged/ipc/api"
	"edged/ipc/client"
)

const runHelp = `Send one prompt to the daemon and print the answer as it is generated.

The prompt is the argument, or standard input when there is none or it is "-".
It is one user turn in the model's chat template; --raw continues it as it is.
The output always ends with a newline; --json has the exact text.`

func (a *app) runCommand() *cobra.Command {
	var (
		to                 target
		how                sampling
		system             string
		raw, asJSON, stats bool
	)
	cmd := &cobra.Command{
		Use:     "run [PROMPT]",
		Short:   "answer one prompt",
		Long:    runHelp,
		Example: "  edged run \"Name three rivers.\"\n  git diff | edged run --system \"Summarize this change.\"",
		Args:    usageArgs(oneText),
		RunE: func(cmd *cobra.Command, args []string) error {
			prompt, err := a.promptOf(cmd.Context(), args)
			if err != nil {
				return err
			}
			if raw && system != "" {
				return usageError{errors.New("--system needs the chat template that --raw leaves out")}
			}
			c, err := a.connect(cmd.Context(), to)
			if err != nil {
				return err
			}
			defer c.Close()
			if raw {
				req := api.CompletionRequest{Model: to.model, Prompt: prompt, Options: how.options()}
				return a.answer(cmd.Context(), func(ctx context.Context, f func(client.Delta) error) (client.Answer, error) {
					return c.Complete(ctx, req, f)
				}, "", asJSON, stats)
			}
			req := api.ChatRequest{Model: to.model, Messages: conversation(system, prompt), Options: how.options()}
			return a.answer(cmd.Context(), func(ctx context.Context, f func(client.Delta) error) (client.Answer, error) {
				return c.Chat(ctx, req, f)
			}, "", asJSON, stats)
		},
	}
	f := cmd.Flags()
	to.addFlags(f)
	how.addFlags(f)
	f.StringVarP(&system, "system", "s", "", "system message")
	f.BoolVar(&raw, "raw", false, "continue the prompt without a chat template")
	f.BoolVar(&asJSON, "json", false, "print one JSON object instead of streaming text")
	f.BoolVar(&stats, "stats", false, "print token counts and speed to standard error")
	return cmd
}

// promptOf takes the argument, or standard input.
func (a *app) promptOf(ctx context.Context, args []string) (string, error) {
	if len(args) == 1 && args[0] != "-" && args[0] != "" {
		return args[0], checkArgument("prompt", args[0])
	}
	text := ""
	if len(args) == 0 || args[0] == "-" {
		if a.errTTY && term.IsTerminal(int(a.in.Fd())) {
			fmt.Fprintln(a.err, "Type the prompt; Ctrl-D on an empty line ends it.")
		}
		var err error
		if text, err = readText(ctx, "-", a.in); err != nil {
			return "", err
		}
		text = strings.TrimSuffix(text, "\n")
	}
	if text == "" {
		return "", usageError{errors.New("the prompt is empty")}
	}
	return text, nil
}

// conversation is one user turn after an optional system message.
func conversation(system, user string) []api.Message {
	m := []api.Message{{Role: "user", Content: user}}
	if system != "" {
		m = append([]api.Message{{Role: "system", Content: system}}, m...)
	}
	return m
}
