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

// cache is a layer's pages as kernels reach them.
type cache struct {
	pages     span
	pageBytes int
}

func (c *cache) writing() span {
	s := c.pages
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
		m := pool.Memory(i)
		at, err := e.backend.reach(m.Units)
		if err != nil {
			return fmt.Errorf("reach cache layer %d: %w", i, errors.Join(err, e.unbind()))
		}
		e.locked = append(e.locked, m.Units)
		e.caches[i] = cache{pages: span{name: fmt.Sprintf("pages %d", i), at: at, bytes: int64(len(m.Units))}, pageBytes: m.UnitBytes}
	}
	e.pool = pool
	return nil
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
