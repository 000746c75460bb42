package offload

import "edged/pinnedmem"

// listsOf are the lists of one set, [kvHeads]; of a Gathered layer, those of a slot.
func (l *layer) listsOf(set int) []byte { return part(l.chosen, set, l.KVHeads*l.chosenBytes()) }

// setLists are the lists of a set, and of a slot's chosen tokens, as the processor
// reads them.
type setLists struct {
	pool *Pool
	set  int
	all  [][]byte // [layers]; in place where the processor reaches the fast tier
}

// readLists gives the lists of a set and of a slot; -1 is none.
func (p *Pool) readLists(set, slot int) (setLists, error) {
	x := setLists{p, set, make([][]byte, len(p.layers))}
	var pairs []Pair
	for i := range p.layers {
		l := &p.layers[i]
		var lists []byte
		switch {
		case l.Class == Paged && set >= 0:
			lists = l.listsOf(set)
		case l.Class == Gathered && slot >= 0:
			lists = l.listsOf(slot)
		default:
			continue
		}
		if x.all[i] = lists; p.mover != nil {
			x.all[i] = make([]byte, len(lists))
			pairs = append(pairs, Pair{x.all[i], lists})
		}
	}
	return x, p.Move(pairs)
}

// of is the list of a KV head.
func (x setLists) of(layer, head int) []uint32 {
	return pinnedmem.View[uint32](part(x.all[layer], head, x.pool.layers[layer].chosenBytes()))
}

// write lets the device see what has changed in a set's.
func (x setLists) write() error {
	if x.pool.mover == nil {
		return nil
	}
	var pairs []Pair
	for i, b := range x.all {
		if b != nil && x.pool.layers[i].Class == Paged {
			pairs = append(pairs, Pair{x.pool.layers[i].listsOf(x.set), b})
		}
	}
	return x.pool.Move(pairs)
}

// setRecords are the records of one set, [kvHeads][Budget].
func (l *layer) setRecords(set int) []byte {
	return part(l.sets, set, l.KVHeads*l.Budget*l.record.Bytes)
}

// emptySets empties every set.
func (p *Pool) emptySets() error {
	for set := range p.cfg.decoding() {
		if err := p.emptySet(set); err != nil {
			return err
		}
	}
	return nil
}
