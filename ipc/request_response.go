package ipc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"edged/ipc/api"
)

// responseJob is what only /v1/responses has: how its answer is kept, and what
// of the request is repeated in it.
type responseJob struct {
	store    bool
	previous string // id of a response, "" = none
	echo     api.ResponseEcho
	created  string // session that was made for the answer, "" = none
}

// unsupportedResponse are fields of OpenAI's responses that would change the answer.
var unsupportedResponse = map[string][]string{
	"background":             {`false`},
	"context_management":     {`[]`},
	"conversation":           nil,
	"max_tool_calls":         nil,
	"prompt":                 nil,
	"prompt_cache_retention": {`"in_memory"`, `"in-memory"`},
	"service_tier":           {`"auto"`, `"default"`},
	"top_logprobs":           {`0`},
	"truncation":             {`"disabled"`},
}

// decodeResponse reads the body of POST /v1/responses.
func decodeResponse(body []byte) (*job, *Error) {
	o, err := decodeBody(body)
	if err != nil {
		return nil, err
	}
	refuseListed(o, unsupportedResponse)
	j := &job{choices: 1, response: &responseJob{}}
	r, e := j.response, &j.response.echo
	j.req.Model, _ = o.string("model")
	j.stream = o.bool("stream", false)
	r.store = o.bool("store", false)
	if r.previous, _ = o.string("previous_response_id"); r.previous != "" {
		e.PreviousResponseID = &r.previous
	}
	if text, ok := o.string("instructions"); ok {
		e.Instructions = &text
	}
	if e.MaxOutputTokens = o.smallInt("max_output_tokens", 1, math.MaxInt32); e.MaxOutputTokens != nil {
		j.req.MaxTokens = *e.MaxOutputTokens
	}
	decodeSampling(o, &j.req.Sampling)
	e.Temperature, e.TopP = j.req.Sampling.Temperature, j.req.Sampling.TopP
	e.Metadata = decodeMetadata(o)
	decodeStreamlessOptions(o)
	decodeInclude(o)
	refuseReasoning(o)
	j.req.Grammar = decodeText(o, e)
	j.req.Tools = decodeResponseTools(o, e, j.req.Grammar)
	j.req.Messages = decodeInput(o)
	if o.err != nil {
		return nil, o.err
	}
	return j, nil
}

func decodeMetadata(o *object) json.RawMessage {
	raw, ok := o.get("metadata")
	if !ok {
		return json.RawMessage("{}")
	}
	if _, err := newObject(raw, "metadata", "metadata"); err != nil {
		o.err = err
	}
	if len(raw) > 16<<10 {
		o.fail("metadata", "has %d bytes, but at most %d are accepted", len(raw), 16<<10)
	}
	return bytes.Clone(raw)
}

func decodeStreamlessOptions(o *object) {
	raw, ok := o.get("stream_options")
	if !ok {
		return
	}
	opts, err := newObject(raw, "stream_options", "stream_options.")
	if err != nil {
		o.err = err
		return
	}
	refuseListed(opts, map[string][]string{"include_obfuscation": {`false`}})
	o.err = opts.err
}

// decodeInclude accepts what there is nothing of in any answer.
func decodeInclude(o *object) {
	raw, ok := o.get("include")
	if !ok {
		return
	}
	isArray := elements(raw, func(i int, raw json.RawMessage) bool {
		if !sameJSON(raw, `"reasoning.encrypted_content"`) {
			o.fail(fmt.Sprintf("include[%d]", i), "%s is not supported by this server", show(raw))
		}
		return o.err == nil
	})
	if !isArray {
		o.fail("include", "must be an array of strings, got %s", show(raw))
	}
}

func refuseReasoning(o *object) {
	raw, ok := o.get("reasoning")
	if !ok {
		return
	}
	r, err := newObject(raw, "reasoning", "reasoning.")
	if err != nil {
		o.err = err
		return
	}
	refuseListed(r, map[string][]string{"effort": nil, "summary": nil, "generate_summary": nil})
	o.err = r.err
}

// decodeText reads what the answer must match.
func decodeText(o *object, e *api.ResponseEcho) *Grammar {
	e.Text = json.RawMessage(`{"format":{"type":"text"}}`)
	raw, ok := o.get("text")
	if !ok {
		return nil
	}
	e.Text = bytes.Clone(raw)
	t, err := newObject(raw, "text", "text.")
	if err != nil {
		o.err = err
		return nil
	}
	refuseListed(t, map[string][]string{"verbosity": {`"medium"`}})
	inner, ok := t.get("format")
	if o.err = t.err; !ok || o.err != nil {
		return nil
	}
	f, err := newObject(inner, "text.format", "text.format.")
	if err != nil {
		o.err = err
		return nil
	}
	g := textFormat(f)
	o.err = f.err
	return g
}

// textFormat reads a format, which holds the schema itself.
func textFormat(f *object) *Grammar {
	switch kind, _ := f.string("type"); kind {
	case "text":
		return nil
	case "json_object":
		return &Grammar{Field: "text.format", AnyObject: true}
	case "json_schema":
		schema := decodeSchema(f)
		if schema == nil {
			f.fail("schema", "is required: a JSON schema")
		}
		return &Grammar{Field: "text.format.schema", Schema: schema}
	}
	f.fail("type", "must be text, json_object or json_schema, got %s", show(orNothing(f.fields["type"])))
	return nil
}

