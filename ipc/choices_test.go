package ipc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"edged/ipc"
	"edged/ipc/api"
	"edged/ipc/ipctest"
)

// numbered answers each request with what tells it apart.
func numbered(e *ipctest.Engine) {
	e.GenerateFunc = func(_ context.Context, req *ipc.Request, emit func(ipc.Delta) error) (ipc.Result, error) {
		seed := int64(-1)
		if req.Sampling.Seed != nil {
			seed = *req.Sampling.Seed
		}
		for _, d := range []ipc.Delta{{Progress: &ipc.Progress{Total: 7}}, {Progress: &ipc.Progress{Done: 7, Total: 7}}, {Text: "seed "}, {Text: fmt.Sprint(seed)}} {
			if err := emit(d); err != nil {
				return ipc.Result{}, err
			}
		}
		return ipc.Result{FinishReason: ipc.FinishStop, PromptTokens: 7, CompletionTokens: 2}, nil
	}
}

func TestChoices(t *testing.T) {
	e := scripted(numbered)
	s := serveSocket(t, e)
	a := s.do(t, "POST", "/v1/chat/completions", chatWith(`"n":3,"seed":5`))
	var got api.ChatCompletion
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	for i, c := range got.Choices {
		if c.Index != i || *c.Message.Content != fmt.Sprintf("seed %d", 5+i) || c.FinishReason != "stop" {
			t.Errorf("choice %d is %+v", i, c)
		}
	}
	if len(got.Choices) != 3 || got.Usage.PromptTokens != 7 || got.Usage.CompletionTokens != 6 || got.Usage.TotalTokens != 13 {
		t.Errorf("got %s", a.body)
	}
	ids := map[string]bool{}
	for _, r := range e.Requests() {
		ids[r.ID] = true
	}
	if len(ids) != 3 {
		t.Errorf("the engine saw the ids %v", ids)
	}
}

func TestChoicesStream(t *testing.T) {
	s := serveSocket(t, scripted(numbered))
	a := s.do(t, "POST", "/v1/chat/completions", chatWith(`"n":4,"seed":1,"stream":true,"stream_options":{"include_usage":true,"include_progress":true}`))
	text, finished, progress, usage := map[int]string{}, map[int]int{}, 0, 0
	events := strings.Split(strings.TrimSuffix(a.body, "\n\n"), "\n\n")
	if events[len(events)-1] != "data: [DONE]" {
		t.Fatalf("the stream ends with %q", events[len(events)-1])
	}
	for _, e := range events[:len(events)-1] {
		var c api.ChatChunk
		if err := json.Unmarshal([]byte(strings.TrimPrefix(e, "data: ")), &c); err != nil {
			t.Fatalf("%s: %v", e, err)
		}
		for _, x := range c.Choices {
			if finished[x.Index] > 0 {
				t.Errorf("choice %d goes on after its end: %s", x.Index, e)
			}
			if x.Delta.Content != nil {
				text[x.Index] += *x.Delta.Content
			}
			if x.FinishReason != nil {
				finished[x.Index]++
			}
		}
		if c.Progress != nil {
			progress++
		}
		if c.Usage != nil {
			usage += c.Usage.CompletionTokens
		}
	}
	for i := range 4 {
		if text[i] != fmt.Sprintf("seed %d", 1+i) || finished[i] != 1 {
			t.Errorf("choice %d: %q, finished %d times", i, text[i], finished[i])
		}
	}
	if progress != 2 || usage != 8 {
		t.Errorf("%d reports of progress, want those of the prompt that was read, 2; %d tokens, want 8", progress, usage)
	}
}

// One choice that fails ends the others: there is no answer with a hole.
func TestChoicesFail(t *testing.T) {
	var once sync.Once
	failing := make(chan struct{})
	s := serveSocket(t, scripted(func(e *ipctest.Engine) {
		e.GenerateFunc = func(ctx context.Context, req *ipc.Request, emit func(ipc.Delta) error) (ipc.Result, error) {
			if err := emit(ipc.Delta{Progress: &ipc.Progress{Total: 1}}); err != nil {
				return ipc.Result{}, err
			}
			if strings.HasSuffix(req.ID, "-2") {
				once.Do(func() { close(failing) })
				return ipc.Result{}, &ipc.Error{Kind: ipc.KindBusy, Message: "9 requests wait"}
			}
			<-ctx.Done()
			return ipc.Result{}, context.Cause(ctx)
		}
	}))
	a := s.do(t, "POST", "/v1/completions", `{"prompt":"x","n":3}`)
	<-failing
	if a.status != 429 || !strings.Contains(a.body, "9 requests wait") {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

func TestChoicesOfACompletion(t *testing.T) {
	s := serveSocket(t, scripted(nil))
	a := s.do(t, "POST", "/v1/completions", `{"prompt":"Why? ","echo":true,"n":2}`)
	var got api.Completion
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || len(got.Choices) != 2 {
		t.Fatalf("%s: %v", a.body, err)
	}
	for i, c := range got.Choices {
		if c.Index != i || c.Text != "Why? The answer is 42." {
			t.Errorf("choice %d is %+v", i, c)
		}
	}
}

func TestChoicesAndSessions(t *testing.T) {
	s := serveSocket(t, scripted(nil))
	a := s.do(t, "POST", "/v1/chat/completions", chatWith(`"n":2,"session":"abc"`))
	if a.status != 400 || !strings.Contains(a.body, `"param":"n"`) {
		t.Errorf("got %d %s", a.status, a.body)
	}
}
