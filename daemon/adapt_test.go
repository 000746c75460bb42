package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"edged/infer"
	"edged/infer/chat"
	"edged/infer/sample"
	"edged/ipc"
)

func ptr[T any](v T) *T { return &v }

func TestAdaptRequest(t *testing.T) {
	def := Sampling{Temperature: 0.5, TopK: 5, TopP: 0.25, MinP: 0.125, TypicalP: 1, RepeatPenalty: 1.5}
	for _, tc := range []struct {
		name string
		in   ipc.Request
		want infer.Request
	}{
		{
			"defaults fill what is open",
			ipc.Request{ID: "i", Model: "m", Prompt: &ipc.Prompt{Text: "p"}, MaxTokens: 3, Stop: []string{"x"}},
			infer.Request{ID: "i", Model: "m", Prompt: &infer.Prompt{Text: "p"}, MaxTokens: 3, Stop: []string{"x"},
				Sampling: sample.Params{Temperature: 0.5, TopK: 5, TopP: 0.25, MinP: 0.125, Typical: 1, RepeatPenalty: 1.5}},
		},
		{
			"zero is not open",
			ipc.Request{Prompt: &ipc.Prompt{Tokens: []int32{1}}, Logprobs: true, TopLogprobs: 2, Sampling: ipc.Sampling{
				Temperature: ptr(0.0), TopK: ptr(0), TopP: ptr(1.0), MinP: ptr(0.0), TypicalP: ptr(0.5), RepeatPenalty: ptr(1.0),
				PresencePenalty: ptr(-1.0), FrequencyPenalty: ptr(2.0), Seed: ptr(int64(-1)), LogitBias: map[int32]float64{7: -100},
			}},
			infer.Request{Prompt: &infer.Prompt{Tokens: []int32{1}}, Logprobs: true, TopLogprobs: 2, Sampling: sample.Params{
				TopP: 1, Typical: 0.5, RepeatPenalty: 1, PresencePenalty: -1, FrequencyPenalty: 2,
				Seed: ptr(^uint64(0)), LogitBias: map[int32]float32{7: -100}, Logprobs: true, TopLogprobs: 2,
			}},
		},
		{
			"grammar",
			ipc.Request{Prompt: &ipc.Prompt{}, Grammar: &ipc.Grammar{Field: "f", GBNF: "g", Schema: json.RawMessage(`{}`), AnyObject: true}},
			infer.Request{Prompt: &infer.Prompt{}, Grammar: &infer.Grammar{Field: "f", GBNF: "g", Schema: json.RawMessage(`{}`), AnyObject: true},
				Sampling: sample.Params{Temperature: 0.5, TopK: 5, TopP: 0.25, MinP: 0.125, Typical: 1, RepeatPenalty: 1.5}},
		},
		{
			"conversation",
			ipc.Request{TemplateVars: json.RawMessage(`{"b":{"z":1,"a":2}}`), Messages: []ipc.Message{
				{Role: "system", Content: "s"}, {Role: "assistant", Content: "c", Name: "n", Reasoning: "r", ToolCalls: json.RawMessage(`[{}]`)}, {Role: "tool", Content: "t", ToolCallID: "id"},
			}},
			infer.Request{
				Vars: map[string]any{"b": json.RawMessage(`{"z":1,"a":2}`)},
				Messages: []chat.Message{
					{Role: "system", Content: "s"}, {Role: "assistant", Content: "c", Name: "n", ReasoningContent: "r", ToolCalls: json.RawMessage(`[{}]`)}, {Role: "tool", Content: "t", ToolCallID: "id"},
				},
				Sampling: sample.Params{Temperature: 0.5, TopK: 5, TopP: 0.25, MinP: 0.125, Typical: 1, RepeatPenalty: 1.5},
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := inferRequest(&tc.in, def)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(&tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// A field that the API takes must reach the sampler.
func TestAdaptUsesEverySamplingField(t *testing.T) {
	def := DefaultConfig().Sampling
	none := samplingParams(&ipc.Request{}, def)
	fields := reflect.TypeFor[ipc.Sampling]()
	for i := range fields.NumField() {
		var req ipc.Request
		f := reflect.ValueOf(&req.Sampling).Elem().Field(i)
		switch v := f.Addr().Interface().(type) {
		case **float64:
			*v = ptr(0.25)
		case **int:
			*v = ptr(7)
		case **int64:
			*v = ptr(int64(7))
		case *map[int32]float64:
			*v = map[int32]float64{1: 2}
		default:
			t.Fatalf("ipc.Sampling.%s has a type that this test does not know", fields.Field(i).Name)
		}
		if cmp.Equal(none, samplingParams(&req, def)) {
			t.Errorf("ipc.Sampling.%s changes nothing", fields.Field(i).Name)
		}
	}
}

func TestAdaptRepeatLastN(t *testing.T) {
	for _, tc := range []struct {
		in      *int
		lastN   int
		penalty float32
	}{{nil, 0, 1.5}, {ptr(5), 5, 1.5}, {ptr(-1), -1, 1.5}, {ptr(0), 0, 1}} {
		p := samplingParams(&ipc.Request{Sampling: ipc.Sampling{RepeatLastN: tc.in}}, Sampling{RepeatPenalty: 1.5})
		if p.PenaltyLastN != tc.lastN || p.RepeatPenalty != tc.penalty {
			t.Errorf("%v: a window of %d with a penalty of %g, want %d and %g", tc.in, p.PenaltyLastN, p.RepeatPenalty, tc.lastN, tc.penalty)
		}
	}
}

func TestAdaptRefusesBadTemplateVars(t *testing.T) {
	_, err := inferRequest(&ipc.Request{TemplateVars: json.RawMessage(`[]`)}, Sampling{})
	var e *ipc.Error
	if !errors.As(err, &e) || e.Kind != ipc.KindInvalidRequest || e.Param != "chat_template_kwargs" {
		t.Errorf("got %v", err)
	}
}

func TestAdaptAnswer(t *testing.T) {
	f := newFakeEngine()
	piece := []byte("pq")
	f.generate = func(_ context.Context, emit func(infer.Delta) error) (infer.Result, error) {
		err := errors.Join(
			emit(infer.Delta{Progress: &infer.Progress{Done: 1, Total: 3, Cached: 1}}),
			emit(infer.Delta{Text: []byte("aüb"), Logprobs: []infer.TokenLogprob{{ID: 1, Bytes: piece, Logprob: -0.5, Top: []infer.TokenLogprob{{ID: 2, Bytes: []byte("z"), Logprob: -1}}}}}),
		)
		copy(piece, "xx") // the engine uses its slices again
		return infer.Result{
			Finish:  infer.FinishLength,
			Usage:   infer.Usage{Prompt: 10, Cached: 4, Completion: 2},
			Timings: infer.Timings{Queue: time.Hour, Prefill: time.Second, Decode: time.Minute},
		}, err
	}
	var got []ipc.Delta
	res, err := newAdapter(f, Sampling{}, nil, nil).Generate(t.Context(), &ipc.Request{Model: "m", Prompt: &ipc.Prompt{}}, func(d ipc.Delta) error {
		got = append(got, d)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantRes := ipc.Result{FinishReason: "length", PromptTokens: 10, CachedTokens: 4, CompletionTokens: 2, PromptTime: time.Second, PredictTime: time.Minute}
	if d := cmp.Diff(wantRes, res); d != "" {
		t.Error(d)
	}
	want := []ipc.Delta{
		{Progress: &ipc.Progress{Done: 1, Total: 3, Cached: 1}},
		{Text: "aüb", Logprobs: []ipc.TokenLogprob{{ID: 1, Bytes: []byte("pq"), Logprob: -0.5, Top: []ipc.TokenLogprob{{ID: 2, Bytes: []byte("z"), Logprob: -1}}}}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestAdaptErrors(t *testing.T) {
	for _, tc := range []struct {
		in   error
		want ipc.Error
	}{
		{&infer.ContextError{Prompt: 20, Context: 10}, ipc.Error{Kind: ipc.KindContextLength, NPrompt: 20, NCtx: 10}},
		{&infer.InvalidError{Field: "top_p", Reason: "must be"}, ipc.Error{Kind: ipc.KindInvalidRequest, Param: "top_p"}},
		{&infer.ModelError{Model: "x"}, ipc.Error{Kind: ipc.KindModelNotFound, Param: "model"}},
		{&infer.BusyError{Queued: 1, Limit: 1}, ipc.Error{Kind: ipc.KindBusy}},
		{infer.ErrNoTemplate, ipc.Error{Kind: ipc.KindInvalidRequest, Param: "messages"}},
		{infer.ErrLoading, ipc.Error{Kind: ipc.KindLoading, RetryAfter: retryLoading}},
		{infer.ErrDraining, ipc.Error{Kind: ipc.KindDraining}},
		{infer.ErrClosed, ipc.Error{Kind: ipc.KindDraining}},
		{infer.ErrFailed, ipc.Error{Kind: ipc.KindFailed}},
	} {
		var got *ipc.Error
		if !errors.As(ipcError(fmt.Errorf("accept request: %w", tc.in)), &got) {
			t.Errorf("%v was not recognised", tc.in)
			continue
		}
		if got.Message == "" {
			t.Errorf("%v has no message", tc.in)
		}
		if got.Kind == ipc.KindLoading && !strings.HasPrefix(got.Message, "Loading model") { // as clients of llama-server expect
			t.Errorf("%v is told as %q", tc.in, got.Message)
		}
		got.Message = ""
		if d := cmp.Diff(tc.want, *got); d != "" {
			t.Errorf("%v: %s", tc.in, d)
		}
	}
	for _, err := range []error{context.Canceled, errTest} {
		if got := ipcError(err); !errors.Is(got, err) {
			t.Errorf("%v became %v", err, got)
		}
	}
}

func TestAdaptStatus(t *testing.T) {
	for _, tc := range []struct {
		in   infer.Status
		want ipc.Status
	}{
		{infer.Status{State: infer.Empty}, ipc.Status{State: ipc.Loading, Text: "waiting for a model"}},
		{infer.Status{State: infer.Loading, Load: infer.LoadProgress{Model: "m"}}, ipc.Status{State: ipc.Loading, Text: "loading m"}},
		{infer.Status{State: infer.Loading, Load: infer.LoadProgress{Model: "m", Done: 1 << 20, Total: 4 << 20}}, ipc.Status{State: ipc.Loading, Text: "loading m: 25 % of 4.0 MiB"}},
		{infer.Status{State: infer.Ready, Model: "m", Context: 9}, ipc.Status{State: ipc.Ready, Text: "m, context 9 tokens"}},
		{infer.Status{State: infer.Ready, Model: "m", Context: 9, TrainContext: 9}, ipc.Status{State: ipc.Ready, Text: "m, context 9 tokens"}},
		{infer.Status{State: infer.Ready, Model: "m", Context: 9, TrainContext: 20}, ipc.Status{State: ipc.Ready, Text: "m, context 9 of the model's 20 tokens"}},
		{infer.Status{State: infer.Draining, Running: 1, Queued: 2}, ipc.Status{State: ipc.Draining, Text: "3 requests are being finished"}},
		{infer.Status{State: infer.Closed}, ipc.Status{State: ipc.Draining}},
		{infer.Status{State: infer.Failed, Reason: "why"}, ipc.Status{State: ipc.Failed, Text: "why"}},
	} {
		f := newFakeEngine()
		f.set(func(s *infer.Status) { *s = tc.in })
		if d := cmp.Diff(tc.want, newAdapter(f, Sampling{}, nil, nil).Status()); d != "" {
			t.Errorf("%v: %s", tc.in.State, d)
		}
	}
}

func TestAdaptTheRest(t *testing.T) {
	a := newAdapter(newFakeEngine(), Sampling{}, nil, nil)
	want := []ipc.ModelInfo{{ID: "m", Created: time.Unix(5, 0), OwnedBy: "local", Loaded: true, ContextTokens: 512, TrainContextTokens: 1024, Params: 7, Bytes: 8, VocabSize: 9}}
	if d := cmp.Diff(want, a.Models(t.Context())); d != "" {
		t.Error(d)
	}
	toks, err := a.Tokenize(t.Context(), ipc.TokenizeRequest{Model: "m", Content: "c"})
	if d := cmp.Diff([]ipc.Token{{ID: 3, Piece: []byte("c")}}, toks); d != "" || err != nil {
		t.Error(d, err)
	}
	var e *ipc.Error
	if _, err := a.Tokenize(t.Context(), ipc.TokenizeRequest{Model: "x"}); !errors.As(err, &e) || e.Kind != ipc.KindModelNotFound {
		t.Errorf("got %v", err)
	}
	if s, err := a.Detokenize(t.Context(), "m", nil); s != "aüb" || err != nil {
		t.Errorf("got %q, %v", s, err)
	}
}
