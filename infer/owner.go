package infer

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"edged/infer/fair"
	"edged/infer/graph"
	"edged/offload"
)

// owner is the goroutine that runs the model. Everything in it is its own;
// what others may see is published in the Engine under its mutex.
type owner struct {
	e        *Engine
	cfg      Config
	log      *slog.Logger
	res      *resident     // nil while no model is loaded
	running  []*task       // have a place; in the order in which they got it
	parked   []*task       // have begun and wait for a place again, in no order
	shares   fair.Tree     // who was served how much
	kept     []*kept       // finished sequences, in no order
	clock    uint64        // counts uses of kept sequences
	wakes    []*wake       // sequences on their way from Keepers
	stagings []*staging    // checkpoints on their way to Keepers
	hold     time.Duration // the longest that save has taken
	stalled  bool          // no running task could take part in the last step

	readTok, generatedTok, narrowedTok uint64 // as in Status

	// The step being built; the memory is reused.
	rows  graph.Rows
	kv    []*offload.Seq
	parts []*task // [sequences of the step]

	readers []*task // those whose prompts could be read in this turn

	// reading is the task whose prompt is read by itself in this turn: layer by layer,
	// or for its states.
	reading *task
}

func newOwner(e *Engine) *owner { return &owner{e: e, cfg: e.cfg, log: e.cfg.Logger} }

func (o *owner) run() {
	// What a model's file is cut by between two looks at it faults where it is read.
	debug.SetPanicOnFault(true)
	for o.next() {
		o.turn()
	}
	o.shutdown()
}

// next waits until a step can be tried, and returns false when the engine is
// to end.
func (o *owner) next() bool {
	for {
		if ready, closed := o.settle(); ready || closed {
			return !closed
		}
		<-o.e.wake
		o.stalled = false
	}
}

// settle does everything but steps, without waiting, and reports whether a
// step can be tried.
func (o *owner) settle() (ready, closed bool) {
	for {
		o.e.mu.Lock()
		o.sweep()
		o.reap()
		o.admitQueued()
		load, proofs, drop := o.dueLoad(), o.takeProofs(), o.takeDrop()
		closed = o.e.closed
		o.publish()
		o.e.mu.Unlock()
		if drop {
			o.giveUpIdle()
		}
		if len(proofs) > 0 {
			o.answerProofs(proofs)
		}
		if drop || len(proofs) > 0 {
			continue // what was published is out of date
		}
		if load == nil {
			return len(o.running) > 0 && !o.stalled, closed
		}
		o.load(load)
	}
}

// reap removes tasks whose callers have left. Engine.mu is held.
func (o *owner) reap() {
	for _, list := range [...]*[]*task{&o.e.queue, &o.running, &o.parked} {
		for i := len(*list) - 1; i >= 0; i-- {
			if t := (*list)[i]; t.gone {
				*list = slices.Delete(*list, i, i+1)
				o.retire(t, true)
				t.closeAccount()
			}
		}
	}
}

// errOtherModel says that a task waits for a switch.
var errOtherModel = errors.New("another model has to be loaded")

// fits checks a task against the resident model, which may not be the one that
// was resident when the task was accepted. Engine.mu is held.
func (o *owner) fits(t *task) error {
	e := o.e
	if t.model != e.resident {
		if e.cfg.AllowSwitch || e.served == t.model {
			return errOtherModel
		}
		return e.otherServed(t.model)
	}
	if t.front.vocab != o.res.front.vocab || t.front.identity != o.res.front.identity {
		return fmt.Errorf("%w: the file of model %s was replaced by that of another while the request waited", ErrLoading, t.model)
	}
	return t.checkContext(o.res.context)
}

// dueLoad is the load that must happen now: one that was asked for, or the one
// that the next waiting task needs. Engine.mu is held.
func (o *owner) dueLoad() *loadCall {
	e := o.e
	switch {
	case len(o.running)+len(o.parked) > 0 || o.lent() || e.closed:
		return nil
	case len(e.loads) > 0:
		return e.loads[0]
	case len(e.queue) > 0:
		return &loadCall{model: o.firstQueued().model}
	}
	return nil
}

