package chat

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var weatherTools = []string{"weather", "time"}

// parsed is an answer as one: its text, and the calls in their order.
type parsed struct {
	Text  string
	Calls []parsedCall
}

type parsedCall struct{ Name, Arguments string }

// parse pushes an answer in pieces of n bytes.
func parse(t testing.TB, style ToolStyle, answer string, n int) parsed {
	t.Helper()
	p := NewCallParser(style, weatherTools)
	var got parsed
	take := func(list []Fragment) {
		for _, f := range list {
			switch {
			case f.Text != "":
				got.Text += f.Text
			case f.Name != "":
				if f.Call != len(got.Calls) {
					t.Fatalf("call %d begins after %d others", f.Call, len(got.Calls))
				}
				got.Calls = append(got.Calls, parsedCall{f.Name, f.Arguments})
			case f.Call != len(got.Calls)-1 || f.Arguments == "":
				t.Fatalf("fragment %+v with %d calls", f, len(got.Calls))
			default:
				got.Calls[f.Call].Arguments += f.Arguments
			}
		}
	}
	for len(answer) > 0 {
		k := min(n, len(answer))
		take(p.Push([]byte(answer[:k])))
		answer = answer[k:]
	}
	take(p.Close())
	return got
}

var answers = []struct {
	name   string
	style  ToolStyle
	answer string
	want   parsed
}{
	{"text", Hermes, "It rains. 1 < 2 <tool\n", parsed{Text: "It rains. 1 < 2 <tool\n"}},
	{"one", Hermes, "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Kö\\\"ln\"}}\n</tool_call>",
		parsed{Calls: []parsedCall{{"weather", `{"city": "Kö\"ln"}`}}}},
	{"text and two", Hermes, "Let me see.\n\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"n\": [1, -2.5e3, {}]}}\n</tool_call>\n<tool_call>{\"arguments\": {\"zone\": null}, \"name\": \"time\"}</tool_call>\n",
		parsed{"Let me see.", []parsedCall{{"weather", `{"n": [1, -2.5e3, {}]}`}, {"time", `{"zone": null}`}}}},
	{"no arguments", Hermes, "<tool_call>{\"name\": \"time\"}</tool_call>", parsed{Calls: []parsedCall{{"time", "{}"}}}},
	{"spelled arguments", Hermes, `<tool_call>{"name": "time", "arguments": "{\"a\": 1}"}</tool_call>`, parsed{Calls: []parsedCall{{"time", `{"a": 1}`}}}},
	{"two in one tag", Hermes, "<tool_call>\n[{\"name\": \"time\"}, {\"name\": \"weather\", \"id\": 7, \"arguments\": {}}]\n</tool_call>", parsed{Calls: []parsedCall{{"time", "{}"}, {"weather", "{}"}}}},
	{"unknown tool", Hermes, "<tool_call>\n{\"name\": \"rm\", \"arguments\": {}}\n</tool_call> ok", parsed{Text: "<tool_call>\n{\"name\": \"rm\", \"arguments\": {}}\n</tool_call> ok"}},
	{"no JSON", Hermes, "<tool_call>\nweather(city=1)\n</tool_call>", parsed{Text: "<tool_call>\nweather(city=1)\n</tool_call>"}},
	{"thought", Hermes, "<think>\n<tool_call>{\"name\": \"time\"}</tool_call>?\n</think>\n\n<tool_call>{\"name\": \"time\"}</tool_call>",
		parsed{"<think>\n<tool_call>{\"name\": \"time\"}</tool_call>?\n</think>", []parsedCall{{"time", "{}"}}}},
	{"cut in arguments", Hermes, "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Ro", parsed{Calls: []parsedCall{{"weather", `{"city": "Ro`}}}},
	{"cut before", Hermes, "Hm. <tool_call>{\"name\": \"wea", parsed{Text: "Hm. <tool_call>{\"name\": \"wea"}},
	{"text after", Hermes, "<tool_call>{\"name\": \"time\"}</tool_call>\nDone.", parsed{"\nDone.", []parsedCall{{"time", "{}"}}}},

	{"one", LlamaJSON, `{"name": "weather", "parameters": {"city": "Rome"}}`, parsed{Calls: []parsedCall{{"weather", `{"city": "Rome"}`}}}},
	{"two", LlamaJSON, "\n{\"type\": \"function\", \"name\": \"time\", \"parameters\": {}}; {\"name\": \"weather\", \"parameters\": {\"a\": true}}",
		parsed{Calls: []parsedCall{{"time", "{}"}, {"weather", `{"a": true}`}}}},
	{"an object that is no call", LlamaJSON, ` {"name": "Rome", "size": 3} is it`, parsed{Text: ` {"name": "Rome", "size": 3} is it`}},
	{"later", LlamaJSON, `So: {"name": "time"}`, parsed{Text: `So: {"name": "time"}`}},
	{"then text", LlamaJSON, `{"name": "time"} now`, parsed{" now", []parsedCall{{"time", "{}"}}}},

	{"bare", GemmaJSON, "{\"name\": \"time\", \"parameters\": {\"zone\": \"UTC\"}}\n", parsed{Calls: []parsedCall{{"time", `{"zone": "UTC"}`}}}},
	{"fence", GemmaJSON, "Sure.\n```json\n{\"name\": \"time\", \"parameters\": {}}\n```", parsed{"Sure.", []parsedCall{{"time", "{}"}}}},
	{"list in a fence", GemmaJSON, "```tool_code\n[{\"name\": \"time\"},\n {\"name\": \"weather\", \"parameters\": {\"c\": 0}}]\n```\n", parsed{Calls: []parsedCall{{"time", "{}"}, {"weather", `{"c": 0}`}}}},
	{"other JSON", GemmaJSON, "```json\n{\"a\": 1}\n```\n", parsed{Text: "```json\n{\"a\": 1}\n```\n"}},
	{"code", GemmaJSON, "```go\nx := 1\n```", parsed{Text: "```go\nx := 1\n```"}},
}

