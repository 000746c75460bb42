package offload

import "fmt"

// A snapshot is what a sequence needs to go on in another pool of the same
// [Pool.Format]: payloads for its whole blocks of [BlockTok] tokens, which do
// not change any more, and one for what follows them. Payloads are cut into
// parts, one for every layer that keeps something there.
//
//	block: records and index of Stored layers, pages of Exact ones
//	tail: the state; records behind the last whole block, with their index;
//	  exact tokens; what Window layers still show
//
// The records of working sets are not part of it: they are copies, and their
// pages' numbers are in the state.

// StatePart is the tail's first part, see [Pool.BeginRestore]; layer i is part
// i+1 of blocks and tail.
const StatePart = 0

// Part is a piece of a snapshot.
type Part struct {
	ID   int
	Data []Piece // one after the other; never empty
}

// Size is the part's bytes.
func (p Part) Size() int64 {
	var n int64
	for _, b := range p.Data {
		n += int64(len(b.mem))
	}
	return n
}

// Blocks is the number of whole blocks: all layers keep their tokens as they
// will stay. It is 0 where all layers have windows.
func (s *Seq) Blocks() int { return s.pool.blocks(s.nTok, s.stored) }

func (p *Pool) blocks(nTok, stored int) int {
	switch {
	case p.group > 0:
		return stored / BlockTok
	case p.tableLen == 0:
		return 0
	}
	return nTok / BlockTok
}

// SnapshotBlock is the payload of a whole block, in place: any goroutine may
// read it for as long as this sequence, a fork or a [Hold] has the block.
func (s *Seq) SnapshotBlock(i int) ([]Part, error) {
	if i < 0 || i >= s.Blocks() {
		return nil, fmt.Errorf("snapshot block %d: the sequence has %d whole blocks", i, s.Blocks())
	}
	return s.pool.blockParts(s.tables, i), nil
}

// blockParts is a whole block's payload, given the tables of its sequence.
func (p *Pool) blockParts(tables [][]uint32, block int) []Part {
	var parts []Part
	for l := range p.layers {
		parts = p.addPart(parts, l+1, p.layers[l].blockRuns(tables[l], block))
	}
	return parts
}

// SnapshotTail is the payload of all that is not in whole blocks. It is in
// place for the most part, and good until the sequence or its sets change.
func (s *Seq) SnapshotTail() ([]Part, error) {
	st, err := s.state()
	if err != nil {
		return nil, fmt.Errorf("snapshot tail: %w", err)
	}
	return s.tailParts(st.encode(s.pool)), nil
}

func (s *Seq) tailParts(state []byte) []Part {
	parts := []Part{{ID: StatePart, Data: []Piece{InMemory(state)}}}
	for l := range s.pool.layers {
		parts = s.pool.addPart(parts, l+1, s.tailRuns(l))
	}
	return parts
}

// addPart leaves out layers that have nothing to say.
func (p *Pool) addPart(parts []Part, id int, runs []run) []Part {
	if len(runs) == 0 {
		return parts
	}
	x := Part{ID: id}
	for _, r := range runs {
		x.Data = append(x.Data, Piece{r, p})
	}
	return append(parts, x)
}
