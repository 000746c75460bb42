package ipc_test

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"edged/ipc"
)

// FuzzChatBody feeds every decoder. A body that one of them accepts must be what
// encoding/json reads too, and the request must keep the promises of ipc.Request.
func FuzzChatBody(f *testing.F) {
	for _, tt := range badChats {
		f.Add([]byte(tt.body))
	}
	f.Add([]byte(fullChat))
	f.Add([]byte(`{"prompt":[[1,2]],"echo":true,"logprobs":3}`))
	f.Add([]byte(`{"tokens":[1],"content":"\ud83d\ude00","parse_special":false}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		chat, chatErr := ipc.DecodeChat(body)
		text, textErr := ipc.DecodeCompletion(body)
		tokErr, detokErr := ipc.DecodeTokens(body)
		accepted := false
		for _, err := range []*ipc.Error{chatErr, textErr, tokErr, detokErr} {
			accepted = accepted || err == nil
			if err != nil && (err.Message == "" || err.Kind != ipc.KindInvalidRequest) {
				t.Errorf("error without a message: %+v", err)
			}
		}
		if accepted {
			checkAccepted(t, body)
		}
		if chatErr == nil {
			if chat.Prompt != nil || len(chat.Messages) == 0 {
				t.Errorf("chat request without messages: %+v", chat)
			}
			checkRequest(t, chat)
		}
		if textErr == nil {
			if text.Messages != nil || text.Prompt == nil || text.Prompt.Tokens != nil && text.Prompt.Text != "" || text.MaxTokens == 0 {
				t.Errorf("bad completion request: %+v", text)
			}
			checkRequest(t, text)
		}
	})
}

func checkAccepted(t *testing.T, body []byte) {
	t.Helper()
	var v map[string]any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber() // ignored fields may hold numbers that no float64 can
	if err := dec.Decode(&v); err != nil || !json.Valid(body) || !utf8.Valid(body) {
		t.Errorf("an invalid body was accepted: %v", err)
	}
	var want map[string]json.RawMessage
	if err := json.Unmarshal(body, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, ipc.Members(body)); diff != "" {
		t.Errorf("the fields of the body (-want +got):\n%s", diff)
	}
}

func checkRequest(t *testing.T, r *ipc.Request) {
	t.Helper()
	s := r.Sampling
	for _, p := range []struct {
		v      *float64
		lo, hi float64
	}{
		{s.Temperature, 0, 2}, {s.TopP, math.SmallestNonzeroFloat64, 1}, {s.MinP, 0, 1}, {s.TypicalP, math.SmallestNonzeroFloat64, 1}, {s.RepeatPenalty, math.SmallestNonzeroFloat64, 10},
		{s.PresencePenalty, -2, 2}, {s.FrequencyPenalty, -2, 2},
	} {
		if p.v != nil && !(*p.v >= p.lo && *p.v <= p.hi) {
			t.Errorf("%v is outside %v to %v", *p.v, p.lo, p.hi)
		}
	}
	if r.MaxTokens < 0 || s.TopK != nil && *s.TopK < 0 || r.TopLogprobs < 0 || r.TopLogprobs > ipc.MaxTopLogprobs {
		t.Errorf("out of range: %+v", r)
	}
	for _, stop := range r.Stop {
		if stop == "" {
			t.Error("empty stop sequence")
		}
	}
	for _, m := range r.Messages {
		if m.Role == "" || !utf8.ValidString(m.Content) {
			t.Errorf("bad message %+v", m)
		}
	}
	if r.TemplateVars != nil && !json.Valid(r.TemplateVars) {
		t.Errorf("bad template variables %s", r.TemplateVars)
	}
}
