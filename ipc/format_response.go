package ipc

import (
	"encoding/json"
	"fmt"

	"edged/ipc/api"
)

// responseFormat shapes answers of /v1/responses.
type responseFormat struct {
	head
	echo  api.ResponseEcho
	store bool
	sent  int // events
	items []api.ResponseItem
	open  bool // the last item has not ended
}

func newResponseFormat(h head, r *responseJob) *responseFormat {
	return &responseFormat{head: h, echo: r.echo, store: r.store}
}

// response is the answer so far.
func (f *responseFormat) response(status string) *api.Response {
	r := &api.Response{
		ID: f.id, Object: "response", CreatedAt: f.created, Status: status, Model: f.model,
		Output: []api.ResponseItem{}, Store: f.store, Truncation: "disabled", ResponseEcho: f.echo,
	}
	if status != "in_progress" {
		r.Output = append(r.Output, f.items...)
	}
	return r
}

// event numbers an event.
func (f *responseFormat) event(e api.ResponseEvent) event {
	e.SequenceNumber = f.sent
	f.sent++
	return event{e.Type, e}
}

func (f *responseFormat) first() []event {
	return []event{
		f.event(api.ResponseEvent{Type: "response.created", Response: f.response("in_progress")}),
		f.event(api.ResponseEvent{Type: "response.in_progress", Response: f.response("in_progress")}),
	}
}

func (f *responseFormat) progress(Progress) []event { return nil }

// alive is an event: there are clients that do not take comments for a sign of life.
func (f *responseFormat) alive() []byte {
	p, err := encodeEvents([]event{f.event(api.ResponseEvent{Type: "response.in_progress", Response: f.response("in_progress")})})
	if err != nil {
		panic(err) // what is encoded has been JSON before
	}
	return p
}

func (f *responseFormat) delta(_ int, d Delta) []event {
	events := f.say(nil, "reasoning", d.Thought)
	events = f.say(events, "message", d.Text)
	for _, c := range d.Calls {
		if c.Name != "" {
			events = f.beginCall(events, c)
		}
		at, item := f.item()
		*item.Arguments += c.Arguments
		events = append(events, f.event(api.ResponseEvent{Type: "response.function_call_arguments.delta", ItemID: item.ID, OutputIndex: &at, Delta: &c.Arguments}))
	}
	return events
}

// item is the last item with its index.
func (f *responseFormat) item() (int, *api.ResponseItem) {
	return len(f.items) - 1, &f.items[len(f.items)-1]
}

// say adds text to an item of a kind, a new one if another is open.
func (f *responseFormat) say(events []event, kind, text string) []event {
	if text == "" {
		return events
	}
	if n := len(f.items); !f.open || f.items[n-1].Type != kind {
		events = f.beginText(events, kind)
	}
	at, item := f.item()
	part := &(*item.Content)[0]
	part.Text += text
	zero := 0
	e := api.ResponseEvent{Type: "response." + part.Type + ".delta", ItemID: item.ID, OutputIndex: &at, ContentIndex: &zero, Delta: &text}
	if kind == "message" {
		e.Logprobs = &[]int{}
	}
	return append(events, f.event(e))
}

func (f *responseFormat) beginText(events []event, kind string) []event {
	events = f.end(events, "completed")
	at := len(f.items)
	item := api.ResponseItem{ID: itemID(f.id, at), Type: kind, Status: "in_progress", Content: &[]api.ResponsePart{}}
	part, zero := api.ResponsePart{Type: "reasoning_text"}, 0
	if kind == "message" {
		item.Role = "assistant"
		part = api.ResponsePart{Type: "output_text", Annotations: []int{}, Logprobs: []int{}}
	} else {
		item.Summary = &[]api.ResponsePart{}
	}
	added := part
	events = append(events,
		f.event(api.ResponseEvent{Type: "response.output_item.added", OutputIndex: &at, Item: &item}),
		f.event(api.ResponseEvent{Type: "response.content_part.added", ItemID: item.ID, OutputIndex: &at, ContentIndex: &zero, Part: &added}))
	kept := item
	kept.Content = &[]api.ResponsePart{part}
	f.items, f.open = append(f.items, kept), true
	return events
}

func (f *responseFormat) beginCall(events []event, c CallDelta) []event {
	events = f.end(events, "completed")
	at, empty := len(f.items), ""
	item := api.ResponseItem{ID: itemID(f.id, at), Type: "function_call", Status: "in_progress", CallID: c.ID, Name: c.Name, Arguments: &empty}
	events = append(events, f.event(api.ResponseEvent{Type: "response.output_item.added", OutputIndex: &at, Item: &item}))
	kept := item
	kept.Arguments = new("")
	f.items, f.open = append(f.items, kept), true
	return events
}

