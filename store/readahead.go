package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"edged/store/chunk"
)

const (
	// readAhead is the runs that are read and verified while one is used.
	readAhead = 4
	// runBytes is the most that is read at once, where extents are small.
	runBytes = chunk.MaxExtent / 2
)

// TailBlock is the block number of a piece of the tail.
const TailBlock = tailIdx

// Piece is verified bytes of a payload.
type Piece struct {
	Block int // number in the snapshot, of staged ones too, or TailBlock
	Part  int
	Off   int64  // in the part
	Data  []byte // valid until the next piece is asked for
}

// Read gives the payload of the blocks from a number on, of staged ones, and then
// of the tail, in order. The next pieces are read and verified while one is used. After an
// error there are no more pieces; those before it were right.
func (snap *Snapshot) Read(ctx context.Context, from int) iter.Seq2[Piece, error] {
	return func(yield func(Piece, error) bool) {
		r := reading{snap: snap, runs: snap.runs(from)}
		defer r.wait()
		for range readAhead {
			r.start(nil)
		}
		for {
			run, ok, err := r.next(ctx)
			if !ok {
				return
			}
			if err != nil {
				yield(Piece{}, fmt.Errorf("read session %s: %w", snap.Session.ID, err))
				return
			}
			for i, e := range run.extents {
				if !yield(Piece{Block: e.block, Part: e.part, Off: e.at, Data: run.payloads[i]}, nil) {
					return
				}
			}
			r.start(run.buf)
		}
	}
}

// runs cuts the plan into what is read at once: extents that follow each other
// in one chunk.
func (snap *Snapshot) runs(from int) [][]extent {
	plan := snap.plan
	for len(plan) > 0 && plan[0].block != tailIdx && plan[0].block < from {
		plan = plan[1:]
	}
	var runs [][]extent
	for len(plan) > 0 {
		n, bytes := 1, plan[0].Disk
		for n < len(plan) {
			last, e := plan[n-1], plan[n]
			if e.ref != last.ref || e.Off != last.Off+last.Disk || bytes+e.Disk > runBytes {
				break
			}
			bytes += e.Disk
			n++
		}
		runs = append(runs, plan[:n])
		plan = plan[n:]
	}
	return runs
}

// reading is a queue of runs that are being read.
type reading struct {
	snap    *Snapshot
	runs    [][]extent // not started
	started []chan loaded
}

// loaded is a run that was read.
type loaded struct {
	extents  []extent
	payloads [][]byte // [len(extents)] in buf
	buf      []byte
	err      error
}

// start begins to read the next run into buf, or a new buffer.
func (r *reading) start(buf []byte) {
	if len(r.runs) == 0 {
		return
	}
	run := r.runs[0]
	r.runs = r.runs[1:]
	done := make(chan loaded, 1)
	r.started = append(r.started, done)
	go func() {
		l := loaded{extents: run, buf: buf}
		l.payloads, l.buf, l.err = r.snap.s.readRun(run, buf)
		done <- l
	}()
}

// next waits for the oldest run; ok is false when there are no more.
func (r *reading) next(ctx context.Context) (l loaded, ok bool, err error) {
	if len(r.started) == 0 {
		return loaded{}, false, nil
	}
	if err := ctx.Err(); err != nil {
		return loaded{}, true, err
	}
	l = <-r.started[0]
	r.started = r.started[1:]
	return l, true, l.err
}

// wait ends when nothing is being read any more.
func (r *reading) wait() {
	for _, done := range r.started {
		<-done
	}
}

// readRun reads extents that follow each other.
func (s *Store) readRun(run []extent, buf []byte) ([][]byte, []byte, error) {
	extents := make([]chunk.Extent, len(run))
	for i, e := range run {
		extents[i] = e.Extent
	}
	if n := chunk.Span(extents); n > int64(cap(buf)) {
		if n > 2*chunk.MaxExtent {
			return nil, buf, fmt.Errorf("%w: extents of %d bytes", ErrCorrupt, n)
		}
		buf = make([]byte, max(n, min(int64(2*cap(buf)), runBytes)))
	}
	payloads, err := s.readExtents(run[0].ref, extents, buf[:cap(buf)])
	if err == nil {
		return payloads, buf, nil
	}
	return nil, buf, s.unreadable(run, err)
}

// unreadable is the error of extents that could not be read. Where they are
// damaged, other sessions do not take them any more.
func (s *Store) unreadable(run []extent, err error) error {
	first, last := run[0].block, run[len(run)-1].block
	err = fmt.Errorf("blocks %d to %d: %w", first, last, err)
	if !damaged(err) {
		return err
	}
	return errors.Join(fmt.Errorf("%w: %w", ErrCorrupt, err), s.unshare(run))
}

func (s *Store) readExtents(ref chunk.Ref, extents []chunk.Extent, buf []byte) ([][]byte, error) {
	r, err := chunk.Open(s.fs, s.id, ref, s.seal.chunkSecret())
	if err != nil {
		return nil, err
	}
	payloads, err := r.Read(extents, buf)
	return payloads, errors.Join(err, r.Close())
}

// damaged tells a file that is not what was written from one that cannot be read now.
func damaged(err error) bool {
	return errors.Is(err, chunk.ErrCorrupt) || errors.Is(err, chunk.ErrExtent) || errors.Is(err, fs.ErrNotExist)
}

// unshare keeps blocks that cannot be read from being taken by other sessions.
func (s *Store) unshare(run []extent) error {
	return s.db.update(func(t txn) error {
		for _, e := range run {
			if _, err := execute(t, "UPDATE blocks SET shared = 0 WHERE id = ?", e.id); err != nil {
				return err
			}
		}
		return nil
	})
}
