package store

import (
	"database/sql"
	"encoding/json"
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
	seq  int                  // of the part that is being planned: its next extent
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
	var list []blockRef
	l := seed(u.s.seal.chainSecret(), key.Fingerprint)
	for ; len(tokens) >= BlockTok; tokens = tokens[BlockTok:] {
		l = l.next(tokens[:BlockTok])
		var id int64
		err := queryRow(t, []any{&id}, "SELECT id FROM blocks WHERE shared = 1 AND owner = ? AND chain = ? AND policy = ? AND calibration = ?",
			u.uid, l[:], key.Policy, key.Calibration)
		if errors.Is(err, sql.ErrNoRows) {
			break
		}
		if err != nil {
			return err
		}
		list = append(list, blockRef{len(list), id})
	}
	return snap.loadBlocks(t, list)
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
	var list []blockRef
	err := queryAll(t, func(from scanner) error {
		var r blockRef
		err := from.Scan(&r.idx, &r.id)
		list = append(list, r)
		return err
	}, "SELECT idx, block FROM refs WHERE session = ? AND (? OR idx >= -1) ORDER BY idx = -1, idx < 0, abs(idx)", of.id, withStaged)
	if err != nil {
		return err
	}
	return snap.loadBlocks(t, list)
}

// blockRef is a block's row, and what it is in the snapshot: see refs.idx.
type blockRef struct {
	idx int
	id  int64
}

// loadBlocks adds blocks, and the tail, to the plan.
func (snap *Snapshot) loadBlocks(t txn, list []blockRef) error {
	ids := make([]int64, len(list))
	for i, r := range list {
		ids[i] = r.id
	}
	wanted, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	parts, have := make([][]StoredPart, len(list)), make([]int64, len(list))
	err = queryAll(t, func(from scanner) error {
		e, i, seq, err := scanExtent(from)
		if err != nil {
			return err
		}
		e.block, e.id = list[i].number(), list[i].id
		have[i] += e.Len
		parts[i], err = snap.plant(parts[i], e, seq)
		return err
	}, `SELECT list.key, part, seq, off, len, disk, extents.sum, chunks.id, chunks.sum, chunks.bytes
		FROM json_each(?) AS list CROSS JOIN extents ON extents.block = list.value JOIN chunks ON chunks.id = extents.chunk
		ORDER BY list.key, part, seq`, string(wanted))
	if err != nil {
		return fmt.Errorf("read extents: %w", err)
	}
	i := 0
	err = queryAll(t, func(from scanner) error {
		var p Provenance
		var shared bool
		var want int64
		if err := from.Scan(&p, &shared, &want); err != nil {
			return err
		}
		if have[i] != want {
			return fmt.Errorf("%w: block %d has %d of %d bytes", ErrCorrupt, list[i].idx, have[i], want)
		}
		err := snap.add(list[i], StoredBlock{p, shared, parts[i]})
		i++
		return err
	}, "SELECT provenance, shared, bytes FROM json_each(?) AS list CROSS JOIN blocks ON blocks.id = list.value ORDER BY list.key", string(wanted))
	if err == nil && i != len(list) {
		err = fmt.Errorf("%w: %d of %d blocks are there", ErrCorrupt, i, len(list))
	}
	return err
}

// number is the block's in the snapshot.
func (r blockRef) number() int {
	if r.idx < tailIdx {
		return stagedIdx(r.idx)
	}
	return r.idx
}

// plant adds an extent to the plan and to the parts of its block.
func (snap *Snapshot) plant(parts []StoredPart, e extent, seq int) ([]StoredPart, error) {
	n := len(parts)
	if n == 0 || parts[n-1].ID != e.part {
		parts, n, snap.seq = append(parts, StoredPart{ID: e.part}), n+1, 0
	}
	if seq != snap.seq {
		return nil, fmt.Errorf("%w: block %d lacks extent %d of part %d", ErrCorrupt, e.block, snap.seq, e.part)
	}
	e.at = parts[n-1].Size
	parts[n-1].Size += e.Len
	snap.seq++
	snap.plan = append(snap.plan, e)
	snap.refs[e.ref.Number] = e.ref
	return parts, nil
}

// add takes a block that is as large as it should be.
func (snap *Snapshot) add(r blockRef, b StoredBlock) error {
	switch {
	case r.idx == tailIdx:
		snap.Tail = b.Parts
	case r.idx < tailIdx:
		snap.Staged[r.number()] = b.Parts
	case r.idx != len(snap.Blocks):
		return fmt.Errorf("%w: block %d is missing", ErrCorrupt, len(snap.Blocks))
	default:
		snap.Blocks = append(snap.Blocks, b)
	}
	return nil
}

func scanExtent(from scanner) (e extent, i, seq int, err error) {
	var sum, number, chunkSum int64
	err = from.Scan(&i, &e.part, &seq, &e.Off, &e.Len, &e.Disk, &sum, &number, &chunkSum, &e.ref.Bytes)
	e.Sum, e.ref.Number, e.ref.Sum = uint64(sum), uint64(number), uint64(chunkSum)
	return e, i, seq, err
}
