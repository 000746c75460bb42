package infer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"edged/infer/fair"
	"edged/infer/graph"
	"edged/offload"
)

// turn runs one step of whatever running tasks can take part, and one piece of
// the prompt that is read by itself.
func (o *owner) turn() {
	if err := o.res.unchanged(); err != nil {
		o.loadAgain(err)
		return
	}
	o.plan()
	o.stalled = o.reading == nil
	if o.res.apart {
		o.stepOf(answers)
		o.stepOf(prompts)
	} else {
		o.stepOf(allRows)
	}
	switch t := o.reading; {
	case t == nil:
	case t.embed != nil && !o.res.pool.LayerMajor():
		o.embedChunk(t)
	default:
		o.readPiece(t)
	}
}

// stepOf runs the rows that were planned of some tasks.
func (o *owner) stepOf(which func(*task) bool) {
	if o.assemble(which); len(o.parts) == 0 {
		return
	}
	o.stalled = false
	logits, err := o.attempt(func(ctx context.Context) (graph.Logits, error) {
		return o.res.exec.Step(ctx, &o.rows, o.kv)
	})
	switch {
	case errors.Is(err, errNobody):
		// Every caller has left; next reaps the tasks.
	case err != nil:
		o.stepFailed(err)
	default:
		o.commit(logits)
	}
}

// errNobody says that every caller of a step has left, before or during it.
var errNobody = errors.New("every caller has left")

// attempt runs a step of the tasks in parts, stoppable by their callers.
func (o *owner) attempt(run func(context.Context) (graph.Logits, error)) (graph.Logits, error) {
	ctx, ok := o.enter()
	if !ok {
		return graph.Logits{}, errNobody
	}
	start := time.Now()
	logits, err := o.guarded(ctx, run)
	if stopped := o.leave(ctx, start, err); stopped && errors.Is(err, context.Canceled) {
		return graph.Logits{}, errNobody
	}
	return logits, err
}

// Tasks of a step: all, or those that answer and those whose prompts are read.
func allRows(*task) bool   { return true }
func answers(t *task) bool { return !prompts(t) }
func prompts(t *task) bool { return t.rows > 1 || t.generated() == 0 }

// plan chooses the rows of the turn and makes pages for them: one for
// every generating task and a chunk of one that still reads its prompt.
func (o *owner) plan() {
	o.reading = nil
	o.planReading()
	for _, t := range o.running {
		if t.decoding() && !t.out.full() {
			t.rows = o.reserve(t, 1)
		}
	}
	o.endFaulty()
}

// assemble lays out a step of those tasks that have rows: only once all of the turn
// are planned, since one may have been set back for another.
func (o *owner) assemble(which func(*task) bool) {
	o.parts, o.kv = o.parts[:0], o.kv[:0]
	o.rows.Reset()
	for _, t := range o.running {
		if t.rows == 0 || !which(t) {
			continue
		}
		o.rows.Prompt = o.res.apart && prompts(t)
		pos := t.seq.Len()
		for j, id := range t.ids[pos : pos+t.rows] {
			o.rows.Add(id, int32(pos+j), int32(len(o.parts)), pos+j == len(t.ids)-1)
		}
		o.parts, o.kv = append(o.parts, t), append(o.kv, t.seq)
	}
	o.ask()
}

// planReading lets one prompt be read on: that of whoever was served least, of
// those that have room.
func (o *owner) planReading() {
	o.readers = o.readers[:0]
	holder := o.stageHolder()
	for _, t := range o.running {
		t.rows = 0
		if t.out.full() || t.seq == nil && !o.rouse(t) || t.decoding() || holder != nil && holder != t {
			continue
		}
		o.readers = append(o.readers, t)
	}
	slices.SortFunc(o.readers, func(a, b *task) int { return fair.Compare(a.account, b.account) })
	crowded := false // one that was served less waits for room
	for _, t := range o.readers {
		if crowded && !t.roomy && !o.first(t) {
			continue // or a long prompt could wait forever for short ones
		}
		if ahead := o.readsFor(t); ahead != nil && o.readOn(ahead) || o.readOn(t) {
			return
		}
		crowded = crowded || !t.roomy
	}
}

// readOn lets a task's prompt be read in this turn, and reports whether it can be.
func (o *owner) readOn(t *task) bool {
	t.rows = o.prefill(t)
	return t.rows > 0 || o.reading != nil
}

// readsFor is the task that is reading what t, which has not begun, would have to
// read too: t goes on from there. It is nil when there is none.
func (o *owner) readsFor(t *task) (ahead *task) {
	if t.seq != nil {
		return nil
	}
	most := o.longestPrefix(t).n
	for _, r := range o.readers {
		if r.seq == nil || !r.roomy || r.owner != t.owner || r.embed != nil {
			continue
		}
		n := t.usable(commonPrefix(r.ids[:r.nPrompt], t.ids[:len(t.ids)-1]), r.sessionID(), r.nPrompt)
		if n > most && n > r.seq.Len() {
			ahead, most = r, n
		}
	}
	return ahead
}

// endFaulty ends tasks that cannot take part in any step. None is in this one.
func (o *owner) endFaulty() {
	for i := len(o.running) - 1; i >= 0; i-- {
		if t := o.running[i]; t.fault != nil {
			o.end(t, "", t.fault)
		}
	}
}

