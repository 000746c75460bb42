package offload

import (
	"encoding/binary"
	"fmt"
)

// kernel stands for a backend: it writes and reads marked tokens through what
// the pool says about its memory. Elements are 16 bits, records raw copies.
type kernel struct{ pool *Pool }

// mark is the element that a token has in one place.
func mark(tok uint16, layer, head, channel int) uint16 {
	return tok + uint16(layer*7919+head*631+channel*37)
}

// mixed has a layer of every class whose records are pages.
func mixed() []LayerPlan {
	a, b := LayerSpec{KVHeads: 1, HeadDim: 2}, LayerSpec{KVHeads: 2, HeadDim: 4}
	w := b
	w.Window = 40
	return []LayerPlan{
		{LayerSpec: w, Class: Window, Tail: 128},
		{LayerSpec: a},
		{LayerSpec: b, Class: Dense, Group: 32, Tail: 64},
		{LayerSpec: b, Class: Paged, Group: 16, Tail: 64, Budget: 4, Exchange: 2},
		{LayerSpec: a, Class: Paged, Group: 16, Tail: 64, Budget: 2, Exchange: 1, Estimate: true},
	}
}

// tailored has what TailorKV has.
func tailored() []LayerPlan {
	s := LayerSpec{KVHeads: 2, HeadDim: 2}
	w := s
	w.Window = 8
	return []LayerPlan{
		{LayerSpec: s, Class: Dense, Group: 64, Tail: 160},
		{LayerSpec: s, Class: Gathered, Group: 64, Tail: 160, Budget: 40, Channels: 1, Sink: 4},
		{LayerSpec: w, Class: Window, Tail: 128},
	}
}

// step writes what a decode step at the sequence's end does.
func (k kernel) step(s *Seq, tok uint16) {
	pos := s.Len()
	from, to := s.Flush(pos + 1)
	for l := range k.pool.Layers() {
		m := k.pool.Memory(l)
		if m.Plan.Class.Stored() {
			k.store(s, l, from, to, func(page int) []byte { return k.tailPage(s, l, page) })
		}
		page := k.exactPage(s, l, pos)
		writeToken(page, m.Pages, pos%PageTok, tok, l)
		k.peak(s, l, tok)
	}
}

// prompt writes a layer of a prompt.
func (k kernel) prompt(s *Seq, l int, toks []uint16) {
	m := k.pool.Memory(l)
	if m.Plan.Class == Exact {
		for i, tok := range toks {
			writeToken(k.exactPage(s, l, s.Len()+i), m.Pages, (s.Len()+i)%PageTok, tok, l)
		}
		return
	}
	s.StageIn(l)
	for i, tok := range toks {
		writeToken(k.stagePage(s, l, (s.Len()+i)/PageTok), m.Pages, (s.Len()+i)%PageTok, tok, l)
		k.peak(s, l, tok)
	}
	if m.Plan.Class.Stored() {
		from, to := s.Flush(s.Prefilling())
		k.store(s, l, from, to, func(page int) []byte { return k.stagePage(s, l, page) })
	}
	s.StageOut(l)
}

// store copies exact pages to records and marks the index.
func (k kernel) store(s *Seq, l, from, to int, exact func(page int) []byte) {
	m := k.pool.Memory(l)
	for pos := from; pos < to; pos++ {
		page := exact(pos / PageTok)
		for h := range m.Plan.KVHeads {
			r, at := k.record(s, l, pos, h), pos%m.Record.Group
			for c := range m.Plan.HeadDim {
				copy(r[keyAt(m.Record, at, c):][:2], page[m.Pages.KOffset(h)+2*(c*PageTok+pos%PageTok):])
			}
			copy(r[m.Record.V+at*m.Record.VRow:][:m.Record.VRow], page[m.Pages.VOffset(h)+pos%PageTok*m.Record.VRow:])
			if m.Plan.Class == Paged && pos%PageTok == 0 {
				copy(k.indexMark(s, l, pos, h), page[m.Pages.KOffset(h):][:2])
			}
		}
	}
}

// keyAt is the byte offset in a record of one channel of a token's key.
func keyAt(r Record, t, channel int) int {
	n := min(r.Group, PageTok)
	return r.K + (t/n*r.Dim+channel)*r.KRow + t%n*2
}

// exactPage is where an exact token that was just computed lies.
func (k kernel) exactPage(s *Seq, l, pos int) []byte {
	if k.pool.Plan(l).Class == Exact {
		return k.pool.Page(l, s.Table(l)[pos/PageTok])
	}
	return k.tailPage(s, l, pos/PageTok)
}

