package ipc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"
)

// unsupportedAnthropic are fields of Anthropic's API that would change the answer.
var unsupportedAnthropic = map[string][]string{
	"container":          nil,
	"context_management": nil,
	"mcp_servers":        {`[]`},
	"speed":              {`"standard"`},
}

// decodeAnthropic reads the body of POST /v1/messages.
func decodeAnthropic(body []byte) (*job, *Error) {
	o, err := decodeBody(body)
	if err != nil {
		return nil, err
	}
	j := &job{choices: 1}
	decodeAnthropicPrompt(o, &j.req)
	j.stream = o.bool("stream", false)
	if n := o.smallInt("max_tokens", 1, math.MaxInt32); n != nil {
		j.req.MaxTokens = *n
	} else {
		o.fail("max_tokens", "is required: an integer from 1 to %d", math.MaxInt32)
	}
	decodeSampling(o, &j.req.Sampling)
	j.req.Stop = decodeStops(o, "stop_sequences")
	if o.err != nil {
		return nil, o.err
	}
	return j, nil
}

// decodeAnthropicCount reads the body of POST /v1/messages/count_tokens.
func decodeAnthropicCount(body []byte) (*Request, *Error) {
	o, err := decodeBody(body)
	if err != nil {
		return nil, err
	}
	req := &Request{}
	decodeAnthropicPrompt(o, req)
	if o.err != nil {
		return nil, o.err
	}
	return req, nil
}

// decodeAnthropicPrompt reads what the prompt is made of.
func decodeAnthropicPrompt(o *object, req *Request) {
	refuseListed(o, unsupportedAnthropic)
	req.Model, _ = o.string("model")
	if text := decodeSystem(o); text != "" {
		req.Messages = append(req.Messages, Message{Role: "system", Content: text})
	}
	decodeTurns(o, req)
	req.Grammar = decodeOutputFormat(o)
	req.Tools = decodeAnthropicTools(o, req.Grammar)
	decodeThinking(o, req)
}

// changing is the part of a client's first line that is another one in each
// request: it would keep every prompt from being found in the cache.
var changing = regexp.MustCompile(`^(x-anthropic-billing-header:.*\bcch=)[0-9A-Za-z]+`)

// decodeSystem reads a string or text blocks.
func decodeSystem(o *object) string {
	if _, ok := o.get("system"); !ok {
		return ""
	}
	x := &object{path: o.path, fields: map[string]json.RawMessage{"content": o.fields["system"]}}
	var texts []string
	for _, b := range decodeBlocks(x, "content", "system") {
		if kind := b.kind(); kind != "text" {
			b.fail("type", "must be text, got %s", show(b.fields["type"]))
		}
		text, _ := b.string("text")
		if x.err = b.err; x.err != nil {
			break
		}
		texts = append(texts, changing.ReplaceAllString(text, "${1}0"))
	}
	if x.err != nil {
		o.err = x.err
	}
	return strings.Join(texts, "\n")
}

// block is a part of a message.
type block struct{ *object }

func (b block) kind() string {
	kind, ok := b.string("type")
	if !ok {
		b.fail("type", "is required: a string")
	}
	return kind
}

// decodeBlocks reads a field that is a string or an array of blocks; errors call
// it name.
func decodeBlocks(o *object, field, name string) []block {
	raw, ok := o.get(field)
	if !ok {
		return nil
	}
	if raw[0] == '"' {
		return []block{{&object{path: name + ".", fields: map[string]json.RawMessage{"type": json.RawMessage(`"text"`), "text": raw}}}}
	}
	var blocks []block
	isArray := elements(raw, func(i int, raw json.RawMessage) bool {
		at := fmt.Sprintf("%s[%d]", name, i)
		b, err := newObject(raw, at, at+".")
		if err != nil {
			o.err = err
			return false
		}
		blocks = append(blocks, block{b})
		return true
	})
	if !isArray && o.err == nil {
		o.err = invalid(name, "%s must be a string or an array of blocks, got %s", name, show(raw))
	}
	return blocks
}

