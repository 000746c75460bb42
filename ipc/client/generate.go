package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"edged/ipc/api"
)

// Delta is one piece of an answer.
type Delta struct {
	Thought  string // Chat only: what the model thinks before it answers
	Text     string
	Logprobs []api.TokenLogprob // Chat only, when asked for
	Progress *api.Progress      // of the prefill; nil in pieces of text
}

// Answer is a complete answer.
type Answer struct {
	ID           string
	Model        string
	Thought      string // Chat only
	Text         string
	FinishReason string // "stop" or "length"
	Usage        api.Usage
	Timings      api.Timings
	Session      *api.SessionResult // Chat with a session

	Logprobs           []api.TokenLogprob      // Chat, when asked for
	CompletionLogprobs *api.CompletionLogprobs // Complete, when asked for
}

// Chat generates the assistant's next turn. onDelta, if not nil, is called in
// order from the caller's goroutine; its error ends the call and the generation.
// With an error, the Answer holds what has arrived so far.
func (c *Client) Chat(ctx context.Context, req api.ChatRequest, onDelta func(Delta) error) (Answer, error) {
	req.Stream, req.StreamOptions = true, &api.StreamOptions{IncludeUsage: true, IncludeProgress: onDelta != nil}
	return c.generate(ctx, "/v1/chat/completions", req, onDelta, func(data []byte, a *answering) (Delta, error) {
		var chunk api.ChatChunk
		if err := json.Unmarshal(data, &chunk); err != nil {
			return Delta{}, err
		}
		a.ID, a.Model = chunk.ID, chunk.Model
		a.close(chunk.Usage, chunk.Timings)
		if chunk.Session != nil {
			a.Session = chunk.Session
		}
		d := Delta{Progress: chunk.Progress}
		for _, choice := range chunk.Choices {
			d.Thought += choice.Delta.ReasoningContent
			if choice.Delta.Content != nil {
				d.Text += *choice.Delta.Content
			}
			if choice.Logprobs != nil {
				d.Logprobs = append(d.Logprobs, choice.Logprobs.Content...)
			}
			a.finish(choice.FinishReason)
		}
		a.Logprobs = append(a.Logprobs, d.Logprobs...)
		return d, nil
	})
}

// Complete continues a raw prompt. It behaves as Chat does.
func (c *Client) Complete(ctx context.Context, req api.CompletionRequest, onDelta func(Delta) error) (Answer, error) {
	req.Stream, req.StreamOptions = true, &api.StreamOptions{IncludeUsage: true, IncludeProgress: onDelta != nil}
	return c.generate(ctx, "/v1/completions", req, onDelta, func(data []byte, a *answering) (Delta, error) {
		var chunk api.Completion
		if err := json.Unmarshal(data, &chunk); err != nil {
			return Delta{}, err
		}
		a.ID, a.Model = chunk.ID, chunk.Model
		a.close(chunk.Usage, chunk.Timings)
		d := Delta{Progress: chunk.Progress}
		for _, choice := range chunk.Choices {
			d.Text += choice.Text
			a.join(choice.Logprobs)
			a.finish(choice.FinishReason)
		}
		return d, nil
	})
}

// answering is an Answer on its way in.
type answering struct {
	Answer
	thought, text strings.Builder
}

func (a *answering) finish(reason *string) {
	if reason != nil {
		a.FinishReason = *reason
	}
}

func (a *answering) close(usage *api.Usage, timings *api.Timings) {
	if usage != nil {
		a.Usage = *usage
	}
	if timings != nil {
		a.Timings = *timings
	}
}

func (a *answering) join(more *api.CompletionLogprobs) {
	switch {
	case more == nil:
	case a.CompletionLogprobs == nil:
		a.CompletionLogprobs = more
	default:
		all := a.CompletionLogprobs
		all.Tokens = append(all.Tokens, more.Tokens...)
		all.TokenLogprobs = append(all.TokenLogprobs, more.TokenLogprobs...)
		all.TopLogprobs = append(all.TopLogprobs, more.TopLogprobs...)
		all.TextOffset = append(all.TextOffset, more.TextOffset...)
	}
}

func (c *Client) generate(ctx context.Context, path string, req any, onDelta func(Delta) error, decode func([]byte, *answering) (Delta, error)) (Answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // closes the connection when the stream was not read to its end
	resp, err := c.send(ctx, http.MethodPost, path, req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Answer{}, errorOf(resp)
	}
	a := &answering{}
	err = readEvents(resp.Body, func(data []byte) error {
		if err := streamError(data, resp); err != nil {
			return err
		}
		d, err := decode(data, a)
		if err != nil {
			return fmt.Errorf("decode event: %w", err)
		}
		a.thought.WriteString(d.Thought)
		a.text.WriteString(d.Text)
		if onDelta == nil || d.Thought == "" && d.Text == "" && d.Progress == nil && len(d.Logprobs) == 0 {
			return nil
		}
		return onDelta(d)
	})
	a.Thought, a.Text = a.thought.String(), a.text.String()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return a.Answer, err
}

// streamError returns the error that an event carries in place of a chunk.
func streamError(data []byte, resp *http.Response) error {
	var body struct {
		Error *api.ErrorDetail `json:"error"`
	}
	if err := json.Unmarshal(data, &body); err != nil {
		return fmt.Errorf("decode event: %w", err)
	}
	if body.Error == nil {
		return nil
	}
	return &Error{ErrorDetail: *body.Error, RequestID: resp.Header.Get("X-Request-Id")}
}
