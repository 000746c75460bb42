package ipc_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"edged/ipc"
	"edged/ipc/ipctest"
)

// chatWith is a valid chat body with more fields.
func chatWith(fields string) string {
	return `{"messages":[{"role":"user","content":"x"}],` + fields + `}`
}

// messages is a chat body with these messages.
func messages(list string) string { return `{"messages":[` + list + `]}` }

var badChats = []struct{ body, param, message string }{
	{"", "", "the body is empty; a JSON object is expected"},
	{"[]", "", "the body must be a JSON object, got []"},
	{"null", "", "the body must be a JSON object, got null"},
	{`{"messages":`, "", "the body is not valid JSON at byte 11: unexpected end of JSON input"},
	{chatWith(`"x":1`) + "x", "", "the body is not valid JSON at byte 50: invalid character 'x' after top-level value"},
	{chatWith("\"x\":\"\xff\""), "", "the body is not valid UTF-8 at byte 49"},
	{chatWith(`"x":"\ud800"`), "", `the body has half of a surrogate pair at byte 49: \ud800`},
	{chatWith(`"stream":true,"str\u0065am":false`), "", `the body has the key "stream" twice in one object, again at byte 58`},
	{strings.Repeat("[", 100), "", "the body nests arrays and objects deeper than 64 levels at byte 64"},

	{chatWith(`"model":5`), "model", "model must be a string, got 5"},
	{chatWith(`"stream":"yes"`), "stream", `stream must be true or false, got "yes"`},
	{chatWith(`"stream":1`), "stream", "stream must be true or false, got 1"},
	{chatWith(`"stream_options":{"include_usage":true}`), "stream_options", `stream_options is only allowed together with "stream": true`},
	{chatWith(`"stream":true,"stream_options":[]`), "stream_options", "stream_options must be a JSON object, got []"},
	{chatWith(`"stream":true,"stream_options":{"include_usage":1}`), "stream_options.include_usage", "stream_options.include_usage must be true or false, got 1"},
	{chatWith(`"stream":true,"stream_options":{"include_obfuscation":true}`), "stream_options.include_obfuscation", "stream_options.include_obfuscation is not supported by this server, got true; only false is accepted"},

	{chatWith(`"max_tokens":0`), "max_tokens", "max_tokens must be an integer from 1 to 2147483647, got 0"},
	{chatWith(`"max_tokens":-1`), "max_tokens", "max_tokens must be an integer from 1 to 2147483647, got -1"},
	{chatWith(`"max_tokens":1.5`), "max_tokens", "max_tokens must be an integer from 1 to 2147483647, got 1.5"},
	{chatWith(`"max_tokens":1e3`), "max_tokens", "max_tokens must be an integer from 1 to 2147483647, got 1e3"},
	{chatWith(`"max_completion_tokens":"9"`), "max_completion_tokens", `max_completion_tokens must be an integer from 1 to 2147483647, got "9"`},
	{chatWith(`"max_completion_tokens":99999999999999999999`), "max_completion_tokens", "max_completion_tokens must be an integer from 1 to 2147483647, got 99999999999999999999"},
	{chatWith(`"max_tokens":5,"max_completion_tokens":6`), "max_tokens", "max_tokens is 5, but max_completion_tokens is 6; they mean the same, give one"},

	{chatWith(`"temperature":2.01`), "temperature", "temperature must be a number from 0 to 2, got 2.01"},
	{chatWith(`"temperature":-0.1`), "temperature", "temperature must be a number from 0 to 2, got -0.1"},
	{chatWith(`"temperature":"hot"`), "temperature", `temperature must be a number from 0 to 2, got "hot"`},
	{chatWith(`"temperature":"1"`), "temperature", `temperature must be a number from 0 to 2, got "1"`},
	{chatWith(`"temperature":true`), "temperature", "temperature must be a number from 0 to 2, got true"},
	{chatWith(`"temperature":1e999`), "temperature", "temperature must be a number from 0 to 2, got 1e999"},
	{chatWith(`"top_p":0`), "top_p", "top_p must be a number above 0 and at most 1, got 0"},
	{chatWith(`"top_p":1.1`), "top_p", "top_p must be a number above 0 and at most 1, got 1.1"},
	{chatWith(`"top_k":-2`), "top_k", "top_k must be an integer from -1 to 2147483647, got -2"},
	{chatWith(`"min_p":-1`), "min_p", "min_p must be a number from 0 to 1, got -1"},
	{chatWith(`"typical_p":0`), "typical_p", "typical_p must be a number above 0 and at most 1, got 0"},
	{chatWith(`"repeat_penalty":0`), "repeat_penalty", "repeat_penalty must be a number above 0 and at most 10, got 0"},
	{chatWith(`"repeat_penalty":1.1,"repetition_penalty":1.2`), "repeat_penalty", "repeat_penalty is 1.1, but repetition_penalty is 1.2; they mean the same, give one"},
	{chatWith(`"repeat_last_n":-2`), "repeat_last_n", "repeat_last_n must be an integer from -1 to 1048576, got -2"},
	{chatWith(`"presence_penalty":3`), "presence_penalty", "presence_penalty must be a number from -2 to 2, got 3"},
	{chatWith(`"frequency_penalty":[]`), "frequency_penalty", "frequency_penalty must be a number from -2 to 2, got []"},
	{chatWith(`"seed":9223372036854775808`), "seed", "seed must be an integer from -9223372036854775808 to 9223372036854775807, got 9223372036854775808"},

	{chatWith(`"logit_bias":[]`), "logit_bias", "logit_bias must be a JSON object, got []"},
	{chatWith(`"logit_bias":{"x":1}`), "logit_bias", `logit_bias has the key "x", which is no token id`},
	{chatWith(`"logit_bias":{"-1":1}`), "logit_bias", `logit_bias has the key "-1", which is no token id`},
	{chatWith(`"logit_bias":{"5":101}`), "logit_bias.5", "logit_bias.5 must be a number from -100 to 100, got 101"},
	{chatWith(`"logit_bias":{"5":null}`), "logit_bias.5", "logit_bias.5 must be a number, got null"},
	{chatWith(`"logit_bias":{"5":1,"05":2}`), "logit_bias", "logit_bias has token 5 twice, in two spellings"},

	{chatWith(`"stop":5`), "stop", "stop must be a string or an array of strings, got 5"},
	{chatWith(`"stop":""`), "stop", "stop must not be empty"},
	{chatWith(`"stop":["a",5]`), "stop[1]", "stop[1] must be a string, got 5"},
	{chatWith(`"stop":["a",null]`), "stop[1]", "stop[1] must be a string, got null"},
	{chatWith(`"stop":[` + strings.Repeat(`"a",`, 16) + `"a"]`), "stop", "stop has more than 16 sequences"},
	{chatWith(`"stop":"` + strings.Repeat("a", 1025) + `"`), "stop", "stop has 1025 bytes, but at most 1024 are accepted"},

	{chatWith(`"logprobs":2`), "logprobs", "logprobs must be true or false, got 2"},
	{chatWith(`"top_logprobs":2`), "top_logprobs", `top_logprobs is only allowed together with "logprobs": true`},
	{chatWith(`"logprobs":true,"top_logprobs":21`), "top_logprobs", "top_logprobs must be an integer from 0 to 20, got 21"},
	{chatWith(`"chat_template_kwargs":"x"`), "chat_template_kwargs", `chat_template_kwargs must be a JSON object, got "x"`},

	{chatWith(`"session":5`), "session", "session must be a string, got 5"},
	{chatWith(`"session":""`), "session", `session must be the id of a session, got ""`},
	{chatWith(`"session":"../x"`), "session", `session must be the id of a session, got "../x"`},
	{chatWith(`"session":"` + strings.Repeat("a", 65) + `"`), "session", `session must be the id of a session, got "` + strings.Repeat("a", 59) + "… (67 bytes)"},
	{chatWith(`"session":"s","recompute":1`), "recompute", "recompute must be true or false, got 1"},

	{chatWith(`"n":17`), "n", "n must be an integer from 1 to 16, got 17"},
	{chatWith(`"response_format":"json"`), "response_format", `response_format must be a JSON object, got "json"`},
	{chatWith(`"response_format":{}`), "response_format.type", `response_format.type is required: text, json_object or json_schema`},
	{chatWith(`"response_format":{"type":"xml"}`), "response_format.type", `response_format.type must be text, json_object or json_schema, got "xml"`},
	{chatWith(`"response_format":{"type":"json_schema"}`), "response_format.json_schema", `response_format.json_schema is required: {"name": ..., "schema": {...}}`},
	{chatWith(`"response_format":{"type":"json_schema","json_schema":{"name":"x"}}`), "response_format.json_schema.schema", `response_format.json_schema.schema is required: a JSON schema`},
	{chatWith(`"response_format":{"type":"json_schema","json_schema":{"schema":[]}}`), "response_format.json_schema.schema", `response_format.json_schema.schema must be a JSON schema, which is an object or a boolean, got []`},
	{chatWith(`"response_format":{"type":"json_schema","json_schema":{"schema":{},"strict":1}}`), "response_format.json_schema.strict", `response_format.json_schema.strict must be true or false, got 1`},
	{chatWith(`"response_format":{"type":"json_object","schema":5}`), "response_format.schema", `response_format.schema must be a JSON schema, which is an object or a boolean, got 5`},
	{chatWith(`"grammar":5`), "grammar", "grammar must be a string, got 5"},
	{chatWith(`"grammar":"root ::= \"a\"","response_format":{"type":"json_object"}`), "grammar", "grammar is not possible together with response_format: both say what the answer must match"},
	{chatWith(`"guided_json":{}`), "guided_json", `guided_json is not supported by this server, got {}; use "response_format": {"type": "json_schema", ...}`},
	{chatWith(`"audio":{"voice":"x"}`), "audio", `audio is not supported by this server, got {"voice":"x"}; leave it out`},
	{chatWith(`"modalities":["text","audio"]`), "modalities", `modalities is not supported by this server, got ["text","audio"]; only ["text"] is accepted`},
	{chatWith(`"n_predict":5`), "n_predict", "n_predict is not supported by this server, got 5; use max_tokens"},

	{`{}`, "messages", "messages is required: an array of at least one message"},
	{`{"messages":null}`, "messages", "messages is required: an array of at least one message"},
	{`{"messages":"x"}`, "messages", `messages must be an array of messages, got "x"`},
	{`{"messages":{}}`, "messages", "messages must be an array of messages, got {}"},
	{`{"messages":[]}`, "messages", "messages must hold at least one message, got []"},
	{messages(`5`), "messages[0]", "messages[0] must be a JSON object, got 5"},
	{messages(`null`), "messages[0]", "messages[0] must be a JSON object, got null"},
	{messages(`{"content":"x"}`), "messages[0].role", "messages[0].role is required: system, developer, user, assistant or tool"},
	{messages(`{"role":"boss","content":"x"}`), "messages[0].role", `messages[0].role must be system, developer, user, assistant or tool, got "boss"`},
	{messages(`{"role":"user"}`), "messages[0].content", "messages[0].content is required: a string or an array of text parts"},
	{messages(`{"role":"user","content":5}`), "messages[0].content", "messages[0].content must be a string or an array of text parts, got 5"},
	{messages(`{"role":"user","content":[]}`), "messages[0].content", "messages[0].content must hold at least one part, got []"},
	{messages(`{"role":"user","content":["x"]}`), "messages[0].content[0]", `messages[0].content[0] must be a JSON object, got "x"`},
	{messages(`{"role":"user","content":[{"text":"x"}]}`), "messages[0].content[0].type", `messages[0].content[0].type is required: "text"`},
	{messages(`{"role":"user","content":[{"type":"text"}]}`), "messages[0].content[0].text", "messages[0].content[0].text is required: a string"},
	{messages(`{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"data:"}}]}`), "messages[0].content[1].type", `messages[0].content[1].type "image_url" is not supported by this server; only text parts are`},
	{messages(`{"role":"user","content":"x"},{"role":"assistant","content":null}`), "messages[1].content", "messages[1].content is required: a string or an array of text parts"},
	{messages(`{"role":"assistant","content":"x","function_call":{"name":"f"}}`), "messages[0].function_call", `messages[0].function_call is not supported by this server, got {"name":"f"}; leave it out`},
	{messages(`{"role":"assistant","tool_calls":"f"}`), "messages[0].tool_calls", `messages[0].tool_calls must be an array, got "f"`},
	{messages(`{"role":"user","content":"x","tool_calls":[{}]}`), "messages[0].tool_calls", "messages[0].tool_calls is only allowed in a message of the assistant, not of role user"},
	{messages(`{"role":"user","content":"x","name":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`), "messages[0].name", "messages[0].name must be a string, got " + strings.Repeat("[", 40) + strings.Repeat("]", 20) + "… (80 bytes)"},
}