// itemID names the items of a response by their place.
func itemID(response string, at int) string { return fmt.Sprintf("item_%s_%d", response, at) }

// end closes the item that is open.
func (f *responseFormat) end(events []event, status string) []event {
	if !f.open {
		return events
	}
	f.open = false
	at, item := f.item()
	item.Status = status
	zero := 0
	if item.Type != "function_call" {
		part := &(*item.Content)[0]
		done := api.ResponseEvent{Type: "response." + part.Type + ".done", ItemID: item.ID, OutputIndex: &at, ContentIndex: &zero, Text: &part.Text}
		if item.Type == "message" {
			done.Logprobs = &[]int{}
		}
		events = append(events, f.event(done),
			f.event(api.ResponseEvent{Type: "response.content_part.done", ItemID: item.ID, OutputIndex: &at, ContentIndex: &zero, Part: part}))
	} else {
		events = append(events, f.event(api.ResponseEvent{Type: "response.function_call_arguments.done", ItemID: item.ID, OutputIndex: &at, Name: item.Name, Arguments: item.Arguments}))
	}
	return append(events, f.event(api.ResponseEvent{Type: "response.output_item.done", OutputIndex: &at, Item: item}))
}

func (f *responseFormat) finish(_ int, r Result) []event {
	status, _ := responseStatus(r.FinishReason == FinishLength)
	return f.end(nil, status)
}

func (f *responseFormat) last(r Result) []event {
	done := f.ended(r)
	return []event{f.event(api.ResponseEvent{Type: "response." + done.Status, Response: done})}
}

// ended is the complete answer.
func (f *responseFormat) ended(r Result) *api.Response {
	status, details := responseStatus(r.FinishReason == FinishLength)
	done := f.response(status)
	done.IncompleteDetails = details
	done.Usage = responseUsage(r)
	done.Session = sessionOf(r)
	return done
}

// responseStatus is how an answer ended.
func responseStatus(cut bool) (string, *api.ResponseIncomplete) {
	if cut {
		return "incomplete", &api.ResponseIncomplete{Reason: "max_output_tokens"}
	}
	return "completed", nil
}

func responseUsage(r Result) *api.ResponseUsage {
	return &api.ResponseUsage{
		InputTokens: r.PromptTokens, InputTokensDetails: api.PromptTokensDetails{CachedTokens: r.CachedTokens},
		OutputTokens: r.CompletionTokens, OutputTokensDetails: api.OutputTokensDetails{ReasoningTokens: r.ThoughtTokens},
		TotalTokens: r.PromptTokens + r.CompletionTokens,
	}
}

func (f *responseFormat) failed(x failure) []event {
	r := f.response("failed")
	r.Error = &api.ResponseError{Code: "server_error", Message: x.message}
	if x.kind == typeRateLimit {
		r.Error.Code = "rate_limit_exceeded"
	}
	return []event{f.event(api.ResponseEvent{Type: "response.failed", Response: r})}
}

func (f *responseFormat) whole(answers []answer, r Result) any {
	a := answers[0]
	f.delta(0, Delta{Thought: string(a.thought), Text: string(a.text)})
	for i, c := range a.calls {
		f.delta(0, Delta{Calls: []CallDelta{{Index: i, ID: c.ID, Name: c.Name, Arguments: c.Arguments}}})
	}
	f.finish(0, r)
	return f.ended(r)
}

// render shows a stored response as it was answered. Which of the prompt's tokens
// were cached, and which of the answer's are of the thought, is not kept.
func (s *storedResponse) render(id string) *api.Response {
	last := s.messages[len(s.messages)-1]
	prompt := 0
	for _, m := range s.messages[:len(s.messages)-1] {
		prompt += m.Tokens
	}
	cut := s.echo.MaxOutputTokens != nil && last.Tokens >= *s.echo.MaxOutputTokens
	f := &responseFormat{head: head{id: id, model: s.session.Model, created: s.session.Created.Unix()}, echo: s.echo, store: true}
	res := Result{FinishReason: FinishStop, PromptTokens: prompt, CompletionTokens: last.Tokens}
	if cut {
		res.FinishReason = FinishLength
	}
	var calls []api.ToolCall
	if last.ToolCalls != nil && json.Unmarshal(last.ToolCalls, &calls) != nil {
		calls = nil // of a file that was imported
	}
	a := []answer{{thought: []byte(last.Reasoning), text: []byte(last.Content)}}
	for _, c := range calls {
		a[0].calls = append(a[0].calls, ToolCall{ID: c.ID, Name: c.Function.Name, Arguments: c.Function.Arguments})
	}
	return f.whole(a, res).(*api.Response)
}