// decodeTurns reads messages. Results of tools become messages of their own.
func decodeTurns(o *object, req *Request) {
	raw, ok := o.get("messages")
	if !ok {
		o.fail("messages", "is required: an array of at least one message")
		return
	}
	n, role := 0, ""
	isArray := elements(raw, func(i int, raw json.RawMessage) bool {
		name := fmt.Sprintf("messages[%d]", i)
		m, err := newObject(raw, name, name+".")
		if err != nil {
			o.err = err
			return false
		}
		n++
		role = decodeTurn(m, name, req)
		o.err = m.err
		return o.err == nil
	})
	switch {
	case !isArray:
		o.fail("messages", "must be an array of messages, got %s", show(raw))
	case n == 0:
		o.fail("messages", "must hold at least one message, got %s", show(raw))
	case role == "assistant":
		o.fail("messages", "must end with a message of the user: to go on with an answer that the client has begun is not supported by this server")
	}
}

func decodeTurn(m *object, name string, req *Request) (role string) {
	role, _ = m.string("role")
	if role != "user" && role != "assistant" {
		m.fail("role", "must be user or assistant, got %s", show(orNothing(m.fields["role"])))
		return role
	}
	if _, ok := m.get("content"); !ok {
		m.fail("content", "is required: a string or an array of blocks")
		return role
	}
	turn := Message{Role: role}
	var texts []string
	var calls []json.RawMessage
	for _, b := range decodeBlocks(m, "content", name+".content") {
		switch kind := b.kind(); {
		case kind == "text":
			text, ok := b.string("text")
			if !ok {
				b.fail("text", "is required: a string")
			}
			texts = append(texts, text)
		case kind == "tool_use" && role == "assistant":
			calls = append(calls, decodeToolUse(b))
		case kind == "tool_result" && role == "user":
			req.Messages = append(req.Messages, decodeToolResult(b))
		case kind == "thinking" && role == "assistant":
			turn.Reasoning, _ = b.string("thinking")
		case kind == "redacted_thinking" && role == "assistant": // not for models elsewhere
		default:
			b.fail("type", "%s is not supported by this server in a message of the %s", show(orNothing(b.fields["type"])), role)
		}
		if m.err = b.err; m.err != nil {
			return role
		}
	}
	if len(texts) == 0 && len(calls) == 0 && turn.Reasoning == "" {
		return role // results of tools alone
	}
	turn.Content = strings.Join(texts, "\n")
	if len(calls) > 0 {
		turn.ToolCalls = append(append([]byte{'['}, bytes.Join(rawBytes(calls), []byte{','})...), ']')
	}
	req.Messages = append(req.Messages, turn)
	return role
}

func rawBytes(list []json.RawMessage) [][]byte {
	out := make([][]byte, len(list))
	for i, raw := range list {
		out[i] = raw
	}
	return out
}

func orNothing(raw json.RawMessage) []byte {
	if raw == nil {
		return []byte("nothing")
	}
	return raw
}

// decodeToolUse writes a call in OpenAI's form, which templates know.
func decodeToolUse(b block) json.RawMessage {
	id, ok := b.string("id")
	if !ok {
		b.fail("id", "is required: a string")
	}
	name, ok := b.string("name")
	if !ok {
		b.fail("name", "is required: a string")
	}
	input, ok := b.get("input")
	if !ok || input[0] != '{' {
		b.fail("input", "must be a JSON object, got %s", show(orNothing(input)))
	}
	if b.err != nil {
		return nil
	}
	return openAICall(id, name, string(input))
}

// openAICall is a call of a tool as chat completions have it.
func openAICall(id, name, arguments string) json.RawMessage {
	raw, err := marshal(map[string]any{"id": id, "type": "function", "function": map[string]any{"name": name, "arguments": arguments}})
	if err != nil {
		panic(err) // strings always marshal
	}
	return raw
}

func decodeToolResult(b block) Message {
	m := Message{Role: "tool"}
	var ok bool
	if m.ToolCallID, ok = b.string("tool_use_id"); !ok {
		b.fail("tool_use_id", "is required: a string")
	}
	var texts []string
	for _, part := range decodeBlocks(b.object, "content", b.path+"content") {
		if kind := part.kind(); kind != "text" {
			part.fail("type", "%s is not supported by this server; only text is", show(orNothing(part.fields["type"])))
		}
		text, _ := part.string("text")
		texts = append(texts, text)
		if part.err != nil {
			b.err = part.err
			break
		}
	}
	m.Content = strings.Join(texts, "\n")
	if b.bool("is_error", false) { // templates have no other place for it
		m.Content = "Error: " + m.Content
	}
	return m
}

