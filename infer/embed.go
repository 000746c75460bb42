package infer

import (
	"context"
	"errors"
	"fmt"
	"math"

	"edged/infer/graph"
	"edged/infer/model"
)

// Limits of one embeddings request, which are those of OpenAI's API. A single
// input may always fill the context.
const (
	MaxInputs   = 2048
	MaxInputTok = 300_000 // of all inputs together
)

// EmbedRequest is texts that are to become vectors. Nothing of it is kept.
type EmbedRequest struct {
	ID     string // for the log
	Model  string // "" is Config.Default
	Owner  uint32 // as in Request
	Client string
	Inputs []Prompt
	// Dimensions cuts every vector to its first ones; 0 keeps all.
	Dimensions int
}

// Embeddings answers an EmbedRequest.
type Embeddings struct {
	Model   string
	Vectors [][]float32 // [inputs][width or Dimensions], each of length 1
	Tokens  int         // of all inputs
}

// Embed reads every input and pools its hidden states as the model's file says. It
// waits in the same queue as Generate, is cancelled in the same way, and reads one
// input after the other in place of a prompt. accepted, which may be nil, is called
// once it waits.
func (e *Engine) Embed(ctx context.Context, req *EmbedRequest, accepted func()) (Embeddings, error) {
	name, err := e.admissible(req.Model, req.Owner)
	if err != nil {
		return Embeddings{}, fmt.Errorf("accept request: %w", err)
	}
	f, err := e.front(name)
	if err != nil {
		return Embeddings{}, fmt.Errorf("accept request: %w", err)
	}
	t, err := e.prepareEmbedding(f, name, req)
	if err != nil {
		return Embeddings{}, fmt.Errorf("prepare request: %w", err)
	}
	ctx, leave, err := e.enqueue(ctx, t)
	if err != nil {
		return Embeddings{}, err
	}
	defer leave()
	if accepted != nil {
		accepted()
	}
	if _, err := e.deliver(ctx, t, func(Delta) error { return nil }); err != nil {
		e.abandon(t)
		return Embeddings{}, fmt.Errorf("embed: %w", err)
	}
	return Embeddings{Model: name, Vectors: t.embed.vectors, Tokens: t.embed.tokens}, nil
}

// prepareEmbedding checks a request and turns it into a task.
func (e *Engine) prepareEmbedding(f *front, name string, req *EmbedRequest) (*task, error) {
	if f.pooling != model.PoolMean && f.pooling != model.PoolCLS && f.pooling != model.PoolLast {
		return nil, &InvalidError{"model", fmt.Sprintf("%s gives no vectors for texts: its file has the pooling %s", name, f.pooling)}
	}
	if n := len(req.Inputs); n == 0 || n > MaxInputs {
		return nil, &InvalidError{"input", fmt.Sprintf("must hold 1 to %d inputs, has %d", MaxInputs, n)}
	}
	if req.Dimensions < 0 || req.Dimensions > f.width {
		return nil, &InvalidError{"dimensions", fmt.Sprintf("must be from 1 to %d, the width of %s, got %d", f.width, name, req.Dimensions)}
	}
	context := e.knownContext(name, f)
	em := &embedding{pooling: f.pooling, width: req.Dimensions, sum: make([]float64, f.width)}
	for i := range req.Inputs {
		ids, err := f.inputTokens(i, &req.Inputs[i])
		if err != nil {
			return nil, err
		}
		if len(ids) > context {
			return nil, &ContextError{Prompt: len(ids), Context: context, Input: i + 1}
		}
		em.inputs = append(em.inputs, ids)
		if em.tokens += len(ids); em.tokens > MaxInputTok && len(req.Inputs) > 1 {
			return nil, &InvalidError{"input", fmt.Sprintf("has more than %d tokens in its first %d inputs, the limit for several inputs together", MaxInputTok, i+1)}
		}
	}
	t := &task{id: req.ID, owner: req.Owner, client: req.Client, model: name, front: f, out: newOutbox(), embed: em}
	t.nextInput()
	return t, nil
}

