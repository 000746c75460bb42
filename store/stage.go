package store

import (
	"context"
	"fmt"
	"maps"
)

// Stage is payload of blocks that are not complete yet: a prompt that is read
// layer by layer has one layer of all blocks long before it has all of one.
type Stage struct {
	After int // messages that the session has, as in a [Turn]
	// Tokens follow the session's: blocks may be of tokens that no message has yet.
	Tokens []int32
	First  int // number of Blocks[0]; at least the blocks that the session has
	// Blocks are parts to add to each block. Those that are staged already are not
	// asked for again.
	Blocks []Payload
	Tail   Payload // replaces the one before: how far it is, hidden states
}

// Stage adds parts to blocks that the session does not have yet, as durably as
// Commit. A [Turn] that brings such a block names all its parts, and only those
// that were not staged are written. All that was staged goes when a turn or a
// stage comes whose tokens are others, and what a turn does not bring goes with
// it. Forks and exports leave staged blocks out.
func (u User) Stage(ctx context.Context, id string, st Stage) (Session, error) {
	c := &commit{u: u, s: u.s, turn: Turn{After: st.After, Tail: st.Tail}, staging: true, first: st.First, ahead: st.Tokens}
	for _, p := range st.Blocks {
		c.turn.Blocks = append(c.turn.Blocks, Block{Parts: p})
	}
	r, err := c.start(ctx, id)
	if err != nil {
		return Session{}, fmt.Errorf("stage blocks of session %s: %w", id, err)
	}
	return r.Session, nil
}

// stagedIdx is where a session refers to a staged block: below its tail. It is
// its own inverse.
func stagedIdx(number int) int { return tailIdx - 1 - number }

// staged is what a session has of a block that is not complete.
type staged struct {
	block int64         // row; 0: nothing
	parts map[int]int64 // sizes by part
}

func (s staged) size() int64 {
	var n int64
	for _, size := range s.parts {
		n += size
	}
	return n
}

// missing is the parts of a payload that are not staged. Parts that are must
// have the sizes that they were staged with.
func (s staged) missing(p Payload) (Payload, error) {
	var missing Payload
	for _, part := range p {
		size, ok := s.parts[part.ID]
		if !ok {
			missing = append(missing, part)
			continue
		}
		if size != part.Size {
			return nil, fmt.Errorf("%w: part %d of %d bytes, %d were staged", ErrInvalid, part.ID, part.Size, size)
		}
	}
	return missing, nil
}

// stagedBlock reads what a session has staged of a block.
func stagedBlock(t txn, session int64, number int) (staged, error) {
	s := staged{parts: map[int]int64{}}
	err := queryAll(t, func(from scanner) error {
		var part int
		var size int64
		err := from.Scan(&s.block, &part, &size)
		s.parts[part] = size
		return err
	}, "SELECT extents.block, part, sum(len) FROM refs JOIN extents ON extents.block = refs.block WHERE session = ? AND idx = ? GROUP BY extents.block, part", session, stagedIdx(number))
	if err != nil {
		return s, fmt.Errorf("read staged block %d: %w", number, err)
	}
	return s, nil
}

// unchanged fails when a block was staged or dropped since it was looked up.
func (c *commit) unchanged(t txn, r row, number int, b *commitBlock) error {
	now, err := stagedBlock(t, r.id, number)
	if err == nil && (now.block != b.staged.block || !maps.Equal(now.parts, b.staged.parts)) {
		err = fmt.Errorf("%w: block %d was staged otherwise meanwhile", ErrConflict, number)
	}
	return err
}

// stageRow adds what was written to a staged block, or begins one.
func (c *commit) stageRow(t txn, r *row, number int, b *commitBlock) error {
	if err := c.unchanged(t, *r, number, b); err != nil {
		return err
	}
	added := b.Parts.size() - b.overlap()
	if b.staged.block == 0 {
		id, err := c.insertBlock(t, b.chain[:], ExactPrefill, false, added, b.parts)
		if err != nil {
			return err
		}
		return refer(t, r, stagedIdx(number), id, added)
	}
	if _, err := execute(t, "UPDATE blocks SET bytes = bytes + ? WHERE id = ?", added, b.staged.block); err != nil {
		return fmt.Errorf("update staged block: %w", err)
	}
	r.Bytes += added
	return insertExtents(t, b.staged.block, b.parts)
}

// completeRow makes a staged block one of the session's.
func (c *commit) completeRow(t txn, r *row, b *commitBlock) error {
	size := b.Parts.size()
	if b.overlap() != b.staged.size() {
		return fmt.Errorf("%w: block %d lacks parts that were staged", ErrInvalid, r.Blocks)
	}
	_, err := execute(t, "UPDATE blocks SET provenance = ?, shared = ?, bytes = ? WHERE id = ?", b.Provenance, b.shared, size, b.staged.block)
	if err != nil {
		return fmt.Errorf("complete block: %w", err)
	}
	if err := insertExtents(t, b.staged.block, b.parts); err != nil {
		return err
	}
	if _, err := execute(t, "UPDATE refs SET idx = ? WHERE session = ? AND idx = ?", r.Blocks, r.id, stagedIdx(r.Blocks)); err != nil {
		return fmt.Errorf("complete block: %w", err)
	}
	r.Blocks++
	r.Bytes += size - b.staged.size()
	return nil
}

// otherTokens says whether what a session has staged is not of the tokens that
// links, from block first on, are the chain of.
func otherTokens(t txn, session int64, first int, links []link) (bool, error) {
	other := false
	err := queryAll(t, func(from scanner) error {
		var idx int
		var chain []byte
		if err := from.Scan(&idx, &chain); err != nil {
			return err
		}
		i := stagedIdx(idx) - first
		other = other || i < 0 || i >= len(links) || string(chain) != string(links[i][:])
		return nil
	}, "SELECT idx, chain FROM refs JOIN blocks ON blocks.id = refs.block WHERE session = ? AND idx < ?", session, tailIdx)
	if err != nil {
		return false, fmt.Errorf("read staged blocks: %w", err)
	}
	return other, nil
}

// dropAllStaged ends the session's claim on everything that is staged.
func dropAllStaged(t txn, r *row) error { return dropRefs(t, r, "idx < ?", tailIdx) }

// dropStaged ends the session's claim on a staged block that it has otherwise.
func dropStaged(t txn, r *row, s staged) error {
	if s.block == 0 {
		return nil
	}
	return dropRefs(t, r, "idx = ?", stagedIdx(r.Blocks))
}