func TestBadChat(t *testing.T) {
	for _, tt := range badChats {
		_, err := ipc.DecodeChat([]byte(tt.body))
		if err == nil {
			t.Errorf("%s: accepted", tt.body)
			continue
		}
		want := &ipc.Error{Kind: ipc.KindInvalidRequest, Param: tt.param, Message: tt.message}
		if diff := cmp.Diff(want, err); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.body, diff)
		}
	}
}

func TestBadCompletion(t *testing.T) {
	for _, tt := range []struct{ body, param, message string }{
		{`{}`, "prompt", "prompt is required: a string or an array of token ids"},
		{`{"prompt":5}`, "prompt", "prompt must be a string or an array of token ids, got 5"},
		{`{"prompt":{}}`, "prompt", "prompt must be a string or an array of token ids, got {}"},
		{`{"prompt":[]}`, "prompt", "prompt must hold at least one token id, got []"},
		{`{"prompt":[[]]}`, "prompt", "prompt must hold at least one token id, got []"},
		{`{"prompt":["a","b"]}`, "prompt", "prompt has several prompts; only one per request is supported"},
		{`{"prompt":["a",5]}`, "prompt", "prompt has several prompts; only one per request is supported"},
		{`{"prompt":[[1],[2]]}`, "prompt", "prompt has several prompts; only one per request is supported"},
		{`{"prompt":[1,-2]}`, "prompt", "prompt must be a string or an array of token ids, but element 1 is none: [1,-2]"},
		{`{"prompt":[1,2147483648]}`, "prompt", "prompt must be a string or an array of token ids, but element 1 is none: [1,2147483648]"},
		{`{"prompt":[1,"2"]}`, "prompt", `prompt must be a string or an array of token ids, but element 1 is none: [1,"2"]`},
		{`{"prompt":[1,null]}`, "prompt", "prompt must be a string or an array of token ids, but element 1 is none: [1,null]"},
		{`{"prompt":[[[1]]]}`, "prompt", "prompt must be a string or an array of token ids, but element 0 is none: [[[1]]]"},
		{`{"prompt":"x","logprobs":true}`, "logprobs", "logprobs must be an integer from 0 to 20, got true"},
		{`{"prompt":"x","logprobs":1,"echo":true}`, "echo", `echo is not supported together with "logprobs": the prompt's tokens have none here`},
		{`{"prompt":"x","echo":"y"}`, "echo", `echo must be true or false, got "y"`},
		{`{"prompt":"x","best_of":2}`, "best_of", "best_of is not supported by this server, got 2; only 1 is accepted"},
		{`{"prompt":"x","suffix":"y"}`, "suffix", `suffix is not supported by this server, got "y"; only "" is accepted`},
		{`{"prompt":"x","session":"s"}`, "session", `session is not supported for raw prompts, got "s"; sessions hold messages: use /v1/chat/completions`},
		{`{"prompt":"x","recompute":true}`, "recompute", "recompute is not supported for raw prompts, got true; sessions hold messages: use /v1/chat/completions"},
		{`{"prompt":"x","max_tokens":0}`, "max_tokens", "max_tokens must be an integer from 1 to 2147483647, got 0"},
	} {
		_, err := ipc.DecodeCompletion([]byte(tt.body))
		want := &ipc.Error{Kind: ipc.KindInvalidRequest, Param: tt.param, Message: tt.message}
		if diff := cmp.Diff(want, err); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.body, diff)
		}
	}
}

