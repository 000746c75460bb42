package offload

// layer is the memory of one layer.
type layer struct {
	LayerPlan
	pages  Layout
	record Record
	index  Index

	unit      int // tokens of a table entry: a page or a block; 0 without either
	unitBytes int
	nUnit     int
	seqUnits  int      // table entries of one sequence
	free      []uint32 // stack of unit ids
	refs      []int32  // [nUnit] sequences that hold it

	units  []byte // [nUnit] pages, or blocks of records [BlockTok/Group][kvHeads]
	idx    []byte // [nUnit][kvHeads] index of a block; Paged
	tails  []byte // [MaxSeqs][Tail/PageTok] pages; all but Exact
	sets   []byte // [Decoding][kvHeads][Budget] records of working sets; Paged
	chosen []byte // lists: of working sets, [Decoding][kvHeads] (Paged), or of chosen tokens, [MaxSeqs][kvHeads] (Gathered)
	peaks  []byte // [MaxSeqs][kvHeads][headDim] float32, largest |K| of each channel; Gathered
}

func newLayer(c Config, p LayerPlan) (layer, error) {
	l := layer{LayerPlan: p, unit: p.unit()}
	var err error
	if l.pages, err = p.Pages(); err != nil {
		return l, err
	}
	l.unitBytes = l.pages.PageBytes
	if p.Class.Stored() {
		if l.record, err = p.Record(); err != nil {
			return l, err
		}
		l.unitBytes = BlockTok / p.Group * p.KVHeads * l.record.Bytes
	}
	if p.Class == Paged {
		l.index = NewIndex(p.HeadDim, p.Estimate)
	}
	if l.unit > 0 {
		// One spare unit per sequence lets every sequence end in a partial one.
		l.nUnit = unitsFor(c.Tokens, l.unit) + c.MaxSeqs
		l.seqUnits = unitsFor(c.Context, l.unit)
	}
	return l, nil
}

// fill makes every unit free.
func (l *layer) fill() {
	l.free = make([]uint32, l.nUnit)
	for j := range l.free {
		l.free[j] = uint32(l.nUnit - 1 - j)
	}
	l.refs = make([]int32, l.nUnit)
}

func (l *layer) take() uint32 {
	id := l.free[len(l.free)-1]
	l.free = l.free[:len(l.free)-1]
	l.refs[id] = 1
	return id
}

func (l *layer) drop(id uint32) {
	l.refs[id]--
	if l.refs[id] == 0 {
		l.free = append(l.free, id)
	}
}

// copyUnit makes a unit of its own from a shared one.
func (p *Pool) copyUnit(l *layer, old uint32) (uint32, error) {
	id := l.take()
	pairs := []Pair{{l.unitOf(id), l.unitOf(old)}}
	if l.Class.Cold() {
		copy(l.unitOf(id), l.unitOf(old))
		pairs = nil
	}
	if l.Class == Paged {
		pairs = append(pairs, Pair{l.indexOf(id), l.indexOf(old)})
	}
	if err := p.Move(pairs); err != nil {
		l.drop(id)
		return old, err
	}
	l.drop(old)
	return id, nil
}

func (l *layer) unitOf(id uint32) []byte { return part(l.units, int(id), l.unitBytes) }

func (l *layer) indexOf(id uint32) []byte {
	return part(l.idx, int(id), l.KVHeads*l.index.Bytes)
}

// tailBytes is the exact tail of one sequence.
func (l *layer) tailBytes() int { return l.Tail / PageTok * l.pages.PageBytes }

func (l *layer) tailOf(slot int) []byte { return part(l.tails, slot, l.tailBytes()) }

// chosenBytes is one KV head's list: that of a working set, or the number of
// chosen tokens and their positions, ascending.
func (l *layer) chosenBytes() int {
	if l.Class == Paged {
		return 4 * (1 + 2*l.Budget)
	}
	return 4 * (1 + l.Budget)
}

// peaksOf is the largest |K| of every KV head and channel of one sequence.
func (l *layer) peaksOf(slot int) []byte { return part(l.peaks, slot, 4*l.KVHeads*l.HeadDim) }

// part is the i-th piece of n bytes.
func part(b []byte, i, n int) []byte { return b[i*n : (i+1)*n : (i+1)*n] }
