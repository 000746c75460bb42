package infer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edged/infer/fair"
	"edged/infer/grammar"
	"edged/infer/graph"
	"edged/infer/sample"
	"edged/offload"
)

// task is one request inside the engine.
type task struct {
	// Set before the task is submitted and not changed afterwards.
	id       string
	owner    uint32
	client   string // of the owner
	model    string
	front    *front // of the model that ids were made for
	nPrompt  int    // tokens; of an embedding, those of the present input
	maxNew   int    // tokens; 0 = until the context is full
	nTop     int    // alternatives per token
	logprobs bool
	reach    int // spans of Result.Reach; 0 = not wanted
	out      *outbox
	calls    *callStream     // of the caller; nil: the answer is text
	thoughts *thoughtStream  // of the caller; nil: there is none to be told from the text
	embed    *embedding      // nil: the task generates
	ctx      context.Context // of the caller; for reading what its Keeper has
	keeper   Keeper          // nil: nothing is kept outside the cache
	session  *Session        // nil: the request names none
	same     int             // tokens at the begin that are those of session.Tokens

	// Of the owner from then on.
	accepted time.Time
	account  *fair.Request // nil until the owner has seen it
	paid     float64       // tokens from the first on that were charged
	ids      []int32       // prompt, then what was generated
	seq      *offload.Seq  // nil until the first step and after a set-back
	rows     int           // rows in the step being built
	roomy    bool          // pages for the prompt were found
	setBack  bool          // has lost its pages once
	fault    error         // why it cannot go on
	reading  reading       // where a prompt that is read layer by layer stands
	cached   int           // prompt tokens taken from another sequence
	wake     *wake         // nil: no sequence is on its way from the keeper
	woken    bool          // the keeper has been asked
	points   checkpoints
	// Tokens that the sequence began with, and how many of them are exact prefill.
	adopted, adoptedExact int
	restored              int           // tokens that came from the keeper
	restoring             time.Duration // that it took
	recomputed            error         // why what the keeper has was not used
	begun                 time.Time     // first step
	first                 time.Time     // first token
	sampler               *sample.Sampler
	matcher               *grammar.Matcher // nil: any answer
	allowed               []uint64         // what it allows next, once that is known
	narrowed              uint64           // tokens that were chosen of narrowed logits
	grammarField          string           // of the request
	text                  textStream

	// Guarded by Engine.mu.
	gone   bool // the caller has left
	inStep bool // counted in Engine.live
	saved  *Saved
	key    Key // that saved was made under
}

// pending is the number of tokens that are not in the KV cache yet: 1 while
// generating, more while the prompt is read.
func (t *task) pending() int {
	if t.seq == nil {
		return len(t.ids)
	}
	return len(t.ids) - t.seq.Len()
}

// decoding says whether one token at a time is evaluated.
func (t *task) decoding() bool {
	return t.embed == nil && t.seq != nil && t.pending() == 1 && t.seq.Prefilling() == 0
}

// generated is the number of tokens sampled so far.
func (t *task) generated() int { return len(t.ids) - t.nPrompt }

// left is the most tokens that the task may still generate in a context.
func (t *task) left(context int) int {
	if t.embed != nil {
		return 0
	}
	n := context - len(t.ids)
	if t.maxNew > 0 {
		n = min(n, t.maxNew-t.generated())
	}
	return n
}

// checkContext says whether a context of so many tokens is enough to begin.
func (t *task) checkContext(context int) error {
	if t.embed == nil && len(t.ids) >= context {
		return &ContextError{Prompt: len(t.ids), Context: context}
	}
	if t.embed == nil {
		return nil
	}
	for i, ids := range t.embed.inputs {
		if len(ids) > context {
			return &ContextError{Prompt: len(ids), Context: context, Input: i + 1}
		}
	}
	return nil
}

// accept samples the next token from a row of logits, passes its text on, and
// reports why the generation has ended, "" if it has not.
func (t *task) accept(l graph.Logits, row, context int) (Finish, error) {
	c, err := t.sample(l, row, t.left(context)-1)
	if err != nil {
		return "", fmt.Errorf("sample token %d: %w", t.generated(), err)
	}
	t.sampler.Accept(c.ID)
	if len(t.ids) == t.nPrompt {
		t.first = time.Now()
	}
	t.ids = append(t.ids, c.ID)
	if t.front.tok.IsEOG(c.ID) {
		t.text.flush()
		t.hand()
		return FinishStop, nil
	}
	if t.logprobs {
		t.text.note(&c, t.nTop)
	}
	stopped := t.text.push(c.ID)
	if !stopped && t.matcher != nil && t.matcher.Finished() {
		t.text.flush()
		stopped = true
	}
	if !stopped && t.left(context) <= 0 {
		t.text.flush()
		t.hand()
		return FinishLength, nil
	}
	t.hand()
	if stopped {
		return FinishStop, nil
	}
	return "", nil
}

// sample chooses the next token, after which there may be left more. With a
// grammar it is one that leads to a complete answer.
func (t *task) sample(l graph.Logits, row, left int) (pick, error) {
	c, err := t.pick(l, row)
	if err != nil || t.matcher == nil {
		return c, err
	}
	t.allowed = nil
	id, err := t.matcher.Accept(c.ID, left)
	if err != nil {
		return c, t.grammarError(err)
	}
	if id != c.ID {
		c.ID = id
		if t.logprobs {
			c.Logprob = sample.Logprob(c.row, id) // it is there: such rows are not narrowed
		}
	}
	return c, nil
}

// grammarError blames the request for a grammar that costs too much: how much
// it costs shows only while the answer grows.
func (t *task) grammarError(err error) error {
	var limit *grammar.LimitError
	if errors.As(err, &limit) {
		return &InvalidError{t.grammarField, err.Error()}
	}
	return err
}

// hand moves what the text stream has released to the outbox.
func (t *task) hand() {
	t.out.put(t.text.take())
}

// reached describes what the last step attended to, while the task has its sequence.
func (t *task) reached() *offload.Reach {
	if t.reach == 0 || t.seq == nil || t.generated() < 2 {
		return nil
	}
	r, err := t.seq.Reach(t.reach)
	if err != nil {
		return nil // the device is lost, which the next step says
	}
	return &r
}

// result is what a finished task reports.
func (t *task) result(f Finish) Result {
	r := Result{
		Model: t.model, Finish: f,
		Usage:      Usage{Prompt: t.nPrompt, Cached: t.cached, Restored: min(t.restored, t.cached), Completion: t.generated()},
		Timings:    Timings{Queue: t.begun.Sub(t.accepted) - t.restoring, Restore: t.restoring},
		Recomputed: t.recomputed,
	}
	if t.sampler != nil {
		r.Seed = t.sampler.Seed()
	}
	if t.text.stops != nil {
		r.Stop = t.text.stops.Matched()
	}
	if !t.first.IsZero() {
		r.Timings.Prefill = t.first.Sub(t.begun)
		r.Timings.Decode = time.Since(t.first)
	}
	return r
}
