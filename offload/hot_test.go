package offload

import (
	"fmt"
	"slices"

	"pgregory.net/rapid"
)

// fetch is a decode step's choice in every Paged layer: some pages are chosen
// at random and brought to the fast tier by the rules of Hot.
func (m *machine) fetch(t *rapid.T) {
	i := m.pick(t)
	s := m.seqs[i]
	if s.Stored() == 0 {
		t.Skip("no records")
	}
	tick := m.pool.Tick()
	for l := range m.pool.Layers() {
		mem := m.pool.Memory(l)
		if mem.Plan.Class != Paged {
			continue
		}
		pages := s.Stored() / PageTok
		chosen := rapid.SliceOfNDistinct(rapid.IntRange(0, pages-1), 1, min(pages, mem.Plan.Budget), rapid.ID).Draw(t, "pages")
		slices.Sort(chosen)
		for h := range mem.Plan.KVHeads {
			m.bring(s, l, h, chosen, tick)
			for j, page := range chosen {
				if err := m.checkFetched(s, l, h, page, j, m.toks[i]); err != nil {
					t.Fatalf("sequence %d layer %d head %d page %d: %v", i, l, h, page, err)
				}
			}
		}
		if err := consistent(mem); err != nil {
			t.Fatalf("layer %d: %v", l, err)
		}
	}
}

// bring stamps what is there, so that none of it gives way, and fetches the
// rest: to the slot with the oldest stamp, or to the sequence's own place.
func (k kernel) bring(s *Seq, l, head int, chosen []int, tick uint32) {
	m := k.pool.Memory(l)
	slots := part32(m.Hot.Used, head, m.Hot.Slots)
	where := part16(m.Hot.Slot, head, len(m.Hot.Slot)/m.Plan.KVHeads)
	for _, page := range chosen {
		if at := where[k.pageID(s, l, page*PageTok)]; at != NoHot {
			slots[at] = tick
		}
	}
	for j, page := range chosen {
		id, cold := k.pageID(s, l, page*PageTok), k.record(s, l, page*PageTok, head)
		if where[id] != NoHot {
			continue
		}
		oldest := -1
		for i, used := range slots {
			if used != tick && (oldest < 0 || used < slots[oldest]) {
				oldest = i
			}
		}
		if oldest < 0 {
			copy(k.place(s, l, head, j), cold)
			continue
		}
		held := part32(m.Hot.Page, head, m.Hot.Slots)
		if held[oldest] != NoPage {
			where[held[oldest]] = NoHot
		}
		held[oldest], slots[oldest], where[id] = id, tick, uint16(oldest)
		copy(part(m.Hot.Records, head*m.Hot.Slots+oldest, m.Record.Bytes), cold)
	}
}

// place is where a sequence keeps what it fetched beyond the hot cache.
func (k kernel) place(s *Seq, l, head, i int) []byte {
	m := k.pool.Memory(l)
	return part(k.pool.Work(s.Slot()), head*m.Plan.Budget+i, m.Record.Bytes)
}

// checkFetched compares a fetched page with what was written.
func (k kernel) checkFetched(s *Seq, l, head, page, i int, toks []uint16) error {
	m := k.pool.Memory(l)
	r := m.Record
	at := part16(m.Hot.Slot, head, len(m.Hot.Slot)/m.Plan.KVHeads)[k.pageID(s, l, page*PageTok)]
	var b []byte
	if at == NoHot {
		b = k.place(s, l, head, i)
	} else {
		b = part(m.Hot.Records, head*m.Hot.Slots+int(at), r.Bytes)
	}
	for slot := range PageTok {
		tok := toks[page*PageTok+slot]
		if err := checkToken(b[r.K:], b[r.V:], slot, r.Dim, func(c int) uint16 { return mark(tok, l, head, c) }); err != nil {
			return fmt.Errorf("token %d: %w", slot, err)
		}
	}
	return nil
}

// consistent says whether slots and pages name each other.
func consistent(m Memory) error {
	pages := len(m.Hot.Slot) / m.Plan.KVHeads
	for h := range m.Plan.KVHeads {
		where, held := part16(m.Hot.Slot, h, pages), part32(m.Hot.Page, h, m.Hot.Slots)
		n := 0
		for page, slot := range where {
			if slot == NoHot {
				continue
			}
			if n++; held[slot] != uint32(page) {
				return fmt.Errorf("head %d: page %d is in slot %d, which holds page %d", h, page, slot, held[slot])
			}
		}
		for slot, page := range held {
			if page != NoPage {
				if n--; where[page] != uint16(slot) {
					return fmt.Errorf("head %d: slot %d holds page %d, which is in slot %d", h, slot, page, where[page])
				}
			}
		}
		if n != 0 {
			return fmt.Errorf("head %d: %d more pages than slots", h, n)
		}
	}
	return nil
}

func part16(x []uint16, i, n int) []uint16 { return x[i*n : (i+1)*n] }

func part32(x []uint32, i, n int) []uint32 { return x[i*n : (i+1)*n] }
