package ipc_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/ipc"
)

func anthropicWith(fields string) string {
	return `{"max_tokens":50,"messages":[{"role":"user","content":"What is it?"}]` + fields + `}`
}

func TestDecodeMessages(t *testing.T) {
	user := []ipc.Message{{Role: "user", Content: "What is it?"}}
	for body, want := range map[string]ipc.Request{
		anthropicWith(""): {Messages: user, MaxTokens: 50},
		anthropicWith(`,"model":"m","system":"Be brief.","temperature":0.5,"top_k":3,"stop_sequences":["a","b"],"metadata":{"user_id":"x"},"service_tier":"auto","thinking":{"type":"disabled"}`): {
			Model: "m", Messages: append([]ipc.Message{{Role: "system", Content: "Be brief."}}, user...), MaxTokens: 50, Stop: []string{"a", "b"},
			Sampling: ipc.Sampling{Temperature: new(0.5), TopK: new(3)}, TemplateVars: json.RawMessage(`{"enable_thinking":false}`),
		},
		anthropicWith(`,"thinking":{"type":"enabled","budget_tokens":1024}`): {Messages: user, MaxTokens: 50, TemplateVars: json.RawMessage(`{"enable_thinking":true}`)},
		anthropicWith(`,"system":[{"type":"text","text":"x-anthropic-billing-header: v=2; cch=a1b2c;","cache_control":{"type":"ephemeral"}},{"type":"text","text":"cch=keep"}]`): {
			Messages: append([]ipc.Message{{Role: "system", Content: "x-anthropic-billing-header: v=2; cch=0;\ncch=keep"}}, user...), MaxTokens: 50,
		},
		`{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
			{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"c"},{"type":"tool_use","id":"t1","name":"f","input":{"x":[1]}}]},
			{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"r"}]},{"type":"tool_result","tool_use_id":"t2","is_error":true,"content":"bad"},{"type":"text","text":"go on"}]}]}`: {
			MaxTokens: 1, Messages: []ipc.Message{
				{Role: "user", Content: "a\nb"},
				{Role: "assistant", Content: "c", Reasoning: "hm", ToolCalls: json.RawMessage(`[{"function":{"arguments":"{\"x\":[1]}","name":"f"},"id":"t1","type":"function"}]`)},
				{Role: "tool", ToolCallID: "t1", Content: "r"}, {Role: "tool", ToolCallID: "t2", Content: "Error: bad"}, {Role: "user", Content: "go on"},
			},
		},
		anthropicWith(`,"tools":[{"name":"f","description":"d","input_schema":{"type":"object"}}],"tool_choice":{"type":"any","disable_parallel_tool_use":true}`): {
			Messages: user, MaxTokens: 50, Tools: &ipc.Tools{
				JSON:      json.RawMessage(`[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"}}}]`),
				Functions: []ipc.Function{{Name: "f", Parameters: json.RawMessage(`{"type":"object"}`)}}, Must: true, Single: true,
			},
		},
		anthropicWith(`,"output_config":{"format":{"type":"json_schema","schema":{"type":"null"}}}`): {
			Messages: user, MaxTokens: 50, Grammar: &ipc.Grammar{Field: "output_config.format.schema", Schema: json.RawMessage(`{"type":"null"}`)},
		},
	} {
		got, err := ipc.DecodeAnthropic([]byte(body))
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", body, diff)
		}
	}
}

var badAnthropic = []struct{ body, param, message string }{
	{`[]`, "", "the body must be a JSON object, got []"},
	{`{"messages":[{"role":"user","content":"x"}]}`, "max_tokens", "max_tokens is required: an integer from 1 to 2147483647"},
	{`{"max_tokens":1}`, "messages", "messages is required: an array of at least one message"},
	{`{"max_tokens":1,"messages":[]}`, "messages", "messages must hold at least one message, got []"},
	{`{"max_tokens":1,"messages":{}}`, "messages", "messages must be an array of messages, got {}"},
	{`{"max_tokens":1,"messages":[{"role":"system","content":"x"}]}`, "messages[0].role", `messages[0].role must be user or assistant, got "system"`},
	{`{"max_tokens":1,"messages":[{"role":"user"}]}`, "messages[0].content", "messages[0].content is required: a string or an array of blocks"},
	{`{"max_tokens":1,"messages":[{"role":"user","content":5}]}`, "messages[0].content", "messages[0].content must be a string or an array of blocks, got 5"},
	{`{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"image","source":{}}]}]}`, "messages[0].content[0].type", `messages[0].content[0].type "image" is not supported by this server in a message of the user`},
	{`{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"text"}]}]}`, "messages[0].content[0].text", "messages[0].content[0].text is required: a string"},
	{`{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"tool_result"}]}]}`, "messages[0].content[0].tool_use_id", "messages[0].content[0].tool_use_id is required: a string"},
	{`{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"image"}]}]}]}`, "messages[0].content[0].content[0].type", `messages[0].content[0].content[0].type "image" is not supported by this server; only text is`},
	{`{"max_tokens":1,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}]}`, "messages", "messages must end with a message of the user: to go on with an answer that the client has begun is not supported by this server"},
	{`{"max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"i","name":"n","input":"x"}]}]}`, "messages[0].content[0].input", `messages[0].content[0].input must be a JSON object, got "x"`},
	{anthropicWith(`,"system":5`), "system", "system must be a string or an array of blocks, got 5"},
	{anthropicWith(`,"system":[{"type":"image"}]`), "system[0].type", `system[0].type must be text, got "image"`},
	{anthropicWith(`,"thinking":{"type":"deep"}`), "thinking.type", `thinking.type "deep" is not supported by this server; only enabled, disabled and adaptive are`},
	{anthropicWith(`,"thinking":{"type":"enabled"}`), "thinking.budget_tokens", "thinking.budget_tokens is required: an integer from 1024"},
	{anthropicWith(`,"thinking":{"type":"enabled","budget_tokens":5}`), "thinking.budget_tokens", "thinking.budget_tokens must be an integer from 1024 to 2147483647, got 5"},
	{anthropicWith(`,"output_config":{"effort":"max"}`), "output_config.effort", `output_config.effort is not supported by this server, got "max"; only "high" is accepted`},
	{anthropicWith(`,"tools":[{"type":"web_search_20250305","name":"web_search"}]`), "tools[0].type", `tools[0].type "web_search_20250305" is not supported by this server; only custom is`},
	{anthropicWith(`,"tools":[{"name":"f"}]`), "tools[0].input_schema", "tools[0].input_schema is required: a JSON schema of an object, got nothing"},
	{anthropicWith(`,"tool_choice":{"type":"any"}`), "tool_choice", "tool_choice is required, but there are no tools"},
	{anthropicWith(`,"tool_choice":{"type":"all"}`), "tool_choice.type", `tool_choice.type must be auto, any, tool or none, got "all"`},
	{anthropicWith(`,"mcp_servers":[{}]`), "mcp_servers", "mcp_servers is not supported by this server, got [{}]; only [] is accepted"},
	{anthropicWith(`,"temperature":"x"`), "temperature", `temperature must be a number from 0 to 2, got "x"`},
	{anthropicWith(`,"stop_sequences":[1]`), "stop_sequences[0]", "stop_sequences[0] must be a string, got 1"},
}

