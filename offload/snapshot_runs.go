package offload

// run is memory of a part of a snapshot.
type run struct {
	mem  []byte
	fast bool // in the fast tier
	// clear clears, in a copy of mem, what holds no token of the sequence, and may be
	// another one's; nil where all of it does.
	clear func(b []byte)
}

// blockRuns is where the layer keeps a whole block, given a sequence's table.
func (l *layer) blockRuns(table []uint32, block int) []run {
	switch {
	case l.Class == Exact:
		var runs []run
		for _, id := range table[block*blockPages : (block+1)*blockPages] {
			runs = append(runs, run{mem: l.unitOf(id), fast: true})
		}
		return runs
	case l.Class.Stored():
		id := table[block]
		runs := []run{{mem: l.unitOf(id), fast: !l.Class.Cold()}}
		if l.Class == Paged {
			runs = append(runs, run{mem: l.indexOf(id), fast: true})
		}
		return runs
	}
	return nil
}

// tailRuns is where a layer keeps what is not in whole blocks.
func (s *Seq) tailRuns(layer int) []run {
	l := &s.pool.layers[layer]
	end := pagesFor(s.nTok)
	switch {
	case l.Class == Exact:
		return s.exactRuns(layer, s.Blocks()*blockPages, end)
	case l.Class == Window:
		return s.ringRuns(l, s.low/PageTok, end)
	}
	return append(s.recordRuns(layer), s.ringRuns(l, s.stored/PageTok, end)...)
}

// exactRuns are pages of an Exact layer.
func (s *Seq) exactRuns(layer, from, to int) []run {
	l := &s.pool.layers[layer]
	var runs []run
	for page := from; page < to; page++ {
		runs = append(runs, s.pageRun(l, page, run{mem: l.unitOf(s.tables[layer][page]), fast: true}))
	}
	return runs
}

// ringRuns are pages of an exact tail.
func (s *Seq) ringRuns(l *layer, from, to int) []run {
	var runs []run
	for page := from; page < to; page++ {
		runs = append(runs, s.pageRun(l, page, run{mem: s.tailPage(l, page), fast: !s.ahead}))
	}
	return runs
}

// pageRun clears what a page has behind the last token.
func (s *Seq) pageRun(l *layer, page int, r run) run {
	if n := s.nTok - page*PageTok; n < PageTok {
		r.clear = func(b []byte) { l.pages.clearFrom(b, n) }
	}
	return r
}

// recordRuns are the records behind the last whole block, and their index.
func (s *Seq) recordRuns(layer int) []run {
	l := &s.pool.layers[layer]
	n := s.stored % BlockTok
	if n == 0 {
		return nil
	}
	id := s.tables[layer][s.stored/BlockTok]
	runs := []run{{mem: l.unitOf(id)[:n/l.Group*l.KVHeads*l.record.Bytes], fast: !l.Class.Cold()}}
	if l.Class != Paged {
		return runs
	}
	return append(runs, run{mem: l.indexOf(id), fast: true, clear: func(b []byte) {
		for head := range l.KVHeads {
			l.index.clearFrom(part(b, head, l.index.Bytes), n/PageTok)
		}
	}})
}

// clearFrom clears the slots of a page from slot n on.
func (l Layout) clearFrom(page []byte, n int) {
	size, dim := l.Elem.KBits()/8, l.Spec.HeadDim
	for head := range l.Spec.KVHeads {
		k := page[l.KOffset(head):l.VOffset(head)]
		for c := range dim {
			clear(k[(c*PageTok+n)*size : (c+1)*PageTok*size])
		}
		clear(page[l.VOffset(head)+n*dim*size : (head+1)*l.HeadBytes])
	}
}

// clearFrom clears what one head's index of a block says of its pages from
// page n on.
func (x Index) clearFrom(b []byte, n int) {
	for page := n; page < blockPages; page++ {
		for i := range x.Padded {
			b[x.Means+x.Beside(page, i)] = 0
		}
		for i := range x.Ranks() {
			b[x.Scales+x.Beside(page, i)] = 0
		}
	}
	clear(b[x.Codes+n*x.PageBytes() : x.Codes+blockPages*x.PageBytes()])
	if x.Values > 0 {
		clear(b[x.Values+2*n*x.Padded : x.Values+blockCold*x.Padded])
		clear(b[x.ValueStep+4*n : x.ValueStep+2*blockCold])
	}
}