func TestCallParser(t *testing.T) {
	for _, tt := range answers {
		for _, n := range []int{1, 3, 1000} {
			if diff := cmp.Diff(tt.want, parse(t, tt.style, tt.answer, n)); diff != "" {
				t.Errorf("%v %s in pieces of %d (-want +got):\n%s", tt.style, tt.name, n, diff)
			}
		}
	}
}

// Arguments are passed on while they grow.
func TestCallParserStreams(t *testing.T) {
	p := NewCallParser(Hermes, weatherTools)
	if f := p.Push([]byte("<tool_call>{\"name\": \"weather\", \"arguments\": {\"ci")); len(f) != 1 || f[0].Name != "weather" || f[0].Arguments != `{"ci` {
		t.Fatalf("got %+v", f)
	}
	if f := p.Push([]byte("ty\": \"x\"}}")); len(f) != 1 || f[0].Name != "" || f[0].Arguments != `ty": "x"}` {
		t.Fatalf("got %+v", f)
	}
}

// FuzzCallParser: what comes out does not depend on how the answer is cut,
// arguments of complete answers are JSON objects, and without calls the answer
// comes out as it went in.
func FuzzCallParser(f *testing.F) {
	for _, tt := range answers {
		f.Add(tt.answer, 2)
	}
	f.Add(`<tool_call>{"name": "time", "arguments": {"a": 01}}</tool_call>`, 1)
	f.Fuzz(func(t *testing.T, answer string, n int) {
		if n < 1 || n > 1<<20 {
			n = 1
		}
		for _, style := range []ToolStyle{Hermes, LlamaJSON, GemmaJSON} {
			whole := parse(t, style, answer, len(answer)+1)
			if diff := cmp.Diff(whole, parse(t, style, answer, n)); diff != "" {
				t.Fatalf("%v: pieces of %d (-whole +got):\n%s", style, n, diff)
			}
			if len(whole.Calls) == 0 && whole.Text != answer {
				t.Fatalf("%v: %q became %q", style, answer, whole.Text)
			}
			for i, c := range whole.Calls {
				if c.Name != "weather" && c.Name != "time" {
					t.Fatalf("%v: call of %q", style, c.Name)
				}
				if c.Arguments == "" || c.Arguments[0] != '{' {
					t.Fatalf("%v: arguments %q", style, c.Arguments)
				}
				// Only the last call may have broken off, or one that text follows.
				if i < len(whole.Calls)-1 && whole.Text == "" && !json.Valid([]byte(c.Arguments)) {
					t.Fatalf("%v: arguments %q are no JSON", style, c.Arguments)
				}
			}
		}
	})
}

func TestToolStyles(t *testing.T) {
	for name, want := range map[string]ToolStyle{
		"needle": NoTools, "smollm2": NoTools, "qwen2": NoTools, "qwen2.5": Hermes, "qwen3": Hermes, "llama3_like": NoTools,
		"llama31_like": LlamaJSON, "llama32_like": LlamaJSON, "gemma2_like": GemmaJSON, "gemma3_like": GemmaJSON, "llama2_like": NoTools,
	} {
		if got := load(t, name, Options{BOS: "<s>", EOS: "</s>"}).ToolStyle(); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

// A template without tools gets them in words, and results as turns of the user.
func TestPlainTools(t *testing.T) {
	tmpl := load(t, "gemma3_like", Options{BOS: "<bos>"})
	got, err := tmpl.Render(tmpl.WithTools(Request{
		Messages: []Message{
			{Role: "system", Content: "Be brief."},
			{Role: "user", Content: "Weather?"},
			{Role: "assistant", ToolCalls: json.RawMessage(`[{"id": "1", "function": {"name": "weather", "arguments": "{\"city\": \"Rome\"}"}}]`)},
			{Role: "tool", ToolCallID: "1", Content: "sun"},
			{Role: "user", Content: "And?"},
		},
		Tools: json.RawMessage(`[{"type": "function", "function": {"name": "weather"}}]`), AddGenerationPrompt: true,
	}))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`[{"type":"function","function":{"name":"weather"}}]` + "\n\nBe brief.",
		"<start_of_turn>model\n{\"name\": \"weather\", \"parameters\": {\"city\": \"Rome\"}}<end_of_turn>",
		"<start_of_turn>user\n```tool_output\nsun\n```\nAnd?<end_of_turn>",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in %s", want, got)
		}
	}
}
