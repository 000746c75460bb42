package ipc_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/ipc"
	"edged/ipc/api"
	"edged/ipc/ipctest"
)

func thinking(e *ipctest.Engine) {
	e.Thought, e.Script = []string{"Well", "."}, []string{"It is", " 42."}
}

// lines are those of a body that hold a text, of their JSON what is from it on.
func lines(body, from string) []string {
	var out []string
	for _, l := range strings.Split(body, "\n") {
		if i := strings.Index(l, from); i >= 0 {
			out = append(out, l[i:])
		}
	}
	return out
}

func TestThoughtsOfChat(t *testing.T) {
	s := serveSocket(t, scripted(thinking))
	a := s.do(t, "POST", "/v1/chat/completions", chatBody)
	for _, want := range []string{
		`"message":{"role":"assistant","content":"It is 42.","refusal":null,"reasoning_content":"Well."}`,
		`"completion_tokens":4,`, `"completion_tokens_details":{"reasoning_tokens":2}`,
	} {
		if !strings.Contains(a.body, want) {
			t.Errorf("got %s, want %s", a.body, want)
		}
	}
	a = s.do(t, "POST", "/v1/chat/completions", chatWith(`"stream":true`))
	want := []string{
		`"delta":{"role":"assistant","content":""},"finish_reason":null}]}`,
		`"delta":{"reasoning_content":"Well"},"finish_reason":null}]}`,
		`"delta":{"reasoning_content":"."},"finish_reason":null}]}`,
		`"delta":{"content":"It is"},"finish_reason":null}]}`,
		`"delta":{"content":" 42."},"finish_reason":null}]}`,
		`"delta":{},"finish_reason":"stop"}]}`,
	}
	if diff := cmp.Diff(want, lines(a.body, `"delta"`)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	a = s.do(t, "POST", "/v1/chat/completions", chatWith(`"n":2`))
	if !strings.Contains(a.body, `"reasoning_tokens":4`) || strings.Count(a.body, `"reasoning_content":"Well."`) != 2 {
		t.Errorf("two choices: %s", a.body)
	}
}

// A piece may hold the end of a thought and the begin of the answer, with the
// log probabilities of both: they come once.
func TestThoughtAndTextInOnePiece(t *testing.T) {
	d := ipc.Delta{Thought: ".", Text: "It", Logprobs: []ipc.TokenLogprob{{ID: 7, Bytes: []byte(".</think>It"), Logprob: -1}}}
	for _, c := range []struct {
		delta ipc.Delta
		want  []string
	}{
		{d, []string{`"delta":{"reasoning_content":"."},`, `"delta":{"content":"It"},"logprobs":{"content":[{"id":7,`}},
		{ipc.Delta{Thought: ".", Logprobs: d.Logprobs}, []string{`"delta":{"reasoning_content":"."},"logprobs":{"content":[{"id":7,`}},
	} {
		var got []string
		for _, e := range ipc.ChatDeltas(c.delta) {
			i := strings.Index(e, `"delta"`)
			got = append(got, e[i:])
		}
		if len(got) != len(c.want) {
			t.Fatalf("got %q", got)
		}
		for i, want := range c.want {
			if !strings.HasPrefix(got[i], want) || strings.Count(strings.Join(got, ""), `"id":7`) != 1 {
				t.Errorf("got %q, want %q", got, c.want)
			}
		}
	}
}

func TestThoughtsOfMessages(t *testing.T) {
	s := serveSocket(t, scripted(thinking))
	a := s.do(t, "POST", "/v1/messages", anthropicWith(""))
	want := `"content":[{"type":"thinking","thinking":"Well.","signature":""},{"type":"text","text":"It is 42."}]`
	if !strings.Contains(a.body, want) {
		t.Errorf("got %s, want %s", a.body, want)
	}
	a = s.do(t, "POST", "/v1/messages", anthropicWith(`,"stream":true`))
	blocks := []string{
		`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Well"}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"."}}`,
		`{"type":"content_block_stop","index":0}`,
		`{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}`,
		`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"It is"}}`,
		`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":" 42."}}`,
		`{"type":"content_block_stop","index":1}`,
	}
	if diff := cmp.Diff(blocks, lines(a.body, `{"type":"content_block`)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestThoughtsOfResponses(t *testing.T) {
	e := scripted(thinking)
	e.Store = &ipctest.Sessions{}
	s := serveSocket(t, e, func(s *ipc.Server) { s.SetSessions(e.Store) })
	a := s.do(t, "POST", "/v1/responses", `{"input":"x","stream":true}`)
	names, events := eventsOf(t, a.body)
	want := []string{"created", "in_progress",
		"output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.delta", "reasoning_text.done", "content_part.done", "output_item.done",
		"output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.done", "content_part.done", "output_item.done", "completed"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	whole := s.do(t, "POST", "/v1/responses", `{"input":"x","store":true}`)
	var r api.Response
	if err := json.Unmarshal([]byte(whole.body), &r); err != nil {
		t.Fatal(err)
	}
	item := `"type":"reasoning","status":"completed","content":[{"type":"reasoning_text","text":"Well."}],"summary":[]}`
	if !strings.Contains(whole.body, item) || r.Usage.OutputTokensDetails.ReasoningTokens != 2 || len(r.Output) != 2 {
		t.Errorf("got %s, want %s", whole.body, item)
	}
	if got := events[len(events)-1].Response.Output; len(got) != 2 || (*got[0].Content)[0].Text != "Well." {
		t.Errorf("the stream ends with %+v", got)
	}
	stored := s.do(t, "GET", "/v1/responses/"+r.ID, "")
	if !strings.Contains(stored.body, item) {
		t.Errorf("stored: %s, want %s", stored.body, item)
	}
}

// A thought comes back with the items of a response, and belongs to the answer
// behind it.
func TestThoughtsInInput(t *testing.T) {
	got, err := ipc.DecodeResponse([]byte(`{"input":[{"role":"user","content":"a"},
		{"type":"reasoning","id":"r1","summary":[],"content":[{"type":"reasoning_text","text":"hm"}]},{"role":"assistant","content":"b"},
		{"role":"user","content":"c"},
		{"type":"reasoning","id":"r2","summary":[],"content":[{"type":"reasoning_text","text":"well"}]},{"type":"function_call","call_id":"i","name":"f","arguments":"{}"},
		{"type":"function_call_output","call_id":"i","output":"1"},{"type":"reasoning","summary":[]},{"role":"user","content":"d"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	var thoughts []string
	for _, m := range got.Messages {
		thoughts = append(thoughts, m.Role+":"+m.Reasoning)
	}
	if diff := cmp.Diff([]string{"user:", "assistant:hm", "user:", "assistant:well", "tool:", "user:"}, thoughts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReasoningFormat(t *testing.T) {
	for format, raw := range map[string]bool{"auto": false, "deepseek": false, "none": true} {
		got, err := ipc.DecodeChat([]byte(chatWith(`"reasoning_format":"` + format + `"`)))
		if err != nil || got.RawThoughts != raw {
			t.Errorf("%s: %+v, %v", format, got, err)
		}
	}
	if _, err := ipc.DecodeCompletion([]byte(`{"prompt":"x","reasoning_format":"deepseek"}`)); err == nil || err.Param != "reasoning_format" {
		t.Errorf("of a raw prompt: %v", err)
	}
}
