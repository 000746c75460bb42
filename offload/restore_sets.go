package offload

import (
	"runtime"

	"golang.org/x/sync/errgroup"
)

// restoreSets brings the pages that [Paged layers][kvHeads] working sets held to the places that they had,
// where the sets are as large: a backend may attend to them in that order.
func (s *Seq) restoreSets(held, places [][]uint32) error {
	set := s.pool.sets.oldest()
	if s.pool.sets.holder[set] != nil || !s.pool.setsFit(held) {
		return nil
	}
	if err := s.pool.claim(s, set); err != nil {
		return err
	}
	lists, err := s.pool.readLists(set, -1)
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0)) // pages lie far from each other in memory
	for i := range s.pool.layers {
		heads := s.pool.layers[i].pagedHeads()
		pages, at := held[:heads], places[:heads]
		held, places = held[heads:], places[heads:]
		g.Go(func() error { return s.restoreSet(i, lists, pages, at) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return lists.write()
}

// restoreSet brings one layer's.
func (s *Seq) restoreSet(layer int, lists setLists, held, places [][]uint32) error {
	l := &s.pool.layers[layer]
	if l.Class != Paged {
		return nil
	}
	records := l.setRecords(lists.set)
	far := records
	if s.pool.mover != nil {
		records = make([]byte, len(far)) // places that stay free may hold anything
	}
	for head, pages := range held {
		list := lists.of(layer, head)
		list[0] = uint32(copy(list[1:], pages))
		if len(places[head]) == l.Budget {
			copy(list[1+l.Budget:], places[head])
		}
		for j, page := range pages {
			place := int(list[1+l.Budget+j])
			copy(part(records, head*l.Budget+place, l.record.Bytes), s.coldPage(layer, int(page), head))
		}
	}
	if s.pool.mover == nil {
		return nil
	}
	return s.pool.Move([]Pair{{far, records}})
}

// setsFit says whether there is any page, and room for all.
func (p *Pool) setsFit(held [][]uint32) bool {
	some := false
	for i := range p.layers {
		for range p.layers[i].pagedHeads() {
			some = some || len(held[0]) > 0
			if len(held[0]) > p.layers[i].Budget {
				return false
			}
			held = held[1:]
		}
	}
	return some
}

// coldPage is the record of a cold page of a KV head.
func (s *Seq) coldPage(layer, page, head int) []byte {
	l := &s.pool.layers[layer]
	unit := l.unitOf(s.tables[layer][page/blockCold])
	return part(unit, page%blockCold*l.KVHeads+head, l.record.Bytes)
}
