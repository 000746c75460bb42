package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"edged/ipc/api"
	"edged/ipc/client"
)

// generate is a request in flight: client.Chat or client.Complete with its
// request bound.
type generate func(ctx context.Context, onDelta func(client.Delta) error) (client.Answer, error)

// briefTokens is what takes so little time to read that nobody wants to see
// the progress of it.
const briefTokens = 512

// stream prints an answer while it arrives, and the progress of the prompt
// before that. The line that ends it is always there, and an answer that was
// cut says so on standard error.
func (a *app) stream(ctx context.Context, g generate) (client.Answer, error) {
	m := a.meter("reading the prompt:", tokens)
	begun, thinking, atLineEnd := false, false, true
	ans, err := g(ctx, func(d client.Delta) error {
		if p := d.Progress; p != nil && !begun && p.Total-p.Cached > briefTokens {
			m.update(int64(p.Done), int64(p.Total), strconv.Itoa(p.Cached)+" cached")
		}
		if d.Thought != "" && a.errTTY {
			m.clear()
			thinking = true
			fmt.Fprint(a.err, dim, printable(d.Thought), undim)
		}
		if d.Text == "" {
			return nil
		}
		if !begun {
			begun = true
			m.clear()
			if thinking {
				fmt.Fprint(a.err, "\n\n")
			}
		}
		atLineEnd = strings.HasSuffix(d.Text, "\n")
		return a.print(d.Text)
	})
	m.clear()
	if !atLineEnd || err == nil && !begun {
		if printErr := a.print("\n"); err == nil {
			err = printErr
		}
	}
	if err == nil && ans.FinishReason == "length" {
		fmt.Fprintln(a.err, "edged: the answer was cut at the token limit")
	}
	return ans, err
}

// What a model thinks is shown paler than what it answers, and only to a person.
const dim, undim = "\x1b[2m", "\x1b[0m"

func tokens(n int64) string { return strconv.FormatInt(n, 10) + " tokens" }

// printable replaces control characters other than ends of lines and tabs.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// print writes text to standard output. A terminal gets no control characters
// from a model: they could move the cursor or change the terminal's settings.
func (a *app) print(text string) error {
	if a.outTTY {
		text = printable(text)
	}
	if _, err := io.WriteString(a.out, text); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	return nil
}

// answerJSON is what --json prints, one object per line.
type answerJSON struct {
	Question     string             `json:"question,omitempty"`
	Model        string             `json:"model"`
	Thought      string             `json:"reasoning_content,omitempty"`
	Text         string             `json:"text"`
	FinishReason string             `json:"finish_reason"`
	Usage        api.Usage          `json:"usage"`
	Timings      api.Timings        `json:"timings"`
	Session      *api.SessionResult `json:"session,omitempty"`
}

// answer runs a request and prints the answer in the form that was asked for.
// stats adds a line with its cost to standard error.
func (a *app) answer(ctx context.Context, g generate, question string, asJSON, stats bool) error {
	if asJSON {
		ans, err := g(ctx, nil)
		if err != nil {
			return err
		}
		return a.printJSON(answerJSON{question, ans.Model, ans.Thought, ans.Text, ans.FinishReason, ans.Usage, ans.Timings, ans.Session})
	}
	ans, err := a.stream(ctx, g)
	if err != nil {
		return err
	}
	if stats {
		fmt.Fprintln(a.err, describe(ans))
	}
	a.reportSession(ans.Session)
	return nil
}

func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}
