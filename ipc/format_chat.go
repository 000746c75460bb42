package ipc

import (
	"bytes"

	"edged/ipc/api"
)

// chatFormat shapes answers of /v1/chat/completions.
type chatFormat struct {
	completions
	choices  int
	logprobs bool
}

func (f *chatFormat) chunk() *api.ChatChunk {
	return &api.ChatChunk{ID: f.id, Object: "chat.completion.chunk", Created: f.created, Model: f.model, Choices: []api.ChatChunkChoice{}}
}

func (f *chatFormat) choice(i int, d api.ChatDelta) *api.ChatChunk {
	c := f.chunk()
	c.Choices = append(c.Choices, api.ChatChunkChoice{Index: i, Delta: d})
	return c
}

func (f *chatFormat) first() []event {
	empty := ""
	var all []event
	for i := range f.choices {
		all = append(all, event{data: f.choice(i, api.ChatDelta{Role: "assistant", Content: &empty})})
	}
	return all
}

func (f *chatFormat) delta(i int, d Delta) []event {
	var events []event
	logprobs := d.Logprobs
	if d.Thought != "" {
		c := f.choice(i, api.ChatDelta{ReasoningContent: d.Thought})
		if d.Text == "" {
			c.Choices[0].Logprobs = f.chatLogprobs(logprobs)
			logprobs = nil
		}
		events = data(c)
	}
	if d.Text != "" || len(logprobs) > 0 {
		c := f.choice(i, api.ChatDelta{Content: &d.Text})
		c.Choices[0].Logprobs = f.chatLogprobs(logprobs)
		events = append(events, event{data: c})
	}
	for _, call := range d.Calls {
		piece := api.ToolCall{Index: &call.Index, ID: call.ID, Function: api.FunctionCall{Name: call.Name, Arguments: call.Arguments}}
		if call.Name != "" {
			piece.Type = "function"
		}
		events = append(events, event{data: f.choice(i, api.ChatDelta{ToolCalls: []api.ToolCall{piece}})})
	}
	return events
}

func (f *chatFormat) progress(p Progress) []event {
	c := f.chunk()
	c.Progress = (*api.Progress)(&p)
	return f.progressIn(c)
}

func (f *chatFormat) finish(i int, r Result) []event {
	c := f.choice(i, api.ChatDelta{})
	c.Choices[0].FinishReason = (*string)(&r.FinishReason)
	c.Session, c.Reach = sessionOf(r), (*api.Reach)(r.Reach)
	return data(c)
}

func (f *chatFormat) last(r Result) []event {
	c := f.chunk()
	c.Usage, c.Timings = usageOf(r), timingsOf(r)
	return f.lastIn(c)
}

func (f *chatFormat) whole(answers []answer, total Result) any {
	c := &api.ChatCompletion{
		ID: f.id, Object: "chat.completion", Created: f.created, Model: f.model,
		Usage: *usageOf(total), Timings: *timingsOf(total), Session: sessionOf(total),
	}
	for i, a := range answers {
		c.Choices = append(c.Choices, api.ChatChoice{
			Index:        i,
			Message:      chatMessage(a),
			Logprobs:     f.chatLogprobs(a.logprobs),
			FinishReason: string(a.res.FinishReason),
		})
	}
	return c
}

func chatMessage(a answer) api.ChatMessage {
	m := api.ChatMessage{Role: "assistant", ReasoningContent: string(a.thought)}
	if text := string(a.text); text != "" || len(a.calls) == 0 {
		m.Content = &text
	}
	for _, c := range a.calls {
		m.ToolCalls = append(m.ToolCalls, api.ToolCall{ID: c.ID, Type: "function", Function: api.FunctionCall{Name: c.Name, Arguments: c.Arguments}})
	}
	return m
}

// sessionOf returns nil when the request named no session.
func sessionOf(r Result) *api.SessionResult {
	if r.Session == nil {
		return nil
	}
	out := api.SessionResult(*r.Session)
	return &out
}

// chatLogprobs returns nil when the request did not ask for log probabilities.
func (f *chatFormat) chatLogprobs(tokens []TokenLogprob) *api.ChatLogprobs {
	if !f.logprobs {
		return nil
	}
	list := &api.ChatLogprobs{Content: []api.TokenLogprob{}}
	for _, t := range tokens {
		out := api.TokenLogprob{
			ID: t.ID, Token: validText(t.Bytes), Logprob: finite(t.Logprob), Bytes: byteValues(t.Bytes),
			TopLogprobs: []api.TopLogprob{},
		}
		for _, alt := range t.Top {
			out.TopLogprobs = append(out.TopLogprobs, api.TopLogprob{
				ID: alt.ID, Token: validText(alt.Bytes), Logprob: finite(alt.Logprob), Bytes: byteValues(alt.Bytes),
			})
		}
		list.Content = append(list.Content, out)
	}
	return list
}

// cloneLogprobs copies what the engine may reuse after emit has returned.
func cloneLogprobs(tokens []TokenLogprob) []TokenLogprob {
	out := make([]TokenLogprob, len(tokens))
	for i, t := range tokens {
		t.Bytes = bytes.Clone(t.Bytes)
		if t.Top != nil {
			t.Top = cloneLogprobs(t.Top)
		}
		out[i] = t
	}
	return out
}