func TestBadMessages(t *testing.T) {
	for _, tt := range badAnthropic {
		_, err := ipc.DecodeAnthropic([]byte(tt.body))
		if err == nil || err.Param != tt.param || err.Message != tt.message {
			t.Errorf("%s\n got %+v\nwant %s: %s", tt.body, err, tt.param, tt.message)
		}
	}
}

func TestMessages(t *testing.T) {
	s := serveSocket(t, scripted(nil))
	for _, tt := range []struct {
		name, path, body string
		status           int
		want             string
	}{
		{"whole", "/v1/messages", anthropicWith(""), 200,
			`{"id":"msg_ID","type":"message","role":"assistant","model":"scripted","content":[{"type":"text","text":"The answer is 42."}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":11,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":5}}` + "\n"},
		{"tools", "/v1/messages", anthropicWith(`,"tools":[{"name":"f","input_schema":{}}]`), 200,
			`{"id":"msg_ID","type":"message","role":"assistant","model":"scripted","content":[{"type":"tool_use","id":"call_0","name":"f","input":{"city":"Rome"}}],"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":11,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":2}}` + "\n"},
		{"count", "/v1/messages/count_tokens", `{"messages":[{"role":"user","content":"What is it?"}]}`, 200, `{"input_tokens":11}` + "\n"},
		{"bad", "/v1/messages", `{"max_tokens":1}`, 400, `{"type":"error","error":{"type":"invalid_request_error","message":"messages is required: an array of at least one message"},"request_id":"req-ID"}` + "\n"},
		{"no model", "/v1/messages/count_tokens", `{"model":"claude","messages":[{"role":"user","content":"x"}]}`, 404,
			`{"type":"error","error":{"type":"not_found_error","message":"the model \"claude\" is not served; GET /v1/models lists what is: scripted"},"request_id":"req-ID"}` + "\n"},
		{"stream", "/v1/messages", `{"max_tokens":2,"stream":true,"messages":[{"role":"user","content":"What is it?"}]}`, 200, `event: message_start
data: {"type":"message_start","message":{"id":"msg_ID","type":"message","role":"assistant","model":"scripted","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":11,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"The"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" answer"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"max_tokens","stop_sequence":null},"usage":{"input_tokens":11,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":2}}

event: message_stop
data: {"type":"message_stop"}

`},
	} {
		a := s.do(t, "POST", tt.path, tt.body)
		if diff := cmp.Diff(tt.want, a.body); diff != "" || a.status != tt.status {
			t.Errorf("%s: %d (-want +got):\n%s", tt.name, a.status, diff)
		}
	}
}

func TestMessagesStreamFails(t *testing.T) {
	s := serveSocket(t, scripted(nil))
	a := s.do(t, "POST", "/v1/messages", `{"max_tokens":9,"stream":true,"messages":[{"role":"user","content":"fail"}]}`)
	if !strings.HasSuffix(a.body, `event: error
data: {"type":"error","error":{"type":"api_error","message":"Internal error; the daemon's log has the cause under req-ID"},"request_id":"req-ID"}

`) || strings.Contains(a.body, "message_stop") {
		t.Errorf("got %s", a.body)
	}
}

// FuzzMessages: whatever is accepted keeps the promises of ipc.Request.
func FuzzMessages(f *testing.F) {
	for _, tt := range badAnthropic {
		f.Add([]byte(tt.body))
	}
	f.Add([]byte(anthropicWith(`,"tools":[{"name":"f","input_schema":{}}],"tool_choice":{"type":"tool","name":"f"},"system":[{"type":"text","text":"x"}]`)))
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := ipc.DecodeAnthropic(body)
		if err != nil {
			if err.Message == "" || err.Kind != ipc.KindInvalidRequest {
				t.Errorf("error without a message: %+v", err)
			}
			return
		}
		checkAccepted(t, body)
		if len(req.Messages) == 0 || req.MaxTokens == 0 {
			t.Errorf("request without messages or limit: %+v", req)
		}
		checkRequest(t, req)
	})
}
