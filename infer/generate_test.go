package infer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"edged/infer/chat"
	"edged/infer/sample"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGenerateMatchesModel(t *testing.T) {
	e := startToy(t, toyConfig(), &toyBackend{})
	for _, n := range []int{1, 2, 15, 16, 17, 31, 32, 33, 100, 300} {
		ids := longPrompt(n, n)
		want := toyAnswer(ids, 0, toyContext, true)
		text, res, err := collect(t.Context(), e, &Request{Prompt: prompt(ids...)})
		if err != nil {
			t.Fatalf("prompt of %d tokens: %v", n, err)
		}
		finish := FinishLength
		if want[len(want)-1] == toyEnd {
			finish = FinishStop
		}
		if text != toyText(want) || res.Finish != finish {
			t.Errorf("prompt of %d tokens: got %q, %s; want %q, %s", n, text, res.Finish, toyText(want), finish)
		}
		if res.Usage.Prompt != n || res.Usage.Completion != len(want) {
			t.Errorf("prompt of %d tokens: usage %+v, want %d completion tokens", n, res.Usage, len(want))
		}
	}
}

func TestFinishReasons(t *testing.T) {
	e := startToy(t, toyConfig(), &toyBackend{})
	ids := longPrompt(1, 20)
	full := toyText(toyAnswer(ids, 0, toyContext, false))
	stop := full[5:8]
	at := strings.Index(full, stop)
	for _, c := range []struct {
		name   string
		req    Request
		text   string
		finish Finish
		tokens int
	}{
		{"max tokens", Request{MaxTokens: 7}, full[:7], FinishLength, 7},
		{"end of context", Request{}, full, FinishLength, toyContext - 20},
		{"max tokens beyond the context", Request{MaxTokens: 10 * toyContext}, full, FinishLength, toyContext - 20},
		{"stop string", Request{Stop: []string{stop}}, full[:at], FinishStop, at + 3},
		{"stop string at the last token", Request{Stop: []string{stop}, MaxTokens: at + 3}, full[:at], FinishStop, at + 3},
		{"half a stop string at the end", Request{Stop: []string{full[5:8] + "#"}, MaxTokens: 8}, full[:8], FinishLength, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.req.Prompt, c.req.Sampling = prompt(ids...), noEnd()
			text, res, err := collect(t.Context(), e, &c.req)
			if err != nil {
				t.Fatal(err)
			}
			if text != c.text || res.Finish != c.finish || res.Usage.Completion != c.tokens {
				t.Errorf("got %q, %s, %d tokens; want %q, %s, %d", text, res.Finish, res.Usage.Completion, c.text, c.finish, c.tokens)
			}
		})
	}
}

// Whatever runs beside a request, its answer is the same.
// Whatever bytes a model generates, callers get UTF-8.
func TestTextIsAlwaysUTF8(t *testing.T) {
	e := startToy(t, toyConfig(), &toyBackend{})
	for _, stop := range [][]string{nil, {"never", "\uFFFDx"}} {
		for _, b := range []int32{0xff, 0xc3, 0x80} { // never valid, unfinished, out of place
			req := &Request{Prompt: prompt(1), MaxTokens: 3, Stop: stop, Sampling: sample.Params{LogitBias: map[int32]float32{b: 100}}}
			if text, _, err := collect(t.Context(), e, req); err != nil || text != "\uFFFD\uFFFD\uFFFD" {
				t.Errorf("byte %#x, stop %q: %q, %v", b, stop, text, err)
			}
		}
	}
}

func TestConcurrentRequestsDoNotMix(t *testing.T) {
	cfg := toyConfig()
	cfg.MaxQueue = 64
	e := startToy(t, cfg, &toyBackend{})
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			ids := longPrompt(i%5, 10+i*11)
			text, _, err := collect(t.Context(), e, &Request{Prompt: prompt(ids...), MaxTokens: 5 + i*3})
			if want := toyText(toyAnswer(ids, 5+i*3, toyContext, true)); err != nil || text != want {
				t.Errorf("request %d: got %q, %v; want %q", i, text, err, want)
			}
		})
	}
	wg.Wait()
}

