package daemon

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"edged/ipc"
)

func TestMessagesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := ipc.Message{
			Role:    rapid.SampledFrom([]string{"system", "user", "assistant", "tool"}).Draw(t, "role"),
			Content: rapid.String().Draw(t, "content"), Name: rapid.String().Draw(t, "name"),
			Reasoning: rapid.String().Draw(t, "reasoning"), ToolCallID: rapid.String().Draw(t, "call"),
		}
		if m.Role == "assistant" && rapid.Bool().Draw(t, "calls") {
			call, err := json.Marshal(map[string]string{"name": rapid.String().Draw(t, "f")})
			if err != nil {
				t.Fatal(err)
			}
			m.ToolCalls = append(append(json.RawMessage("["), bytes.ReplaceAll(call, []byte(`\u003c`), []byte("<"))...), ']')
		}
		got, err := decodeMessage(encodeMessage(m))
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeMessage(encodeMessage(got))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(got, again); d != "" {
			t.Errorf("a second round changes it:\n%s", d)
		}
		got.ToolCalls, m.ToolCalls = nil, nil // raw: escapes may differ
		if d := cmp.Diff(m, got); d != "" {
			t.Error(d)
		}
	})
}

// The format is what stores and exports hold.
func TestMessageFormat(t *testing.T) {
	m := ipc.Message{Role: "assistant", Content: "a <b>\n", Name: "n", Reasoning: "r", ToolCalls: json.RawMessage(`[{"id":"1"}]`), ToolCallID: "c", Note: json.RawMessage(`{"a":1}`)}
	want := `{"role":"assistant","name":"n","content":"a <b>\n","reasoning_content":"r","tool_calls":[{"id":"1"}],"tool_call_id":"c","note":{"a":1}}`
	if got := string(encodeMessage(m)); got != want {
		t.Errorf("got %s", got)
	}
	if got, want := string(encodeMessage(ipc.Message{Role: "user"})), `{"role":"user","content":""}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

var badMessages = []string{
	``, `5`, `null`, `[]`, `{}`, `{"role":"boss","content":""}`, `{"role":"user","content":5}`, `{"role":"user","content":"x"}{}`,
	`{"role":"user","content":"x","new":1}`, `{"role":"user","content":"x","tool_calls":[{}]}`, `{"role":"assistant","content":"","tool_calls":{}}`,
	`{"role":"assistant","content":"","tool_calls":[]}`, `{"role":"user","content":"x"`, "{\"role\":\"user\",\"content\":\"\x00\"}",
}

func TestBadMessages(t *testing.T) {
	for _, b := range badMessages {
		if m, err := decodeMessage([]byte(b)); err == nil {
			t.Errorf("%s gave %+v", b, m)
		}
	}
}

func FuzzDecodeMessage(f *testing.F) {
	for _, b := range badMessages {
		f.Add([]byte(b))
	}
	f.Add(encodeMessage(ipc.Message{Role: "assistant", Content: "x", ToolCalls: json.RawMessage(`[1]`)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMessage(b)
		if err != nil {
			return
		}
		again, err := decodeMessage(encodeMessage(m))
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if d := cmp.Diff(encodeMessage(m), encodeMessage(again)); d != "" {
			t.Error(d)
		}
	})
}