func TestBadTokens(t *testing.T) {
	s := serveSocket(t, scripted(nil))
	for _, tt := range []struct{ path, body, want string }{
		{"/tokenize", `{}`, `{"error":{"message":"content is required: a string","type":"invalid_request_error","param":"content","code":null}}`},
		{"/tokenize", `{"content":5}`, `{"error":{"message":"content must be a string, got 5","type":"invalid_request_error","param":"content","code":null}}`},
		{"/tokenize", `{"content":"x","add_special":1}`, `{"error":{"message":"add_special must be true or false, got 1","type":"invalid_request_error","param":"add_special","code":null}}`},
		{"/detokenize", `{}`, `{"error":{"message":"tokens is required: an array of token ids","type":"invalid_request_error","param":"tokens","code":null}}`},
		{"/detokenize", `{"tokens":"x"}`, `{"error":{"message":"tokens must be an array of token ids, got \"x\"","type":"invalid_request_error","param":"tokens","code":null}}`},
		{"/detokenize", `{"tokens":[1.5]}`, `{"error":{"message":"tokens must be an array of token ids, but element 0 is none: [1.5]","type":"invalid_request_error","param":"tokens","code":null}}`},
		{"/detokenize", `{"tokens":[300]}`, `{"error":{"message":"token id 300 is outside the vocabulary of 256","type":"invalid_request_error","param":"tokens","code":null}}`},
	} {
		a := s.do(t, "POST", tt.path, tt.body)
		if a.status != 400 || a.body != tt.want+"\n" {
			t.Errorf("POST %s %s: %d %s", tt.path, tt.body, a.status, a.body)
		}
	}
}

