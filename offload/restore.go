package offload

import (
	"errors"
	"fmt"
)

// ErrSnapshot is wrapped when a snapshot is not one of a sequence that this
// pool could hold: of another format, damaged, or incomplete.
var ErrSnapshot = errors.New("snapshot cannot be restored")

// Restore is a sequence on its way back from a snapshot. Nobody sees it before
// all of it is there. Finish or Cancel must be called, and end it. Before that,
// one goroutine may place or put its bytes while the pool's owner goes on with
// other sequences.
type Restore struct {
	seq   *Seq
	ahead *Seq // where a prompt's parts go, see [Pool.BeginRestoreAhead]; else nil
	state state
	got   [][]int64 // [blocks, then the tail][layers] bytes placed
	want  [][]int64 // and expected
}

// BeginRestore claims memory for a snapshot, given the tail's [StatePart]. When
// it fails with [ErrNoPages] or [ErrNoSlots], the caller may free a sequence
// and try again.
func (p *Pool) BeginRestore(statePart []byte) (*Restore, error) {
	st, err := p.decodeState(append([]byte(nil), statePart...))
	if err != nil {
		return nil, fmt.Errorf("restore sequence: %w", err)
	}
	return p.beginRestore(st)
}

// NeedsTail says whether whole blocks alone are not enough to go on from: some
// layer keeps a window, or figures of all tokens.
func (p *Pool) NeedsTail() bool {
	for i := range p.layers {
		if c := p.layers[i].Class; c == Window || c == Gathered {
			return true
		}
	}
	return false
}

// BeginRestoreBlocks is [Pool.BeginRestore] of the first n blocks of a snapshot
// without its tail.
func (p *Pool) BeginRestoreBlocks(n int) (*Restore, error) {
	st := state{tokens: n * BlockTok}
	if p.NeedsTail() {
		return nil, fmt.Errorf("restore %d blocks: %w: a layer needs the tail", n, ErrSnapshot)
	}
	if p.group > 0 {
		st.stored = st.tokens
	}
	if err := p.checkState(st); err != nil {
		return nil, fmt.Errorf("restore %d blocks: %w", n, err)
	}
	for i := range p.layers {
		heads := p.layers[i].pagedHeads()
		st.held, st.places = append(st.held, make([][]uint32, heads)...), append(st.places, make([][]uint32, heads)...)
	}
	return p.beginRestore(st)
}

func (p *Pool) beginRestore(st state) (*Restore, error) {
	s, err := p.NewSeq()
	if err != nil {
		return nil, fmt.Errorf("restore sequence: %w", err)
	}
	s.nTok, s.stored, s.low = st.tokens, st.stored, st.low
	if err := s.takeUnits(); err != nil {
		s.Free()
		return nil, fmt.Errorf("restore sequence of %d tokens: %w", st.tokens, err)
	}
	r := &Restore{seq: s, state: st}
	r.expect(len(p.layers))
	return r, nil
}

// expect notes what the first layers have.
func (r *Restore) expect(layers int) {
	n := len(r.seq.pool.layers)
	for b := range r.target().Blocks() + 1 {
		want := make([]int64, n)
		for l := range layers {
			for _, x := range r.runs(b, l) {
				want[l] += int64(len(x.mem))
			}
		}
		r.want, r.got = append(r.want, want), append(r.got, make([]int64, n))
	}
}

// target is the sequence that parts are put into.
func (r *Restore) target() *Seq {
	if r.ahead != nil {
		return r.ahead
	}
	return r.seq
}

// takeUnits gives a sequence that has none the units for its tokens.
func (s *Seq) takeUnits() error {
	for i := range s.pool.layers {
		l := &s.pool.layers[i]
		if _, end := s.writes(l, s.nTok); l.unit > 0 && unitsFor(end, l.unit) > len(l.free) {
			return fmt.Errorf("%w: %d units of %d tokens needed, %d free", ErrNoPages, unitsFor(end, l.unit), l.unit, len(l.free))
		}
	}
	for i := range s.pool.layers {
		l := &s.pool.layers[i]
		if l.unit == 0 {
			continue
		}
		_, end := s.writes(l, s.nTok)
		for ; s.used[i] < unitsFor(end, l.unit); s.used[i]++ {
			s.tables[i][s.used[i]] = l.take()
		}
	}
	return nil
}

