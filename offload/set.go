package offload

import "fmt"

// A working set is what a KV head of a Paged layer attends to beside the exact
// tail: up to Budget cold pages, whose records lie in the fast tier. Every step
// weighs all pages by the index and exchanges those of the set that matter
// least for those outside that matter more by Gain, at most Exchange of them, so
// that a token never waits for more; free places are filled at once.
//
// Sequences that decode hold one set for every layer and KV head. A prompt
// gives them back, and the first step after it fills new ones, so that what a
// step attends to depends on the sequence's tokens and on where its last prompt
// ended, not on what else the pool holds.
//
// The list of a set is uint32 [1 + Budget + Budget]: how many pages it holds,
// their numbers in ascending order, and the place of each, counted in records;
// behind them come the places that are free. An empty set has them in order.

// sets says which sequences hold the sets of a pool.
type sets struct {
	holder []*Seq   // [Decoding]
	used   []uint64 // [Decoding] clock of the last claim
	clock  uint64
}

func newSets(n int) sets { return sets{holder: make([]*Seq, n), used: make([]uint64, n)} }

// ClaimSets gives every sequence of a step a working set: its own, a free one,
// or that of the sequence whose last step is longest ago, which then begins
// anew. A backend calls it before the step.
func (p *Pool) ClaimSets(step []*Seq) error {
	g := &p.sets
	if len(step) > len(g.holder) {
		return fmt.Errorf("claim working sets: %d sequences in a step, the pool has sets for %d", len(step), len(g.holder))
	}
	g.clock++
	for _, s := range step {
		if s.set >= 0 {
			g.used[s.set] = g.clock
		}
	}
	for _, s := range step {
		if s.set >= 0 {
			continue
		}
		if err := p.claim(s, g.oldest()); err != nil {
			return fmt.Errorf("claim working sets: %w", err)
		}
	}
	return nil
}

// oldest is a free set, or the one that was claimed longest ago.
func (g *sets) oldest() int {
	best := 0
	for i, s := range g.holder {
		if s == nil {
			return i
		}
		if g.used[i] < g.used[best] {
			best = i
		}
	}
	return best
}

func (p *Pool) claim(s *Seq, set int) error {
	if old := p.sets.holder[set]; old != nil {
		old.leaveSet()
	}
	p.sets.holder[set], p.sets.used[set], s.set = s, p.sets.clock, set
	return p.emptySet(set)
}

// emptySet drops all that a set holds, and orders its places.
func (p *Pool) emptySet(set int) error {
	lists, err := p.readLists(set, -1)
	if err != nil {
		return err
	}
	for i := range p.layers {
		l := &p.layers[i]
		for head := range l.pagedHeads() {
			l.emptyList(lists.of(i, head))
		}
	}
	return lists.write()
}

func (l *layer) emptyList(list []uint32) {
	list[0] = 0
	places := list[1+l.Budget:]
	for j := range places {
		places[j] = uint32(j)
	}
}

// Set is the number of the working sets that a sequence holds; -1 for none.
func (s *Seq) Set() int { return s.set }

func (s *Seq) leaveSet() {
	if s.set >= 0 {
		s.pool.sets.holder[s.set], s.set = nil, -1
	}
}

// trimSet drops what a sequence's sets hold beyond its records.
func (s *Seq) trimSet(stored int) error {
	if s.set < 0 {
		return nil
	}
	lists, err := s.pool.readLists(s.set, -1)
	if err != nil {
		return err
	}
	changed := false
	for i := range s.pool.layers {
		l := &s.pool.layers[i]
		for head := range l.pagedHeads() {
			list := lists.of(i, head)
			before := list[0]
			for list[0] > 0 && int(list[list[0]])*ColdTok >= stored {
				list[0]--
			}
			if list[0] == before {
				continue
			}
			if changed = true; list[0] == 0 {
				l.emptyList(list)
			}
		}
	}
	if !changed {
		return nil
	}
	return lists.write()
}

// copySet gives a fork what its parent has brought, where a set is free.
func (s *Seq) copySet(parent *Seq) error {
	p := s.pool
	set := p.sets.oldest()
	if parent.set < 0 || p.sets.holder[set] != nil {
		return nil
	}
	if err := p.claim(s, set); err != nil {
		return err
	}
	var pairs []Pair
	for i := range p.layers {
		if l := &p.layers[i]; l.Class == Paged {
			pairs = append(pairs, Pair{l.listsOf(s.set), l.listsOf(parent.set)}, Pair{l.setRecords(s.set), l.setRecords(parent.set)})
		}
	}
	if err := p.Move(pairs); err != nil {
		return err
	}
	return s.trimSet(s.stored)
}