// TestUnsupportedFields checks that each listed field is refused by name, and
// that its neutral values and null are not.
func TestUnsupportedFields(t *testing.T) {
	for field, neutral := range ipc.UnsupportedField {
		_, err := ipc.DecodeChat([]byte(chatWith(fmt.Sprintf("%q:[{}]", field))))
		if err == nil || err.Param != field || !strings.Contains(err.Message, "not supported") {
			t.Errorf("%s was not refused by name: %v", field, err)
		}
		for _, v := range append([]string{"null"}, neutral...) {
			if _, err := ipc.DecodeChat([]byte(chatWith(fmt.Sprintf("%q: %s", field, v)))); err != nil {
				t.Errorf("%s: %s was refused: %v", field, v, err)
			}
		}
	}
	for _, ok := range []string{`"xtc_probability":0.0`, `"response_format": { "type" : "text" }`, `"best_of": 1.0`} {
		if _, err := ipc.DecodeChat([]byte(chatWith(ok))); err != nil {
			t.Errorf("%s was refused: %v", ok, err)
		}
	}
}

func TestRefusedRequests(t *testing.T) {
	s := serveSocket(t, scripted(nil))
	const errorHead = `{"error":{"message":`
	for _, tt := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		want                     string
		allow                    string
	}{
		{name: "unknown route", method: "GET", path: "/v1/images", status: 404,
			want: errorHead + `"no such route: GET /v1/images; there are /chat/completions, /completions, /detokenize, /embeddings, /healthz, /messages, /messages/count_tokens, /models, /models/, /readyz, /responses, /responses/, /sessions, /sessions/import, /sessions/{id}, /sessions/{id}/export, /sessions/{id}/fork, /tokenize (some also under /v1)","type":"not_found_error","param":null,"code":"unknown_route"}}`},
		{name: "wrong method", method: "GET", path: "/v1/chat/completions", status: 405, allow: "POST, OPTIONS",
			want: errorHead + `"GET is not possible on /v1/chat/completions; allowed: POST, OPTIONS","type":"invalid_request_error","param":null,"code":"method_not_allowed"}}`},
		{name: "wrong method on models", method: "DELETE", path: "/v1/models/scripted", status: 405, allow: "GET, HEAD, OPTIONS",
			want: errorHead + `"DELETE is not possible on /v1/models/scripted; allowed: GET, HEAD, OPTIONS","type":"invalid_request_error","param":null,"code":"method_not_allowed"}}`},
		{name: "head of a post route", method: "HEAD", path: "/v1/completions", status: 405, allow: "POST, OPTIONS"},
		{name: "options", method: "OPTIONS", path: "/v1/completions", status: 204, allow: "POST, OPTIONS"},
		{name: "origin", method: "POST", path: "/v1/chat/completions", body: chatBody, header: []string{"Origin", "https://example.org"}, status: 403,
			want: errorHead + `"requests with the header Origin are refused, got https://example.org","type":"permission_error","param":null,"code":"browser_refused"}}`},
		{name: "referer", method: "GET", path: "/v1/models", header: []string{"Referer", "http://localhost/"}, status: 403,
			want: errorHead + `"requests with the header Referer are refused, got http://localhost/","type":"permission_error","param":null,"code":"browser_refused"}}`},
		{name: "compressed", method: "POST", path: "/v1/chat/completions", body: "x", header: []string{"Content-Encoding", "gzip"}, status: 415,
			want: errorHead + `"Content-Encoding gzip is not supported; send the body as it is","type":"invalid_request_error","param":null,"code":"encoding_not_supported"}}`},
		{name: "unknown model", method: "POST", path: "/v1/chat/completions", body: chatWith(`"model":"gpt-4o"`), status: 404,
			want: errorHead + `"the model \"gpt-4o\" is not served; GET /v1/models lists what is: scripted","type":"not_found_error","param":"model","code":"model_not_found"}}`},
		{name: "unknown model in path", method: "GET", path: "/v1/models/a%2Fb", status: 404,
			want: errorHead + `"the model \"a/b\" is not served; GET /v1/models lists what is: scripted","type":"not_found_error","param":"model","code":"model_not_found"}}`},
		{name: "any content type", method: "POST", path: "/v1/chat/completions", body: chatBody, header: []string{"Content-Type", "text/plain"}, status: 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := s.do(t, tt.method, tt.path, tt.body, tt.header...)
			if a.status != tt.status {
				t.Errorf("status %d, want %d", a.status, tt.status)
			}
			if diff := cmp.Diff(tt.want, strings.TrimSpace(a.body)); diff != "" && tt.status != 200 {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			if got := a.header.Get("Allow"); got != tt.allow {
				t.Errorf("Allow is %q, want %q", got, tt.allow)
			}
		})
	}
}

