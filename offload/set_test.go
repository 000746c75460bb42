package offload

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"edged/pinnedmem"
)

// fetch is a decode step's choice in every Paged layer: pages that are drawn
// take the place of others in the working set.
func (m *machine) fetch(t *rapid.T) {
	i := m.pick(t)
	s := m.seqs[i]
	if s.Stored() == 0 {
		t.Skip("no records")
	}
	for l := range m.pool.Layers() {
		plan := m.pool.Plan(l)
		if plan.Class != Paged {
			continue
		}
		pages := s.Stored() / ColdTok
		m.renew(t, s, l, rapid.SliceOfNDistinct(rapid.IntRange(0, pages-1), 1, min(pages, plan.Budget), rapid.ID).Draw(t, "pages"))
	}
}

// fatalist is a test of either kind.
type fatalist interface {
	Helper()
	Fatal(args ...any)
}

// renew brings pages into a sequence's sets of a layer: to free places, and to
// those of pages that were not asked for, the lowest first.
func (k kernel) renew(t fatalist, s *Seq, l int, pages []int) {
	t.Helper()
	if err := k.pool.ClaimSets([]*Seq{s}); err != nil {
		t.Fatal(err)
	}
	m := k.pool.Memory(l)
	for head := range m.Plan.KVHeads {
		list := k.pool.layers[l].setList(s.Set(), head)
		held, places := k.held(s, l, head), slices.Clone(list[1+m.Plan.Budget:])
		at := map[int]uint32{}
		free := places[len(held):]
		for i, p := range held {
			at[p] = places[i]
		}
		for _, p := range held {
			if !slices.Contains(pages, p) && len(free) < len(pages) {
				free = append(free, at[p])
				delete(at, p)
			}
		}
		for _, p := range pages {
			if _, in := at[p]; in {
				continue
			}
			at[p], free = free[0], free[1:]
			copy(k.place(s, l, head, at[p]), k.record(s, l, p*ColdTok, head))
		}
		list[0] = 0
		for _, p := range sortedKeys(at) {
			list[0]++
			list[list[0]], list[int(list[0])+m.Plan.Budget] = uint32(p), at[p]
		}
		copy(list[1+m.Plan.Budget+int(list[0]):], free)
	}
}

func sortedKeys(m map[int]uint32) []int {
	var keys []int
	for p := range m {
		keys = append(keys, p)
	}
	slices.Sort(keys)
	return keys
}

// held are the pages of a working set; none where there is none.
func (k kernel) held(s *Seq, l, head int) []int {
	if s.Set() < 0 {
		return nil
	}
	list := k.pool.layers[l].setList(s.Set(), head)
	var pages []int
	for _, p := range list[1 : 1+list[0]] {
		pages = append(pages, int(p))
	}
	return pages
}

func (k kernel) place(s *Seq, l, head int, at uint32) []byte {
	m := k.pool.Memory(l)
	return part(m.Sets, (s.Set()*m.Plan.KVHeads+head)*m.Plan.Budget+int(at), m.Record.Bytes)
}

// checkSet says whether a sequence's sets are in order and hold what was
// written.
func (k kernel) checkSet(s *Seq, l int, toks []uint16) error {
	m := k.pool.Memory(l)
	for head := range m.Plan.KVHeads {
		held := k.held(s, l, head)
		if len(held) == 0 {
			continue
		}
		places := k.pool.layers[l].setList(s.Set(), head)[1+m.Plan.Budget:]
		all := slices.Sorted(slices.Values(places))
		if len(slices.Compact(all)) != m.Plan.Budget || int(all[m.Plan.Budget-1]) != m.Plan.Budget-1 {
			return fmt.Errorf("head %d: places %v are not each other's", head, places)
		}
		if !slices.IsSorted(held) || held[len(held)-1] >= s.Stored()/ColdTok {
			return fmt.Errorf("head %d: pages %v of %d", head, held, s.Stored()/ColdTok)
		}
		for i, p := range held {
			for t := range ColdTok {
				if err := checkRecord(m.Record, k.place(s, l, head, places[i]), t, marks(toks[p*ColdTok+t], l, head)); err != nil {
					return fmt.Errorf("head %d, page %d, token %d: %w", head, p, t, err)
				}
			}
		}
	}
	return nil
}

// TestSetsGoToThoseWhoDecode lets more sequences decode than there are sets.
func TestSetsGoToThoseWhoDecode(t *testing.T) {
	const paged = 3
	k := newKernel(t, mixed())
	k.pool.cfg.Decoding = 2
	k.pool.sets = newSets(2)
	var s [3]*Seq
	for i := range s {
		s[i] = k.open(t, 150, 0)
	}
	k.renew(t, s[0], paged, []int{0, 1})
	k.renew(t, s[1], paged, []int{2})
	k.renew(t, s[2], paged, []int{3})
	for i, want := range [][]int{nil, {2}, {3}} {
		if got := k.held(s[i], paged, 0); !slices.Equal(got, want) {
			t.Errorf("sequence %d holds pages %v, want %v", i, got, want)
		}
	}
	if err := k.pool.ClaimSets(s[:]); err == nil {
		t.Error("three sequences of a step share two sets")
	}
	if err := k.pool.ClaimSets([]*Seq{s[2], s[0]}); err != nil || len(k.held(s[2], paged, 0)) != 1 || s[1].Set() >= 0 {
		t.Errorf("%v: a step takes a set from one of its own sequences", err)
	}
	if err := s[2].BeginPrefill(1); err != nil {
		t.Fatal(err)
	}
	for l := range k.pool.Layers() {
		k.prompt(s[2], l, []uint16{150})
	}
	if err := s[2].EndPrefill(); err != nil || s[2].Set() >= 0 {
		t.Errorf("%v: a prompt leaves a working set", err)
	}
	if f, err := s[0].Fork(150); err != nil || f.Set() < 0 {
		t.Errorf("%v: a fork leaves a free set alone", err)
	}
}

// setList is a list in place.
func (l *layer) setList(set, head int) []uint32 {
	return pinnedmem.View[uint32](part(l.listsOf(set), head, l.chosenBytes()))
}
