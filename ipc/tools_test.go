package ipc_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/ipc"
	"edged/ipc/ipctest"
)

const toolsJSON = `[{"type":"function","function":{"name":"weather","description":"d","strict":true,"parameters":{"type":"object"}}},{"type":"function","function":{"name":"time"}}]`

func TestDecodeTools(t *testing.T) {
	weather, clock := ipc.Function{Name: "weather", Parameters: json.RawMessage(`{"type":"object"}`)}, ipc.Function{Name: "time"}
	both := []ipc.Function{weather, clock}
	for fields, want := range map[string]*ipc.Tools{
		`"tools":[]`: nil,
		`"tools":[],"tool_choice":"auto","parallel_tool_calls":true`: nil,
		`"tool_choice":"none"`:                      nil,
		`"tools":` + toolsJSON:                      {Functions: both},
		`"tool_choice":"auto","tools":` + toolsJSON: {Functions: both},
		`"tool_choice":"none","tools":` + toolsJSON: nil,
		`"tool_choice":"none","response_format":{"type":"json_object"},"tools":` + toolsJSON: nil,
		`"tool_choice":"required","tools":` + toolsJSON:                                      {Functions: both, Must: true},
		`"tool_choice":"required","parallel_tool_calls":false,"tools":` + toolsJSON:          {Functions: both, Must: true, Single: true},
		`"tool_choice":{"type":"function","function":{"name":"time"}},"tools":` + toolsJSON:  {Functions: both[1:], Must: true, Single: true},
	} {
		got, err := ipc.DecodeChat([]byte(chatWith(fields)))
		if err != nil {
			t.Errorf("%s: %v", fields, err)
			continue
		}
		if want != nil {
			want.JSON = json.RawMessage(toolsJSON)
		}
		if diff := cmp.Diff(want, got.Tools); diff != "" {
			t.Errorf("%s (-want +got):\n%s", fields, diff)
		}
	}
}

func TestBadTools(t *testing.T) {
	for _, tt := range []struct{ fields, param, message string }{
		{`"tools":{}`, "tools", "tools must be an array of tools, got {}"},
		{`"tools":[1]`, "tools[0]", "tools[0] must be a JSON object, got 1"},
		{`"tools":[{"type":"custom"}]`, "tools[0].type", `tools[0].type "custom" is not supported by this server; only function is`},
		{`"tools":[{"type":"function"}]`, "tools[0].function", `tools[0].function is required: {"name": ..., "parameters": {...}}`},
		{`"tools":[{"function":{}}]`, "tools[0].function.name", "tools[0].function.name is required: a string"},
		{`"tools":[{"function":{"name":"a b"}}]`, "tools[0].function.name", `tools[0].function.name must be 1 to 64 letters, digits, _, - and ., got "a b"`},
		{`"tools":[{"function":{"name":"a","parameters":[]}}]`, "tools[0].function.parameters", "tools[0].function.parameters must be a JSON schema of an object, got []"},
		{`"tools":[{"function":{"name":"a"}},{"function":{"name":"a"}}]`, "tools", "tools has two tools named a"},
		{`"tools":[` + strings.Repeat(`{"function":{"name":"a"}},`, 300) + `1]`, "tools", "tools has two tools named a"},
		{`"tool_choice":"required"`, "tool_choice", "tool_choice is required, but there are no tools"},
		{`"tool_choice":"any","tools":` + toolsJSON, "tool_choice", `tool_choice must be none, auto, required or a function by name, got "any"`},
		{`"tool_choice":5,"tools":` + toolsJSON, "tool_choice", "tool_choice must be a string, got 5"},
		{`"tool_choice":{"type":"allowed_tools"},"tools":` + toolsJSON, "tool_choice.type", `tool_choice.type "allowed_tools" is not supported by this server; only function is`},
		{`"tool_choice":{"type":"function","function":{"name":"x"}},"tools":` + toolsJSON, "tool_choice", `tool_choice names the tool "x", which is not in tools`},
		{`"response_format":{"type":"json_object"},"tools":` + toolsJSON, "tools", "tools are not possible together with response_format: both say what the answer must match; set tool_choice to none, or leave one out"},
		{`"parallel_tool_calls":1`, "parallel_tool_calls", "parallel_tool_calls must be true or false, got 1"},
	} {
		_, err := ipc.DecodeChat([]byte(chatWith(tt.fields)))
		if err == nil || err.Param != tt.param || err.Message != tt.message {
			t.Errorf("%s: got %+v, want %s: %s", tt.fields, err, tt.param, tt.message)
		}
	}
	if _, err := ipc.DecodeCompletion([]byte(`{"prompt":"x","tools":` + toolsJSON + `}`)); err == nil || err.Param != "tools" {
		t.Errorf("tools of a raw prompt: %v", err)
	}
}

// calling answers with text and two calls, in pieces.
func calling(e *ipctest.Engine) {
	e.GenerateFunc = func(_ context.Context, req *ipc.Request, emit func(ipc.Delta) error) (ipc.Result, error) {
		deltas := []ipc.Delta{{Progress: &ipc.Progress{Total: 3}}, {Text: "Let me see."}}
		if req.Tools != nil {
			deltas = append(deltas,
				ipc.Delta{Calls: []ipc.CallDelta{{Index: 0, ID: "call_a", Name: "weather", Arguments: `{"city":`}}},
				ipc.Delta{Calls: []ipc.CallDelta{{Index: 0, Arguments: `"Rome"}`}, {Index: 1, ID: "call_b", Name: "time", Arguments: "{}"}}})
		}
		for _, d := range deltas {
			if err := emit(d); err != nil {
				return ipc.Result{}, err
			}
		}
		return ipc.Result{FinishReason: ipc.FinishCalls, PromptTokens: 3, CompletionTokens: 9}, nil
	}
}

func TestToolCalls(t *testing.T) {
	s := serveSocket(t, scripted(calling))
	a := s.do(t, "POST", "/v1/chat/completions", chatWith(`"tools":`+toolsJSON))
	want := `{"id":"chatcmpl-ID","object":"chat.completion","created":1700000000,"model":"scripted","choices":[{"index":0,"message":{"role":"assistant","content":"Let me see.","refusal":null,` +
		`"tool_calls":[{"id":"call_a","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Rome\"}"}},{"id":"call_b","type":"function","function":{"name":"time","arguments":"{}"}}]},` +
		`"logprobs":null,"finish_reason":"tool_calls"}],`
	if !strings.HasPrefix(a.body, want) {
		t.Errorf("got  %s\nwant %s", a.body, want)
	}
	a = s.do(t, "POST", "/v1/chat/completions", chatWith(`"stream":true,"tools":`+toolsJSON))
	for _, want := range []string{
		`"delta":{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"weather","arguments":"{\"city\":"}}]},"finish_reason":null}`,
		`"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"Rome\"}"}}]},"finish_reason":null}`,
		`"delta":{"tool_calls":[{"index":1,"id":"call_b","type":"function","function":{"name":"time","arguments":"{}"}}]},"finish_reason":null}`,
		`"delta":{},"finish_reason":"tool_calls"}`,
	} {
		if !strings.Contains(a.body, want) {
			t.Errorf("%s is missing in %s", want, a.body)
		}
	}
}
