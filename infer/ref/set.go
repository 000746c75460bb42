package ref

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"edged/infer/graph"
	"edged/offload"
)

// set is the working set of one KV head of one sequence (see offload/set.go).
type set struct {
	list    []byte // uint32: length, pages, places
	records []byte // [budget]
	budget  int
	bytes   int // of a record
}

func (v view) set(head int) set {
	m := v.mem
	n := m.Plan.Budget * m.Record.Bytes
	return set{list: v.list(head), records: nth(m.Sets, v.q.Set()*m.Plan.KVHeads+head, n), budget: m.Plan.Budget, bytes: m.Record.Bytes}
}

// list is where a KV head's choice is noted.
func (v view) list(head int) []byte {
	of := v.q.Slot()
	if v.mem.Plan.Class == offload.Paged {
		of = v.q.Set()
	}
	return nth(v.mem.Chosen, of*v.mem.Plan.KVHeads+head, v.mem.ChosenBytes)
}

func (s set) word(i int) int { return int(binary.NativeEndian.Uint32(s.list[4*i:])) }

// held are the pages of the set, ascending, and the places of all: those of
// the pages and then the free ones.
func (s set) held() (pages, places []int) {
	for i := range s.word(0) {
		pages = append(pages, s.word(1+i))
	}
	for i := range s.budget {
		places = append(places, s.word(1+s.budget+i))
	}
	return pages, places
}

func (s set) put(pages, places []int) {
	binary.NativeEndian.PutUint32(s.list, uint32(len(pages)))
	for i, p := range pages {
		binary.NativeEndian.PutUint32(s.list[4*(1+i):], uint32(p))
	}
	for i, p := range places {
		binary.NativeEndian.PutUint32(s.list[4*(1+s.budget+i):], uint32(p))
	}
}

// exchange is what a set becomes whose pages are held when wanted, all of the
// pages or as many as the budget, are the dominant ones: free places are
// filled, and at most so many pages exchanged. Wanted pages of the greatest
// share come first, held ones of the least share go first.
func exchange(held, wanted []int, share []float64, most int) (in, out []int) {
	for _, p := range wanted {
		if !slices.Contains(held, p) {
			in = append(in, p)
		}
	}
	for _, p := range held {
		if !slices.Contains(wanted, p) {
			out = append(out, p)
		}
	}
	free := len(in) - len(out)
	if n := free + most; len(in) > n {
		slices.SortStableFunc(in, func(a, b int) int { return cmp.Compare(share[b], share[a]) })
		slices.SortStableFunc(out, func(a, b int) int { return cmp.Compare(share[a], share[b]) })
		in, out = in[:n], out[:n-free]
		slices.Sort(in)
		slices.Sort(out)
	}
	return in, out
}

// renew exchanges pages of a KV head's set and returns its records, in the
// order of positions.
func (v view) renew(head int, wanted []int, share []float64) [][]byte {
	s := v.set(head)
	held, places := s.held()
	in, out := exchange(held, wanted, share, v.mem.Plan.Exchange)
	at := map[int]int{}
	free := slices.Clone(places[len(held):])
	for i, p := range held {
		if slices.Contains(out, p) {
			free = append(free, places[i])
		} else {
			at[p] = places[i]
		}
	}
	for i, p := range in {
		at[p] = free[i]
		copy(nth(s.records, free[i], s.bytes), v.record(p*offload.ColdTok, head))
	}
	var pages, used []int
	for p := range at {
		pages = append(pages, p)
	}
	slices.Sort(pages)
	var records [][]byte
	for _, p := range pages {
		used = append(used, at[p])
		records = append(records, nth(s.records, at[p], s.bytes))
	}
	s.put(pages, append(used, free[len(in):]...))
	v.count(len(pages), len(in))
	return records
}

func (v view) count(chosen, fetched int) {
	pages, bytes := int64(v.stored/offload.ColdTok), int64(v.mem.Record.Bytes)
	v.q.Pool().Count(offload.Traffic{Pages: pages, Chosen: int64(chosen), Hits: int64(chosen - fetched),
		Fetched: int64(fetched) * bytes, ColdBytes: pages * bytes})
}

// kvFetch brings what was chosen to the fast tier.
func (s step) kvFetch(o graph.KVFetch) {
	if s.gathers(o.Layer) {
		s.fetchTokens(o.Layer)
	}
	if !s.chooses(o.Layer) {
		return
	}
	for seq := range s.kv {
		for head := range s.choices[seq] {
			c := &s.choices[seq][head]
			v := s.view(seq, o.Layer)
			c.records = v.renew(head, c.wanted, c.share)
			c.pages, _ = v.set(head).held()
			for g := range c.means {
				if v.mem.Plan.Estimate && len(c.pages) < v.stored/offload.ColdTok {
					c.rest[g] = v.restOf(head, c.pages, c.means[g])
				}
			}
		}
	}
}

// wanted are the n pages of the largest shares, ascending. The first page, the
// attention sink, and the last one always belong to them.
func wanted(share []float64, n int) []int {
	share[0], share[len(share)-1] = math.Inf(1), math.Inf(1)
	order := make([]int, len(share))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(share[b], share[a]) })
	chosen := order[:n]
	slices.Sort(chosen)
	return chosen
}
