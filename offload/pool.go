// Package offload owns the KV cache: how each layer's tokens are kept, which
// pages and blocks exist, which sequence holds them, and where everything
// lies. It knows bytes, not kernels: backends read and write memory through
// the layouts it declares.
//
// A layer's [LayerPlan] says its class. Exact layers take pages of [PageTok]
// tokens. The others keep the newest tokens exact in a tail that belongs to the
// sequence's slot; where records are kept, tokens that leave the tail go to a
// block of [BlockTok] tokens, in the fast tier or, for cold classes, in the
// host tier, with an index in the fast one.
//
// [MakePlan] chooses the layers' plans for a policy within the bytes of both
// tiers, and says exactly what the pool will take.
//
// [Seq.SnapshotBlock] and [Seq.SnapshotTail] give what has to be stored for a
// sequence to go on in another process, and [Pool.BeginRestore] takes it back.
//
// # Ownership
//
// A [Pool] owns every page, block and table; all memory is taken from
// pinnedmem at creation and none later. A [Seq] is one sequence's claim on
// them. Pages and blocks are reference-counted: [Seq.Fork] shares them, and the
// first write to a shared one copies it.
//
// # Goroutine-safety
//
// None. A pool and its sequences belong to the engine's owner goroutine. Only the
// memory of whole blocks may be read by others, while a sequence holds them.
//
// # Failure modes
//
// [ErrNoPages] and [ErrNoSlots] say that the pool is exhausted; the caller may
// free a sequence and try again. Nothing is evicted unasked. A sequence cannot
// be cut anywhere once tokens have left its tail: [Seq.Keepable] says where.
// A snapshot that is damaged, incomplete or of another format is refused with
// [ErrSnapshot].
package offload

import (
	"errors"
	"fmt"

	"edged/pinnedmem"
)

// ErrNoPages is wrapped when a sequence cannot grow because every page is taken.
var ErrNoPages = errors.New("KV cache has no free page")

// ErrNoSlots is wrapped when the pool already holds its most sequences.
var ErrNoSlots = errors.New("KV cache has no free sequence slot")

// ErrContext is wrapped when a sequence would grow beyond the pool's context.
var ErrContext = errors.New("sequence exceeds the context")

// Tiers are the accounts that pay for a pool: a device's memory, and the host
// memory that the device can reach. Without a device, Fast is an account of
// host memory with a budget of its own, or Host itself.
type Tiers struct {
	Fast, Host *pinnedmem.Host
	Mover      Mover // of the fast tier; nil: the processor copies
}

// One is both tiers in one account.
func One(h *pinnedmem.Host) Tiers { return Tiers{Fast: h, Host: h} }

// Config fixes a pool's size for its whole life.
type Config struct {
	Layers  []LayerPlan
	Context int // tokens that one sequence may hold
	Tokens  int // tokens that all sequences together may hold, rounded up to units
	MaxSeqs int // sequences that may exist at once
	// Decoding is the sequences that may decode at once, each with working sets
	// of its own; 0: all.
	Decoding int
	Lock     bool
}

// decoding is Decoding with its default.
func (c Config) decoding() int {
	if c.Decoding == 0 {
		return c.MaxSeqs
	}
	return c.Decoding
}

// layerMajor says whether prompts are read layer by layer: as soon as one
// layer does not keep every token's exact K and V.
func (c Config) layerMajor() bool {
	for _, l := range c.Layers {
		if l.Class != Exact {
			return true
		}
	}
	return false
}

