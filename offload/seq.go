package offload

import (
	"errors"
	"fmt"

	"edged/pinnedmem"
)

// Seq is one sequence's tokens. For layers that take pages or blocks it holds a
// table from unit number (position / unit) to unit id.
type Seq struct {
	pool   *Pool
	slot   int
	set    int        // of working sets; -1 for none
	nTok   int        // committed tokens
	stored int        // of them, those that have left the tail as records
	low    int        // first position that every Window layer still holds
	ahead  bool       // as a sequence will be when its prompt is read: see [Seq.Ahead]
	used   []int      // [layers] table entries in use
	tables [][]uint32 // [layers][seqUnits], off the Go heap
	holds  int        // see [Hold]
	freed  bool       // as soon as nobody holds it
}

// NewSeq claims a slot for an empty sequence.
func (p *Pool) NewSeq() (*Seq, error) {
	for slot, taken := range p.slots {
		if !taken {
			if err := p.writePeaks(slot, make([]byte, p.peakBytes())); err != nil {
				return nil, fmt.Errorf("open sequence: %w", err)
			}
			p.slots[slot] = true
			return &Seq{pool: p, slot: slot, set: -1, used: make([]int, len(p.layers)), tables: p.slotTables(slot)}, nil
		}
	}
	return nil, fmt.Errorf("open sequence: %w: all %d are in use", ErrNoSlots, len(p.slots))
}

func (p *Pool) slotTables(slot int) [][]uint32 {
	all := pinnedmem.View[uint32](p.tableMem)
	t := make([][]uint32, len(p.layers))
	at := slot * p.tableLen
	for l := range t {
		n := p.layers[l].seqUnits
		t[l] = all[at : at+n : at+n]
		at += n
	}
	return t
}

// Pool is the pool that holds the sequence's tokens.
func (s *Seq) Pool() *Pool { return s.pool }

// Len is the number of committed tokens.
func (s *Seq) Len() int { return s.nTok }

// Stored is the number of committed tokens that lie in records.
func (s *Seq) Stored() int { return s.stored }

// Table maps unit numbers to unit ids in one layer. Its memory is off the Go
// heap and stays at one address for the life of the sequence.
func (s *Seq) Table(layer int) []uint32 { return s.tables[layer] }

// storedAfter is how many of n tokens lie in records: all groups but those
// that fit the tail.
func (s *Seq) storedAfter(n int) int {
	if s.pool.group == 0 {
		return 0
	}
	return max(s.stored, unitsFor(n-s.pool.tail, s.pool.group)*s.pool.group)
}

// Reserve makes positions [Len, Len+n) writable: they have memory that no other
// sequence shares. Where tails are bounded, that is one position at a time; a
// prompt goes through BeginPrefill. On error nothing has changed.
func (s *Seq) Reserve(n int) error {
	if n > 1 && s.pool.LayerMajor() {
		return fmt.Errorf("reserve %d tokens: %w", n, errTail)
	}
	return s.reserve(n)
}

var errTail = errors.New("more than one token at a time goes through BeginPrefill")

func (s *Seq) reserve(n int) error {
	end := s.nTok + n
	if end > s.pool.cfg.Context {
		return fmt.Errorf("reserve %d tokens: %w: %d tokens > %d", n, ErrContext, end, s.pool.cfg.Context)
	}
	if n == 0 {
		return nil
	}
	if err := s.changeable(); err != nil {
		return fmt.Errorf("reserve %d tokens: %w", n, err)
	}
	for i := range s.pool.layers {
		l := &s.pool.layers[i]
		from, to := s.writes(l, end)
		need := max(unitsFor(to, max(l.unit, 1))-s.used[i], 0)
		if l.unit > 0 && s.shares(i, from, to) {
			need++
		}
		if need > len(l.free) {
			return fmt.Errorf("reserve %d tokens: %w: %d units of %d tokens needed, %d free", n, ErrNoPages, need, l.unit, len(l.free))
		}
	}
	for i := range s.pool.layers {
		l := &s.pool.layers[i]
		if l.unit == 0 {
			continue
		}
		from, to := s.writes(l, end)
		if s.shares(i, from, to) {
			at := from / l.unit
			id, err := s.pool.copyUnit(l, s.tables[i][at])
			if err != nil {
				return fmt.Errorf("reserve %d tokens: copy a shared unit: %w", n, err)
			}
			s.tables[i][at] = id
		}
		for ; s.used[i] < unitsFor(to, l.unit); s.used[i]++ {
			s.tables[i][s.used[i]] = l.take()
		}
	}
	return nil
}

// writes is the range of positions of a layer's units that growing to end
// tokens writes to.
func (s *Seq) writes(l *layer, end int) (from, to int) {
	switch {
	case l.Class == Exact:
		return s.nTok, end
	case l.unit > 0:
		return s.stored, s.storedAfter(end)
	}
	return 0, 0
}

// shares says whether the unit that positions from from on go to is shared.
func (s *Seq) shares(layer, from, to int) bool {
	l := &s.pool.layers[layer]
	at := from / l.unit
	return to > from && at < s.used[layer] && l.refs[s.tables[layer][at]] > 1
}

