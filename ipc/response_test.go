package ipc_test

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/ipc"
	"edged/ipc/api"
	"edged/ipc/ipctest"
)

func TestDecodeResponse(t *testing.T) {
	user := []ipc.Message{{Role: "user", Content: "x"}}
	for body, want := range map[string]ipc.Request{
		`{"input":"x"}`: {Messages: user},
		`{"input":"x","model":"m","max_output_tokens":9,"temperature":0,"top_p":0.5,"user":"u","truncation":"disabled","service_tier":"auto","background":false,"reasoning":{"effort":null},"include":["reasoning.encrypted_content"],"text":{"format":{"type":"text"}},"tools":[]}`: {
			Model: "m", Messages: user, MaxTokens: 9, Sampling: ipc.Sampling{Temperature: new(0.0), TopP: new(0.5)}},
		`{"input":[{"role":"developer","content":"d"},{"type":"message","role":"user","content":[{"type":"input_text","text":"a"},{"type":"input_text","text":"b"}]},
			{"type":"message","id":"i","status":"completed","role":"assistant","content":[{"type":"output_text","text":"c","annotations":[]}]},
			{"type":"reasoning","id":"r","summary":[]},
			{"type":"function_call","id":"f","call_id":"1","name":"n","arguments":"{}"},{"type":"function_call","call_id":"2","name":"o","arguments":"{\"a\":1}"},
			{"type":"function_call_output","call_id":"1","output":"r"},{"type":"function_call_output","call_id":"2","output":[{"type":"input_text","text":"s"}]}]}`: {
			Messages: []ipc.Message{
				{Role: "system", Content: "d"}, {Role: "user", Content: "a\nb"},
				{Role: "assistant", Content: "c", ToolCalls: json.RawMessage(`[{"function":{"arguments":"{}","name":"n"},"id":"1","type":"function"},{"function":{"arguments":"{\"a\":1}","name":"o"},"id":"2","type":"function"}]`)},
				{Role: "tool", ToolCallID: "1", Content: "r"}, {Role: "tool", ToolCallID: "2", Content: "s"},
			}},
		`{"input":"x","text":{"format":{"type":"json_schema","name":"n","schema":{"type":"null"}}}}`: {Messages: user, Grammar: &ipc.Grammar{Field: "text.format.schema", Schema: json.RawMessage(`{"type":"null"}`)}},
		`{"input":"x","tools":[{"type":"function","name":"f","parameters":{},"strict":true}],"tool_choice":{"type":"function","name":"f"}}`: {Messages: user, Tools: &ipc.Tools{
			JSON:      json.RawMessage(`[{"type":"function","function":{"name":"f","parameters":{}}}]`),
			Functions: []ipc.Function{{Name: "f", Parameters: json.RawMessage(`{}`)}}, Must: true, Single: true}},
	} {
		got, err := ipc.DecodeResponse([]byte(body))
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", body, diff)
		}
	}
}

var badResponses = []struct{ body, param, message string }{
	{`{}`, "input", "input is required: a string or an array of items"},
	{`{"input":5}`, "input", "input must be a string or an array of items, got 5"},
	{`{"input":[]}`, "input", "input must hold at least one item, got []"},
	{`{"input":[{"role":"user"}]}`, "input[0].content", "input[0].content is required: a string or an array of parts"},
	{`{"input":[{"role":"x","content":"y"}]}`, "input[0].role", `input[0].role must be system, developer, user, assistant or tool, got "x"`},
	{`{"input":[{"role":"user","content":[{"type":"input_image"}]}]}`, "input[0].content[0].type", `input[0].content[0].type "input_image" is not supported by this server; only text is`},
	{`{"input":[{"type":"item_reference","id":"x"}]}`, "input[0].type", `input[0].type "item_reference" is not supported by this server`},
	{`{"input":[{"type":"function_call","name":"x"}]}`, "input[0].call_id", "input[0].call_id is required: a string"},
	{`{"input":"x","background":true}`, "background", "background is not supported by this server, got true; only false is accepted"},
	{`{"input":"x","conversation":"c"}`, "conversation", `conversation is not supported by this server, got "c"; leave it out`},
	{`{"input":"x","truncation":"auto"}`, "truncation", `truncation is not supported by this server, got "auto"; only "disabled" is accepted`},
	{`{"input":"x","reasoning":{"effort":"high"}}`, "reasoning.effort", `reasoning.effort is not supported by this server, got "high"; leave it out`},
	{`{"input":"x","include":["file_search_call.results"]}`, "include[0]", `"file_search_call.results" is not supported by this server`},
	{`{"input":"x","store":"yes"}`, "store", `store must be true or false, got "yes"`},
	{`{"input":"x","max_output_tokens":0}`, "max_output_tokens", "max_output_tokens must be an integer from 1 to 2147483647, got 0"},
	{`{"input":"x","metadata":[]}`, "metadata", "metadata must be a JSON object, got []"},
	{`{"input":"x","text":{"format":{"type":"xml"}}}`, "text.format.type", `text.format.type must be text, json_object or json_schema, got "xml"`},
	{`{"input":"x","tools":[{"type":"web_search"}]}`, "tools[0].type", `tools[0].type "web_search" is not supported by this server; only function is`},
}

