package store

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"edged/store/chunk"
)

// Snapshot is a session's payload as it was when the snapshot was taken: the
// files stay, whatever happens to the session. It must be closed. Its methods
// are for one goroutine.
type Snapshot struct {
	Session Session // zero for a prefix
	Blocks  []StoredBlock
	Tail    []StoredPart // nil: there is none
	// Staged is parts of blocks that are not complete, by block number.
	Staged map[int][]StoredPart

	s    *Store
	plan []extent             // of all blocks, in order, then of the tail
	refs map[uint64]chunk.Ref // that plan needs
}

// StoredBlock describes a block's payload.
type StoredBlock struct {
	Provenance Provenance
	Shared     bool // it may be any session's of the user: exact prefill, and no file's
	Parts      []StoredPart
}

// StoredPart describes a part of a payload.
type StoredPart struct {
	ID   int
	Size int64 // bytes
}

// extent is a stored extent and what it belongs to.
type extent struct {
	block int   // number in the snapshot; tailIdx
	id    int64 // of the block's row
	part  int
	at    int64 // payload bytes of the part before this
	ref   chunk.Ref
	chunk.Extent
}

func newSnapshot(s *Store) *Snapshot {
	return &Snapshot{s: s, Staged: map[int][]StoredPart{}, refs: map[uint64]chunk.Ref{}}
}

// Restore opens a session's payload for reading. It fails with a
// [MismatchError] when the payload was not made under key.
func (u User) Restore(id string, key Key) (*Snapshot, error) {
	snap := newSnapshot(u.s)
	err := u.s.files.pinned(snap.refs, func(t txn) error {
		r, err := u.find(t, id)
		if err != nil {
			return err
		}
		if fields := r.Key.differing(key); fields != nil {
			return &MismatchError{Session: id, Fields: fields}
		}
		snap.Session = r.Session
		return snap.load(t, r, true)
	}, nil)
	if err == nil {
		err = u.touch(id)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("restore session %s: %w", id, err), snap.Close())
	}
	return snap, nil
}

// touch notes that a session was used.
func (u User) touch(id string) error {
	return u.s.db.update(func(t txn) error {
		_, err := execute(t, "UPDATE sessions SET used = ? WHERE name_id = ? AND owner = ?", time.Now().UnixNano(), id, u.uid)
		return err
	})
}

// Prefix opens the longest run of the user's shared blocks that begin a
// sequence of tokens; it may be empty.
func (u User) Prefix(key Key, tokens []int32) (*Snapshot, error) {
	snap := newSnapshot(u.s)
	err := key.check()
	if err == nil {
		err = u.s.files.pinned(snap.refs, func(t txn) error { return u.loadPrefix(t, snap, key, tokens) }, nil)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("find prefix: %w", err), snap.Close())
	}
	return snap, nil
}

func (u User) loadPrefix(t txn, snap *Snapshot, key Key, tokens []int32) error {
	l := seed(u.s.seal.chainSecret(), key.Fingerprint)
	for ; len(tokens) >= BlockTok; tokens = tokens[BlockTok:] {
		l = l.next(tokens[:BlockTok])
		var id int64
		err := queryRow(t, []any{&id}, "SELECT id FROM blocks WHERE shared = 1 AND owner = ? AND chain = ? AND policy = ? AND calibration = ?",
			u.uid, l[:], key.Policy, key.Calibration)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := snap.loadBlock(t, len(snap.Blocks), id); err != nil {
			return err
		}
	}
	return nil
}

// Close lets go of the files.
func (snap *Snapshot) Close() error {
	err := snap.s.files.unpin(snap.refs)
	clear(snap.refs)
	return err
}

// load reads what a session refers to: blocks in order, staged ones if they are
// wanted, then the tail.
func (snap *Snapshot) load(t txn, of row, withStaged bool) error {
	type ref struct {
		idx int
		id  int64
	}
	var list []ref
	err := queryAll(t, func(from scanner) error {
		var r ref
		err := from.Scan(&r.idx, &r.id)
		list = append(list, r)
		return err
	}, "SELECT idx, block FROM refs WHERE session = ? AND (? OR idx >= -1) ORDER BY idx = -1, idx < 0, abs(idx)", of.id, withStaged)
	if err != nil {
		return err
	}
	for _, r := range list {
		if err := snap.loadBlock(t, r.idx, r.id); err != nil {
			return err
		}
	}
	return nil
}

// loadBlock adds a block, or the tail, to the plan.
func (snap *Snapshot) loadBlock(t txn, idx int, id int64) error {
	if idx >= 0 && idx != len(snap.Blocks) {
		return fmt.Errorf("%w: block %d is missing", ErrCorrupt, len(snap.Blocks))
	}
	var p Provenance
	var shared bool
	var want, have int64
	if err := queryRow(t, []any{&p, &shared, &want}, "SELECT provenance, shared, bytes FROM blocks WHERE id = ?", id); err != nil {
		return fmt.Errorf("read block %d: %w", idx, err)
	}
	number := idx
	if idx < tailIdx {
		number = stagedIdx(idx)
	}
	var parts []StoredPart
	seq := 0
	err := queryAll(t, func(from scanner) error {
		e, at, err := scanExtent(from)
		if err != nil {
			return err
		}
		if len(parts) == 0 || parts[len(parts)-1].ID != e.part {
			parts, seq = append(parts, StoredPart{ID: e.part}), 0
		}
		if at != seq {
			return fmt.Errorf("%w: block %d lacks extent %d of part %d", ErrCorrupt, idx, seq, e.part)
		}
		last := &parts[len(parts)-1]
		e.block, e.id, e.at = number, id, last.Size
		last.Size += e.Len
		have += e.Len
		seq++
		snap.plan = append(snap.plan, e)
		snap.refs[e.ref.Number] = e.ref
		return nil
	}, `SELECT part, seq, off, len, disk, extents.sum, chunks.id, chunks.sum, chunks.bytes
		FROM extents JOIN chunks ON chunks.id = extents.chunk WHERE block = ? ORDER BY part, seq`, id)
	if err != nil {
		return fmt.Errorf("read extents of block %d: %w", idx, err)
	}
	if have != want {
		return fmt.Errorf("%w: block %d has %d of %d bytes", ErrCorrupt, idx, have, want)
	}
	switch {
	case idx == tailIdx:
		snap.Tail = parts
		return nil
	case idx < tailIdx:
		snap.Staged[number] = parts
		return nil
	}
	snap.Blocks = append(snap.Blocks, StoredBlock{p, shared, parts})
	return nil
}

func scanExtent(from scanner) (e extent, seq int, err error) {
	var sum, number, chunkSum int64
	err = from.Scan(&e.part, &seq, &e.Off, &e.Len, &e.Disk, &sum, &number, &chunkSum, &e.ref.Bytes)
	e.Sum, e.ref.Number, e.ref.Sum = uint64(sum), uint64(number), uint64(chunkSum)
	return e, seq, err
}