// inputTokens are an input's tokens, with BOS and EOS as the model wants them
// around text.
func (f *front) inputTokens(i int, p *Prompt) ([]int32, error) {
	ids, err := f.rawTokens(p)
	var invalid *InvalidError
	if errors.As(err, &invalid) {
		return nil, &InvalidError{fmt.Sprintf("input[%d]", i), invalid.Reason}
	}
	if p.Tokens != nil {
		return ids, err
	}
	return f.tok.AppendEOS(ids), err
}

// embedding is what a task is for that makes vectors.
type embedding struct {
	pooling model.Pooling
	width   int // of a vector; 0 = as the model's
	tokens  int // of all inputs
	inputs  [][]int32
	at      int         // inputs before this one are done
	sum     []float64   // [width of the model] of the states pooled so far
	vectors [][]float32 // [at][width]
}

// nextInput makes a task's tokens those of its next input.
func (t *task) nextInput() {
	t.ids = t.embed.inputs[t.embed.at]
	t.nPrompt, t.paid, t.roomy, t.setBack = len(t.ids), 0, false, false
}

// pooled is which states of n tokens are pooled, [from, to).
func (e *embedding) pooled(n int) (from, to int) {
	switch e.pooling {
	case model.PoolCLS:
		return 0, 1
	case model.PoolLast:
		return n - 1, n
	}
	return 0, n
}

// add pools states, of which the first is that of token at.
func (e *embedding) add(states graph.Logits, at, n int) {
	from, to := e.pooled(n)
	rows := len(states.Data) / states.Stride
	for i := max(from-at, 0); i < min(to-at, rows); i++ {
		for c, v := range states.Row(i) {
			e.sum[c] += float64(v)
		}
	}
}

// finish makes the input's vector: the direction of the sum, of which the mean is
// but a shorter one.
func (e *embedding) finish() error {
	v := e.sum
	if e.width > 0 {
		v = v[:e.width]
	}
	var square float64
	for _, x := range v {
		square += x * x
	}
	if length := math.Sqrt(square); length > 0 && !math.IsInf(length, 0) {
		unit := make([]float32, len(v))
		for c, x := range v {
			unit[c] = float32(x / length)
		}
		e.vectors = append(e.vectors, unit)
		e.at++
		return nil
	}
	return fmt.Errorf("input %d: the model gave no usable states", e.at)
}

// restart forgets the states of an input that is read from its begin.
func (e *embedding) restart() { clear(e.sum) }

// embedChunk runs one chunk of an input whose pool reads prompts in steps.
func (o *owner) embedChunk(t *task) {
	start, total := t.seq.Len(), len(t.ids)
	n := min(t.pending(), o.cfg.ChunkTok)
	from, to := t.embed.pooled(total)
	o.parts, o.kv = append(o.parts[:0], t), append(o.kv[:0], t.seq)
	o.rows.Reset()
	for i := start; i < start+n; i++ {
		o.rows.Add(t.ids[i], int32(i), 0, false)
	}
	o.rows.States, o.rows.Prompt = from < start+n && to > start, o.res.apart
	states, err := o.attempt(func(ctx context.Context) (graph.Logits, error) {
		return o.res.exec.Step(ctx, &o.rows, o.kv)
	})
	switch {
	case errors.Is(err, errNobody):
		return
	case err != nil:
		o.stepFailed(err)
		return
	}
	if o.rows.States {
		t.embed.add(states, start, total)
	}
	if err := t.seq.Commit(n); err != nil {
		o.end(t, "", fmt.Errorf("read input: %w", err))
		return
	}
	o.readTok += uint64(n)
	t.charge(float64(start + n))
	if start+n == total {
		o.endInput(t)
	}
}

// endInput makes an input's vector and goes on with the next.
func (o *owner) endInput(t *task) {
	t.seq.Free()
	t.seq, t.reading = nil, reading{}
	err := t.embed.finish()
	switch {
	case err != nil:
		o.end(t, "", err)
	case t.embed.at == len(t.embed.inputs):
		o.end(t, FinishStop, nil)
	default:
		t.nextInput()
	}
}
