package store

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"edged/store/chunk"
)

const (
	// leastExtent keeps the last bytes of a chunk from becoming slivers.
	leastExtent = 64 << 10
	// finishing is the chunks that are being synced while the next is filled.
	finishing = 3
)

// placed is one extent of a payload, and the chunk that holds it.
type placed struct {
	chunk uint64
	chunk.Extent
}

// packer writes payloads into chunks, one behind the other. It belongs to one
// goroutine.
type packer struct {
	s       *Store
	ctx     context.Context // ends with the caller's, or when a chunk could not be finished
	w       *chunk.Writer   // being filled, or nil
	number  uint64          // of w
	numbers []uint64        // of all chunks
	syncs   *errgroup.Group

	mu       sync.Mutex       // guards finished
	finished []chunk.Finished // whose bytes are durable
}

func (s *Store) newPacker(ctx context.Context) *packer {
	p := &packer{s: s}
	p.syncs, p.ctx = errgroup.WithContext(ctx)
	p.syncs.SetLimit(finishing)
	return p
}

// part writes one part of a payload.
func (p *packer) part(part Part) ([]placed, error) {
	var extents []placed
	left := part.Size // not written
	room := int64(0)  // left in the extent
	for b, err := range part.Data {
		if err != nil {
			return nil, fmt.Errorf("read part %d: %w", part.ID, err)
		}
		if err := context.Cause(p.ctx); err != nil { // the caller's, or a chunk's before
			return nil, err
		}
		if int64(len(b)) > left {
			return nil, fmt.Errorf("%w: part %d: %w: more than %d bytes", ErrInvalid, part.ID, errSize, part.Size)
		}
		for len(b) > 0 {
			if room == 0 {
				if room, err = p.begin(left); err != nil {
					return nil, err
				}
			}
			n := min(int64(len(b)), room)
			if _, err := p.w.Write(b[:n]); err != nil {
				return nil, err
			}
			b, left, room = b[n:], left-n, room-n
			if room > 0 && left > 0 {
				continue
			}
			e, err := p.w.End()
			if err != nil {
				return nil, err
			}
			extents = append(extents, placed{p.number, e})
		}
	}
	if left > 0 {
		return nil, fmt.Errorf("%w: part %d: %w: %d of %d bytes", ErrInvalid, part.ID, errSize, part.Size-left, part.Size)
	}
	return extents, nil
}

// whole writes bytes as one extent, into a new chunk if they do not fit.
func (p *packer) whole(b []byte) (placed, error) {
	if p.w != nil && p.w.Room() < int64(len(b)) {
		p.end()
	}
	if _, err := p.begin(int64(len(b))); err != nil {
		return placed{}, err
	}
	if _, err := p.w.Write(b); err != nil {
		return placed{}, err
	}
	e, err := p.w.End()
	return placed{p.number, e}, err
}

// begin starts an extent for as many of left bytes as fit.
func (p *packer) begin(left int64) (room int64, err error) {
	if p.w != nil {
		if room := p.w.Room(); room < min(left, leastExtent) {
			p.end()
		}
	}
	if p.w == nil {
		p.number = p.s.files.reserve()
		p.numbers = append(p.numbers, p.number)
		p.w, err = chunk.Create(p.s.fs, chunk.ID{Store: p.s.id, Number: p.number}, p.s.seal.chunkSecret())
		if err != nil {
			return 0, fmt.Errorf("create chunk: %w", err)
		}
	}
	room = min(left, p.w.Room())
	p.w.Begin()
	return room, nil
}

// end hands the chunk to be synced beside the next one.
func (p *packer) end() {
	w := p.w
	p.w = nil
	p.syncs.Go(func() error {
		ref, err := w.Finish()
		if err != nil {
			return err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.finished = append(p.finished, ref)
		return nil
	})
}

// finish makes everything that was written durable, names included.
func (p *packer) finish() ([]chunk.Finished, error) {
	if p.w != nil {
		p.end()
	}
	if err := p.syncs.Wait(); err != nil {
		return nil, err
	}
	if len(p.finished) == 0 {
		return nil, nil
	}
	if err := p.s.fs.SyncDir(chunk.Dir); err != nil {
		return nil, fmt.Errorf("sync chunk folder: %w", err)
	}
	return p.finished, nil
}

// outcome is what became of the rows that name chunks.
type outcome int

const (
	abandoned outcome = iota // they were not committed
	stored
	unsure // committing failed: what was written may come back after a crash
)

// settle ends the packer's claim on its chunks. Those that are certainly in no
// row are removed; those that are perhaps, stay until the store is opened again.
func (p *packer) settle(o outcome) error {
	var errs []error
	if p.w != nil {
		errs = append(errs, p.w.Abort())
	}
	_ = p.syncs.Wait() // its error was finish's
	if o == unsure {
		return errors.Join(errs...)
	}
	if o == abandoned {
		errs = append(errs, p.s.files.remove(refsOf(p.finished)))
	}
	p.s.files.settled(p.numbers)
	return errors.Join(errs...)
}

func refsOf(list []chunk.Finished) []chunk.Ref {
	refs := make([]chunk.Ref, len(list))
	for i, f := range list {
		refs[i] = f.Ref
	}
	return refs
}