// decodeResponseTools reads functions that are not wrapped in an object of their
// own, and writes them in the form that templates know.
func decodeResponseTools(o *object, e *api.ResponseEcho, g *Grammar) *Tools {
	t := &Tools{}
	e.ParallelToolCalls = o.bool("parallel_tool_calls", true)
	e.Tools, e.ToolChoice = json.RawMessage("[]"), json.RawMessage(`"auto"`)
	if raw, ok := o.get("tools"); ok {
		e.Tools = bytes.Clone(raw)
		var list []any
		t.Functions = toolList(o, raw, func(x *object) Function {
			wantKind(x, "function")
			f := decodeFunction(x, "parameters")
			list = append(list, openAITool(x, f))
			return f
		})
		t.JSON = mustMarshal(list)
	}
	if raw, ok := o.get("tool_choice"); ok {
		e.ToolChoice = bytes.Clone(raw)
	}
	decodeToolChoice(o, t, e.ParallelToolCalls)
	return usableTools(o, t, g)
}

// decodeInput reads a string or an array of items.
func decodeInput(o *object) []Message {
	raw, ok := o.get("input")
	if !ok {
		o.fail("input", "is required: a string or an array of items")
		return nil
	}
	if raw[0] == '"' {
		text, _ := o.string("input")
		return []Message{{Role: "user", Content: text}}
	}
	in := &input{}
	isArray := elements(raw, func(i int, raw json.RawMessage) bool {
		name := fmt.Sprintf("input[%d]", i)
		x, err := newObject(raw, name, name+".")
		if err != nil {
			o.err = err
			return false
		}
		in.item(x, name)
		o.err = x.err
		return o.err == nil
	})
	in.close()
	switch {
	case !isArray:
		o.fail("input", "must be a string or an array of items, got %s", show(raw))
	case len(in.messages) == 0:
		o.fail("input", "must hold at least one item, got %s", show(raw))
	}
	return in.messages
}

// input makes messages of items: calls belong to the answer before them, thoughts to
// the one behind.
type input struct {
	messages []Message
	calls    []json.RawMessage
	thought  string // of the answer to come
}

// close gives the calls so far to their message.
func (in *input) close() {
	if len(in.calls) == 0 {
		return
	}
	n := len(in.messages)
	if n == 0 || in.messages[n-1].Role != "assistant" {
		in.messages = append(in.messages, Message{Role: "assistant", Reasoning: in.thought})
		in.thought = ""
		n++
	}
	in.messages[n-1].ToolCalls = append(append([]byte{'['}, bytes.Join(rawBytes(in.calls), []byte{','})...), ']')
	in.calls = nil
}

func (in *input) item(x *object, name string) {
	kind, ok := x.string("type")
	if !ok {
		kind = "message"
	}
	if kind == "function_call" {
		in.calls = append(in.calls, decodeCallItem(x))
		return
	}
	in.close()
	switch kind {
	case "message":
		m := Message{Role: decodeRole(x)}
		m.Content = itemText(x, "content", name+".content")
		if _, ok := x.get("content"); !ok {
			x.fail("content", "is required: a string or an array of parts")
		}
		if m.Role == "assistant" {
			m.Reasoning = in.thought
		}
		in.thought = ""
		in.messages = append(in.messages, m)
	case "function_call_output":
		m := Message{Role: "tool", Content: itemText(x, "output", name+".output")}
		if m.ToolCallID, ok = x.string("call_id"); !ok {
			x.fail("call_id", "is required: a string")
		}
		in.thought = ""
		in.messages = append(in.messages, m)
	case "reasoning": // of another model, it may have nothing to say here
		if _, ok := x.get("content"); ok {
			in.thought = itemText(x, "content", name+".content")
		}
	default:
		x.fail("type", "%s is not supported by this server", show(orNothing(x.fields["type"])))
	}
}

func decodeCallItem(x *object) json.RawMessage {
	var values [3]string
	for i, field := range []string{"call_id", "name", "arguments"} {
		var ok bool
		if values[i], ok = x.string(field); !ok {
			x.fail(field, "is required: a string")
		}
	}
	if x.err != nil {
		return nil
	}
	return openAICall(values[0], values[1], values[2])
}

// itemText reads a string or an array of parts with text.
func itemText(x *object, field, name string) string {
	var texts []string
	for _, part := range decodeBlocks(x, field, name) {
		switch kind := part.kind(); kind {
		case "text", "input_text", "output_text", "reasoning_text":
			text, ok := part.string("text")
			if !ok {
				part.fail("text", "is required: a string")
			}
			texts = append(texts, text)
		default:
			part.fail("type", "%s is not supported by this server; only text is", show(orNothing(part.fields["type"])))
		}
		if part.err != nil {
			x.err = part.err
			break
		}
	}
	return strings.Join(texts, "\n")
}
