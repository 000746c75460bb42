package offload

import "slices"

// Hold is a claim on what a sequence had when it was made: its memory stays as it
// is, whatever becomes of the sequence. Making one copies no more than the exact
// tails of layers that keep records or windows; units are shared, as between forks.
//
// The pool's owner makes and releases it; in between, any goroutine may read it. A
// pool must not be closed before.
type Hold struct {
	seq   *Seq // as it was, with tables and tails of its own; nil after Release
	state []byte
}

// Hold claims what the sequence has.
func (s *Seq) Hold() *Hold {
	as := *s
	as.used, as.tables, as.rings = slices.Clone(s.used), make([][]uint32, len(s.tables)), make([][]byte, len(s.tables))
	for i := range s.pool.layers {
		l := &s.pool.layers[i]
		if l.unit > 0 {
			as.tables[i] = slices.Clone(s.tables[i][:s.used[i]])
			for _, id := range as.tables[i] {
				l.refs[id]++
			}
		}
		if l.Class != Exact {
			as.rings[i] = slices.Clone(l.tailOf(s.slot))
		}
	}
	return &Hold{seq: &as, state: s.state().encode(s.pool)}
}

// Blocks is the number of whole blocks.
func (h *Hold) Blocks() int { return h.seq.Blocks() }

// Block is [Seq.SnapshotBlock].
func (h *Hold) Block(i int) []Part { return h.seq.pool.blockParts(h.seq.tables, i) }

// Tail is [Seq.SnapshotTail].
func (h *Hold) Tail() []Part { return h.seq.tailParts(h.state) }

// Release ends the claim. A second Release does nothing.
func (h *Hold) Release() {
	if h.seq == nil {
		return
	}
	for i, table := range h.seq.tables {
		for _, id := range table {
			h.seq.pool.layers[i].drop(id)
		}
	}
	h.seq = nil
}