// decodeOutputFormat reads output_format and output_config.format, which say the
// same.
func decodeOutputFormat(o *object) *Grammar {
	raw, ok := o.get("output_format")
	name := "output_format"
	if config, set := o.get("output_config"); set {
		c, err := newObject(config, "output_config", "output_config.")
		if err != nil {
			o.err = err
			return nil
		}
		refuseListed(c, map[string][]string{"effort": {`"high"`}})
		if o.err = c.err; o.err != nil {
			return nil
		}
		if inner, set := c.get("format"); set {
			raw, ok, name = inner, true, "output_config.format"
		}
	}
	if !ok {
		return nil
	}
	f, err := newObject(raw, name, name+".")
	if err != nil {
		o.err = err
		return nil
	}
	if kind, _ := f.string("type"); kind != "json_schema" {
		f.fail("type", "must be json_schema, got %s", show(orNothing(f.fields["type"])))
	}
	schema := decodeSchema(f)
	if schema == nil {
		f.fail("schema", "is required: a JSON schema")
	}
	o.err = f.err
	return &Grammar{Field: name + ".schema", Schema: schema}
}

// decodeAnthropicTools reads tools and tool_choice and writes the former in
// OpenAI's form, which templates know.
func decodeAnthropicTools(o *object, g *Grammar) *Tools {
	t := &Tools{}
	raw, ok := o.get("tools")
	if ok {
		var list []any
		t.Functions = toolList(o, raw, func(x *object) Function {
			wantKind(x, "custom")
			if raw, ok := x.get("input_schema"); !ok {
				x.fail("input_schema", "is required: a JSON schema of an object, got %s", show(orNothing(raw)))
			}
			f := decodeFunction(x, "input_schema")
			list = append(list, openAITool(x, f))
			return f
		})
		t.JSON = mustMarshal(list)
	}
	if raw, ok := o.get("tool_choice"); ok {
		decodeAnthropicChoice(o, t, raw)
	}
	return usableTools(o, t, g)
}

// openAITool is a tool as chat completions have it.
func openAITool(x *object, f Function) any {
	type function struct {
		Name        string          `json:"name"`
		Description string          `json:"description,omitempty"`
		Parameters  json.RawMessage `json:"parameters,omitempty"`
	}
	description, _ := x.string("description")
	return struct {
		Type     string   `json:"type"`
		Function function `json:"function"`
	}{"function", function{f.Name, description, f.Parameters}}
}

// mustMarshal encodes what consists of strings and JSON that has been checked.
func mustMarshal(v any) json.RawMessage {
	raw, err := marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}

func decodeAnthropicChoice(o *object, t *Tools, raw json.RawMessage) {
	c, err := newObject(raw, "tool_choice", "tool_choice.")
	if err != nil {
		o.err = err
		return
	}
	kind, _ := c.string("type")
	parallel := !c.bool("disable_parallel_tool_use", false)
	name, named := c.string("name")
	if o.err = c.err; o.err != nil {
		return
	}
	switch kind {
	case "auto", "none":
		applyToolChoice(o, t, kind, false, parallel)
	case "any":
		applyToolChoice(o, t, "required", false, parallel)
	case "tool":
		if !named {
			o.fail("tool_choice.name", "is required: a string")
			return
		}
		applyToolChoice(o, t, name, true, parallel)
	default:
		o.fail("tool_choice.type", "must be auto, any, tool or none, got %s", show(orNothing(c.fields["type"])))
	}
}

// minThinkingBudget is the least that Anthropic's API takes.
const minThinkingBudget = 1024

// decodeThinking turns thoughts on or off where the model's template can. A budget is
// a target there too, which nothing here aims at.
func decodeThinking(o *object, req *Request) {
	raw, ok := o.get("thinking")
	if !ok {
		return
	}
	t, err := newObject(raw, "thinking", "thinking.")
	if err != nil {
		o.err = err
		return
	}
	switch kind, _ := t.string("type"); kind {
	case "adaptive": // as the model likes
	case "enabled":
		if t.int("budget_tokens", minThinkingBudget, math.MaxInt32) == nil {
			t.fail("budget_tokens", "is required: an integer from %d", minThinkingBudget)
		}
		req.TemplateVars = json.RawMessage(`{"enable_thinking":true}`)
	case "disabled":
		req.TemplateVars = json.RawMessage(`{"enable_thinking":false}`)
	default:
		t.fail("type", "%s is not supported by this server; only enabled, disabled and adaptive are", show(orNothing(t.fields["type"])))
	}
	o.err = t.err
}
