package offload

import (
	"errors"
	"fmt"
)

// ErrHeld is wrapped when a sequence would change that a [Hold] needs as it is.
var ErrHeld = errors.New("sequence is held")

// Hold is a claim on a sequence as it is: until Release, nothing changes it, and
// freeing it waits. It can be forked. Nothing is copied but the state, so that
// making a Hold takes no longer where the sequence is long.
//
// The pool's owner makes and releases it; in between, any goroutine may read it. A
// pool must not be closed before.
type Hold struct {
	seq   *Seq // nil after Release
	state []byte
}

// Hold claims what the sequence has.
func (s *Seq) Hold() (*Hold, error) {
	st, err := s.state()
	if err != nil {
		return nil, fmt.Errorf("hold sequence: %w", err)
	}
	s.holds++
	return &Hold{seq: s, state: st.encode(s.pool)}, nil
}

// Held says whether the sequence cannot be changed now.
func (s *Seq) Held() bool { return s.holds > 0 }

// Blocks is the number of whole blocks.
func (h *Hold) Blocks() int { return h.seq.Blocks() }

// Block is [Seq.SnapshotBlock].
func (h *Hold) Block(i int) []Part { return h.seq.pool.blockParts(h.seq.tables, i) }

// Tail is [Seq.SnapshotTail].
func (h *Hold) Tail() []Part { return h.seq.tailParts(h.state) }

// Release ends the claim. A second Release does nothing.
func (h *Hold) Release() {
	s := h.seq
	if s == nil {
		return
	}
	h.seq = nil
	if s.holds--; s.holds == 0 && s.freed {
		s.free()
	}
}

// changeable refuses changes of a sequence that is held.
func (s *Seq) changeable() error {
	if s.holds > 0 {
		return fmt.Errorf("%w: %d tokens are read by others", ErrHeld, s.nTok)
	}
	return nil
}

// HeldBlocks is a claim on some whole blocks of a sequence that goes on. It is
// made, read and released as a [Hold] is.
type HeldBlocks struct {
	pool        *Pool
	first, next int
	tables      [][]uint32 // [layers] as the sequence's, from block first on; nil after Release
}

// HoldBlocks claims the whole blocks from a number on.
func (s *Seq) HoldBlocks(first int) *HeldBlocks {
	h := &HeldBlocks{pool: s.pool, first: first, next: max(first, s.Blocks()), tables: make([][]uint32, len(s.tables))}
	for i := range s.pool.layers {
		l := &s.pool.layers[i]
		if l.unit == 0 {
			continue
		}
		h.tables[i] = append([]uint32(nil), s.tables[i][h.first*BlockTok/l.unit:h.next*BlockTok/l.unit]...)
		for _, id := range h.tables[i] {
			l.refs[id]++
		}
	}
	return h
}

// Next is the number of the block behind those that are held.
func (h *HeldBlocks) Next() int { return h.next }

// Block is [Seq.SnapshotBlock]; i counts from the sequence's first block.
func (h *HeldBlocks) Block(i int) []Part { return h.pool.blockParts(h.tables, i-h.first) }

// Release ends the claim. A second Release does nothing.
func (h *HeldBlocks) Release() {
	for i, table := range h.tables {
		for _, id := range table {
			h.pool.layers[i].drop(id)
		}
	}
	h.tables = nil
}