func (k kernel) tailPage(s *Seq, l, page int) []byte {
	m := k.pool.Memory(l)
	return part(part(m.Tails, s.Slot(), m.TailBytes), page%(m.Plan.Tail/PageTok), m.Pages.PageBytes)
}

func (k kernel) stagePage(s *Seq, l, page int) []byte {
	return part(k.pool.Stage(), page-s.StageFrom(l)/PageTok, k.pool.Memory(l).Pages.PageBytes)
}

func (k kernel) record(s *Seq, l, pos, head int) []byte {
	m := k.pool.Memory(l)
	unit := part(m.Units, int(s.Table(l)[pos/BlockTok]), m.UnitBytes)
	return part(unit, pos%BlockTok/m.Record.Group*m.Plan.KVHeads+head, m.Record.Bytes)
}

// indexMark is two bytes of the index that belong to one page.
func (k kernel) indexMark(s *Seq, l, pos, head int) []byte {
	m := k.pool.Memory(l)
	at := (int(s.Table(l)[pos/BlockTok])*m.Plan.KVHeads+head)*m.Index.Bytes + m.Index.Means + m.Index.Beside(pos%BlockTok/PageTok, 0)
	return m.Indexes[at : at+2]
}

// peak raises the largest token that a Gathered layer has seen.
func (k kernel) peak(s *Seq, l int, tok uint16) {
	if m := k.pool.Memory(l); m.Plan.Class == Gathered {
		p := part(m.Peaks, s.Slot(), 4*m.Plan.KVHeads*m.Plan.HeadDim)
		binary.LittleEndian.PutUint16(p, max(k.peaks(s, l), tok))
	}
}

func (k kernel) peaks(s *Seq, l int) uint16 {
	m := k.pool.Memory(l)
	if m.Plan.Class != Gathered {
		return 0
	}
	return binary.LittleEndian.Uint16(part(m.Peaks, s.Slot(), 4*m.Plan.KVHeads*m.Plan.HeadDim))
}

func writeToken(page []byte, lay Layout, slot int, tok uint16, l int) {
	dim := lay.Spec.HeadDim
	for h := range lay.Spec.KVHeads {
		for c := range dim {
			binary.LittleEndian.PutUint16(page[lay.KOffset(h)+2*(c*PageTok+slot):], mark(tok, l, h, c))
			binary.LittleEndian.PutUint16(page[lay.VOffset(h)+2*(slot*dim+c):], mark(tok, l, h, dim+c))
		}
	}
}

// check compares a token with what was written, wherever it lies.
func (k kernel) check(s *Seq, l, pos int, tok uint16) error {
	m := k.pool.Memory(l)
	for h := range m.Plan.KVHeads {
		err := func() error {
			if m.Plan.Class.Stored() && pos < s.Stored() {
				return checkRecord(m.Record, k.record(s, l, pos, h), pos%m.Record.Group, marks(tok, l, h))
			}
			page, slot := k.exactPage(s, l, pos), pos%PageTok
			kv, dim := page[m.Pages.KOffset(h):], m.Plan.HeadDim
			return checkToken(func(c int) []byte { return kv[2*(c*PageTok+slot):] }, page[m.Pages.VOffset(h)+2*slot*dim:], dim, marks(tok, l, h))
		}()
		if err != nil {
			return fmt.Errorf("layer %d (%s) head %d: %w", l, m.Plan.Class, h, err)
		}
	}
	return nil
}

func marks(tok uint16, l, h int) func(c int) uint16 {
	return func(c int) uint16 { return mark(tok, l, h, c) }
}

// checkRecord compares the t-th token of a record.
func checkRecord(r Record, b []byte, t int, want func(channel int) uint16) error {
	return checkToken(func(c int) []byte { return b[keyAt(r, t, c):] }, b[r.V+t*r.VRow:], r.Dim, want)
}

// checkToken compares the channels of one token's K and V.
func checkToken(k func(channel int) []byte, v []byte, dim int, want func(channel int) uint16) error {
	for c := range dim {
		if got := binary.LittleEndian.Uint16(k(c)); got != want(c) {
			return fmt.Errorf("K holds %d, want %d", got, want(c))
		}
		if got := binary.LittleEndian.Uint16(v[2*c:]); got != want(dim+c) {
			return fmt.Errorf("V holds %d, want %d", got, want(dim+c))
		}
	}
	return nil
}
