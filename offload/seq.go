package offload

import (
	"fmt"

	"edged/pinnedmem"
)

// Seq is one sequence's pages: for every layer a table from page number
// (position / PageTok) to page id.
type Seq struct {
	pool   *Pool
	slot   int
	nTok   int        // committed tokens
	nPage  int        // table entries in use, the same in every layer
	tables [][]uint32 // [layer][seqPages], off the Go heap
}

// NewSeq claims a slot for an empty sequence.
func (p *Pool) NewSeq() (*Seq, error) {
	for slot, taken := range p.slots {
		if !taken {
			p.slots[slot] = true
			return &Seq{pool: p, slot: slot, tables: p.slotTables(slot)}, nil
		}
	}
	return nil, fmt.Errorf("open sequence: %w: all %d are in use", ErrNoSlots, len(p.slots))
}

func (p *Pool) slotTables(slot int) [][]uint32 {
	all := pinnedmem.View[uint32](p.tables.Bytes())
	t := make([][]uint32, len(p.layouts))
	for l := range t {
		at := (slot*len(p.layouts) + l) * p.seqPages
		t[l] = all[at : at+p.seqPages : at+p.seqPages]
	}
	return t
}

// Pool is the pool that holds the sequence's pages.
func (s *Seq) Pool() *Pool { return s.pool }

// Len is the number of committed tokens.
func (s *Seq) Len() int { return s.nTok }

// Table maps page numbers to page ids in one layer. Its memory is off the Go
// heap and stays at one address for the life of the sequence.
func (s *Seq) Table(layer int) []uint32 { return s.tables[layer] }

// Reserve makes positions [Len, Len+n) writable: pages exist and no other
// sequence shares them. On error nothing has changed.
func (s *Seq) Reserve(n int) error {
	end := s.nTok + n
	if end > s.pool.cfg.Context {
		return fmt.Errorf("reserve %d tokens: %w: %d tokens > %d", n, ErrContext, end, s.pool.cfg.Context)
	}
	shared := s.sharedTail()
	need := max(pagesFor(end)-s.nPage, 0)
	if shared && n > 0 {
		need++
	}
	if have := len(s.pool.free[0]); need > have {
		return fmt.Errorf("reserve %d tokens: %w: %d pages needed, %d free", n, ErrNoPages, need, have)
	}
	if shared && n > 0 {
		s.copyTail()
	}
	for s.nPage < pagesFor(end) {
		for l := range s.tables {
			s.tables[l][s.nPage] = s.pool.take(l)
		}
		s.nPage++
	}
	return nil
}

// sharedTail says whether the page that the next token goes to is shared.
func (s *Seq) sharedTail() bool {
	i := s.nTok / PageTok
	return i < s.nPage && s.pool.refs[0][s.tables[0][i]] > 1
}

func (s *Seq) copyTail() {
	i := s.nTok / PageTok
	for l := range s.tables {
		old := s.tables[l][i]
		id := s.pool.take(l)
		copy(s.pool.Page(l, id), s.pool.Page(l, old))
		s.pool.drop(l, old)
		s.tables[l][i] = id
	}
}

// Commit counts n tokens, written by a step into reserved positions, as held.
func (s *Seq) Commit(n int) error {
	if n < 0 || s.nTok+n > s.nPage*PageTok {
		return fmt.Errorf("commit %d tokens: %d held, %d reserved", n, s.nTok, s.nPage*PageTok)
	}
	s.nTok += n
	return nil
}

// Truncate forgets all tokens from position n on and gives their pages back.
func (s *Seq) Truncate(n int) error {
	if n < 0 || n > s.nTok {
		return fmt.Errorf("truncate sequence to %d tokens: it holds %d", n, s.nTok)
	}
	s.nTok = n
	for s.nPage > pagesFor(n) {
		s.nPage--
		for l := range s.tables {
			s.pool.drop(l, s.tables[l][s.nPage])
		}
	}
	return nil
}

// Fork opens a sequence that shares the first n tokens with s. No page is
// copied until one of the two writes to it.
func (s *Seq) Fork(n int) (*Seq, error) {
	if n < 0 || n > s.nTok {
		return nil, fmt.Errorf("fork sequence at %d tokens: it holds %d", n, s.nTok)
	}
	f, err := s.pool.NewSeq()
	if err != nil {
		return nil, fmt.Errorf("fork sequence: %w", err)
	}
	f.nTok, f.nPage = n, pagesFor(n)
	for l := range s.tables {
		copy(f.tables[l], s.tables[l][:f.nPage])
		for _, id := range f.tables[l][:f.nPage] {
			s.pool.refs[l][id]++
		}
	}
	return f, nil
}

// Free gives the pages and the slot back. A second Free does nothing.
func (s *Seq) Free() {
	if s.pool == nil {
		return
	}
	_ = s.Truncate(0) // 0 is always within the sequence
	s.pool.slots[s.slot] = false
	s.pool = nil
}

// Reserved is the number of positions, committed ones included, that have pages.
func (s *Seq) Reserved() int { return s.nPage * PageTok }
