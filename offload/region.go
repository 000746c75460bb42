package offload

import (
	"errors"
	"fmt"

	"edged/pinnedmem"
)

// Tier is where memory lies.
type Tier uint8

// The tiers: the device's own memory, and host memory that it can reach.
const (
	FastTier Tier = iota
	HostTier
)

// region is one arena of a pool: what it is for, how large, and where its
// address goes.
type region struct {
	tier    Tier
	purpose pinnedmem.Purpose
	bytes   int64
	to      *[]byte
}

func (r region) open(t Tiers, lock bool, all *arenas) error {
	host := t.Fast
	if r.tier == HostTier {
		host = t.Host
	}
	// Tables are read by the processor alone and too small for huge pages.
	tables := r.purpose == pinnedmem.PageTables
	a, err := host.Arena(r.purpose, r.bytes, pinnedmem.Options{Lock: lock && !tables, Huge: !tables})
	if err != nil {
		return err
	}
	all.open = append(all.open, a)
	*r.to = a.Bytes()[:r.bytes:r.bytes]
	return nil
}

// arenas are the open arenas of a pool.
type arenas struct{ open []*pinnedmem.Arena }

func (a *arenas) close() error {
	var errs []error
	for _, x := range a.open {
		errs = append(errs, x.Close())
	}
	return errors.Join(errs...)
}

// Bytes is what a pool takes from the accounts of its tiers.
type Bytes struct{ Fast, Host pinnedmem.Usage }

// Bytes is what a pool of this size takes.
func (c Config) Bytes() (Bytes, error) {
	var b Bytes
	if err := c.check(); err != nil {
		return b, err
	}
	p := &Pool{cfg: c}
	for i, plan := range c.Layers {
		l, err := newLayer(c, plan)
		if err != nil {
			return b, fmt.Errorf("layer %d: %w", i, err)
		}
		p.layers = append(p.layers, l)
	}
	for _, r := range p.regions() {
		u := &b.Fast
		if r.tier == HostTier {
			u = &b.Host
		}
		u[r.purpose] += pinnedmem.ArenaBytes(r.bytes)
	}
	return b, nil
}

// regions lists all memory of the pool. Its layers must exist.
func (p *Pool) regions() []region {
	var rs []region
	add := func(t Tier, purpose pinnedmem.Purpose, bytes int64, to *[]byte) {
		if bytes > 0 {
			rs = append(rs, region{t, purpose, bytes, to})
		}
	}
	seqs, decoding := int64(p.cfg.MaxSeqs), int64(p.cfg.decoding())
	var tables int64
	for i := range p.layers {
		l := &p.layers[i]
		heads, units := int64(l.KVHeads), int64(l.nUnit)
		tables += int64(l.seqUnits) * 4
		tier, purpose := FastTier, pinnedmem.KVPages
		if l.Class.Cold() {
			tier, purpose = HostTier, pinnedmem.KVCold
		}
		add(tier, purpose, units*int64(l.unitBytes), &l.units)
		if l.Class != Exact {
			add(FastTier, pinnedmem.KVTail, seqs*int64(l.tailBytes()), &l.tails)
		}
		switch l.Class {
		case Paged:
			add(FastTier, pinnedmem.KVIndex, units*heads*int64(l.index.Bytes), &l.idx)
			add(FastTier, pinnedmem.PageTables, decoding*heads*int64(l.chosenBytes()), &l.chosen)
			add(FastTier, pinnedmem.KVHot, decoding*heads*int64(l.Budget)*int64(l.record.Bytes), &l.sets)
		case Gathered:
			add(FastTier, pinnedmem.PageTables, seqs*heads*int64(l.chosenBytes()), &l.chosen)
			add(FastTier, pinnedmem.KVIndex, seqs*heads*int64(l.HeadDim)*4, &l.peaks)
		}
	}
	add(FastTier, pinnedmem.PageTables, seqs*tables, &p.tableMem)
	add(FastTier, pinnedmem.KVHot, seqs*p.workBytes(), &p.work)
	if p.cfg.layerMajor() {
		stage, pending := p.stageBytes()
		add(HostTier, pinnedmem.Prefill, stage, &p.stage.pages)
		add(HostTier, pinnedmem.Prefill, pending, &p.stage.pending)
	}
	return rs
}

// workBytes is the fast memory of one sequence in which a layer's gathered
// tokens and streamed channels lie. Layers use it one after the other.
func (p *Pool) workBytes() int64 {
	var most int64
	for i := range p.layers {
		if l := &p.layers[i]; l.Class == Gathered {
			gathered := int64(pagesFor(l.Budget)) * int64(l.pages.PageBytes)
			streamed := int64(l.KVHeads) * int64(l.Channels) * int64(p.cfg.Context+PageTok) * 2
			most = max(most, gathered+streamed)
		}
	}
	return most
}
