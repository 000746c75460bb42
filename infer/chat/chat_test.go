package chat

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"edged/infer/chat/jinja"
)

func load(t testing.TB, name string, opt Options) *Template {
	t.Helper()
	source, err := os.ReadFile("testdata/templates/" + name + ".jinja")
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := New(string(source), opt)
	if err != nil {
		t.Fatal(err)
	}
	return tmpl
}

// TestSupports checks what probing finds out about the corpus.
func TestSupports(t *testing.T) {
	for name, want := range map[string]support{
		"needle":        {system: true},
		"smollm2":       {system: true},
		"llama2_like":   {system: true},
		"llama3_like":   {system: true},
		"llama31_like":  {system: true, tools: true},
		"llama32_like":  {system: true, tools: true},
		"qwen2":         {system: true},
		"qwen2.5":       {system: true, tools: true},
		"qwen3":         {system: true, tools: true},
		"gemma2_like":   {},
		"gemma3_like":   {system: true},
		"schema_macros": {system: true, tools: true},
	} {
		tmpl := load(t, name, Options{BOS: "<s>", EOS: "</s>"})
		if got := (support{tmpl.SupportsSystem(), tmpl.SupportsTools()}); got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

// TestNewRefuses checks that templates that cannot serve fail at load.
func TestNewRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, source string
		line         int
		cause        string
	}{
		{"syntax", "{% for m in messages %}\n{{ m.content", 2, "tag is not closed"},
		{"filter in a dead branch", "\n{% if false %}{{ 1 | frob }}{% endif %}", 2, "filter 'frob' is not supported"},
		{"undefined", "{{ messages[0].content }}\n{{ persona.name }}", 2, "'persona' is undefined"},
		{"type", "{{ messages + 1 }}", 1, "unsupported operand types for +: 'list' and 'int'"},
		{"bos without a token", "{{ bos_token + messages[0].content }}", 1, "'bos_token' is undefined"},
		{"second turn", "{% if messages | length > 2 %}\n\n{{ none.x.y }}{% endif %}{{ messages[0].content }}", 3, "has no attribute 'x'"},
		{"endless", "{% macro f() %}{{ f() }}{% endmacro %}\n{{ f() }}", 1, "MaxCallDepth = 100"},
		{"file", "{% include '/etc/passwd' %}", 1, "tag 'include' is not supported"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := New(tc.source, Options{})
			var at *jinja.Error
			if !errors.As(err, &at) || at.Line != tc.line || !strings.Contains(err.Error(), tc.cause) {
				t.Errorf("got %v, want %q in line %d", err, tc.cause, tc.line)
			}
		})
	}
	var raised *RaisedError
	if _, err := New("{{ raise_exception('never') }}", Options{}); !errors.As(err, &raised) || raised.Message != "never" {
		t.Errorf("got %v, want a RaisedError", err)
	}
}