// enter makes the step stoppable by the callers in it. It returns false when
// all of them have left already.
func (o *owner) enter() (context.Context, bool) {
	e := o.e
	e.mu.Lock()
	defer e.mu.Unlock()
	e.live = 0
	if e.closed {
		return nil, false
	}
	for _, t := range o.parts {
		if !t.gone {
			t.inStep = true
			e.live++
		}
	}
	if e.live == 0 {
		return nil, false
	}
	// A context serves many steps: making one for each would allocate.
	if e.stepCtx == nil || e.stepCtx.Err() != nil {
		e.stepCtx, e.stopStep = context.WithCancel(context.Background())
	}
	return e.stepCtx, true
}

// leave ends what enter began and reports whether the step was stopped.
func (o *owner) leave(ctx context.Context, start time.Time, err error) (stopped bool) {
	e := o.e
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range o.parts {
		t.inStep = false
	}
	e.live = 0
	if err == nil {
		e.status.LastStep = time.Now()
		e.status.LastStepTime = e.status.LastStep.Sub(start)
	}
	return ctx.Err() != nil
}

func (o *owner) guarded(ctx context.Context, run func(context.Context) (graph.Logits, error)) (l graph.Logits, err error) {
	defer catch(&err)
	return run(ctx)
}

// commit keeps what the step computed and lets every task whose tokens are all
// evaluated choose its next one.
func (o *owner) commit(logits graph.Logits) {
	row := 0
	for _, t := range o.parts {
		wanted := t.rows == t.pending()
		var f Finish
		err := t.seq.Commit(t.rows)
		t.charge(float64(t.seq.Len()))
		if t.generated() == 0 {
			o.readTok += uint64(t.rows)
			t.out.setProgress(Progress{Done: t.seq.Len(), Total: t.nPrompt, Cached: t.cached})
		}
		if wanted {
			if err == nil {
				f, err = o.accept(t, logits, row)
			}
			row++
		}
		if f != "" || err != nil {
			o.end(t, f, err)
		}
	}
}

func (o *owner) accept(t *task, l graph.Logits, row int) (f Finish, err error) {
	defer catch(&err)
	before := t.narrowed
	f, err = t.accept(l, row, o.res.context)
	if err == nil {
		o.generatedTok++
	}
	o.narrowedTok += t.narrowed - before
	return f, err
}

// stepFailed ends the tasks of a failed step. The sequences of the others are
// as they were, but only a real decode shows whether the backend still works.
func (o *owner) stepFailed(err error) {
	err = fmt.Errorf("run step of %d rows: %w", len(o.rows.Tok), err)
	var p *panicError
	if errors.As(err, &p) {
		o.log.Error("backend panicked", "panic", p.value, "stack", string(p.stack))
	}
	switch changed := o.res.unchanged(); {
	case changed != nil: // which may be why
		o.loadAgain(changed)
		return
	case p != nil:
		o.fail(err)
		return
	}
	if errors.Is(err, graph.ErrLost) {
		o.fail(err) // nothing more is tried on it
		return
	}
	o.log.Error("step failed", "error", err)
	for _, t := range o.parts {
		o.end(t, "", err)
	}
	if bad := o.prove(o.res); bad != nil {
		o.fail(errors.Join(err, bad))
	}
}

// prove decodes two tokens on a sequence of its own.
func (o *owner) prove(r *resident) (err error) {
	defer catch(&err)
	if err := r.unchanged(); err != nil {
		return fmt.Errorf("prove model: %w", err)
	}
	seq, err := r.pool.NewSeq()
	if i := o.oldest(); errors.Is(err, offload.ErrNoSlots) && i >= 0 {
		o.forget(i)
		seq, err = r.pool.NewSeq()
	}
	if err != nil {
		return fmt.Errorf("prove model: %w", err)
	}
	defer seq.Free()
	start, token := time.Now(), max(r.front.tok.BOS(), 0)
	for step := range 2 {
		for err = seq.Reserve(1); errors.Is(err, offload.ErrNoPages) && o.evict(); {
			err = seq.Reserve(1)
		}
		if err != nil {
			return fmt.Errorf("prove model: %w", err)
		}
		o.rows.Reset()
		o.rows.Add(token, int32(step), 0, true)
		logits, err := r.exec.Step(context.Background(), &o.rows, append(o.kv[:0], seq))
		if err != nil {
			return fmt.Errorf("prove model: decode: %w", err)
		}
		if err := seq.Commit(1); err != nil {
			return fmt.Errorf("prove model: %w", err)
		}
		if token, err = best(logits.Row(0)); err != nil {
			return fmt.Errorf("prove model: %w", err)
		}
	}
	o.e.mu.Lock()
	defer o.e.mu.Unlock()
	o.e.status.LastStep, o.e.status.LastStepTime = time.Now(), time.Since(start)/2
	return nil
}

// best is the id of the largest logit. Any that is not a finite number means
// that the model or the backend is broken.
func best(row []float32) (int32, error) {
	id := 0
	for i, v := range row {
		if v-v != 0 {
			return 0, fmt.Errorf("logit %d is %g", i, v)
		}
		if v > row[id] {
			id = i
		}
	}
	return int32(id), nil
}