func TestSameSeedSameText(t *testing.T) {
	e := startToy(t, toyConfig(), &toyBackend{})
	seed := uint64(7)
	p := noEnd()
	p.Temperature, p.Seed = 1, &seed
	req := &Request{Prompt: prompt(longPrompt(1, 40)...), Sampling: p, MaxTokens: 50}
	a, res, err := collect(t.Context(), e, req)
	if err != nil || res.Seed != seed {
		t.Fatalf("seed %d, %v", res.Seed, err)
	}
	var wg sync.WaitGroup
	for range 3 { // batched, and on a reused prefix
		wg.Go(func() {
			if b, _, err := collect(t.Context(), e, req); err != nil || a != b {
				t.Errorf("got %q, %v; want %q", b, err, a)
			}
		})
	}
	wg.Wait()
}

func TestChatRequest(t *testing.T) {
	e := startToy(t, toyConfig(), &toyBackend{})
	content := "say <|end|> ab"
	var want []int32
	want = append(want, toyBOS, toyUser)
	for _, b := range []byte("say <|end|> ") { // what a user writes is never a control token
		want = append(want, int32(b))
	}
	want = append(want, toyAB, toyEnd, toyAssistant)
	answer := toyAnswer(want, 30, toyContext, true)
	text, res, err := collect(t.Context(), e, &Request{Messages: []chat.Message{{Role: "user", Content: content}}, MaxTokens: 30})
	if err != nil || text != toyText(answer) || res.Usage.Prompt != len(want) {
		t.Errorf("got %q, %+v, %v; want %q after %d prompt tokens", text, res.Usage, err, toyText(answer), len(want))
	}
}

func TestRawPromptTokens(t *testing.T) {
	e := startToy(t, toyConfig(), &toyBackend{})
	for _, c := range []struct {
		prompt Prompt
		want   []int32
	}{
		{Prompt{Text: "x<|end|>"}, append([]int32{toyBOS}, 'x', '<', '|', 'e', 'n', 'd', '|', '>')},
		{Prompt{Text: "x<|end|>", ParseSpecial: true}, []int32{toyBOS, 'x', toyEnd}},
		{Prompt{Text: "<|bos|>x", ParseSpecial: true}, []int32{toyBOS, 'x'}},
		{Prompt{Text: "x", NoBOS: true}, []int32{'x'}},
		{Prompt{Text: ""}, []int32{toyBOS}},
		{Prompt{Tokens: []int32{toyUser, 'x'}}, []int32{toyUser, 'x'}},
	} {
		f, err := e.front("toy")
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := f.promptTokens(&Request{Prompt: &c.prompt})
		if err != nil || !cmp.Equal(got, c.want) {
			t.Errorf("%+v: got %v, %v; want %v", c.prompt, got, err, c.want)
		}
	}
}

func TestInvalidRequests(t *testing.T) {
	e := startToy(t, toyConfig(), &toyBackend{})
	user := []chat.Message{{Role: "user", Content: "x"}}
	for _, c := range []struct {
		name  string
		req   Request
		field string
	}{
		{"nothing asked", Request{}, "messages"},
		{"two prompts", Request{Messages: user, Prompt: prompt(1)}, "prompt"},
		{"text and tokens", Request{Prompt: &Prompt{Text: "x", Tokens: []int32{1}}}, "prompt"},
		{"token beyond the vocabulary", Request{Prompt: prompt(1, toyVocab)}, "prompt"},
		{"negative token", Request{Prompt: prompt(-1)}, "prompt"},
		{"no tokens", Request{Prompt: &Prompt{Tokens: []int32{}}}, "prompt"},
		{"empty text without BOS", Request{Prompt: &Prompt{NoBOS: true}}, "prompt"},
		{"negative max tokens", Request{Prompt: prompt(1), MaxTokens: -1}, "max_tokens"},
		{"temperature", Request{Prompt: prompt(1), Sampling: sample.Params{Temperature: -1}}, "temperature"},
		{"alternatives without logprobs", Request{Prompt: prompt(1), TopLogprobs: 2}, "top_logprobs"},
		{"too many alternatives", Request{Prompt: prompt(1), Logprobs: true, TopLogprobs: 21}, "top_logprobs"},
		{"empty stop string", Request{Prompt: prompt(1), Stop: []string{""}}, "stop"},
		{"role that spells a token", Request{Messages: []chat.Message{{Role: "end", Content: "x"}}}, "messages[0].role"},
		{"content that is not UTF-8", Request{Messages: []chat.Message{{Role: "user", Content: "\xff"}}}, "messages[0].content"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := collect(t.Context(), e, &c.req)
			var invalid *InvalidError
			if !errors.As(err, &invalid) || invalid.Field != c.field || !errors.Is(err, ErrInvalid) {
				t.Errorf("got %v, want a complaint about %s", err, c.field)
			}
		})
	}
}

