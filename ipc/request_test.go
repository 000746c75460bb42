package ipc_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/ipc"
)

func TestDecodeChat(t *testing.T) {
	user := []ipc.Message{{Role: "user", Content: "x"}}
	for _, tt := range []struct {
		name, body string
		want       ipc.Request
	}{
		{"least", `{"messages":[{"role":"user","content":"x"}]}`, ipc.Request{Messages: user}},
		{"nulls", chatWith(`"max_tokens":null,"stop":null,"seed":null,"tools":null,"temperature":null,"logit_bias":null,"stream":null,"stream_options":null,"logprobs":null,"top_logprobs":null,"model":null`), ipc.Request{Messages: user}},
		{"unknown fields", chatWith(`"user":"me","metadata":{"a":"b"},"prompt_cache_key":"k","Temperature":9`), ipc.Request{Messages: user}},
		{"everything", chatWith(`"model":"m","max_completion_tokens":7,"temperature":0,"top_p":1,"top_k":40,"min_p":0.05,"typical_p":0.9,"repetition_penalty":1.1,"repeat_last_n":-1,
			"presence_penalty":-2,"frequency_penalty":2,"seed":-1,"logit_bias":{"5":-100,"6":0.5},"stop":["a","\n"],"logprobs":true,"top_logprobs":20,"chat_template_kwargs":{"enable_thinking":false}`),
			ipc.Request{
				Model: "m", Messages: user, MaxTokens: 7, Stop: []string{"a", "\n"}, Logprobs: true, TopLogprobs: 20,
				TemplateVars: json.RawMessage(`{"enable_thinking":false}`),
				Sampling: ipc.Sampling{
					Temperature: new(0.0), TopP: new(1.0), TopK: new(40), MinP: new(0.05), TypicalP: new(0.9), RepeatPenalty: new(1.1), RepeatLastN: new(-1),
					PresencePenalty: new(-2.0), FrequencyPenalty: new(2.0), Seed: new(int64(-1)), LogitBias: map[int32]float64{5: -100, 6: 0.5},
				},
			}},
		{"plain text", chatWith(`"response_format":{"type":"text"},"grammar":""`), ipc.Request{Messages: user}},
		{"any object", chatWith(`"response_format":{"type":"json_object"}`), ipc.Request{Messages: user, Grammar: &ipc.Grammar{Field: "response_format", AnyObject: true}}},
		{"schema", chatWith(`"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"null"}}}`),
			ipc.Request{Messages: user, Grammar: &ipc.Grammar{Field: "response_format.json_schema.schema", Schema: json.RawMessage(`{"type":"null"}`)}}},
		{"schema of llama-server", chatWith(`"response_format":{"type":"json_object","schema":true}`),
			ipc.Request{Messages: user, Grammar: &ipc.Grammar{Field: "response_format.schema", Schema: json.RawMessage(`true`)}}},
		{"grammar", chatWith(`"grammar":"root ::= \"a\""`), ipc.Request{Messages: user, Grammar: &ipc.Grammar{Field: "grammar", GBNF: `root ::= "a"`}}},
		{"both limits", chatWith(`"max_tokens":7,"max_completion_tokens":7`), ipc.Request{Messages: user, MaxTokens: 7}},
		{"one stop", chatWith(`"stop":"a"`), ipc.Request{Messages: user, Stop: []string{"a"}}},
		{"top_k of vLLM", chatWith(`"top_k":-1`), ipc.Request{Messages: user, Sampling: ipc.Sampling{TopK: new(0)}}},
		{"a conversation", messages(`{"role":"developer","content":"be brief","name":"op"},
			{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
			{"role":"assistant","content":null,"tool_calls":[{"id":"1"}],"refusal":null,"audio":null,"reasoning_content":"hm","annotations":[]},
			{"role":"tool","tool_call_id":"1","content":""}`),
			ipc.Request{Messages: []ipc.Message{
				{Role: "system", Content: "be brief", Name: "op"},
				{Role: "user", Content: "a\nb"},
				{Role: "assistant", ToolCalls: json.RawMessage(`[{"id":"1"}]`), Reasoning: "hm"},
				{Role: "tool", ToolCallID: "1"},
			}}},
		{"escapes", messages(`{"role":"user","content":"\u0000\ud83d\ude00\u2028"}`), ipc.Request{Messages: []ipc.Message{{Role: "user", Content: "\x00😀\u2028"}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ipc.DecodeChat([]byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeCompletion(t *testing.T) {
	for _, tt := range []struct {
		body string
		want ipc.Request
	}{
		{`{"prompt":""}`, ipc.Request{Prompt: &ipc.Prompt{}, MaxTokens: 16}},
		{`{"prompt":["x"],"max_tokens":5,"suffix":""}`, ipc.Request{Prompt: &ipc.Prompt{Text: "x"}, MaxTokens: 5}},
		{`{"prompt":[ 1 , 2147483647 ]}`, ipc.Request{Prompt: &ipc.Prompt{Tokens: []int32{1, 1<<31 - 1}}, MaxTokens: 16}},
		{`{"prompt":[[0]],"logprobs":0}`, ipc.Request{Prompt: &ipc.Prompt{Tokens: []int32{0}}, MaxTokens: 16, Logprobs: true}},
	} {
		got, err := ipc.DecodeCompletion([]byte(tt.body))
		if err != nil {
			t.Errorf("%s: %v", tt.body, err)
			continue
		}
		if diff := cmp.Diff(&tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.body, diff)
		}
	}
}