// runs is where a layer's part of a block goes, or of the tail behind the last.
func (r *Restore) runs(block, layer int) []run {
	s := r.target()
	if block < s.Blocks() {
		return s.pool.layers[layer].blockRuns(s.tables[layer], block)
	}
	return s.tailRuns(layer)
}

// Len is the number of tokens that the sequence will hold.
func (r *Restore) Len() int { return r.state.tokens }

// Blocks is the number of whole blocks of the snapshot.
func (r *Restore) Blocks() int { return len(r.want) - 1 }

// PlaceBlock says where bytes of a part of a block go, from byte off on: any part at
// any time, but its bytes in order. Any goroutine may write there until Finish or
// Cancel; Finish takes it for written.
func (r *Restore) PlaceBlock(block, part int, off, size int64) ([]Target, error) {
	if block < 0 || block >= r.Blocks() {
		return nil, fmt.Errorf("restore block %d: %w: it has %d blocks", block, ErrSnapshot, r.Blocks())
	}
	to, err := r.place(block, part-1, off, size)
	if err != nil {
		return nil, fmt.Errorf("restore block %d, part %d: %w", block, part, err)
	}
	return to, nil
}

// PlaceTail is PlaceBlock for the tail. Its StatePart has been used already and is
// refused.
func (r *Restore) PlaceTail(part int, off, size int64) ([]Target, error) {
	to, err := r.place(r.Blocks(), part-1, off, size)
	if err != nil {
		return nil, fmt.Errorf("restore tail, part %d: %w", part, err)
	}
	return to, nil
}

// PutBlock copies data to where PlaceBlock says.
func (r *Restore) PutBlock(block, part int, off int64, data []byte) error {
	to, err := r.PlaceBlock(block, part, off, int64(len(data)))
	if err != nil {
		return err
	}
	return scatter(to, data)
}

// PutTail copies data to where PlaceTail says.
func (r *Restore) PutTail(part int, off int64, data []byte) error {
	to, err := r.PlaceTail(part, off, int64(len(data)))
	if err != nil {
		return err
	}
	return scatter(to, data)
}

func scatter(to []Target, data []byte) error {
	for _, x := range to {
		if x.Put == nil {
			data = data[copy(x.Mem, data):]
			continue
		}
		if err := x.Put(data[:x.Size]); err != nil {
			return err
		}
		data = data[x.Size:]
	}
	return nil
}

func (r *Restore) place(block, layer int, off, size int64) ([]Target, error) {
	if layer < 0 || layer >= len(r.want[block]) {
		return nil, fmt.Errorf("%w: no such part", ErrSnapshot)
	}
	got, want := &r.got[block][layer], r.want[block][layer]
	if off != *got || size < 0 || size > want-off {
		return nil, fmt.Errorf("%w: %d bytes from byte %d on, byte %d of %d is next", ErrSnapshot, size, off, *got, want)
	}
	*got += size
	var to []Target
	for _, x := range r.runs(block, layer) {
		n := int64(len(x.mem))
		if begin, end := min(off, n), min(off+size, n); begin < end {
			to = append(to, r.seq.pool.target(x, begin, end))
			size -= end - begin
		}
		off = max(off-n, 0)
	}
	return to, nil
}

// Finish gives the sequence out when all of it is there, and frees it
// otherwise. Where no working set is free, or it was larger than this pool's
// are, the next step begins a new one.
func (r *Restore) Finish() (*Seq, error) {
	for block := range r.want {
		for layer, want := range r.want[block] {
			if got := r.got[block][layer]; got != want {
				r.Cancel()
				return nil, fmt.Errorf("restore sequence: block %d of %d, layer %d: %w: %d bytes of %d are missing", block, len(r.want)-1, layer, ErrSnapshot, want-got, want)
			}
		}
	}
	s := r.seq
	r.seq = nil
	if len(r.state.peaks) > 0 { // blocks alone have none
		if err := s.pool.writePeaks(s.slot, r.state.peaks); err != nil {
			s.Free()
			return nil, fmt.Errorf("restore sequence: %w", err)
		}
	}
	if r.ahead != nil {
		return s, nil // which reads its prompt
	}
	if err := s.restoreSets(r.state.held, r.state.places); err != nil {
		s.Free()
		return nil, fmt.Errorf("restore sequence: %w", err)
	}
	return s, nil
}

// Cancel gives all memory back; once the restore has ended it does nothing.
func (r *Restore) Cancel() {
	if r.seq != nil {
		r.seq.Free()
		r.seq = nil
	}
}
