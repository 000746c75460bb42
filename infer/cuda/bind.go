package cuda

import (
	"errors"
	"fmt"

	"edged/cudakern/driver"
	"edged/infer/graph"
	"edged/offload"
)

// errPool is a programming error of the caller: memory of another shape.
var errPool = fmt.Errorf("%w: sequences do not fit the program's cache layers", graph.ErrRows)

// cache is a layer's memory in a pool as kernels reach it. What its class does
// not use is the zero span.
type cache struct {
	units     span // pages, or blocks of records
	unitBytes int
	tails     span
	pageBytes int // of exact pages
	indexes   span
	chosen    span
	sets      span
	peaks     span
	listWords int  // of a list of chosen
	pending   span // where the tail waits for the end of a prompt
}

func (s span) writing() span {
	s.write = true
	return s
}

// bind points the caches at the sequences' pool.
func (e *exec) bind(kv []*offload.Seq) error {
	pool := kv[0].Pool()
	for _, s := range kv {
		if s.Pool() != pool {
			return fmt.Errorf("%w: they are of different pools", errPool)
		}
	}
	if pool == e.pool {
		return nil
	}
	if pool.Layers() != len(e.prog.KV) {
		return fmt.Errorf("%w: not %d layers", errPool, len(e.prog.KV))
	}
	if pool.LayerMajor() && pool.Context() > e.lim.Context {
		return fmt.Errorf("%w: they may hold %d tokens, the program %d", errPool, pool.Context(), e.lim.Context)
	}
	for i, want := range e.lim.KV {
		if got := pool.Plan(i); got != want {
			return fmt.Errorf("%w: layer %d is kept as %+v, not %+v", errPool, i, got, want)
		}
	}
	// Graphs name the old pool's pages.
	if err := errors.Join(e.dropGraphs(), e.unbind()); err != nil {
		return err
	}
	for i := range e.caches {
		if err := e.bindLayer(pool, i); err != nil {
			return fmt.Errorf("reach cache layer %d: %w", i, errors.Join(err, e.unbind()))
		}
	}
	if err := e.bindWork(pool); err != nil {
		return fmt.Errorf("reach gathered tokens: %w", errors.Join(err, e.unbind()))
	}
	e.pool = pool
	return nil
}

// bindWork reaches the memory that Gathered layers share.
func (e *exec) bindWork(pool *offload.Pool) error {
	mem, slot := pool.Works()
	if len(mem) == 0 {
		return nil
	}
	at, err := e.reach(mem)
	e.work, e.workBytes = span{name: "gathered tokens", at: at, bytes: int64(len(mem))}, slot
	return err
}

func (e *exec) bindLayer(pool *offload.Pool, i int) error {
	m := pool.Memory(i)
	c := &e.caches[i]
	*c = cache{unitBytes: m.UnitBytes, pageBytes: m.Pages.PageBytes, listWords: m.ChosenBytes / 4}
	for _, x := range []struct {
		name string
		mem  []byte
		to   *span
	}{{"pages", m.Units, &c.units}, {"tails", m.Tails, &c.tails}, {"indexes", m.Indexes, &c.indexes}, {"chosen", m.Chosen, &c.chosen}, {"sets", m.Sets, &c.sets}, {"peaks", m.Peaks, &c.peaks}} {
		if len(x.mem) == 0 {
			continue
		}
		at, err := e.reach(x.mem)
		if err != nil {
			return err
		}
		*x.to = span{name: fmt.Sprintf("%s %d", x.name, i), at: at, bytes: int64(len(x.mem))}
	}
	if m.Plan.Class == offload.Exact {
		return nil
	}
	all, tail := pool.Pending(i)
	at, err := e.reach(all)
	if err != nil {
		return err
	}
	c.pending = span{name: fmt.Sprintf("pending %d", i), at: at.Add(int64(driver.Address(tail) - driver.Address(all))), bytes: int64(m.TailBytes)}
	return nil
}

// reach gives the address of a pool's memory until the next unbind.
func (e *exec) reach(mem []byte) (driver.Ptr, error) {
	at, err := e.backend.reach(mem)
	if err == nil {
		e.locked = append(e.locked, mem)
	}
	return at, err
}

func (e *exec) unbind() error {
	var errs []error
	for _, b := range e.locked {
		errs = append(errs, e.backend.release(b))
	}
	e.locked, e.pool = nil, nil
	return errors.Join(errs...)
}

// reach gives the address by which kernels use memory of a pool. Host memory is
// locked for the device until the last exec has released it.
func (b *Backend) reach(mem []byte) (driver.Ptr, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := driver.Address(mem)
	if _, ok := b.ours[at]; ok {
		return at, nil
	}
	if r, ok := b.pools[at]; ok {
		r.uses++
		return r.at, nil
	}
	p, err := b.gpu.Register(mem)
	if err != nil {
		return 0, err
	}
	b.pools[at] = &registered{at: p, uses: 1}
	return p, nil
}

func (b *Backend) release(mem []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := driver.Address(mem)
	r, ok := b.pools[at]
	if !ok {
		return nil
	}
	if r.uses--; r.uses > 0 {
		return nil
	}
	delete(b.pools, at)
	return b.gpu.Unregister(mem)
}
