package infer

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/infer/sample"
)

// TestNarrowedAnswers: answers are the same whether a backend narrows logits or
// not, and those of which too little is left are brought whole.
func TestNarrowedAnswers(t *testing.T) {
	seed := uint64(5)
	hot := sample.Params{Temperature: 1, Seed: &seed}
	change := func(f func(*sample.Params)) sample.Params {
		p := hot
		f(&p)
		return p
	}
	ban := map[int32]float32{}
	for id := range int32(toyVocab) {
		ban[id] = -sample.MaxLogitBias
	}
	schema := &Grammar{Schema: json.RawMessage(`{"enum": ["abc", "xyz", "q"]}`), Field: "grammar"}
	for _, c := range []struct {
		name            string
		req             Request
		narrowed, whole bool // some are; some are brought
	}{
		{"greedy", Request{}, true, false},
		{"all tokens", Request{Sampling: hot}, true, false},
		{"top-k", Request{Sampling: change(func(p *sample.Params) { p.TopK, p.TopP = 40, 0.9 })}, true, false},
		{"nucleus", Request{Sampling: change(func(p *sample.Params) { p.TopP = 0.9 })}, true, false},
		{"min-p of all", Request{Sampling: change(func(p *sample.Params) { p.MinP = 1e-20 })}, false, true},
		{"penalties", Request{Sampling: change(func(p *sample.Params) { p.RepeatPenalty, p.FrequencyPenalty = 1.5, 0.5 })}, true, false},
		{"log probabilities", Request{Sampling: hot, Logprobs: true, TopLogprobs: 4}, true, false},
		{"log probabilities and penalties", Request{Sampling: change(func(p *sample.Params) { p.PresencePenalty = 1 }), Logprobs: true}, false, false},
		{"all banned", Request{Sampling: sample.Params{LogitBias: ban}}, false, true},
		{"typical", Request{Sampling: change(func(p *sample.Params) { p.Typical = 0.9 })}, false, false},
		{"grammar", Request{Sampling: hot, Grammar: schema}, true, false},
		{"grammar and log probabilities", Request{Sampling: hot, Grammar: schema, Logprobs: true}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			brought := 0
			plain := startToy(t, toyConfig(), &toyBackend{})
			narrow := startToy(t, toyConfig(), &toyBackend{narrow: func(n int) { brought += n }})
			c.req.Prompt, c.req.MaxTokens = prompt(longPrompt(3, 40)...), 30
			want, got := deltasOf(t, plain, &c.req), deltasOf(t, narrow, &c.req)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-whole +narrowed):\n%s", diff)
			}
			if n := narrow.Status().NarrowedTok; n > 0 != c.narrowed || brought > 0 != c.whole {
				t.Errorf("%d tokens of narrowed logits, %d rows brought; want some: %t, %t", n, brought, c.narrowed, c.whole)
			}
		})
	}
}

// deltasOf is an answer's text, and its log probabilities.
func deltasOf(t *testing.T, e *Engine, req *Request) (out struct {
	Text  string
	Probs []TokenLogprob
}) {
	t.Helper()
	if _, err := e.Generate(t.Context(), req, func(d Delta) error {
		out.Text += string(d.Text)
		for _, l := range d.Logprobs {
			l.Bytes, l.Top = append([]byte(nil), l.Bytes...), append(l.Top[:0:0], l.Top...)
			out.Probs = append(out.Probs, l)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}