// check refuses sizes and plans that no pool can have.
func (c Config) check() error {
	if c.Context <= 0 || c.Tokens < c.Context || c.MaxSeqs <= 0 || c.Decoding < 0 || c.Decoding > c.MaxSeqs || len(c.Layers) == 0 {
		return fmt.Errorf("create KV pool: context %d, tokens %d, sequences %d, decoding %d, layers %d is not a valid size", c.Context, c.Tokens, c.MaxSeqs, c.Decoding, len(c.Layers))
	}
	var first *LayerPlan
	for i := range c.Layers {
		l := &c.Layers[i]
		if err := l.Check(); err != nil {
			return fmt.Errorf("create KV pool: layer %d: %w", i, err)
		}
		if !l.Class.Stored() {
			continue
		}
		if first == nil {
			first = l
		}
		if l.granule() != first.granule() || l.Tail != first.Tail {
			return fmt.Errorf("create KV pool: layer %d: %w: groups of %d tokens behind a tail of %d, other layers have %d and %d",
				i, ErrPlan, l.granule(), l.Tail, first.granule(), first.Tail)
		}
	}
	return nil
}

// Pool is the page allocator of one loaded model.
type Pool struct {
	cfg    Config
	layers []layer
	slots  []bool // [MaxSeqs] taken
	memory arenas
	mover  Mover
	sets   sets

	tableMem []byte // [MaxSeqs][layers][seqUnits] uint32 unit ids
	tableLen int    // entries of one sequence
	work     []byte // [MaxSeqs] see workBytes
	stage    stage

	traffic Traffic

	group int // tokens that leave the tail together, the same in all layers that keep records; 0 if none does
	tail  int // most committed tokens beside records
}

// NewPool allocates everything that sequences will ever need.
func NewPool(t Tiers, cfg Config) (*Pool, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	p := &Pool{cfg: cfg, slots: make([]bool, cfg.MaxSeqs), sets: newSets(cfg.decoding()), mover: t.Mover}
	if err := p.allocate(t); err != nil {
		return nil, errors.Join(fmt.Errorf("create KV pool of %d tokens: %w", cfg.Tokens, err), p.Close())
	}
	return p, nil
}

func (p *Pool) allocate(t Tiers) error {
	for i, plan := range p.cfg.Layers {
		if plan.Class.Stored() {
			p.group, p.tail = plan.granule(), plan.exactTok()
		}
		l, err := newLayer(p.cfg, plan)
		if err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
		p.layers = append(p.layers, l)
	}
	for _, r := range p.regions() {
		if err := r.open(t, p.cfg.Lock, &p.memory); err != nil {
			return err
		}
	}
	for i := range p.layers {
		l := &p.layers[i]
		p.tableLen += l.seqUnits
		l.fill()
	}
	return p.emptySets()
}

// Close gives all memory back. Sequences of the pool are invalid from then on.
func (p *Pool) Close() error { return p.memory.close() }

// Plan says how a layer is kept.
func (p *Pool) Plan(layer int) LayerPlan { return p.cfg.Layers[layer] }

// Layers is the number of layers.
func (p *Pool) Layers() int { return len(p.layers) }

// Context is the number of tokens that one sequence may hold.
func (p *Pool) Context() int { return p.cfg.Context }

// LayerMajor says whether prompts have to be read layer by layer, with
// [Seq.BeginPrefill].
func (p *Pool) LayerMajor() bool { return p.cfg.layerMajor() }

// UnitTok is the tokens for which a sequence takes memory at once, at most.
func (p *Pool) UnitTok() int {
	most := 1
	for i := range p.layers {
		most = max(most, p.layers[i].unit)
	}
	return most
}

// FreeTok is the number of tokens that can still be appended, all sequences
// together, when nothing shared has to be copied.
func (p *Pool) FreeTok() int {
	least := p.cfg.Tokens
	for i := range p.layers {
		if l := &p.layers[i]; l.unit > 0 {
			least = min(least, len(l.free)*l.unit)
		}
	}
	return least
}

// Page is the memory of one page of an Exact layer.
func (p *Pool) Page(layer int, id uint32) []byte { return p.layers[layer].unitOf(id) }

func pagesFor(nTok int) int { return unitsFor(nTok, PageTok) }

func unitsFor(nTok, unit int) int { return (nTok + unit - 1) / unit }
