package offload

import (
	"errors"
	"fmt"
)

// ErrPrefill is wrapped when a second prompt is to be read at the same time:
// the memory in which one layer's exact keys and values lie exists once.
var ErrPrefill = errors.New("another prompt is being read")

// stage is where a prompt's exact K and V lie, one layer at a time, while all
// of its rows attend to them. What the tails will hold waits in pending until
// the last layer is done, so that a prompt that is cancelled leaves its
// sequence as it was.
type stage struct {
	pages   []byte // pages of the largest layer for a whole context and the tail before it
	pending []byte // [layers] tails of one sequence
	owner   *Seq   // the sequence whose prompt is being read
	end     int    // its length afterwards, tokens
}

// stageBytes sizes the stage for layers that exist.
func (p *Pool) stageBytes() (pages, pending int64) {
	for i := range p.layers {
		l := &p.layers[i]
		if l.Class == Exact {
			continue
		}
		n := int64(pagesFor(p.cfg.Context)+1) * int64(l.pages.PageBytes)
		pages = max(pages, n)
		pending += int64(l.tailBytes())
	}
	return pages, pending
}

func (g *stage) drop(s *Seq) {
	if g.owner == s {
		g.owner = nil
	}
}

// BeginPrefill makes positions [Len, Len+n) writable for a prompt that is read
// layer by layer. The stage belongs to the sequence until EndPrefill,
// CancelPrefill or Free.
func (s *Seq) BeginPrefill(n int) error {
	g := &s.pool.stage
	if g.owner != nil && g.owner != s {
		return fmt.Errorf("begin prompt of %d tokens: %w", n, ErrPrefill)
	}
	if err := s.reserve(n); err != nil {
		return fmt.Errorf("begin prompt: %w", err)
	}
	g.owner, g.end = s, s.nTok+n
	return nil
}

// EndPrefill commits the prompt, whose every layer has been staged out.
func (s *Seq) EndPrefill() error {
	g := &s.pool.stage
	if g.owner != s {
		return fmt.Errorf("end prompt: the sequence reads none")
	}
	var tails []Pair
	at := 0
	for i := range s.pool.layers {
		if l := &s.pool.layers[i]; l.Class != Exact {
			tails = append(tails, Pair{l.tailOf(s.slot), g.pending[at : at+l.tailBytes()]})
			at += l.tailBytes()
		}
	}
	if err := s.pool.Move(tails); err != nil {
		return fmt.Errorf("end prompt: %w", err)
	}
	s.grow(g.end - s.nTok)
	s.leaveSet() // what mattered to the tokens before says nothing about those after
	g.owner = nil
	return nil
}

// CancelPrefill gives the stage back and leaves the sequence as it was.
func (s *Seq) CancelPrefill() {
	if s.pool.stage.owner != s {
		return
	}
	s.pool.stage.owner = nil
	s.cut(s.nTok)
}

// Prefilling is the length that the sequence will have when its prompt is
// read, 0 when it reads none.
func (s *Seq) Prefilling() int {
	if s.pool.stage.owner != s {
		return 0
	}
	return s.pool.stage.end
}

// stageFrom is the position of the stage's first token for a layer: that of
// the exact tail, or what a window still shows.
func (s *Seq) stageFrom(l *layer) int {
	if l.Class == Window {
		return max(s.low, s.nTok-l.Window) / PageTok * PageTok
	}
	return s.stored
}

// StageIn copies a layer's exact tail to the begin of the stage. A backend
// calls it before the first rows of a layer.
func (s *Seq) StageIn(layer int) {
	l := &s.pool.layers[layer]
	from := s.stageFrom(l) / PageTok
	for page := from; page < pagesFor(s.nTok); page++ {
		copy(s.stagePage(l, page-from), s.tailPage(l, page))
	}
}

// StageOut keeps what the layer's tail will hold. A backend calls it after the
// last rows of a layer, when the records have been written.
func (s *Seq) StageOut(layer int) {
	g := &s.pool.stage
	l := &s.pool.layers[layer]
	pending := s.pool.pendingTail(l)
	copy(pending, l.tailOf(s.slot))
	from, n := s.stageFrom(l)/PageTok, l.Tail/PageTok
	for page := max(from, pagesFor(g.end)-n); page < pagesFor(g.end); page++ {
		copy(part(pending, page%n, l.pages.PageBytes), s.stagePage(l, page-from))
	}
}

func (s *Seq) stagePage(l *layer, i int) []byte {
	return part(s.pool.stage.pages, i, l.pages.PageBytes)
}

// tailPage is the tail's memory of a page by number: the tail is a ring.
func (s *Seq) tailPage(l *layer, page int) []byte {
	tail := l.tailOf(s.slot)
	if s.ahead {
		tail = s.pool.pendingTail(l)
	}
	return part(tail, page%(l.Tail/PageTok), l.pages.PageBytes)
}

// number is a layer's.
func (p *Pool) number(l *layer) int {
	for i := range p.layers {
		if &p.layers[i] == l {
			return i
		}
	}
	panic("offload: a layer of another pool")
}

// pendingTail is where a layer's tail waits for the end of a prompt.
func (p *Pool) pendingTail(of *layer) []byte {
	at := 0
	for i := range p.number(of) {
		if l := &p.layers[i]; l.Class != Exact {
			at += l.tailBytes()
		}
	}
	return p.stage.pending[at : at+of.tailBytes() : at+of.tailBytes()]
}
