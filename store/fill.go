package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"edged/store/chunk"
)

// leastFilling and mostFilling bound the chunk files that are read at once: enough
// for a disk to have something to do, and for every processor where files are in
// memory.
const leastFilling, mostFilling = 4, 16

// Span is bytes of a payload's part.
type Span struct {
	Block int // number in the snapshot, of staged ones too, or TailBlock
	Part  int
	Off   int64 // in the part
	Size  int64
}

// Target is where a piece of a span goes. Bytes go to memory at once and are verified
// there: it holds what was stored when Fill has returned nil, and anything before
// that and after an error. Put gets bytes that are verified, from several goroutines
// at once, and must not keep them.
type Target struct {
	Mem  []byte
	Size int // of what Put takes
	Put  func([]byte) error
}

// Fill reads what [Snapshot.Read] gives to where place says: pieces that are as long
// as the span together, or nil for what is not wanted. place is called for one span
// after the other, in the payload's order, before anything is read.
func (snap *Snapshot) Fill(ctx context.Context, from int, place func(Span) ([]Target, error)) error {
	files, err := snap.wanted(from, place)
	if err == nil {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(min(max(runtime.GOMAXPROCS(0), leastFilling), mostFilling))
		for _, f := range files {
			g.Go(func() error { return f.fill(ctx, snap.s) })
		}
		err = g.Wait()
	}
	if err != nil {
		return fmt.Errorf("read session %s: %w", snap.Session.ID, err)
	}
	return nil
}

// chunkFill is what is wanted of one chunk.
type chunkFill struct {
	ref     chunk.Ref
	extents []extentFill
}

// extentFill is an extent and where it goes.
type extentFill struct {
	extent
	to []Target
}

// wanted asks where everything goes, and sorts it by chunks and by places in them,
// so that a file is opened once and read from its begin to its end.
func (snap *Snapshot) wanted(from int, place func(Span) ([]Target, error)) ([]*chunkFill, error) {
	var files []*chunkFill
	byNumber := map[uint64]*chunkFill{}
	for _, e := range snap.plan {
		if e.block != tailIdx && e.block < from {
			continue
		}
		to, err := place(Span{Block: e.block, Part: e.part, Off: e.at, Size: e.Len})
		if err != nil {
			return nil, err
		}
		if to == nil {
			continue
		}
		f := byNumber[e.ref.Number]
		if f == nil {
			f = &chunkFill{ref: e.ref}
			files, byNumber[e.ref.Number] = append(files, f), f
		}
		f.extents = append(f.extents, extentFill{e, to})
	}
	for _, f := range files {
		slices.SortStableFunc(f.extents, func(a, b extentFill) int { return cmp.Compare(a.Off, b.Off) })
	}
	return files, nil
}

// fill reads one chunk's part.
func (f *chunkFill) fill(ctx context.Context, s *Store) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	r, err := chunk.Open(s.fs, s.id, f.ref, s.seal.chunkSecret())
	if err != nil {
		return s.suspect(f.extents, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	var buf, held []byte
	var to [][]byte
	for i, e := range f.extents {
		if err := ctx.Err(); err != nil {
			return err
		}
		to, held = e.memory(to[:0], held)
		if err := r.Fill(e.Extent, to, &buf); err != nil {
			return s.suspect(f.extents[i:i+1], err)
		}
		if err := e.pass(to); err != nil {
			return err
		}
	}
	return nil
}

// memory is where an extent is read to: in a buffer, what is not wanted in memory.
func (e extentFill) memory(to [][]byte, held []byte) (_ [][]byte, _ []byte) {
	need := 0
	for _, t := range e.to {
		need += t.Size
	}
	if need > cap(held) {
		held = make([]byte, need)
	}
	at := 0
	for _, t := range e.to {
		if t.Put == nil {
			to = append(to, t.Mem)
			continue
		}
		to = append(to, held[at:at+t.Size])
		at += t.Size
	}
	return to, held[:cap(held)]
}

// pass gives on what is verified.
func (e extentFill) pass(from [][]byte) error {
	for i, t := range e.to {
		if t.Put == nil {
			continue
		}
		if err := t.Put(from[i]); err != nil {
			return err
		}
	}
	return nil
}

// suspect says what could not be read, and keeps other sessions from taking what
// is damaged.
func (s *Store) suspect(list []extentFill, err error) error {
	run := make([]extent, len(list))
	for i, e := range list {
		run[i] = e.extent
	}
	return s.unreadable(run, err)
}
