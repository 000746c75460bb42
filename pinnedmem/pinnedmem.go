// Package pinnedmem owns the large host allocations of edged: packed weights,
// KV pages, page tables and scratch. They live outside the Go heap, so that
// the collector never scans or moves them, C code may keep pointers to them,
// and a device can later register them for DMA.
//
// # Ownership
//
// A [Host] is the account: it knows every live [Arena] and how many bytes
// each [Purpose] holds. An Arena is one anonymous mapping made at load, all of
// it present from then on: a process holds what its plan says. Its memory is
// handed out front to back by [Arena.Alloc] and given back all at once by
// [Arena.Close], free parts of it earlier by [Discard]. Slices from Alloc die with their arena.
//
// # Goroutine-safety
//
// Host methods may be called from any goroutine. An Arena belongs to one
// goroutine at a time; its contents are as safe as any shared slice.
//
// # Failure modes
//
// Allocation fails with [ErrBudget] when the account's budget is exceeded and
// with the system's error when the mapping or its locking is refused. Both
// name purpose and bytes. [Host.Close] reports arenas that were never closed.
package pinnedmem

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrBudget is wrapped by the error of an allocation beyond the host budget.
var ErrBudget = errors.New("memory budget exceeded")

// ErrFull is wrapped by the error of an Alloc beyond an arena's size.
var ErrFull = errors.New("arena is full")

// Purpose says what an arena holds; usage is accounted per purpose.
type Purpose uint8

// The purposes, in the order in which reports print them.
const (
	Weights Purpose = iota
	KVPages         // tokens that are read where they lie: exact pages, dense records
	KVIndex         // what dominant pages are chosen by
	KVTail          // newest tokens, exact
	KVHot           // fetched records
	KVCold          // records that are fetched
	PageTables
	Activations
	Prefill // one layer's exact K and V, and hidden states, while a prompt is read
	nPurpose
)

var purposeNames = [nPurpose]string{"weights", "kv-pages", "kv-index", "kv-tail", "kv-hot", "kv-cold", "page-tables", "activations", "prefill"}

func (p Purpose) String() string {
	if p < nPurpose {
		return purposeNames[p]
	}
	return fmt.Sprintf("purpose(%d)", uint8(p))
}

// Usage is the live bytes of every purpose.
type Usage [nPurpose]int64

// Total is the sum over all purposes, in bytes.
func (u Usage) Total() int64 {
	var n int64
	for _, b := range u {
		n += b
	}
	return n
}

// Options say how an arena's pages are backed.
type Options struct {
	Lock bool // mlock: never swapped
	Huge bool // ask for transparent huge pages: fewer TLB misses when streamed
}

// Host is the account of all arenas of one process or one test.
type Host struct {
	mu     sync.Mutex // guards everything that follows
	budget int64      // bytes; 0 means no limit
	source Source     // nil: anonymous mappings
	usage  Usage
	live   map[*Arena]struct{}
}

// NewHost makes an empty account with a budget in bytes (0: unlimited).
func NewHost(budget int64) *Host {
	return &Host{budget: budget, live: make(map[*Arena]struct{})}
}

// Source is memory of another kind that arenas are made of: such as a device's
// that the processor can reach too. What it maps is zeroed.
type Source interface {
	Map(bytes int64) ([]byte, error)
	Unmap([]byte) error
}

// NewHostOn makes an empty account of memory from a source. Its arenas' options
// are without effect.
func NewHostOn(budget int64, s Source) *Host {
	h := NewHost(budget)
	h.source = s
	return h
}

// Usage returns the bytes that live arenas hold, per purpose.
func (h *Host) Usage() Usage {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.usage
}

// Close reports every arena that is still open: a leak of its owner.
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.live) > 0 {
		return fmt.Errorf("close host memory: %d arenas still open, %d bytes (%s)", len(h.live), h.usage.Total(), h.usage)
	}
	return nil
}

func (u Usage) String() string {
	s := ""
	for p, b := range u {
		if b != 0 {
			s += fmt.Sprintf(" %s %d", Purpose(p), b)
		}
	}
	if s == "" {
		return "empty"
	}
	return s[1:]
}

// ArenaBytes is what an arena of so many bytes is accounted with.
func ArenaBytes(bytes int64) int64 {
	page := int64(unix.Getpagesize())
	return max((bytes+page-1)/page*page, page)
}

// Arena maps at least bytes (rounded up to whole pages) of zeroed memory.
func (h *Host) Arena(p Purpose, bytes int64, opt Options) (*Arena, error) {
	if p >= nPurpose || bytes < 0 {
		return nil, fmt.Errorf("allocate arena: %s of %d bytes is not a valid request", p, bytes)
	}
	size := ArenaBytes(bytes)
	if err := h.reserve(p, size); err != nil {
		return nil, err
	}
	mem, err := h.mapMemory(size, opt)
	if err != nil {
		h.release(p, size, nil)
		return nil, fmt.Errorf("allocate %s arena of %d bytes: %w", p, size, err)
	}
	a := &Arena{host: h, purpose: p, mem: mem}
	h.mu.Lock()
	h.live[a] = struct{}{}
	h.mu.Unlock()
	return a, nil
}

func (h *Host) mapMemory(size int64, opt Options) ([]byte, error) {
	if h.source != nil {
		return h.source.Map(size)
	}
	return mapAnonymous(size, opt)
}

func (h *Host) reserve(p Purpose, size int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if used := h.usage.Total(); h.budget > 0 && used+size > h.budget {
		return fmt.Errorf("allocate %s arena of %d bytes: %w: %d of %d bytes are in use", p, size, ErrBudget, used, h.budget)
	}
	h.usage[p] += size
	return nil
}

func (h *Host) release(p Purpose, size int64, a *Arena) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.usage[p] -= size
	delete(h.live, a)
}
