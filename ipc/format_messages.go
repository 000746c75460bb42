package ipc

import (
	"encoding/json"

	"edged/ipc/api"
)

// messageFormat shapes answers of /v1/messages.
type messageFormat struct {
	head
	request string // id of the request, for errors
	begun   bool   // message_start has been sent
	blocks  int    // that have begun
	open    bool   // the last of them has not ended
	kind    string // of it, as a block's type
}

func (f *messageFormat) event(e api.AnthropicEvent) event { return event{e.Type, e} }

func (f *messageFormat) alive() []byte { return []byte("event: ping\ndata: {\"type\":\"ping\"}\n\n") }

func (f *messageFormat) failed(x failure) []event {
	return []event{{"error", anthropicShape(f.request)(x)}}
}

// first is nothing: message_start has the number of the prompt's tokens, which
// the engine's first report brings.
func (f *messageFormat) first() []event { return nil }

func (f *messageFormat) progress(p Progress) []event {
	if f.begun {
		return nil
	}
	f.begun = true
	return []event{f.event(api.AnthropicEvent{Type: "message_start", Message: &api.AnthropicMessage{
		ID: f.id, Type: "message", Role: "assistant", Model: f.model, Content: []api.AnthropicBlock{},
		Usage: api.AnthropicUsage{InputTokens: p.Total},
	}})}
}

func (f *messageFormat) delta(_ int, d Delta) []event {
	var events []event
	if d.Thought != "" {
		if !f.open || f.kind != "thinking" {
			events = f.begin(events, &api.AnthropicBlock{Type: "thinking", Thinking: new(""), Signature: new("")})
		}
		events = append(events, f.add(&api.AnthropicDelta{Type: "thinking_delta", Thinking: &d.Thought}))
	}
	if d.Text != "" {
		if !f.open || f.kind != "text" {
			events = f.begin(events, &api.AnthropicBlock{Type: "text", Text: new("")})
		}
		events = append(events, f.add(&api.AnthropicDelta{Type: "text_delta", Text: &d.Text}))
	}
	for _, c := range d.Calls {
		if c.Name != "" {
			events = f.begin(events, &api.AnthropicBlock{Type: "tool_use", ID: c.ID, Name: c.Name, Input: json.RawMessage("{}")})
		}
		events = append(events, f.add(&api.AnthropicDelta{Type: "input_json_delta", PartialJSON: &c.Arguments}))
	}
	return events
}

// begin opens the next block, behind the one that is open.
func (f *messageFormat) begin(events []event, b *api.AnthropicBlock) []event {
	events = f.end(events)
	at := f.blocks
	f.open, f.kind, f.blocks = true, b.Type, f.blocks+1
	return append(events, f.event(api.AnthropicEvent{Type: "content_block_start", Index: &at, Block: b}))
}

func (f *messageFormat) add(d *api.AnthropicDelta) event {
	at := f.blocks - 1
	return f.event(api.AnthropicEvent{Type: "content_block_delta", Index: &at, Delta: d})
}

func (f *messageFormat) end(events []event) []event {
	if !f.open {
		return events
	}
	f.open = false
	at := f.blocks - 1
	return append(events, f.event(api.AnthropicEvent{Type: "content_block_stop", Index: &at}))
}

func (f *messageFormat) finish(int, Result) []event { return f.end(nil) }

func (f *messageFormat) last(r Result) []event {
	reason, sequence := stopReason(r)
	usage := anthropicUsage(r)
	return []event{
		f.event(api.AnthropicEvent{Type: "message_delta", Delta: &api.AnthropicStop{StopReason: reason, StopSequence: sequence}, Usage: &usage, Session: sessionOf(r)}),
		f.event(api.AnthropicEvent{Type: "message_stop"}),
	}
}

func (f *messageFormat) whole(answers []answer, r Result) any {
	reason, sequence := stopReason(r)
	m := api.AnthropicMessage{
		ID: f.id, Type: "message", Role: "assistant", Model: f.model, Content: []api.AnthropicBlock{},
		StopReason: &reason, StopSequence: sequence, Usage: anthropicUsage(r), Session: sessionOf(r),
	}
	if thought := string(answers[0].thought); thought != "" {
		m.Content = append(m.Content, api.AnthropicBlock{Type: "thinking", Thinking: &thought, Signature: new("")})
	}
	if text := string(answers[0].text); text != "" {
		m.Content = append(m.Content, api.AnthropicBlock{Type: "text", Text: &text})
	}
	for _, c := range answers[0].calls {
		if !json.Valid([]byte(c.Arguments)) { // the limit came within it
			cut := c.Name + " " + c.Arguments
			m.Content = append(m.Content, api.AnthropicBlock{Type: "text", Text: &cut})
			continue
		}
		m.Content = append(m.Content, api.AnthropicBlock{Type: "tool_use", ID: c.ID, Name: c.Name, Input: json.RawMessage(c.Arguments)})
	}
	return m
}

func anthropicUsage(r Result) api.AnthropicUsage {
	return api.AnthropicUsage{InputTokens: r.PromptTokens - r.CachedTokens, CacheRead: r.CachedTokens, OutputTokens: r.CompletionTokens}
}

// stopReason says why an answer ended in Anthropic's words.
func stopReason(r Result) (reason string, sequence *string) {
	switch {
	case r.FinishReason == FinishLength:
		return "max_tokens", nil
	case r.StopSequence != "":
		return "stop_sequence", &r.StopSequence
	case r.FinishReason == FinishCalls:
		return "tool_use", nil
	}
	return "end_turn", nil
}
