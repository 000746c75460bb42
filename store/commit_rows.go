package store

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"edged/store/chunk"
)

// rows adds the turn to the database.
func (c *commit) rows(t txn) (row, error) {
	r, err := c.row(t)
	if err != nil {
		return row{}, err
	}
	if err := c.s.dropTokens(t, &r, c.turn.Drop); err != nil {
		return row{}, err
	}
	if err := c.s.appendMessages(t, &r, c.turn.Messages); err != nil {
		return row{}, err
	}
	if c.stale {
		if err := dropAllStaged(t, &r); err != nil {
			return row{}, err
		}
	}
	for _, ref := range c.chunks {
		if err := insertChunk(t, ref, false); err != nil {
			return row{}, err
		}
	}
	for _, ref := range c.tails {
		if err := insertChunk(t, ref, true); err != nil {
			return row{}, err
		}
	}
	for i := range c.blocks {
		err := error(nil)
		if c.staging {
			err = c.stageRow(t, &r, c.first+i, &c.blocks[i])
		} else {
			err = c.blockRow(t, &r, &c.blocks[i])
		}
		if err != nil {
			return row{}, err
		}
	}
	if !c.staging {
		if err := dropAllStaged(t, &r); err != nil {
			return row{}, err
		}
	}
	if err := c.tailRow(t, &r); err != nil {
		return row{}, err
	}
	r.Updated = time.Now().Round(0)
	r.Used = r.Updated
	return r, c.s.save(t, r)
}

// row is the session's, which must be as it was when the turn began.
func (c *commit) row(t txn) (row, error) {
	if c.own {
		r := c.before
		err := c.u.insert(t, &r)
		return r, err
	}
	r, err := c.u.find(t, c.before.ID)
	if err != nil {
		return row{}, err
	}
	if r.Messages != c.before.Messages || r.Blocks != c.before.Blocks || r.pure != c.before.pure || !r.Key.Equal(c.before.Key) {
		return row{}, fmt.Errorf("%w: another turn or edit came first", ErrConflict)
	}
	return r, nil
}

// blockRow adds the session's next block: another's, or the one that was written.
func (c *commit) blockRow(t txn, r *row, b *commitBlock) error {
	if err := c.unchanged(t, *r, r.Blocks, b); err != nil {
		return err
	}
	if b.shared {
		id, err := c.sharedBlock(t, b)
		if err == nil {
			if err := dropStaged(t, r, b.staged); err != nil {
				return err
			}
			return refer(t, r, r.Blocks, id, b.Parts.size())
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
	}
	if !b.done {
		b.found = false
		return errVanished
	}
	r.pure = r.pure && b.shared
	if b.staged.block != 0 {
		return c.completeRow(t, r, b)
	}
	id, err := c.insertBlock(t, b.chain[:], b.Provenance, b.shared, b.Parts.size(), b.parts)
	if err != nil {
		return err
	}
	return refer(t, r, r.Blocks, id, b.Parts.size())
}

// tailIdx is where a session refers to its tail.
const tailIdx = -1

// tailRow replaces the session's tail.
func (c *commit) tailRow(t txn, r *row) error {
	if err := dropTail(t, r); err != nil {
		return err
	}
	if c.tail == nil {
		return nil
	}
	id, err := c.insertBlock(t, []byte{}, Decoded, false, c.turn.Tail.size(), c.tail)
	if err != nil {
		return err
	}
	return refer(t, r, tailIdx, id, c.turn.Tail.size())
}

// dropTail ends a session's claim on its tail.
func dropTail(t txn, r *row) error {
	if !r.Tail {
		return nil
	}
	var bytes int64
	err := queryRow(t, []any{&bytes}, "SELECT bytes FROM refs JOIN blocks ON blocks.id = refs.block WHERE session = ? AND idx = ?", r.id, tailIdx)
	if err != nil {
		return fmt.Errorf("read tail: %w", err)
	}
	if _, err := execute(t, "DELETE FROM refs WHERE session = ? AND idx = ?", r.id, tailIdx); err != nil {
		return fmt.Errorf("drop tail: %w", err)
	}
	r.Tail = false
	r.Bytes -= bytes
	return nil
}

// refer makes a block the session's.
func refer(t txn, r *row, idx int, block, bytes int64) error {
	if _, err := execute(t, "INSERT INTO refs (session, idx, block) VALUES (?, ?, ?)", r.id, idx, block); err != nil {
		return fmt.Errorf("refer to block: %w", err)
	}
	switch {
	case idx == tailIdx:
		r.Tail = true
	case idx >= 0:
		r.Blocks++
	}
	r.Bytes += bytes
	return nil
}

func insertChunk(t txn, f chunk.Finished, tail bool) error {
	_, err := execute(t, "INSERT INTO chunks (id, sum, bytes, tail, used) VALUES (?, ?, ?, ?, ?)", int64(f.Number), int64(f.Sum), f.Bytes, tail, f.Used)
	if err != nil {
		return fmt.Errorf("insert chunk: %w", err)
	}
	return nil
}

func (c *commit) insertBlock(t txn, chain []byte, p Provenance, shared bool, bytes int64, parts []commitPart) (id int64, err error) {
	res, err := execute(t, "INSERT INTO blocks (owner, chain, policy, calibration, provenance, shared, bytes) VALUES (?, ?, ?, ?, ?, ?, ?)",
		c.u.uid, chain, c.before.Key.Policy, c.before.Key.Calibration, p, shared, bytes)
	if err != nil {
		return 0, fmt.Errorf("insert block: %w", err)
	}
	if id, err = res.LastInsertId(); err != nil {
		return 0, err
	}
	return id, insertExtents(t, id, parts)
}

func insertExtents(t txn, id int64, parts []commitPart) error {
	for _, part := range parts {
		for seq, e := range part.extents {
			_, err := execute(t, "INSERT INTO extents (block, part, seq, chunk, off, len, disk, sum) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
				id, part.id, seq, int64(e.chunk), e.Off, e.Len, e.Disk, int64(e.Sum))
			if err != nil {
				return fmt.Errorf("insert extent: %w", err)
			}
		}
	}
	return nil
}
