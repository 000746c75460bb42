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
		{LayerSpec: b, Class: Paged, Group: 32, Tail: 64, Budget: 3, Hot: 4},
		{LayerSpec: a, Class: Paged, Group: 32, Tail: 64, Budget: 2, Estimate: true},
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

// store copies exact pages to records, marks the index and drops what the hot
// cache has of the pages.
func (k kernel) store(s *Seq, l, from, to int, exact func(page int) []byte) {
	m := k.pool.Memory(l)
	half := m.Pages.HeadBytes / 2
	for pos := from; pos < to; pos += PageTok {
		page := exact(pos / PageTok)
		for h := range m.Plan.KVHeads {
			r := k.record(s, l, pos, h)
			i := pos % m.Record.Group / PageTok
			copy(r[m.Record.K+i*half:][:half], page[m.Pages.KOffset(h):])
			copy(r[m.Record.V+i*half:][:half], page[m.Pages.VOffset(h):])
			if m.Plan.Class == Paged {
				copy(k.indexMark(s, l, pos, h), page[m.Pages.KOffset(h):][:2])
				k.forget(m, h, k.pageID(s, l, pos))
			}
		}
	}
}

func (k kernel) forget(m Memory, head int, id uint32) {
	pages := len(m.Hot.Slot) / m.Plan.KVHeads
	if slot := m.Hot.Slot[head*pages+int(id)]; slot != NoHot {
		m.Hot.Page[head*m.Hot.Slots+int(slot)] = NoPage
		m.Hot.Slot[head*pages+int(id)] = NoHot
	}
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

func (k kernel) pageID(s *Seq, l, pos int) uint32 {
	return s.Table(l)[pos/BlockTok]*blockPages + uint32(pos%BlockTok/PageTok)
}

// indexMark is two bytes of the index that belong to one page.
func (k kernel) indexMark(s *Seq, l, pos, head int) []byte {
	m := k.pool.Memory(l)
	at := (int(s.Table(l)[pos/BlockTok])*m.Plan.KVHeads+head)*m.Index.Bytes + m.Index.Means + pos%BlockTok/PageTok*m.Index.Padded
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
		var kb, vb []byte
		slot := pos % PageTok
		if m.Plan.Class.Stored() && pos < s.Stored() {
			r, i := k.record(s, l, pos, h), pos%m.Record.Group
			kb, vb, slot = r[m.Record.K+i/PageTok*m.Pages.HeadBytes/2:], r[m.Record.V:], i
		} else {
			page := k.exactPage(s, l, pos)
			kb, vb = page[m.Pages.KOffset(h):], page[m.Pages.VOffset(h):]
		}
		if err := checkToken(kb, vb, slot, m.Plan.HeadDim, func(c int) uint16 { return mark(tok, l, h, c) }); err != nil {
			return fmt.Errorf("layer %d (%s) head %d: %w", l, m.Plan.Class, h, err)
		}
	}
	return nil
}

// checkToken compares K [dim, PageTok] and V [tokens, dim] of one token.
func checkToken(k, v []byte, slot, dim int, want func(channel int) uint16) error {
	for c := range dim {
		if got := binary.LittleEndian.Uint16(k[2*(c*PageTok+slot%PageTok):]); got != want(c) {
			return fmt.Errorf("K holds %d, want %d", got, want(c))
		}
		if got := binary.LittleEndian.Uint16(v[2*(slot*dim+c):]); got != want(dim+c) {
			return fmt.Errorf("V holds %d, want %d", got, want(dim+c))
		}
	}
	return nil
}
