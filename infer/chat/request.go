package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"edged/infer/chat/jinja"
)

// reserved are the variables that Vars cannot replace.
var reserved = []string{"messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token", "raise_exception", "strftime_now"}

var errUTF8 = errors.New("text is not valid UTF-8")

// variables makes the names that a template sees.
func (t *Template) variables(req Request) (map[string]any, error) {
	messages := jinja.NewList()
	for i, m := range req.Messages {
		d, err := t.message(m)
		if err != nil {
			return nil, inField(fmt.Sprintf("messages[%d]", i), err)
		}
		messages.Items = append(messages.Items, d)
	}
	tools, err := t.list(req.Tools)
	if err != nil {
		return nil, inField("tools", err)
	}
	vars := map[string]any{}
	for name, v := range req.Vars {
		if vars[name], err = t.variable(v); err != nil {
			return nil, inField("variable "+name, err)
		}
	}
	for _, name := range reserved {
		if _, taken := vars[name]; taken {
			return nil, &RequestError{"variable " + name, errors.New("the name is reserved")}
		}
	}
	vars["messages"] = messages
	vars["tools"] = tools
	vars["documents"] = nil
	vars["add_generation_prompt"] = req.AddGenerationPrompt
	t.addGlobals(vars)
	return vars, nil
}

func (t *Template) guard(s string) string {
	if t.opt.Guard == nil {
		return s
	}
	return t.opt.Guard(s)
}

// message makes the dict of a message.
func (t *Template) message(m Message) (*jinja.Dict, error) {
	d := jinja.NewDict()
	add := func(key, val string) error {
		if !utf8.ValidString(val) {
			return inField(key, errUTF8)
		}
		d.Set(key, t.guard(val))
		return nil
	}
	if m.ReasoningContent != "" {
		// transformers adds this older name for it, in front.
		if err := add("thinking", m.ReasoningContent); err != nil {
			return nil, err
		}
	}
	if err := add("role", m.Role); err != nil {
		return nil, err
	}
	if m.Parts == nil {
		if err := add("content", m.Content); err != nil {
			return nil, err
		}
	} else {
		parts, err := t.list(m.Parts)
		if err != nil {
			return nil, inField("content", err)
		}
		d.Set("content", parts)
	}
	for _, f := range []struct{ key, val string }{
		{"name", m.Name}, {"tool_call_id", m.ToolCallID}, {"reasoning_content", m.ReasoningContent},
	} {
		if f.val == "" {
			continue
		}
		if err := add(f.key, f.val); err != nil {
			return nil, err
		}
	}
	if m.ToolCalls != nil {
		calls, err := t.toolCalls(m.ToolCalls)
		if err != nil {
			return nil, inField("tool_calls", err)
		}
		d.Set("tool_calls", calls)
	}
	return d, nil
}

// list decodes a JSON array and guards its strings. nil gives None.
func (t *Template) list(raw json.RawMessage) (any, error) {
	if raw == nil {
		return nil, nil
	}
	if !utf8.Valid(raw) {
		return nil, errUTF8
	}
	v, err := jinja.DecodeJSON(raw, t.guard)
	if err != nil {
		return nil, err
	}
	switch v.(type) {
	case nil, *jinja.List:
		return v, nil
	}
	return nil, errors.New("not a JSON array")
}

// toolCalls decodes tool calls. OpenAI clients send the arguments of a call as
// a string that holds JSON, while templates are written for the object in it
// (they would quote the string once more), so such a string is replaced by the
// object. A string that holds anything else stays as it is.
func (t *Template) toolCalls(raw json.RawMessage) (any, error) {
	v, err := t.list(raw)
	if err != nil || v == nil {
		return nil, err
	}
	for _, call := range v.(*jinja.List).Items {
		d, ok := call.(*jinja.Dict)
		if !ok {
			return nil, errors.New("a call is not a JSON object")
		}
		if fn, ok := d.Get("function"); ok {
			if d, ok = fn.(*jinja.Dict); !ok {
				return nil, errors.New("the function of a call is not a JSON object")
			}
		}
		text, ok := d.Get("arguments")
		if s, isText := text.(string); ok && isText {
			if args, err := jinja.DecodeJSON([]byte(s), t.guard); err == nil {
				if obj, isObj := args.(*jinja.Dict); isObj {
					d.Set("arguments", obj)
				}
			}
		}
	}
	return v, nil
}

// variable converts a Go value by way of JSON.
func (t *Template) variable(v any) (any, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return jinja.DecodeJSON(raw, t.guard)
}

// inField wraps an error with the place in the request.
func inField(field string, err error) error {
	var inner *RequestError
	if errors.As(err, &inner) {
		return &RequestError{field + "." + inner.Field, inner.Err}
	}
	return &RequestError{field, err}
}