func TestContextIsRefusedWithBothNumbers(t *testing.T) {
	e := startToy(t, toyConfig(), &toyBackend{})
	for _, n := range []int{toyContext, toyContext + 100} {
		_, _, err := collect(t.Context(), e, &Request{Prompt: prompt(longPrompt(1, n)...)})
		var ctxErr *ContextError
		if !errors.As(err, &ctxErr) || *ctxErr != (ContextError{Prompt: n, Context: toyContext}) || !errors.Is(err, ErrContext) {
			t.Errorf("%d tokens: %v", n, err)
		}
		if !strings.Contains(fmt.Sprint(err), fmt.Sprint(n)) || !strings.Contains(err.Error(), fmt.Sprint(toyContext)) {
			t.Errorf("numbers missing: %v", err)
		}
	}
	text, res, err := collect(t.Context(), e, &Request{Prompt: prompt(longPrompt(1, toyContext-1)...), Sampling: noEnd()})
	if err != nil || res.Finish != FinishLength || len(text) != 1 {
		t.Errorf("the last position: %q, %+v, %v", text, res, err)
	}
}

func TestProgressComesFirst(t *testing.T) {
	e := startToy(t, toyConfig(), &toyBackend{})
	ids := longPrompt(3, 100)
	var seen []Progress
	first := true
	_, err := e.Generate(t.Context(), &Request{Prompt: prompt(ids...), MaxTokens: 3}, func(d Delta) error {
		if first && d.Progress == nil {
			t.Error("the first delta has no progress")
		}
		first = false
		if d.Progress != nil {
			seen = append(seen, *d.Progress)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range seen {
		if p.Total != 100 || p.Done > 100 || i > 0 && p.Done < seen[i-1].Done {
			t.Errorf("progress %v", seen)
		}
	}
	if seen[len(seen)-1].Done != 100 {
		t.Errorf("progress ends at %+v", seen[len(seen)-1])
	}
}

func TestEmitErrorEndsTheRequest(t *testing.T) {
	e := startToy(t, toyConfig(), &toyBackend{})
	gone := errors.New("client is gone")
	n := 0
	_, err := e.Generate(t.Context(), &Request{Prompt: prompt(1, 2), Sampling: noEnd()}, func(d Delta) error {
		if n += len(d.Text); n > 0 {
			return gone
		}
		return nil
	})
	if !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
	if err := e.Drain(context.Background()); err != nil { // nothing may be left behind
		t.Error(err)
	}
}

func TestLogprobs(t *testing.T) {
	e := startToy(t, toyConfig(), &toyBackend{})
	ids := longPrompt(4, 9)
	answer := toyAnswer(ids, 12, toyContext, false)
	text := toyText(answer)
	for _, c := range []struct {
		name string
		stop []string
		want int // tokens
	}{{"to the end", nil, 12}, {"cut by a stop string", []string{text[6:9]}, strings.Index(text, text[6:9])}} {
		t.Run(c.name, func(t *testing.T) {
			var got []int32
			_, err := e.Generate(t.Context(), &Request{Prompt: prompt(ids...), Sampling: noEnd(), MaxTokens: 12, Logprobs: true, TopLogprobs: 3, Stop: c.stop}, func(d Delta) error {
				for _, l := range d.Logprobs {
					got = append(got, l.ID)
					if len(l.Top) != 3 || l.Top[0].ID != l.ID || l.Top[0].Logprob != l.Logprob || l.Logprob > 0 || string(l.Bytes) != toyText([]int32{l.ID}) {
						t.Errorf("token %d: %+v", len(got)-1, l)
					}
				}
				return nil
			})
			if err != nil || !cmp.Equal(got, answer[:c.want]) {
				t.Errorf("got %v, %v; want %v", got, err, answer[:c.want])
			}
		})
	}
}