// TestEngineErrors checks status, body and retry headers of each kind, before
// and inside a stream.
func TestEngineErrors(t *testing.T) {
	for _, tt := range []struct {
		name              string
		err               error
		status            int
		detail            string
		retryAfter, retry string
	}{
		{"invalid", &ipc.Error{Kind: ipc.KindInvalidRequest, Param: "messages[0].role", Message: "no"}, 400,
			`{"message":"no","type":"invalid_request_error","param":"messages[0].role","code":null}`, "", ""},
		{"context", fmt.Errorf("generate: %w", ipc.ContextLengthError(140211, 131072)), 400,
			`{"message":"the prompt has 140211 tokens, but the context holds 131072; shorten the prompt or serve the model with a longer context","type":"invalid_request_error","param":"messages","code":"context_length_exceeded","n_prompt_tokens":140211,"n_ctx":131072}`, "", "false"},
		{"model", &ipc.Error{Kind: ipc.KindModelNotFound, Param: "model", Message: "gone"}, 404,
			`{"message":"gone","type":"not_found_error","param":"model","code":"model_not_found"}`, "", ""},
		{"busy", &ipc.Error{Kind: ipc.KindBusy, Message: "queue full", RetryAfter: 2500 * time.Millisecond}, 429,
			`{"message":"queue full","type":"rate_limit_error","param":null,"code":"queue_full"}`, "3", ""},
		{"busy without time", &ipc.Error{Kind: ipc.KindBusy, Message: "queue full"}, 429,
			`{"message":"queue full","type":"rate_limit_error","param":null,"code":"queue_full"}`, "1", ""},
		{"loading", &ipc.Error{Kind: ipc.KindLoading, Message: "Loading model"}, 503,
			`{"message":"Loading model","type":"unavailable_error","param":null,"code":"loading"}`, "2", ""},
		{"draining", &ipc.Error{Kind: ipc.KindDraining, Message: "stopping"}, 503,
			`{"message":"stopping","type":"unavailable_error","param":null,"code":"draining"}`, "2", ""},
		{"failed", &ipc.Error{Kind: ipc.KindFailed, Message: "broken"}, 503,
			`{"message":"broken","type":"server_error","param":null,"code":"engine_failed"}`, "", "false"},
		{"session", ipc.SessionNotFoundError("s\"1"), 404,
			`{"message":"there is no session \"s\\\"1\"; GET /v1/sessions lists yours","type":"not_found_error","param":"session","code":"session_not_found"}`, "", ""},
		{"conflict", &ipc.Error{Kind: ipc.KindConflict, Code: ipc.CodeSessionBusy, Param: "session", Message: "a turn runs"}, 409,
			`{"message":"a turn runs","type":"conflict_error","param":"session","code":"session_busy"}`, "", "false"},
		{"full", &ipc.Error{Kind: ipc.KindStorage, Code: ipc.CodeStorageFull, Message: "full"}, 507,
			`{"message":"full","type":"server_error","param":null,"code":"storage_full"}`, "", "false"},
		{"damaged", &ipc.Error{Kind: ipc.KindStorage, Code: ipc.CodeSessionDamaged, Message: "damaged"}, 500,
			`{"message":"damaged","type":"server_error","param":null,"code":"session_damaged"}`, "", "false"},
		{"internal", &ipc.Error{Kind: ipc.KindInternal, Message: "secret"}, 500,
			`{"message":"Internal error; the daemon's log has the cause under req-ID","type":"server_error","param":null,"code":"internal_error"}`, "", "false"},
		{"untyped", errors.New("secret"), 500,
			`{"message":"Internal error; the daemon's log has the cause under req-ID","type":"server_error","param":null,"code":"internal_error"}`, "", "false"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			began := false
			s := serveSocket(t, scripted(func(e *ipctest.Engine) {
				e.GenerateFunc = func(_ context.Context, _ *ipc.Request, emit func(ipc.Delta) error) (ipc.Result, error) {
					if began {
						if err := emit(ipc.Delta{Text: "Hi"}); err != nil {
							return ipc.Result{}, err
						}
					}
					return ipc.Result{}, tt.err
				}
			}))
			for _, stream := range []string{`"stream":false`, `"stream":true`} {
				a := s.do(t, "POST", "/v1/chat/completions", chatWith(stream))
				if a.status != tt.status || a.body != `{"error":`+tt.detail+"}\n" {
					t.Errorf("%s: got %d %s", stream, a.status, a.body)
				}
				if got := a.header.Get("Retry-After"); got != tt.retryAfter {
					t.Errorf("Retry-After is %q, want %q", got, tt.retryAfter)
				}
				if got := a.header.Get("X-Should-Retry"); got != tt.retry {
					t.Errorf("X-Should-Retry is %q, want %q", got, tt.retry)
				}
			}
			began = true
			a := s.do(t, "POST", "/v1/chat/completions", chatWith(`"stream":true`))
			want := chunkHead + `"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n" +
				chunkHead + `"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}` + "\n\n" +
				`data: {"error":` + tt.detail + "}\n\n"
			if diff := cmp.Diff(want, a.body); diff != "" || a.status != http.StatusOK {
				t.Errorf("stream: status %d (-want +got):\n%s", a.status, diff)
			}
			if strings.Contains(tt.detail, "internal_error") && !strings.Contains(s.log.String(), "secret") {
				t.Error("the cause of an internal error is not in the log")
			}
		})
	}
}

