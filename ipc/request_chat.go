package ipc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// decodeChat reads the body of POST /v1/chat/completions.
func decodeChat(body []byte) (*job, *Error) {
	o, err := decodeBody(body)
	if err != nil {
		return nil, err
	}
	j := decodeShared(o)
	j.req.MaxTokens = decodeMaxTokens(o, "max_tokens", "max_completion_tokens")
	j.req.Logprobs = o.bool("logprobs", false)
	if top := o.smallInt("top_logprobs", 0, MaxTopLogprobs); top != nil {
		if j.req.TopLogprobs = *top; !j.req.Logprobs {
			o.fail("top_logprobs", `is only allowed together with "logprobs": true`)
		}
	}
	if raw, ok := o.get("chat_template_kwargs"); ok {
		if _, err := newObject(raw, "chat_template_kwargs", "chat_template_kwargs"); err != nil {
			o.err = err
		}
		j.req.TemplateVars = bytes.Clone(raw)
	}
	j.req.RawThoughts = decodeReasoningFormat(o)
	j.req.Tools = decodeTools(o, j.req.Grammar)
	decodeSession(o, &j.req)
	j.req.Messages = decodeMessages(o)
	if o.err != nil {
		return nil, o.err
	}
	return j, nil
}

// decodeReasoningFormat says whether thoughts stay in the text. The words are
// llama-server's.
func decodeReasoningFormat(o *object) (raw bool) {
	switch f, ok := o.string("reasoning_format"); {
	case !ok, f == "auto", f == "deepseek":
	case f == "none":
		return true
	default:
		o.fail("reasoning_format", `must be "auto", "deepseek" or "none", got %s`, show(o.fields["reasoning_format"]))
	}
	return false
}

func decodeMessages(o *object) []Message {
	raw, ok := o.get("messages")
	if !ok {
		o.fail("messages", "is required: an array of at least one message")
		return nil
	}
	var messages []Message
	isArray := elements(raw, func(i int, raw json.RawMessage) bool {
		m, err := decodeMessage(raw, fmt.Sprintf("messages[%d]", i))
		if err != nil {
			o.err = err
			return false
		}
		messages = append(messages, m)
		return true
	})
	switch {
	case !isArray:
		o.fail("messages", "must be an array of messages, got %s", show(raw))
	case len(messages) == 0:
		o.fail("messages", "must hold at least one message, got %s", show(raw))
	}
	return messages
}

func decodeMessage(raw json.RawMessage, name string) (Message, *Error) {
	o, err := newObject(raw, name, name+".")
	if err != nil {
		return Message{}, err
	}
	var m Message
	m.Role = decodeRole(o)
	m.Name, _ = o.string("name")
	m.Reasoning, _ = o.string("reasoning_content")
	m.ToolCallID, _ = o.string("tool_call_id")
	if raw, ok := o.get("tool_calls"); ok {
		m.ToolCalls = decodeToolCalls(o, m.Role, raw)
	}
	// Parts of an assistant turn that this server never produces and no template renders.
	for _, field := range []string{"audio", "function_call", "refusal"} {
		if raw, ok := o.get(field); ok {
			o.fail(field, "is not supported by this server, got %s; leave it out", show(raw))
		}
	}
	m.Content = decodeContent(o, len(m.ToolCalls) > 0)
	if o.err != nil {
		return Message{}, o.err
	}
	return m, nil
}

func decodeRole(o *object) string {
	role, ok := o.string("role")
	if !ok {
		o.fail("role", "is required: system, developer, user, assistant or tool")
		return ""
	}
	switch role {
	case "developer":
		// OpenAI's later name of the same thing; templates know the older one.
		return "system"
	case "system", "user", "assistant", "tool":
		return role
	}
	o.fail("role", "must be system, developer, user, assistant or tool, got %s", show(o.fields["role"]))
	return ""
}

// decodeToolCalls passes the calls of earlier turns on as they are: what they
// may hold is between the client and the model's template.
func decodeToolCalls(o *object, role string, raw json.RawMessage) json.RawMessage {
	var calls []json.RawMessage
	switch {
	case json.Unmarshal(raw, &calls) != nil:
		o.fail("tool_calls", "must be an array, got %s", show(raw))
		return nil
	case len(calls) == 0:
		return nil
	case role != "assistant":
		o.fail("tool_calls", "is only allowed in a message of the assistant, not of role %s", role)
		return nil
	}
	return bytes.Clone(raw)
}

// decodeContent reads a string or an array of text parts. Only a turn that
// consists of something else may do without.
func decodeContent(o *object, optional bool) string {
	raw, ok := o.get("content")
	if !ok {
		if !optional {
			o.fail("content", "is required: a string or an array of text parts")
		}
		return ""
	}
	if raw[0] == '"' {
		s, _ := o.string("content")
		return s
	}
	var texts []string
	isArray := elements(raw, func(i int, raw json.RawMessage) bool {
		name := fmt.Sprintf("%scontent[%d]", o.path, i)
		text, err := decodePart(raw, name)
		if err != nil {
			o.err = err
			return false
		}
		texts = append(texts, text)
		return true
	})
	switch {
	case !isArray:
		o.fail("content", "must be a string or an array of text parts, got %s", show(raw))
	case len(texts) == 0:
		o.fail("content", "must hold at least one part, got []")
	}
	return strings.Join(texts, "\n")
}

func decodePart(raw json.RawMessage, name string) (string, *Error) {
	o, err := newObject(raw, name, name+".")
	if err != nil {
		return "", err
	}
	kind, ok := o.string("type")
	switch {
	case !ok:
		o.fail("type", `is required: "text"`)
	case kind != "text":
		o.fail("type", "%s is not supported by this server; only text parts are", show(o.fields["type"]))
	}
	text, ok := o.string("text")
	if !ok {
		o.fail("text", "is required: a string")
	}
	if o.err != nil {
		return "", o.err
	}
	return text, nil
}
