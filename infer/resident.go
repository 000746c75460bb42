package infer

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"edged/infer/graph"
	"edged/offload"
)

// resident is the loaded model.
type resident struct {
	*modelFile
	name     string
	exec     graph.Exec
	pool     *offload.Pool
	apart    bool   // no step reads prompts and answers
	context  int    // tokens
	cacheTok int    // tokens
	cache    string // how tokens are kept
	short    string // the memory that has kept the context short, "" where it is not
	key      Key    // of snapshots
}

// load makes a model resident in place of the present one. call.done is nil
// when a request made it necessary.
func (o *owner) load(call *loadCall) {
	e := o.e
	e.mu.Lock()
	if e.state == Ready && e.resident == call.model {
		o.loaded(call, nil)
		e.mu.Unlock()
		return
	}
	e.state, e.resident, e.served, e.progress = Loading, "", call.model, LoadProgress{Model: call.model}
	e.tried = triedFile{e.fileOf(call.model), time.Now()}
	e.announce()
	e.mu.Unlock()
	err := o.makeResident(call.model)
	if err != nil {
		err = fmt.Errorf("load model %s: %w", call.model, err)
		o.log.Error("model not loaded", "model", call.model, "error", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.tried.at = time.Now()
		e.state, e.reason, e.broken = Failed, err.Error(), errors.Is(err, graph.ErrLost)
		delete(e.fronts, call.model) // of a file that may be another now
		o.refuseWaiting(call.model, fmt.Errorf("%w: %w", ErrNotLoaded, err))
	} else {
		r := o.res
		e.state, e.reason, e.broken, e.resident, e.key = Ready, "", false, r.name, r.key
		e.learn(r.front, r.context)
		e.fronts = map[string]*front{r.name: r.front}
		o.publish() // before Load returns
		o.log.Info("model ready", "model", r.name, "context", r.context, "cache", r.cache, "cache_tokens", r.cacheTok, "host_bytes", e.host.Usage().Total())
	}
	o.loaded(call, err)
}

// loaded reports the outcome to the caller of Load. Engine.mu is held.
func (o *owner) loaded(call *loadCall, err error) {
	for i, c := range o.e.loads {
		if c == call {
			o.e.loads = append(o.e.loads[:i:i], o.e.loads[i+1:]...)
			break
		}
	}
	if call.done != nil {
		call.done <- err
	}
	o.e.announce()
}

// refuseWaiting ends the waiting tasks of a model that could not be loaded.
// Engine.mu is held.
func (o *owner) refuseWaiting(model string, err error) {
	rest := o.e.queue[:0]
	for _, t := range o.e.queue {
		if t.model == model {
			t.closeAccount()
			t.out.finish(Result{}, err)
		} else {
			rest = append(rest, t)
		}
	}
	clear(o.e.queue[len(rest):])
	o.e.queue = rest
}

// unload gives everything of the present model back.
func (o *owner) unload() error {
	for len(o.kept) > 0 {
		o.forget(0)
	}
	r := o.res
	o.res = nil
	if r == nil {
		return nil
	}
	return r.release()
}

func (r *resident) release() error {
	var errs []error
	if r.pool != nil {
		errs = append(errs, r.pool.Close())
	}
	if r.exec != nil {
		errs = append(errs, r.exec.Close())
	}
	if err := errors.Join(append(errs, r.close())...); err != nil {
		return fmt.Errorf("unload model %s: %w", r.name, err)
	}
	return nil
}

// makeResident loads a model and lets it prove itself.
func (o *owner) makeResident(name string) error {
	// The old one goes first: two models may not fit.
	if err := o.unload(); err != nil {
		o.log.Error("model not fully unloaded", "error", err)
	}
	m, _ := o.cfg.model(name)
	file, err := o.e.openModel(name)
	if err != nil {
		return err
	}
	r := &resident{modelFile: file, name: name}
	if err := o.compile(r, m); err != nil {
		return errors.Join(err, r.release())
	}
	if err := o.prove(r); err != nil {
		return errors.Join(err, r.release())
	}
	if m.Context == 0 && r.context < r.prog.Context {
		o.log.Warn("context is shorter than the model's own: its KV cache does not fit beside the weights",
			"model", name, "context", r.context, "model_context", r.prog.Context, "limit", r.short, "host_bytes", o.cfg.HostBytes)
	}
	o.res = r
	return nil
}

// compile allocates all that the model will ever need.
func (o *owner) compile(r *resident, m ModelConfig) (err error) {
	defer catch(&err)
	want := m.Context
	if want == 0 {
		want = r.prog.Context
	}
	if want > r.prog.Context {
		o.log.Warn("context is longer than the model was trained for", "model", m.Name, "context", want, "trained", r.prog.Context)
	}
	limits := o.cfg.limits()
	limits.Host, limits.Loaded, limits.Copied = o.e.host, o.reportLoad(m.Name), o.dropCopied
	room, err := o.memory()
	if err != nil {
		return err
	}
	sizer, _ := o.e.backend.(graph.Sizer)
	kv := o.cfg.kvPlan(r.prog, m, room, sizer, limits)
	plan, err := kv.context(want, m.Context == 0)
	if err != nil {
		return err
	}
	if plan.Config.Context < want {
		r.short = kv.limit(want)
	}
	if plan, err = kv.widen(plan, o.cfg.CacheTok); err != nil {
		return err
	}
	for _, note := range plan.Notes {
		o.log.Info("cache", "model", m.Name, "note", note)
	}
	r.cache = plan.Resolved
	if slices.ContainsFunc(plan.Config.Layers, func(l offload.LayerPlan) bool { return l.Class.Cold() }) {
		o.log.Warn("answers will be worse than with the whole cache: only some tokens are attended to", "model", m.Name, "policy", m.Policy, "cache", r.cache)
	}
	limits.Context, limits.KV = plan.Config.Context, plan.Config.Layers
	if r.exec, err = o.e.backend.Compile(r.prog, limits); err != nil {
		return err
	}
	if err := o.makePool(r, plan.Config, m.Context == 0); err != nil {
		return err
	}
	if x, ok := r.exec.(graph.ReadsApart); ok {
		r.apart = x.ReadsApart() && !r.pool.LayerMajor()
	}
	r.key = keyFor(r.front.identity, r.pool, m.Policy, r.cache)
	return nil
}

// memory is what a model may take now.
func (o *owner) memory() (m Memory, err error) {
	m.Host, m.Fast = o.cfg.HostBytes, o.cfg.FastBytes
	if o.e.device != nil {
		free, err := o.e.device.FreeMemory()
		if err != nil {
			return m, err
		}
		m.Device = max(free, 1) // 0 is none
	}
	if !o.cfg.LockKV {
		return m, nil
	}
	limit, limited, err := o.e.lockLimit()
	if limited {
		m.Lockable = max(limit, 1)
	}
	return m, err
}

// dropCopied keeps a weight from being in memory twice.
func (o *owner) dropCopied(w *graph.Weight) {
	if err := w.Drop(); err != nil {
		o.log.Warn("weight stays in memory twice", "weight", w.Name, "error", err)
	}
}

// makePool gives the KV cache what the compiled program has left of the budget.
func (o *owner) makePool(r *resident, c offload.Config, shorter bool) (err error) {
	used, planned := o.e.host.Usage().Total(), c.Context
	m, err := o.memory()
	if err != nil {
		return err
	}
	if c, err = shrink(c, shorter, m.fastBeside(0), o.cfg.HostBytes-used); err != nil {
		return fmt.Errorf("beside %d bytes of weights and activations of %d bytes: %w", used, o.cfg.HostBytes, err)
	}
	if c.Context < planned && r.short == "" {
		if r.short = HostLimit; m.Device > 0 {
			r.short = DeviceLimit
		}
	}
	c.Lock = o.cfg.LockKV
	r.context, r.cacheTok = c.Context, c.Tokens
	r.pool, err = offload.NewPool(o.e.tiers(), c)
	return err
}

// keyFor names what a sequence's K and V depend on beside its tokens, and what
// their bytes mean. Backends are not part of it: what one has computed is as good
// for another.
func keyFor(model [sha256.Size]byte, pool *offload.Pool, policy, cache string) Key {
	h := sha256.New()
	fmt.Fprintf(h, "%x %s", model, pool.Format())
	return Key{Fingerprint: h.Sum(nil), Policy: policy, Cache: cache}
}

func (o *owner) reportLoad(model string) func(done, total int64) {
	return func(done, total int64) {
		o.e.mu.Lock()
		defer o.e.mu.Unlock()
		o.e.progress = LoadProgress{Model: model, Done: done, Total: total}
		o.e.announce()
	}
}
