package infer

import (
	"context"
	"fmt"
	"strings"

	"edged/infer/sample"
	"edged/infer/tok"
)

// prepare checks a request and turns it into a task. It runs in the caller's
// goroutine, so that rendering and tokenizing cost the owner nothing. What takes
// long ends with ctx.
func (e *Engine) prepare(ctx context.Context, f *front, model string, req *Request) (*task, error) {
	if req.MaxTokens < 0 {
		return nil, &InvalidError{"max_tokens", fmt.Sprintf("must not be negative, got %d", req.MaxTokens)}
	}
	if req.TopLogprobs > 0 && !req.Logprobs {
		return nil, &InvalidError{"top_logprobs", fmt.Sprintf("is %d, but logprobs are not asked for", req.TopLogprobs)}
	}
	ids, text, err := f.promptTokens(req)
	if err != nil {
		return nil, err
	}
	same := 0
	if req.Session != nil {
		ids, same = splice(req.Session.Tokens, ids, spelling(f.tok))
	}
	context := e.knownContext(model, f)
	if len(ids) >= context {
		return nil, &ContextError{Prompt: len(ids), Context: context}
	}
	if err := req.checkTools(); err != nil {
		return nil, err
	}
	if err := req.checkSession(); err != nil {
		return nil, err
	}
	t := &task{
		keeper: req.Keeper, session: req.Session, same: same,
		id: req.ID, owner: req.Owner, client: req.Client, model: model, front: f, nPrompt: len(ids), maxNew: req.MaxTokens,
		nTop: req.TopLogprobs, logprobs: req.Logprobs, reach: req.Reach, out: newOutbox(),
		thoughts: f.thoughtsOf(req, text),
	}
	// Room for all ids that there can be: decoding never grows the slice.
	room := context - len(ids)
	if t.maxNew > 0 {
		room = min(room, t.maxNew)
	}
	t.ids = append(make([]int32, 0, len(ids)+room), ids...)
	if err := f.equip(ctx, t, req, context); err != nil {
		return nil, err
	}
	return t, nil
}

// equip gives a task, whose prompt it has, what answers are made with: a sampler, a
// decoder of its text, and what the text must be.
func (f *front) equip(ctx context.Context, t *task, req *Request, context int) (err error) {
	if t.sampler, err = f.sampler(req); err != nil {
		return err
	}
	t.sampler.AcceptPrompt(t.ids)
	t.text.decoder = f.tok.NewStream(t.ids[len(t.ids)-1], false)
	if len(req.Stop) > 0 {
		if t.text.stops, err = sample.NewStops(req.Stop); err != nil {
			return &InvalidError{"stop", err.Error()}
		}
	}
	must := req.Grammar
	if req.Tools != nil {
		t.calls = newCallStream(f.chat.ToolStyle(), req.Tools)
		if req.Tools.Must {
			must = f.callGrammar(req.Tools)
		}
	}
	if must == nil {
		return nil
	}
	return f.constrain(ctx, t, must, context)
}

func (r *Request) checkTools() error {
	switch {
	case r.Tools == nil:
		return nil
	case r.Messages == nil:
		return &InvalidError{"tools", "need messages, not a prompt"}
	case r.Grammar != nil:
		return &InvalidError{"tools", "must not be given together with " + r.Grammar.Field}
	case len(r.Tools.Functions) == 0:
		return &InvalidError{"tools", "must hold at least one function"}
	}
	return nil
}

func (r *Request) checkSession() error {
	switch {
	case r.Session == nil:
		return nil
	case r.Messages == nil:
		return &InvalidError{"session", "goes on with messages only, not with a prompt"}
	case r.Keeper == nil:
		return &InvalidError{"session", "needs a Keeper"}
	}
	return nil
}

// knownContext is the context that a model is served with, or the most that it
// can be served with as long as it has not been resident.
func (e *Engine) knownContext(model string, f *front) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := e.known[model].Context; n > 0 {
		return n
	}
	if c, _ := e.cfg.model(model); c.Context > 0 {
		return c.Context
	}
	return f.trainContext
}

func (f *front) sampler(req *Request) (*sample.Sampler, error) {
	p := req.Sampling
	p.Logprobs, p.TopLogprobs = req.Logprobs, req.TopLogprobs
	if err := p.Validate(f.vocab); err != nil {
		// The error begins with the name of the parameter.
		field, reason, _ := strings.Cut(err.Error(), " ")
		return nil, &InvalidError{field, reason}
	}
	return sample.New(p, f.vocab)
}

// promptTokens renders and tokenizes what a request asks. text is what messages
// are rendered to.
func (f *front) promptTokens(req *Request) (ids []int32, text string, err error) {
	switch {
	case req.Prompt != nil && req.Messages != nil:
		return nil, "", &InvalidError{"prompt", "must not be given together with messages"}
	case req.Prompt != nil:
		ids, err = f.rawTokens(req.Prompt)
		return ids, "", err
	case len(req.Messages) == 0:
		return nil, "", &InvalidError{"messages", "must hold at least one message"}
	}
	if f.chat == nil {
		return nil, "", fmt.Errorf("%w: %s answers completions only", ErrNoTemplate, f.name)
	}
	if text, err = f.render(req); err != nil {
		return nil, "", err
	}
	ids = f.tok.EncodeRendered(nil, text)
	// Most templates write the BOS themselves; one that does not must not lose it.
	if bos := f.tok.BOS(); bos != tok.NoToken && (len(ids) == 0 || ids[0] != bos) {
		ids = append(f.tok.AppendBOS(nil), ids...)
	}
	ids, err = notEmpty("messages", ids)
	return ids, text, err
}

func (f *front) rawTokens(p *Prompt) ([]int32, error) {
	if p.Tokens != nil && p.Text != "" {
		return nil, &InvalidError{"prompt", "must be text or tokens, not both"}
	}
	if p.Tokens != nil {
		for i, id := range p.Tokens {
			if id < 0 || int(id) >= f.vocab {
				return nil, &InvalidError{"prompt", fmt.Sprintf("token %d is %d, the vocabulary has %d tokens", i, id, f.vocab)}
			}
		}
		return notEmpty("prompt", p.Tokens)
	}
	return notEmpty("prompt", f.encode(p.Text, !p.NoBOS, p.ParseSpecial))
}

// encode tokenizes raw text. A BOS that the text spells out is not doubled.
func (f *front) encode(text string, addBOS, parseSpecial bool) []int32 {
	var ids []int32
	if parseSpecial {
		ids = f.tok.EncodeSpecial(nil, text)
	} else {
		ids = f.tok.Encode(nil, text)
	}
	if addBOS && (len(ids) == 0 || ids[0] != f.tok.BOS()) {
		ids = append(f.tok.AppendBOS(nil), ids...)
	}
	return ids
}

// notEmpty refuses a prompt that gives the model nothing to continue.
func notEmpty(field string, ids []int32) ([]int32, error) {
	if len(ids) == 0 {
		return nil, &InvalidError{field, "has no tokens, and the model adds none"}
	}
	return ids, nil
}