func TestStates(t *testing.T) {
	engine := ipctest.New()
	s := serveSocket(t, engine)
	for _, tt := range []struct {
		status       ipc.Status
		want, health string
		retryAfter   string
	}{
		{ipc.Status{State: ipc.Loading, Text: "40 %"}, `{"error":{"message":"Loading model: 40 %","type":"unavailable_error","param":null,"code":"loading"}}`,
			`{"status":"loading","text":"40 %"}`, "2"},
		{ipc.Status{State: ipc.Failed, Text: "no device"}, `{"error":{"message":"The engine has failed: no device","type":"server_error","param":null,"code":"engine_failed"}}`,
			`{"status":"failed","text":"no device"}`, ""},
		{ipc.Status{State: ipc.Draining}, `{"error":{"message":"The daemon is stopping","type":"unavailable_error","param":null,"code":"draining"}}`,
			`{"status":"draining"}`, ""},
	} {
		engine.SetStatus(tt.status)
		for path, body := range map[string]string{
			"/v1/chat/completions": chatBody, "/v1/completions": `{"prompt":"x"}`,
			"/tokenize": `{"content":"x"}`, "/detokenize": `{"tokens":[1]}`,
		} {
			if a := s.do(t, "POST", path, body); a.status != 503 || a.body != tt.want+"\n" {
				t.Errorf("%s while %s: %d %s", path, tt.status.State, a.status, a.body)
			}
		}
		a := s.do(t, "GET", "/readyz", "")
		if a.status != 503 || a.body != tt.health+"\n" || a.header.Get("Retry-After") != tt.retryAfter {
			t.Errorf("readyz while %s: %d %v %s", tt.status.State, a.status, a.header, a.body)
		}
		if a := s.do(t, "GET", "/healthz", ""); a.status != 200 {
			t.Errorf("healthz while %s: %d", tt.status.State, a.status)
		}
		if a := s.do(t, "GET", "/v1/models", ""); a.status != 200 {
			t.Errorf("models while %s: %d", tt.status.State, a.status)
		}
	}
}

