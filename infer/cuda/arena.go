package cuda

import (
	"errors"
	"fmt"

	"edged/cudakern/driver"
)

// alignBytes is where every array of an arena begins: on a line of the
// device's cache, and far enough for any vector load.
const alignBytes = 256

// arena is device memory that is planned first, then taken at once.
type arena struct {
	what string
	size int64
	base driver.Ptr
	to   []placed
}

type placed struct {
	to *driver.Ptr
	at int64
}

// want plans an array whose address goes to p once the arena is open.
func (a *arena) want(p *driver.Ptr, bytes int64) {
	a.to = append(a.to, placed{p, a.size})
	a.size += (bytes + alignBytes - 1) / alignBytes * alignBytes
}

func (a *arena) open(b *Backend) error {
	if a.size == 0 {
		return nil
	}
	free, total, err := b.gpu.MemInfo()
	if err != nil {
		return err
	}
	if a.size > free-b.reserve {
		return fmt.Errorf("%w: %s take %d bytes, %d of %d are free on %s, of which %d stay free for others", ErrMemory, a.what, a.size, free, total, b.info.Name, b.reserve)
	}
	base, err := b.gpu.Alloc(a.size)
	if errors.Is(err, driver.ErrOutOfMemory) {
		return fmt.Errorf("%w: %s: %w", ErrMemory, a.what, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", a.what, err)
	}
	a.base = base
	for _, p := range a.to {
		*p.to = base.Add(p.at)
	}
	return nil
}

// holds says whether an address lies in the arena.
func (a *arena) holds(p driver.Ptr) bool { return a.base != 0 && p >= a.base && p < a.base.Add(a.size) }

func (a *arena) close(m memory) error {
	if a.base == 0 {
		return nil
	}
	base := a.base
	a.base = 0
	return m.Free(base)
}
