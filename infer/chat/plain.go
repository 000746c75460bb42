package chat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// WithTools prepares a request with tools for Render. For a template that knows
// neither tools nor their results, the tools are described in the first turn,
// calls become text, and results turns of the user; turns of one role that follow
// each other become one, as such templates want roles to alternate. Other
// requests stay as they are.
func (t *Template) WithTools(req Request) Request {
	if t.style != GemmaJSON {
		return req
	}
	needed := len(req.Tools) > 0
	for _, m := range req.Messages {
		needed = needed || m.Role == "tool" || m.ToolCalls != nil
	}
	if !needed {
		return req
	}
	var turns []Message
	for _, m := range req.Messages {
		m = plainMessage(m)
		if n := len(turns); n > 0 && turns[n-1].Role == m.Role && turns[n-1].Parts == nil && m.Parts == nil {
			turns[n-1].Content += "\n" + m.Content
			continue
		}
		turns = append(turns, m)
	}
	if len(req.Tools) > 0 {
		turns = describeTools(turns, compact(req.Tools))
	}
	req.Messages, req.Tools = turns, nil
	return req
}

// describeTools puts what a model has to know into the first turn that is not
// the model's own.
func describeTools(turns []Message, tools string) []Message {
	text := "You have access to functions. If you decide to invoke any of the functions, you MUST put it in the format of\n" +
		`{"name": function name, "parameters": dictionary of argument name and its value}` +
		"\nYou SHOULD NOT include any other text in the response if you call a function.\n" + tools
	if len(turns) == 0 || turns[0].Role == "assistant" || turns[0].Parts != nil {
		return append([]Message{{Role: "user", Content: text}}, turns...)
	}
	turns[0].Content = text + "\n\n" + turns[0].Content
	return turns
}

// compact writes JSON on one line. What is none is refused when it is rendered.
func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return string(raw)
	}
	return b.String()
}

func plainMessage(m Message) Message {
	switch {
	case m.Role == "tool":
		return Message{Role: "user", Content: "```tool_output\n" + m.Content + "\n```"}
	case m.ToolCalls != nil:
		var lines []string
		if m.Content != "" {
			lines = append(lines, m.Content)
		}
		var calls []struct {
			Function struct {
				Name      string          `json:"name"`
				Arguments json.RawMessage `json:"arguments"`
			} `json:"function"`
		}
		if json.Unmarshal(m.ToolCalls, &calls) != nil {
			return m // refused when it is rendered
		}
		for _, c := range calls {
			arguments := compact(c.Function.Arguments)
			var spelled string
			if json.Unmarshal(c.Function.Arguments, &spelled) == nil {
				arguments = spelled
			}
			lines = append(lines, fmt.Sprintf(`{"name": %q, "parameters": %s}`, c.Function.Name, arguments))
		}
		m.Content, m.ToolCalls = strings.Join(lines, "\n"), nil
	}
	return m
}