func TestPanics(t *testing.T) {
	for _, stream := range []string{`"stream":false`, `"stream":true`} {
		engine := ipctest.New()
		s := serveSocket(t, engine)
		engine.GenerateFunc = func(context.Context, *ipc.Request, func(ipc.Delta) error) (ipc.Result, error) { panic("boom") }
		a := s.do(t, "POST", "/v1/chat/completions", chatWith(stream))
		want := `{"error":{"message":"Internal error; the daemon's log has the cause under req-ID","type":"server_error","param":null,"code":"internal_error"}}` + "\n"
		if a.status != 500 || a.body != want {
			t.Errorf("%s: got %d %s", stream, a.status, a.body)
		}
		if !strings.Contains(s.log.String(), "boom") {
			t.Error("the panic is not in the log")
		}
		engine.GenerateFunc = nil
		s.mustServe(t)
	}
	s := serveSocket(t, panicsInModels{ipctest.New()})
	if a := s.do(t, "GET", "/v1/models", ""); a.status != 500 || !strings.Contains(s.log.String(), "no models") {
		t.Errorf("panic in a handler: %d %s", a.status, a.body)
	}
}

type panicsInModels struct{ *ipctest.Engine }

func (panicsInModels) Models(context.Context) []ipc.ModelInfo { panic("no models") }

// TestUnsupportedFieldsAreDocumented keeps docs/API.md complete.
func TestUnsupportedFieldsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "docs", "API.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, found := strings.Cut(string(doc), "### Fields that are refused")
	list, _, ended := strings.Cut(list, "## Responses")
	if !found || !ended {
		t.Fatal("docs/API.md has lost its list of refused fields")
	}
	for field := range ipc.UnsupportedField {
		if !strings.Contains(list, "`"+field+"`") {
			t.Errorf("docs/API.md does not list %s", field)
		}
	}
}
