package offload

import (
	"fmt"
	"iter"
)

// Mover copies to and from the fast tier where that is a device's own memory: the
// processor reaches it badly. Any goroutine may call it.
type Mover interface {
	// Move copies between both sides of each pair, in any order, and returns when
	// all is done. At least one side lies in the fast tier.
	Move(pairs []Pair) error
}

// Pair is two pieces of memory of one length.
type Pair struct{ Dst, Src []byte }

// Move copies from and to memory of the pool as its tiers need it.
func (p *Pool) Move(pairs []Pair) error {
	if p.mover != nil {
		if err := p.mover.Move(pairs); err != nil {
			return fmt.Errorf("copy to or from the fast tier: %w", err)
		}
		return nil
	}
	for _, x := range pairs {
		copy(x.Dst, x.Src)
	}
	return nil
}

// Target is where a piece of a snapshot goes: to memory, or, once it is known to be
// right, to a function.
type Target struct {
	Mem  []byte
	Size int // of what Put takes
	Put  func([]byte) error
}

// target is where bytes of a run go.
func (p *Pool) target(r run, from, to int64) Target {
	mem := r.mem[from:to]
	if !r.fast || p.mover == nil {
		return Target{Mem: mem}
	}
	return Target{Size: len(mem), Put: func(b []byte) error { return p.Move([]Pair{{mem, b}}) }}
}

// Piece is some bytes of a [Part], where they lie.
type Piece struct {
	run
	pool *Pool // that moves them; nil where they are in plain memory
}

// InMemory is a piece that is no pool's.
func InMemory(b []byte) Piece { return Piece{run: run{mem: b}} }

// All gives a part's bytes, piece by piece. Each is valid until the next is asked for.
func (p Part) All() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var buf []byte
		for _, x := range p.Data {
			b, err := x.read(&buf)
			if !yield(b, err) || err != nil {
				return
			}
		}
	}
}

// read gives the bytes in place, or in a buffer that is kept from piece to piece.
func (x Piece) read(buf *[]byte) ([]byte, error) {
	far := x.fast && x.pool != nil && x.pool.mover != nil
	if !far && x.clear == nil {
		return x.mem, nil
	}
	if cap(*buf) < len(x.mem) {
		*buf = make([]byte, len(x.mem))
	}
	b := (*buf)[:len(x.mem)]
	if far {
		if err := x.pool.Move([]Pair{{b, x.mem}}); err != nil {
			return nil, err
		}
	} else {
		copy(b, x.mem)
	}
	if x.clear != nil {
		x.clear(b)
	}
	return b, nil
}