// publish copies the owner's figures to where others see them. Engine.mu is
// held.
func (o *owner) publish() {
	e := o.e
	e.running = len(o.running) + len(o.parked)
	e.announceRequests()
	e.status.KeptSeqs, e.status.LongestHold = len(o.kept), o.hold
	e.status.ReadTok, e.status.GeneratedTok, e.status.NarrowedTok = o.readTok, o.generatedTok, o.narrowedTok
	e.status.FreeTok, e.status.CacheTok, e.status.Cache, e.status.Short, e.status.Traffic = 0, 0, "", "", offload.Traffic{}
	if o.res != nil {
		e.status.FreeTok, e.status.CacheTok = o.res.pool.FreeTok(), o.res.cacheTok
		e.status.Cache, e.status.Short, e.status.Traffic = o.res.cache, o.res.short, o.res.pool.Traffic()
		e.status.ExactBytes = offload.ExactBytes(o.res.prog.KV, o.res.cacheTok)
	}
}

// end finishes a running task: with a result, or with an error, after which
// its sequence is not trusted.
func (o *owner) end(t *task, f Finish, err error) {
	o.running = without(o.running, t)
	if o.reading == t {
		o.reading = nil
	}
	var reach *offload.Reach
	if err == nil {
		reach = t.reached()
		err = o.save(t)
	}
	o.retire(t, err == nil)
	t.closeAccount()
	o.e.mu.Lock()
	o.publish()
	o.e.mu.Unlock()
	if err != nil {
		o.log.Warn("request failed", "request", t.id, "model", t.model, "error", err)
		t.out.finish(Result{}, err)
		return
	}
	r := t.result(f)
	o.e.noteSlotTime(time.Since(t.begun))
	r.Reach = reach
	o.log.Debug("request done", "request", t.id, "model", t.model, "finish", f, "usage", r.Usage, "timings", r.Timings)
	t.out.finish(r, nil)
}

// noteSlotTime keeps a moving average of what requests take.
func (e *Engine) noteSlotTime(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.slotTime == 0 {
		e.slotTime = d
	}
	e.slotTime += (d - e.slotTime) / 8
}

// endBegun ends every running task with an error.
func (o *owner) endBegun(err error) {
	o.running, o.parked = append(o.running, o.parked...), nil
	for len(o.running) > 0 {
		o.end(o.running[0], "", err)
	}
}

// endAll ends every running and waiting task with an error.
func (o *owner) endAll(err error) {
	o.endBegun(err)
	o.e.mu.Lock()
	defer o.e.mu.Unlock()
	for _, t := range o.e.queue {
		t.closeAccount()
		t.out.finish(Result{}, err)
	}
	o.e.queue = nil
	o.e.announce()
}

// fail gives up on the backend until someone loads a model again.
func (o *owner) fail(err error) {
	o.log.Error("engine failed", "error", err)
	o.e.mu.Lock()
	o.e.state, o.e.reason, o.e.broken, o.e.resident = Failed, err.Error(), true, ""
	o.e.mu.Unlock()
	o.endAll(fmt.Errorf("%w: %w", ErrFailed, err))
	if f := o.cfg.Lost; f != nil && errors.Is(err, graph.ErrLost) {
		o.cfg.Lost = nil
		f(err)
	}
}

// loadAgain gives up the resident model, whose file is not what was loaded any more,
// for what the file is now. What waits for the model goes on waiting.
func (o *owner) loadAgain(changed error) {
	name := o.res.name
	o.log.Error("the model's file has changed; it is loaded again", "model", name, "error", changed)
	o.e.mu.Lock()
	o.e.loadNext(name)
	o.e.mu.Unlock()
	o.endBegun(fmt.Errorf("%w: model %s is loaded again: %w", ErrLoading, name, changed))
}

// loadNext lets the owner load a model that nobody has asked to be loaded. e.mu is held.
func (e *Engine) loadNext(model string) {
	e.state, e.resident, e.progress = Loading, "", LoadProgress{Model: model}
	e.loads = append(e.loads, &loadCall{model: model, done: make(chan error, 1)})
	e.announce()
}

// shutdown ends everything and gives all memory back.
func (o *owner) shutdown() {
	o.endAll(ErrClosed)
	o.e.mu.Lock()
	for _, c := range o.e.loads {
		c.done <- ErrClosed
	}
	o.e.loads = nil
	o.e.resident = ""
	o.e.announce()
	o.e.mu.Unlock()
	o.settleLoans()
	o.e.finish(o.unload())
}

// settleLoans waits until nobody else uses the pool's memory.
func (o *owner) settleLoans() {
	for {
		o.e.mu.Lock()
		o.sweep()
		lent := o.lent()
		o.e.mu.Unlock()
		if !lent {
			return
		}
		<-o.e.wake
	}
}
