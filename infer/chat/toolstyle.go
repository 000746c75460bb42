package chat

import "strings"

// ToolStyle is the notation in which a family of models writes calls of tools.
type ToolStyle uint8

const (
	// NoTools: the template has no place for tools, or asks for a notation that
	// is not known here.
	NoTools ToolStyle = iota
	// Hermes: <tool_call>{"name": …, "arguments": {…}}</tool_call>, of Hermes,
	// Qwen 2.5, Qwen 3 and others.
	Hermes
	// LlamaJSON: the answer is {"name": …, "parameters": {…}} and nothing else,
	// of Llama 3.
	LlamaJSON
	// GemmaJSON: the same object, in a fence of code or not. Gemma's templates do
	// not know tools; what they shall do with them is said in the first turn.
	GemmaJSON
)

// String names the style for messages.
func (s ToolStyle) String() string {
	return [...]string{"none", "hermes", "llama-json", "gemma-json"}[s]
}

// styleOf tells the style from a template's text: it is what the model was
// taught with.
func styleOf(source string, tools bool) ToolStyle {
	switch {
	case tools && strings.Contains(source, "<function="):
		return NoTools // tags with parameters in tags
	case tools && strings.Contains(source, "<tool_call>"):
		return Hermes
	case tools && strings.Contains(source, "<|start_header_id|>"):
		return LlamaJSON
	case !tools && strings.Contains(source, "<start_of_turn>"):
		return GemmaJSON
	}
	return NoTools
}

// notation is what a parser and a grammar need to know of a style.
type notation struct {
	fences  []fence // around calls, anywhere in an answer
	bare    bool    // an answer may begin with a call
	skipped string  // bytes that may stand around the objects of several calls
	thinks  bool    // <think>…</think> is no place for calls
}

// fence is text before and after calls.
type fence struct {
	open, close string
}

var notations = [...]notation{
	NoTools:   {},
	Hermes:    {fences: []fence{{open: "<tool_call>", close: "</tool_call>"}}, skipped: " \t\r\n[],", thinks: true},
	LlamaJSON: {bare: true, skipped: " \t\r\n;,[]"},
	GemmaJSON: {fences: []fence{{open: "```tool_code", close: "```"}, {open: "```json", close: "```"}}, bare: true, skipped: " \t\r\n,[];"},
}

// CallFrame is what stands around the name and arguments of a call, for a
// grammar that forces calls: Open, name, Middle, arguments, Close. Between
// stands between two calls.
type CallFrame struct{ Open, Middle, Close, Between string }

// Frame returns the frame of a style, the zero frame for NoTools.
func (s ToolStyle) Frame() CallFrame {
	switch s {
	case Hermes:
		return CallFrame{"<tool_call>\n{\"name\": \"", "\", \"arguments\": ", "}\n</tool_call>", "\n"}
	case LlamaJSON:
		return CallFrame{`{"name": "`, `", "parameters": `, "}", "; "}
	case GemmaJSON:
		return CallFrame{`{"name": "`, `", "parameters": `, "}", "\n"}
	}
	return CallFrame{}
}