func TestBadResponses(t *testing.T) {
	for _, tt := range badResponses {
		_, err := ipc.DecodeResponse([]byte(tt.body))
		if err == nil || err.Param != tt.param || !strings.HasSuffix(err.Message, tt.message) {
			t.Errorf("%s\n got %+v\nwant %s: %s", tt.body, err, tt.param, tt.message)
		}
	}
}

// eventsOf takes a stream apart.
func eventsOf(t *testing.T, body string) (names []string, events []api.ResponseEvent) {
	t.Helper()
	for _, block := range strings.Split(strings.TrimSuffix(body, "\n\n"), "\n\n") {
		name, data, ok := strings.Cut(block, "\n")
		var e api.ResponseEvent
		if err := json.Unmarshal([]byte(strings.TrimPrefix(data, "data: ")), &e); !ok || err != nil {
			t.Fatalf("%s: %v", block, err)
		}
		if strings.TrimPrefix(name, "event: ") != e.Type || e.SequenceNumber != len(events) {
			t.Errorf("event %d: %s", len(events), block)
		}
		names, events = append(names, strings.TrimPrefix(e.Type, "response.")), append(events, e)
	}
	return names, events
}

func TestResponseStream(t *testing.T) {
	s := serveSocket(t, scripted(calling))
	a := s.do(t, "POST", "/v1/responses", `{"input":"x","stream":true,"tools":[{"type":"function","name":"weather"},{"type":"function","name":"time"}]}`)
	names, events := eventsOf(t, a.body)
	want := []string{"created", "in_progress",
		"output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done", "output_item.done",
		"output_item.added", "function_call_arguments.delta", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
		"output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done", "completed"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	whole := s.do(t, "POST", "/v1/responses", `{"input":"x","tools":[{"type":"function","name":"weather"},{"type":"function","name":"time"}]}`)
	var r api.Response
	if err := json.Unmarshal([]byte(whole.body), &r); err != nil || whole.status != 200 {
		t.Fatal(whole.body, err)
	}
	if diff := cmp.Diff(&r, events[len(events)-1].Response); diff != "" {
		t.Errorf("the whole answer and that of the stream differ:\n%s", diff)
	}
	if len(r.Output) != 3 || (*r.Output[0].Content)[0].Text != "Let me see." || r.Output[1].CallID != "call_a" || *r.Output[1].Arguments != `{"city":"Rome"}` ||
		r.Usage.TotalTokens != 12 || r.Store || r.Status != "completed" {
		t.Errorf("got %s", whole.body)
	}
}

func TestResponseEnds(t *testing.T) {
	s := serveSocket(t, scripted(nil))
	for _, tt := range []struct{ input, last, want string }{
		{`"input":"What?","max_output_tokens":2`, "incomplete", `"status":"incomplete","error":null,"incomplete_details":{"reason":"max_output_tokens"}`},
		{`"input":"fail"`, "failed", `"error":{"code":"server_error","message":"Internal error; the daemon's log has the cause under req-ID"}`},
	} {
		a := s.do(t, "POST", "/v1/responses", `{`+tt.input+`,"stream":true}`)
		names, _ := eventsOf(t, a.body)
		if names[len(names)-1] != tt.last || !strings.Contains(a.body, tt.want) {
			t.Errorf("%s: got %s", tt.input, a.body)
		}
	}
	a := s.do(t, "POST", "/v1/responses", `{"input":"x","store":true}`)
	if a.status != 404 || !strings.Contains(a.body, "sessions_disabled") {
		t.Errorf("stored without a store: %d %s", a.status, a.body)
	}
	a = s.do(t, "GET", "/v1/responses/resp_x", "")
	if a.status != 404 {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

func TestStoredResponses(t *testing.T) {
	store := &ipctest.Sessions{}
	var fail bool
	e := scripted(func(e *ipctest.Engine) {
		e.GenerateFunc = func(_ context.Context, req *ipc.Request, emit func(ipc.Delta) error) (ipc.Result, error) {
			if err := emit(ipc.Delta{Progress: &ipc.Progress{Total: 5}, Text: "Yes."}); err != nil {
				return ipc.Result{}, err
			}
			if fail {
				return ipc.Result{}, &ipc.Error{Kind: ipc.KindStorage, Code: ipc.CodeStorageFull, Message: "full"}
			}
			if req.Session != "" {
				for _, m := range append(req.Messages, ipc.Message{Role: "assistant", Content: "Yes.", Note: req.Note}) {
					store.Append(req.Session, ipc.SessionMessage{Message: m, Tokens: 1})
				}
			}
			return ipc.Result{FinishReason: ipc.FinishStop, PromptTokens: 5, CompletionTokens: 1}, nil
		}
	})
	s := serveSocket(t, e, func(s *ipc.Server) { s.SetSessions(store) })
	post := func(body string) api.Response {
		t.Helper()
		a := s.do(t, "POST", "/v1/responses", body)
		var r api.Response
		if err := json.Unmarshal([]byte(a.body), &r); err != nil || a.status != 200 {
			t.Fatalf("%s: %d %s", body, a.status, a.body)
		}
		return r
	}
	last := func() *ipc.Request { all := e.Requests(); return all[len(all)-1] }
	texts := func() (list []string) {
		for _, m := range last().Messages {
			list = append(list, m.Role+": "+m.Content)
		}
		return list
	}

	one := post(`{"input":"One?","instructions":"Be brief.","store":true,"metadata":{"k":"v"}}`)
	if !one.Store || one.ID != "resp_"+last().Session || string(one.Metadata) != `{"k":"v"}` {
		t.Fatalf("got %+v", one)
	}
	two := post(`{"input":"Two?","instructions":"Be brief.","store":true,"previous_response_id":"` + one.ID + `"}`)
	if diff := cmp.Diff([]string{"user: Two?"}, texts()); diff != "" || last().Session != strings.TrimPrefix(two.ID, "resp_") || two.ID == one.ID {
		t.Errorf("a stored response that goes on is a fork: %s, %s", last().Session, diff)
	}
	for body, want := range map[string][]string{
		`{"input":"Three?","previous_response_id":"` + two.ID + `"}`:                               {"user: One?", "assistant: Yes.", "user: Two?", "assistant: Yes.", "user: Three?"},
		`{"input":"3","instructions":"New.","previous_response_id":"` + one.ID + `"}`:              {"system: New.", "user: One?", "assistant: Yes.", "user: 3"},
		`{"input":"3","store":true,"instructions":"New.","previous_response_id":"` + one.ID + `"}`: {"system: New.", "user: One?", "assistant: Yes.", "user: 3"},
	} {
		post(body)
		if diff := cmp.Diff(want, texts()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", body, diff)
		}
	}

	a := s.do(t, "GET", "/v1/responses/"+one.ID, "")
	var back api.Response
	if err := json.Unmarshal([]byte(a.body), &back); err != nil {
		t.Fatal(a.body, err)
	}
	one.Usage, back.Usage, one.CreatedAt, back.CreatedAt = nil, nil, 0, 0
	if diff := cmp.Diff(one, back); diff != "" {
		t.Errorf("read back (-answered +read):\n%s", diff)
	}

	kept := func() int {
		list, err := store.List(t.Context(), uint32(os.Geteuid()), ipc.SessionFilter{})
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	n := kept()
	fail = true
	if a := s.do(t, "POST", "/v1/responses", `{"input":"x","store":true}`); a.status != 507 {
		t.Errorf("got %d %s", a.status, a.body)
	}
	if m := kept(); m != n {
		t.Errorf("%d sessions after a failure, %d before", m, n)
	}
	fail = false
	for _, want := range []int{200, 404} {
		if a := s.do(t, "DELETE", "/v1/responses/"+one.ID, ""); a.status != want {
			t.Errorf("delete: %d %s", a.status, a.body)
		}
	}
	if a := s.do(t, "POST", "/v1/responses", `{"input":"x","previous_response_id":"`+one.ID+`"}`); a.status != 404 || !strings.Contains(a.body, `"param":"previous_response_id","code":"response_not_found"`) {
		t.Errorf("got %d %s", a.status, a.body)
	}
	if a := s.do(t, "GET", "/v1/responses/"+two.ID, ""); a.status != 200 {
		t.Errorf("a response went with the one before it: %d %s", a.status, a.body)
	}
}

// FuzzResponses: whatever is accepted keeps the promises of ipc.Request.
func FuzzResponses(f *testing.F) {
	for _, tt := range badResponses {
		f.Add([]byte(tt.body))
	}
	f.Add([]byte(`{"input":[{"type":"function_call","call_id":"1","name":"n","arguments":"{}"},{"type":"function_call_output","call_id":"1","output":"r"}],"store":true,"metadata":{"a":"b"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := ipc.DecodeResponse(body)
		if err != nil {
			if err.Message == "" || err.Kind != ipc.KindInvalidRequest {
				t.Errorf("error without a message: %+v", err)
			}
			return
		}
		checkAccepted(t, body)
		if len(req.Messages) == 0 {
			t.Errorf("request without messages: %+v", req)
		}
		checkRequest(t, req)
	})
}
