package infer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

// Engine answers requests with one resident model. See the package comment.
type Engine struct {
	cfg     Config
	host    *pinnedmem.Host
	fast    *pinnedmem.Host // of the cache's fast tier; host itself where it has no budget of its own
	backend graph.Backend
	device  graph.DeviceMemory // the backend, when it has memory of its own; or nil
	open    func(path string) (*modelFile, error)
	// lockLimit is pinnedmem.LockLimit, but where a test says otherwise.
	lockLimit func() (bytes int64, limited bool, err error)
	owner     *owner
	wake      chan struct{} // [1] tells the owner that something below changed
	ended     chan struct{} // closed when the owner has given everything back
	endErr    error         // set before ended is closed

	opening sync.Mutex // held while a model file is opened for its front

	mu       sync.Mutex           // guards everything that follows
	changed  chan struct{}        // closed and replaced when state, loads or the number of requests change
	fronts   map[string]*front    // of the resident model, and of others that were named since the last load
	known    map[string]ModelInfo // what has been learnt of models: front's figures, served context
	state    State                // without Draining and Closed, which are flags
	reason   string               // of Failed
	broken   bool                 // Failed because of the backend, so that nothing is tried again
	draining bool
	closed   bool
	loads    []*loadCall
	proofs   []*proof
	dropIdle bool // see DropIdle
	progress LoadProgress
	resident string        // name of the model that is ready to answer
	served   string        // name of the model that was last made resident, or was to be
	tried    triedFile     // of served
	key      Key           // of its snapshots
	queue    []*task       // accepted, not running
	maxQueue int           // tasks that may wait when MaxSeqs run
	running  int           // tasks that the owner has taken from the queue
	counted  int           // running and queued ones, as last announced
	slotTime time.Duration // that a request takes from its first step on, about
	status   Status        // what the owner last reported of itself
	live     int           // tasks of the step in progress whose callers are still there
	stepCtx  context.Context
	stopStep context.CancelFunc
	holds    int             // claims of Saved sequences
	released []*offload.Hold // of these, those that the owner can give back

	closing context.Context // ends with Close
	close   context.CancelFunc
}

// loadCall is one call of Load that waits.
type loadCall struct {
	model string
	done  chan error // [1]
}

// New checks the configuration and starts the engine, which holds no model
// yet. Close must be called.
func New(cfg Config) (*Engine, error) {
	e, err := newEngine(cfg, openModel, NewBackend)
	if err != nil {
		return nil, fmt.Errorf("configure engine: %w", err)
	}
	go e.owner.run()
	return e, nil
}

// newEngine makes an engine whose owner does not run yet.
func newEngine(cfg Config, open func(string) (*modelFile, error), backend func(string) (graph.Backend, error)) (*Engine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	b, err := backend(cfg.Backend)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		cfg: cfg, host: pinnedmem.NewHost(cfg.HostBytes), backend: b, open: open, lockLimit: pinnedmem.LockLimit,
		wake: make(chan struct{}, 1), ended: make(chan struct{}),
		changed: make(chan struct{}), fronts: map[string]*front{}, known: map[string]ModelInfo{}, maxQueue: cfg.MaxQueue,
	}
	e.closing, e.close = context.WithCancel(context.Background())
	if e.fast = e.host; cfg.FastBytes > 0 {
		e.fast = pinnedmem.NewHost(cfg.FastBytes)
	}
	if d, ok := b.(graph.DeviceMemory); ok {
		e.device, e.fast = d, d.Memory(cfg.FastBytes)
		if cfg.DeviceReserve > 0 {
			d.Reserve(cfg.DeviceReserve)
		}
	}
	e.owner = newOwner(e)
	return e, nil
}

// tiers are the accounts that pay for KV caches.
func (e *Engine) tiers() offload.Tiers {
	t := offload.Tiers{Fast: e.fast, Host: e.host}
	if e.device != nil {
		t.Mover = e.device.Mover()
	}
	return t
}

// Load makes a configured model ("" is the default) resident, after running
// requests have ended, and returns when it has proved itself with a real
// decode. progress, which may be nil, is called in the caller's goroutine.
// When ctx ends first, Load returns its cause; a load that has begun goes on.
// Loading the model that is already ready does nothing.
func (e *Engine) Load(ctx context.Context, model string, progress func(LoadProgress)) error {
	if model == "" {
		model = e.cfg.Default
	}
	if _, ok := e.cfg.model(model); !ok {
		return fmt.Errorf("load model: %w", &ModelError{Model: model, Known: e.cfg.names()})
	}
	call := &loadCall{model: model, done: make(chan error, 1)}
	e.mu.Lock()
	if e.closed || e.draining {
		defer e.mu.Unlock()
		return fmt.Errorf("load model %s: %w", model, e.refusal())
	}
	e.loads = append(e.loads, call)
	changed := e.changed
	e.mu.Unlock()
	e.wakeOwner()
	for {
		var ended bool
		var err error
		select {
		case err = <-call.done:
			ended = true
		case <-ctx.Done():
			e.dropLoad(call)
			return fmt.Errorf("load model %s: %w", model, context.Cause(ctx))
		case <-changed:
		}
		e.mu.Lock()
		changed = e.changed
		p := e.progress
		e.mu.Unlock()
		if progress != nil && p.Model == model && p.Total > 0 {
			progress(p)
		}
		if ended {
			return err
		}
	}
}

