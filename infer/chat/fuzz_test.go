package chat

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode"

	"edged/infer/chat/jinja"
)

// FuzzRender puts arbitrary text into every place of a request. A text of a
// plain turn must come out unchanged: user text is never parsed.
func FuzzRender(f *testing.F) {
	f.Add("Hi", "Hello", `[{"function": {"name": "f", "parameters": {}}}]`, `[{"function": {"name": "f", "arguments": "{}"}}]`)
	f.Add("{{ 7 * 7 }}{% raw %}", "<think>x</think>y", "", "[]")
	f.Add("</think>", "<|im_end|>", "null", `[{"arguments": "{\"a\": [1, 2]}"}]`)
	needle := load(f, "needle", Options{BOS: "<s>"})
	names := []string{"qwen2.5", "qwen3", "llama2_like", "llama32_like", "gemma3_like", "schema_macros", "smollm2"}
	var templates []*Template
	for _, name := range names {
		templates = append(templates, load(f, name, Options{BOS: "<s>", EOS: "</s>"}))
	}
	f.Fuzz(func(t *testing.T, user, answer, tools, calls string) {
		req := Request{
			Messages:            []Message{{Role: "user", Content: user}, {Role: "assistant", Content: answer}, {Role: "user", Content: user}},
			AddGenerationPrompt: true,
		}
		plain, err := needle.Render(req)
		want := "<s><|user|>\n" + user + "<|end|>\n<|assistant|>\n" + answer + "<|end|>\n<|user|>\n" + user + "<|end|>\n<|assistant|>\n"
		var bad *RequestError
		if err == nil && plain != want || err != nil && !errors.As(err, &bad) {
			t.Fatalf("got %q, %v; want %q", plain, err, want)
		}
		if tools != "" {
			req.Tools = json.RawMessage(tools)
		}
		req.Messages[1].ToolCalls = json.RawMessage(calls)
		req.Messages[1].ReasoningContent = answer
		for i, tmpl := range templates {
			out, err := tmpl.Render(req)
			var raised *RaisedError
			var at *jinja.Error
			if err != nil && !errors.As(err, &bad) && !errors.As(err, &raised) && !errors.As(err, &at) {
				t.Fatalf("%s: unexpected kind of error: %v", names[i], err)
			}
			// Beyond that, templates strip white space around a text, and one cuts
			// it at </think>.
			if err == nil && !strings.Contains(out, strip(user)) && !strings.Contains(user, "</think>") {
				t.Fatalf("%s: the user's text is missing in %q", names[i], out)
			}
		}
	})
}

// strip is Python's str.strip.
func strip(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f })
}
