package store

import (
	"context"
	"errors"
	"fmt"
	"math/bits"

	"edged/store/chunk"
)

const (
	// smallChunk is what reading as a stream suffers from.
	smallChunk = chunk.MaxBytes / 4
	// fewSmall is the small chunks of a session and size that are left alone.
	fewSmall = 8
	// sizeBits makes sizes similar that differ by less than 8 times, as
	// fewSmall+1 chunks together do.
	sizeBits = 3
	// batchBytes bounds what is moved before its rows are committed and the old
	// files go, and so what compaction takes on disk beside the budget.
	batchBytes = 4 * chunk.MaxBytes
)

// batch is chunks that are rewritten together.
type batch struct {
	refs    map[uint64]chunk.Ref
	extents []moving // in the order in which they are read
}

// moving is an extent on its way to another chunk.
type moving struct {
	block     int64 // row
	part, seq int
	ref       chunk.Ref // where it lies
	from      chunk.Extent
	to        placed
}

// compaction is one run of it.
type compaction struct {
	s    *Store
	done *Collected
	// unreadable chunks stay as they are, for Check to find.
	unreadable map[uint64]bool
}

// compact rewrites chunks of blocks that waste more than half of their bytes,
// and joins small chunks of a session, so that a conversation that grew by a
// block a turn is read like one that was written at once.
func (c *compaction) run(ctx context.Context) error {
	for _, choose := range []func(txn) ([]chunk.Ref, error){c.sparseChunks, c.smallChunks} {
		for {
			more, err := c.rewrite(ctx, choose)
			if err != nil {
				return err
			}
			if !more {
				break
			}
		}
	}
	return nil
}

// rewrite moves one batch; more is false when there was nothing to do.
func (c *compaction) rewrite(ctx context.Context, choose func(txn) ([]chunk.Ref, error)) (more bool, err error) {
	b := batch{refs: map[uint64]chunk.Ref{}}
	err = c.s.files.pinned(b.refs, func(t txn) error {
		chosen, err := choose(t)
		if err != nil {
			return err
		}
		for _, ref := range chosen {
			b.refs[ref.Number] = ref
			if err := b.load(t, ref); err != nil {
				return err
			}
		}
		return nil
	}, nil)
	if err != nil || len(b.refs) == 0 {
		return false, err
	}
	err = errors.Join(c.move(ctx, &b), c.s.files.unpin(b.refs))
	return err == nil, err
}

// sparseChunks are chunks with more dead bytes than live ones.
func (c *compaction) sparseChunks(t txn) (chosen []chunk.Ref, err error) {
	var total int64
	err = queryAll(t, func(from scanner) error {
		ref, err := scanChunk(from)
		if total+ref.Bytes <= batchBytes && !c.unreadable[ref.Number] {
			total += ref.Bytes
			chosen = append(chosen, ref)
		}
		return err
	}, "SELECT id, sum, bytes FROM chunks WHERE tail = 0 AND live > 0 AND live * 2 < used")
	return chosen, err
}

// smallChunks are chunks of one session and of similar size, when there are
// more than a few. Together they make one of the next size, so that each byte
// moves once a size, however many turns there are.
func (c *compaction) smallChunks(t txn) (chosen []chunk.Ref, err error) {
	var groups [64]sized // by size
	var session int64
	choose := func() {
		for _, g := range groups {
			if chosen == nil && len(g.refs) > fewSmall {
				chosen = g.refs
			}
		}
		groups = [64]sized{}
	}
	err = queryAll(t, func(from scanner) error {
		var of, number, sum, bytes, first int64
		if err := from.Scan(&of, &number, &sum, &bytes, &first); err != nil {
			return err
		}
		if of != session {
			choose()
			session = of
		}
		g := &groups[bits.Len64(uint64(bytes))/sizeBits]
		if !c.unreadable[uint64(number)] && g.bytes+bytes <= batchBytes {
			g.bytes += bytes
			g.refs = append(g.refs, chunk.Ref{Number: uint64(number), Sum: uint64(sum), Bytes: bytes})
		}
		return nil
	}, `SELECT session, chunks.id, chunks.sum, chunks.bytes, min(idx) FROM chunks
		JOIN extents ON extents.chunk = chunks.id JOIN refs ON refs.block = extents.block
		WHERE chunks.tail = 0 AND chunks.bytes < ? GROUP BY session, chunks.id ORDER BY session, min(idx)`, smallChunk)
	choose()
	return chosen, err
}

// sized is small chunks of similar size, in the order in which they are read.
type sized struct {
	refs  []chunk.Ref
	bytes int64
}

// load adds a chunk's live extents to the batch.
func (b *batch) load(t txn, ref chunk.Ref) error {
	return queryAll(t, func(from scanner) error {
		m := moving{ref: ref}
		var sum int64
		err := from.Scan(&m.block, &m.part, &m.seq, &m.from.Off, &m.from.Len, &m.from.Disk, &sum)
		m.from.Sum = uint64(sum)
		b.extents = append(b.extents, m)
		return err
	}, "SELECT block, part, seq, off, len, disk, sum FROM extents WHERE chunk = ? ORDER BY off", int64(ref.Number))
}

// move writes a batch's extents to new chunks and then changes their rows.
func (c *compaction) move(ctx context.Context, b *batch) (err error) {
	p := c.s.newPacker(ctx)
	o := abandoned
	defer func() { err = errors.Join(err, p.settle(o)) }()
	if err := c.copyExtents(p, b); err != nil {
		return err
	}
	refs, err := p.finish()
	if err != nil {
		return err
	}
	err = c.s.change(func(t txn) error {
		for _, ref := range refs {
			if err := insertChunk(t, ref, false); err != nil {
				return err
			}
		}
		for _, m := range b.extents {
			if m.to.chunk == 0 { // could not be read
				continue
			}
			// No row matches when the block has been deleted meanwhile.
			_, err := execute(t, "UPDATE extents SET chunk = ?, off = ?, disk = ?, sum = ? WHERE block = ? AND part = ? AND seq = ? AND chunk = ?",
				int64(m.to.chunk), m.to.Off, m.to.Disk, int64(m.to.Sum), m.block, m.part, m.seq, int64(m.ref.Number))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, errUnsure) {
		o = unsure
	}
	if err != nil {
		return err
	}
	o = stored
	for _, ref := range b.refs {
		if c.unreadable[ref.Number] {
			continue
		}
		c.done.Rewritten++
		c.done.Freed += ref.Bytes
	}
	for _, ref := range refs {
		c.done.Written += ref.Bytes
	}
	return nil
}

func (c *compaction) copyExtents(p *packer, b *batch) error {
	buf := make([]byte, 2*chunk.MaxExtent)
	for i := range b.extents {
		m := &b.extents[i]
		if err := context.Cause(p.ctx); err != nil {
			return err
		}
		payloads, err := c.s.readExtents(m.ref, []chunk.Extent{m.from}, buf)
		if err != nil && damaged(err) {
			c.unreadable[m.ref.Number] = true
			continue
		}
		if err != nil {
			return fmt.Errorf("rewrite chunk: %w", err)
		}
		if m.to, err = p.whole(payloads[0]); err != nil {
			return fmt.Errorf("rewrite chunk: %w", err)
		}
	}
	return nil
}
