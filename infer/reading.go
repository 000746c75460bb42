package infer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"edged/infer/graph"
)

// reading is where a prompt that is read layer by layer stands.
type reading struct {
	part int // layer, or the head after the last one
	done int // tokens of the part
	kept int // tokens' worth of the work that was there when the prompt was taken up
}

// stageHolder is the running task whose prompt is being read layer by layer:
// no other one can begin before it has ended.
func (o *owner) stageHolder() *task {
	for _, t := range o.running {
		if t.seq != nil && t.seq.Prefilling() > 0 {
			return t
		}
	}
	return nil
}

// stageTaken says whether a task that has left still has its prompt's stage: a
// checkpoint reads it.
func (o *owner) stageTaken() bool {
	return slices.ContainsFunc(o.stagings, func(s *staging) bool { return s.seq != nil })
}

// beginReading lets a task's prompt be read in this turn.
func (o *owner) beginReading(t *task) {
	if t.seq.Prefilling() == 0 {
		if o.claim(t, t.pending(), t.seq.BeginPrefill) == 0 {
			return
		}
		t.reading = reading{}
	}
	o.reading = t
}

// readPiece runs one layer over one chunk of a prompt, or the head over what is
// wanted of it.
func (o *owner) readPiece(t *task) {
	o.parts = append(o.parts[:0], t)
	start, n := t.seq.Len(), t.pending()
	head := t.reading.part == len(o.res.prog.KV)
	from, to := o.piece(t, n)
	o.rows.Reset()
	for i := start + from; i < start+to; i++ {
		o.rows.Add(t.ids[i], int32(i), 0, head && t.embed == nil)
	}
	o.rows.States = head && t.embed != nil
	logits, err := o.attempt(func(ctx context.Context) (graph.Logits, error) {
		return o.res.exec.Part(ctx, t.reading.part, &o.rows, t.seq)
	})
	switch {
	case errors.Is(err, errNobody):
	case err != nil:
		o.stepFailed(err)
	case head && t.embed != nil:
		o.addStates(t, logits, from, to)
	case head:
		o.endReading(t, logits)
	default:
		if t.reading.done = to; t.reading.done == n {
			t.reading.part, t.reading.done = t.reading.part+1, 0
		}
		t.charge(float64(start) + o.layersRead(t, n))
		t.out.setProgress(Progress{Done: start + o.tokensRead(t, n), Total: t.nPrompt, Cached: t.cached})
	}
}

// piece is the tokens that the next piece of a prompt of n has, [from, to).
func (o *owner) piece(t *task, n int) (from, to int) {
	to = n
	if t.reading.part == len(o.res.prog.KV) {
		from = n - 1
		if t.embed != nil {
			from, to = t.embed.pooled(n)
		}
	}
	from = max(from, t.reading.done)
	return from, min(to, from+o.cfg.ChunkTok)
}

// addStates pools what the head's part gave of an input.
func (o *owner) addStates(t *task, states graph.Logits, from, to int) {
	n := t.pending()
	t.embed.add(states, from, n)
	t.reading.done = to
	if _, end := t.embed.pooled(n); to < end {
		return
	}
	if err := t.seq.EndPrefill(); err != nil {
		o.end(t, "", fmt.Errorf("read input: %w", err))
		return
	}
	o.readTok += uint64(n)
	o.endInput(t)
}

// tokensRead is the share of the work that is done, in tokens: all of them pass
// every layer. A prompt that is read counts as read only with its last token.
func (o *owner) tokensRead(t *task, n int) int {
	return min(int(o.layersRead(t, n)), n-1)
}

// layersRead is the same, with the part of a token that is done.
func (o *owner) layersRead(t *task, n int) float64 {
	return (float64(t.reading.part)*float64(n) + float64(t.reading.done)) / float64(len(o.res.prog.KV))
}

// endReading keeps the prompt and lets the task choose its first token.
func (o *owner) endReading(t *task, logits graph.Logits) {
	n, kept := t.pending(), t.reading.kept
	t.reading = reading{}
	var f Finish
	err := t.seq.EndPrefill()
	if err == nil {
		o.readTok += uint64(n - kept)
		t.out.setProgress(Progress{Done: min(t.seq.Len(), t.nPrompt), Total: t.nPrompt, Cached: t.cached})
		f, err = o.accept(t, logits, 0)
	}
	if err != nil {
		err = fmt.Errorf("read prompt: %w", err)
	}
	if f != "" || err != nil {
		o.end(t, f, err)
	}
}