// dropLoad takes back a load that has not begun.
func (e *Engine) dropLoad(call *loadCall) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, c := range e.loads {
		if c == call {
			e.loads = append(e.loads[:i:i], e.loads[i+1:]...)
			return
		}
	}
}

// Models lists the configured models, the default first.
func (e *Engine) Models() []ModelInfo {
	infos := make([]ModelInfo, 0, len(e.cfg.Models))
	for _, m := range e.cfg.Models {
		e.mu.Lock()
		info := e.known[m.Name]
		info.Resident = e.resident == m.Name
		e.mu.Unlock()
		info.Name, info.Path = m.Name, m.Path
		if st, err := os.Stat(m.Path); err == nil {
			info.Modified = st.ModTime()
		}
		if m.Name == e.cfg.Default {
			infos = append([]ModelInfo{info}, infos...)
		} else {
			infos = append(infos, info)
		}
	}
	return infos
}

// Status is a snapshot of the engine; it is cheap.
func (e *Engine) Status() Status {
	usage := e.host.Usage()
	var fast pinnedmem.Usage
	if e.fast != e.host {
		fast = e.fast.Usage()
		for p, n := range fast {
			usage[p] += n
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.status
	s.State, s.Reason, s.Memory, s.FastMemory = e.state, e.reason, usage, fast
	s.Retries = e.state == Failed && !e.broken
	if e.state == Loading {
		s.Load = e.progress
	}
	known := e.known[e.resident] // zero without a resident model
	s.Model, s.Context, s.TrainContext = e.resident, known.Context, known.TrainContext
	s.Running, s.Queued = e.running, len(e.queue)
	switch {
	case e.closed:
		s.State = Closed
	case e.draining && e.state != Failed:
		s.State = Draining
	}
	return s
}

// SnapshotKey is what snapshots of a model's sequences are read and written
// under; ok is false while it is not resident.
func (e *Engine) SnapshotKey(model string) (key Key, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.key, e.resident == model && model != ""
}

// SetMaxQueue replaces Config.MaxQueue, 0 meaning the default there too. A
// lower limit refuses new requests; those that wait already stay.
func (e *Engine) SetMaxQueue(n int) {
	if n == 0 {
		n = DefaultMaxQueue
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.maxQueue = n
}

// Drain refuses new requests from now on and returns when all accepted ones
// have ended, or with ctx's cause. Close must still be called.
func (e *Engine) Drain(ctx context.Context) error {
	e.mu.Lock()
	e.draining = true
	e.announce()
	for e.running+len(e.queue)+len(e.loads) > 0 && !e.closed {
		changed := e.changed
		left := e.running + len(e.queue)
		e.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("drain engine: %d requests unfinished: %w", left, context.Cause(ctx))
		}
		e.mu.Lock()
	}
	e.mu.Unlock()
	return nil
}

// Close ends all requests with ErrClosed, gives all memory back and reports
// what could not be. A second Close waits for the first.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	e.close()
	if e.stopStep != nil {
		e.stopStep()
	}
	e.announce()
	e.mu.Unlock()
	e.wakeOwner()
	<-e.ended
	return e.endErr
}

// finish is the owner's last act.
func (e *Engine) finish(err error) {
	err = errors.Join(err, e.backend.Close(), e.host.Close())
	if e.fast != e.host {
		err = errors.Join(err, e.fast.Close())
	}
	if err != nil {
		e.endErr = fmt.Errorf("close engine: %w", err)
	}
	close(e.ended)
}

// wakeOwner makes the owner look at the state again; it never blocks.
func (e *Engine) wakeOwner() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// announce wakes Load, Drain and everything else that waits for a change.
// e.mu is held.
func (e *Engine) announce() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// announceRequests announces a change of the number of requests. e.mu is held.
func (e *Engine) announceRequests() {
	if n := e.running + len(e.queue); n != e.counted {
		e.counted = n
		e.announce()
	}
}

// refusal is why nothing new is accepted in the current state, or nil. e.mu is
// held.
func (e *Engine) refusal() error {
	switch {
	case e.closed:
		return ErrClosed
	case e.draining:
		return ErrDraining
	case e.state == Failed && e.broken:
		return fmt.Errorf("%w: %s", ErrFailed, e.reason)
	case len(e.loads) > 0:
		return fmt.Errorf("%w: %s is loading", ErrLoading, e.loads[0].model)
	case e.state == Empty && !e.cfg.AllowSwitch:
		return ErrLoading
	}
	return nil
}