// Commit counts n tokens, written by a step into reserved positions, as held.
func (s *Seq) Commit(n int) error {
	if n < 0 || s.nTok+n > s.Reserved() || n > 1 && s.pool.LayerMajor() {
		return fmt.Errorf("commit %d tokens: %d held, %d reserved", n, s.nTok, s.Reserved())
	}
	if err := s.changeable(); err != nil && n > 0 {
		return fmt.Errorf("commit %d tokens: %w", n, err)
	}
	s.grow(n)
	return nil
}

// grow counts n written tokens.
func (s *Seq) grow(n int) {
	s.stored = s.storedAfter(s.nTok + n)
	s.low = s.lowAfter(s.nTok + n)
	s.nTok += n
}

// lowAfter is the first position that every Window layer holds after n tokens.
func (s *Seq) lowAfter(n int) int {
	low := s.low
	for i := range s.pool.layers {
		if l := &s.pool.layers[i]; l.Class == Window {
			// Whole pages: a prompt replaces them at once, and a step that is
			// given up may have begun the next one.
			low = max(low, pagesFor(n+1)*PageTok-l.Tail)
		}
	}
	return low
}

// Keepable is the largest number of tokens, at most n, that the sequence can
// be cut to: records end at groups, and a window must still be filled.
func (s *Seq) Keepable(n int) int {
	n = max(min(n, s.nTok), 0)
	if n < s.stored {
		n = n / s.pool.group * s.pool.group
	}
	for i := range s.pool.layers {
		if l := &s.pool.layers[i]; l.Class == Window && s.low > max(n-l.Window+1, 0) {
			return 0
		}
	}
	return n
}

// Truncate forgets all tokens from position n on and gives their memory back.
func (s *Seq) Truncate(n int) error {
	if n < 0 || n > s.nTok || s.Keepable(n) != n {
		return fmt.Errorf("truncate sequence to %d tokens: it holds %d, %d of them in records", n, s.nTok, s.stored)
	}
	if err := s.changeable(); err != nil && n < s.nTok {
		return fmt.Errorf("truncate sequence to %d tokens: %w", n, err)
	}
	if err := s.trimSet(min(s.stored, n)); err != nil {
		return fmt.Errorf("truncate sequence to %d tokens: %w", n, err)
	}
	s.cut(n)
	return nil
}

// cut forgets tokens that no working set holds pages of.
func (s *Seq) cut(n int) {
	s.nTok = n
	s.stored = min(s.stored, n)
	if n == 0 {
		s.low = 0
	}
	for i := range s.pool.layers {
		l := &s.pool.layers[i]
		if l.unit == 0 {
			continue
		}
		_, end := s.writes(l, n)
		for keep := unitsFor(end, l.unit); s.used[i] > keep; {
			s.used[i]--
			l.drop(s.tables[i][s.used[i]])
		}
	}
}

// Fork opens a sequence that shares the first n tokens with s; n must be
// Keepable. Pages and blocks are copied when one of the two writes to them,
// the exact tail and, where there is room, the working sets at once.
func (s *Seq) Fork(n int) (*Seq, error) {
	if n < 0 || n > s.nTok || s.Keepable(n) != n {
		return nil, fmt.Errorf("fork sequence at %d tokens: it holds %d, %d of them in records", n, s.nTok, s.stored)
	}
	f, err := s.pool.NewSeq()
	if err != nil {
		return nil, fmt.Errorf("fork sequence: %w", err)
	}
	f.nTok, f.stored, f.low = n, min(s.stored, n), s.low
	if n == 0 {
		f.low = 0
	}
	var pairs []Pair
	for i := range s.pool.layers {
		l := &s.pool.layers[i]
		if l.unit > 0 {
			_, end := f.writes(l, n)
			f.used[i] = unitsFor(end, l.unit)
			copy(f.tables[i], s.tables[i][:f.used[i]])
			for _, id := range f.tables[i][:f.used[i]] {
				l.refs[id]++
			}
		}
		if l.Class != Exact {
			pairs = append(pairs, Pair{l.tailOf(f.slot), l.tailOf(s.slot)})
		}
		if l.Class == Gathered {
			pairs = append(pairs, Pair{l.peaksOf(f.slot), l.peaksOf(s.slot)})
		}
	}
	if err := errors.Join(s.pool.Move(pairs), f.copySet(s)); err != nil {
		f.Free()
		return nil, fmt.Errorf("fork sequence: %w", err)
	}
	return f, nil
}

// Free gives the memory and the slot back, at once or when nobody holds the
// sequence any more. A second Free does nothing.
func (s *Seq) Free() {
	if s.pool == nil || s.freed {
		return
	}
	s.freed = true
	if s.holds == 0 {
		s.free()
	}
}

func (s *Seq) free() {
	s.pool.stage.drop(s)
	s.leaveSet()
	s.cut(0)
	s.pool.slots[s.slot] = false
	s.pool = nil
}

// Reserved is the number of positions, committed ones included, that have
// memory.
func (s *Seq) Reserved() int {
	least := s.pool.cfg.Context
	for i := range s.pool.layers {
		l := &s.pool.layers[i]
		switch {
		case l.Class == Exact:
			least = min(least, s.used[i]*PageTok)
		case l.unit > 0:
			least = min(least, s.used[i]*BlockTok+l.exactTok())
		}
	}
	return least
}