// TestNewAccepts checks templates that refuse some conversations but serve others.
func TestNewAccepts(t *testing.T) {
	for name, source := range map[string]string{
		"system required":  "{% if messages[0].role != 'system' %}{{ raise_exception('no') }}{% endif %}{{ messages[0].content }}",
		"system forbidden": "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}{{ messages[0].content }}",
		"one turn only":    "{% if messages | length > 2 %}{{ raise_exception('no') }}{% endif %}{{ messages[0].content }}",
	} {
		if _, err := New(source, Options{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestGuard checks that the guard sees every string of a request, decoded, and
// nothing of the template.
func TestGuard(t *testing.T) {
	source := "<|T|>{{ bos_token }}{% for m in messages %}{{ m | tojson }}{% endfor %}{{ tools | tojson }}{{ note | default | tojson }}"
	tmpl, err := New(source, Options{BOS: "<|B|>", Guard: func(s string) string { return strings.ReplaceAll(s, "<|", "<") }})
	if err != nil {
		t.Fatal(err)
	}
	got, err := tmpl.Render(Request{
		Messages: []Message{
			{Role: "r<|", Content: "c<|", Name: "n<|", ToolCallID: "i<|", ReasoningContent: "t<|",
				ToolCalls: json.RawMessage(`[{"id": "<|", "function": {"name": "\u003c|", "arguments": "{\"<\\u007ck\": \"<\\u007cv\"}"}}]`)},
			{Role: "user", Parts: json.RawMessage(`[{"type": "text", "text": "<|p"}]`)},
		},
		Tools: json.RawMessage(`[{"<|key": "<|value"}]`),
		Vars:  map[string]any{"note": []string{"<|"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `<|T|><|B|>{"thinking": "t<", "role": "r<", "content": "c<", "name": "n<", "tool_call_id": "i<", "reasoning_content": "t<", ` +
		`"tool_calls": [{"id": "<", "function": {"name": "<", "arguments": {"<k": "<v"}}}]}` +
		`{"role": "user", "content": [{"type": "text", "text": "<p"}]}[{"<key": "<value"}]["<"]`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestRequestErrors checks that malformed requests name their field.
func TestRequestErrors(t *testing.T) {
	tmpl := load(t, "qwen3", Options{})
	user := Message{Role: "user", Content: "x"}
	deep := json.RawMessage(strings.Repeat("[", 1000) + strings.Repeat("]", 1000))
	for _, tc := range []struct {
		name  string
		req   Request
		field string
	}{
		{"content", Request{Messages: []Message{user, {Role: "user", Content: "\xff"}}}, "messages[1].content"},
		{"role", Request{Messages: []Message{{Role: "\xff"}}}, "messages[0].role"},
		{"name", Request{Messages: []Message{{Role: "user", Name: "\xff"}}}, "messages[0].name"},
		{"reasoning", Request{Messages: []Message{{Role: "user", ReasoningContent: "\xff"}}}, "messages[0].thinking"},
		{"parts", Request{Messages: []Message{{Role: "user", Parts: json.RawMessage(`{}`)}}}, "messages[0].content"},
		{"calls", Request{Messages: []Message{{Role: "assistant", ToolCalls: json.RawMessage(`[1]`)}}}, "messages[0].tool_calls"},
		{"function", Request{Messages: []Message{{Role: "assistant", ToolCalls: json.RawMessage(`[{"function": 1}]`)}}}, "messages[0].tool_calls"},
		{"tools", Request{Messages: []Message{user}, Tools: json.RawMessage(`[`)}, "tools"},
		{"tools kind", Request{Messages: []Message{user}, Tools: json.RawMessage(`{}`)}, "tools"},
		{"tools text", Request{Messages: []Message{user}, Tools: json.RawMessage("[\"\xff\"]")}, "tools"},
		{"tools depth", Request{Messages: []Message{user}, Tools: deep}, "tools"},
		{"variable", Request{Messages: []Message{user}, Vars: map[string]any{"f": func() {}}}, "variable f"},
		{"reserved", Request{Messages: []Message{user}, Vars: map[string]any{"messages": 1}}, "variable messages"},
	} {
		_, err := tmpl.Render(tc.req)
		var bad *RequestError
		if !errors.As(err, &bad) || bad.Field != tc.field {
			t.Errorf("%s: got %v, want a RequestError in %s", tc.name, err, tc.field)
		}
	}
}

// TestRenderKeepsRequest checks that rendering neither modifies a request nor
// depends on an earlier one.
func TestRenderKeepsRequest(t *testing.T) {
	tmpl := load(t, "llama31_like", Options{BOS: "<s>"})
	vars := map[string]any{"date_string": "today"}
	req := Request{Messages: []Message{{Role: "system", Content: "s"}, {Role: "user", Content: "u"}}, Vars: vars}
	first, err := tmpl.Render(req)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		again, err := tmpl.Render(req)
		if err != nil || again != first {
			t.Fatalf("got %q, %v; want %q", again, err, first)
		}
	}
	if len(vars) != 1 || vars["date_string"] != "today" {
		t.Errorf("vars became %v", vars)
	}
}

func TestStrftime(t *testing.T) {
	now := time.Date(2026, 3, 5, 7, 8, 9, 123456789, time.UTC)
	// From Python: datetime(2026, 3, 5, 7, 8, 9, 123456).strftime(format).
	for format, want := range map[string]string{
		"%d %b %Y":           "05 Mar 2026",
		"%A, %B %-d, %y":     "Thursday, March 5, 26",
		"%Y-%m-%dT%H:%M:%S":  "2026-03-05T07:08:09",
		"%a %e %j %p %I %-I": "Thu  5 064 AM 07 7",
		"%f %% %u %w %F %T":  "123456 % 4 4 2026-03-05 07:08:09",
		"%D|%R|%n|%t|%z|%Z|": "03/05/26|07:08|\n|\t|||",
		"%-M %-S %-H %-j":    "8 9 7 64",
		"kein Datum":         "kein Datum",
	} {
		if got, err := strftime(now, format); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", format, got, err, want)
		}
	}
	for _, format := range []string{"%", "%-", "%Q", "%ä"} {
		if got, err := strftime(now, format); err == nil {
			t.Errorf("%s: got %q, want an error", format, got)
		}
	}
}
