// Package offload owns the KV cache: which pages exist, which sequence holds
// them, and where each layer's keys and values lie. It knows bytes, not
// kernels: backends read and write pages through the layouts it declares.
//
// # Ownership
//
// A [Pool] owns every page and every page table; all memory is taken from
// pinnedmem at creation and none later. A [Seq] is one sequence's claim on
// pages. Pages are reference-counted: [Seq.Fork] shares them, and the first
// write to a shared page copies it.
//
// # Goroutine-safety
//
// None. A pool and its sequences belong to the engine's owner goroutine.
//
// # Failure modes
//
// [ErrNoPages] and [ErrNoSlots] say that the pool is exhausted; the caller may
// free a sequence and try again. Nothing is evicted unasked.
package offload

import (
	"errors"
	"fmt"
	"unsafe"

	"edged/pinnedmem"
)

// ErrNoPages is wrapped when a sequence cannot grow because every page is taken.
var ErrNoPages = errors.New("KV cache has no free page")

// ErrNoSlots is wrapped when the pool already holds its most sequences.
var ErrNoSlots = errors.New("KV cache has no free sequence slot")

// ErrContext is wrapped when a sequence would grow beyond the pool's context.
var ErrContext = errors.New("sequence exceeds the context")

// Config fixes a pool's size for its whole life.
type Config struct {
	Layers  []LayerSpec
	Elem    Elem
	Context int // tokens that one sequence may hold
	Tokens  int // tokens that all sequences together may hold, page-rounded
	MaxSeqs int // sequences that may exist at once
	Lock    bool
}

// Bytes is what a pool of this size takes from its account.
func (c Config) Bytes() (int64, error) {
	total := pinnedmem.ArenaBytes(c.tableBytes())
	for i, spec := range c.Layers {
		l, err := NewLayout(spec, c.Elem)
		if err != nil {
			return 0, fmt.Errorf("layer %d: %w", i, err)
		}
		total += pinnedmem.ArenaBytes(c.layerBytes(l))
	}
	return total, nil
}

// nPage is the pages of each layer. One spare page per sequence lets every
// sequence end in a partial page.
func (c Config) nPage() int { return pagesFor(c.Tokens) + c.MaxSeqs }

func (c Config) layerBytes(l Layout) int64 { return int64(c.nPage()) * int64(l.PageBytes) }

func (c Config) tableBytes() int64 {
	return int64(c.MaxSeqs) * int64(len(c.Layers)) * int64(pagesFor(c.Context)) * 4
}

// Pool is the page allocator of one loaded model.
type Pool struct {
	cfg      Config
	layouts  []Layout
	pages    []*pinnedmem.Arena // [layer]: nPage pages back to back
	tables   *pinnedmem.Arena   // [MaxSeqs, layers, seqPages] uint32
	nPage    int                // pages per layer
	seqPages int                // table entries per sequence and layer
	free     [][]uint32         // [layer] stack of free page ids
	refs     [][]int32          // [layer][page] number of sequences that hold it
	slots    []bool             // [MaxSeqs] taken
}

// NewPool allocates all pages and tables.
func NewPool(host *pinnedmem.Host, cfg Config) (*Pool, error) {
	if cfg.Context <= 0 || cfg.Tokens < cfg.Context || cfg.MaxSeqs <= 0 || len(cfg.Layers) == 0 {
		return nil, fmt.Errorf("create KV pool: context %d, tokens %d, sequences %d, layers %d is not a valid size", cfg.Context, cfg.Tokens, cfg.MaxSeqs, len(cfg.Layers))
	}
	p := &Pool{cfg: cfg, nPage: cfg.nPage(), seqPages: pagesFor(cfg.Context), slots: make([]bool, cfg.MaxSeqs)}
	if err := p.allocate(host); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Pool) allocate(host *pinnedmem.Host) error {
	opt := pinnedmem.Options{Lock: p.cfg.Lock, Huge: true}
	for i, spec := range p.cfg.Layers {
		l, err := NewLayout(spec, p.cfg.Elem)
		if err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
		a, err := host.Arena(pinnedmem.KVPages, p.cfg.layerBytes(l), opt)
		if err != nil {
			return fmt.Errorf("create KV pool of %d tokens: layer %d: %w", p.cfg.Tokens, i, err)
		}
		p.layouts = append(p.layouts, l)
		p.pages = append(p.pages, a)
		ids := make([]uint32, p.nPage)
		for j := range ids {
			ids[j] = uint32(p.nPage - 1 - j)
		}
		p.free = append(p.free, ids)
		p.refs = append(p.refs, make([]int32, p.nPage))
	}
	var err error
	p.tables, err = host.Arena(pinnedmem.PageTables, p.cfg.tableBytes(), pinnedmem.Options{})
	return err
}

// Close gives all memory back. Sequences of the pool are invalid from then on.
func (p *Pool) Close() error {
	var errs []error
	for _, a := range p.pages {
		errs = append(errs, a.Close())
	}
	if p.tables != nil {
		errs = append(errs, p.tables.Close())
	}
	return errors.Join(errs...)
}

// Layout describes the pages of a layer.
func (p *Pool) Layout(layer int) Layout { return p.layouts[layer] }

// Layers is the number of layers.
func (p *Pool) Layers() int { return len(p.layouts) }

// Context is the number of tokens that one sequence may hold.
func (p *Pool) Context() int { return p.cfg.Context }

// FreeTok is the number of tokens that can still be appended, all sequences
// together, when no shared page has to be copied.
func (p *Pool) FreeTok() int { return len(p.free[0]) * PageTok }

// Page is the memory of one page of a layer.
func (p *Pool) Page(layer int, id uint32) []byte {
	n := p.layouts[layer].PageBytes
	return p.pages[layer].Bytes()[int(id)*n : (int(id)+1)*n]
}

// Base is the address of a layer's page 0; page i begins i*PageBytes further
// on. It stays valid until Close.
func (p *Pool) Base(layer int) unsafe.Pointer {
	return unsafe.Pointer(unsafe.SliceData(p.pages[layer].Bytes()))
}

func (p *Pool) take(layer int) uint32 {
	f := p.free[layer]
	id := f[len(f)-1]
	p.free[layer] = f[:len(f)-1]
	p.refs[layer][id] = 1
	return id
}

func (p *Pool) drop(layer int, id uint32) {
	p.refs[layer][id]--
	if p.refs[layer][id] == 0 {
		p.free[layer] = append(p.free[layer], id)
	}
}

func pagesFor(nTok int) int { return (nTok + PageTok - 1) / PageTok }
