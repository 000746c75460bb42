package cuda

import (
	"bytes"
	"slices"

	"edged/cudakern/driver"
	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

// tables are the tables of a step's sequences on the device, [MaxSeqs][rows]
// [pages] numbers, and behind them those of the stage, [pages]. A layer's row has
// its units: pages, or blocks of records. The pages of a tail are a ring, whose
// numbers follow from the sequence's slot: a Window layer's row has them, and one
// row more has those of the layers that keep records. The host's copy says what
// the device holds.
type tables struct {
	at    driver.Ptr
	host  []byte
	kinds []tableKind // [rows]
	pages int         // of a sequence
	seqs  int
	slots []int // [MaxSeqs] whose rings the device holds; -1 for none
}

// tableKind is the tokens of a unit, or the pages of a ring.
type tableKind struct{ unit, ring int }

func (t *tables) plan(e *exec) {
	t.pages, t.seqs = ceil(e.lim.Context, offload.PageTok), e.lim.MaxSeqs
	var tails tableKind
	for _, p := range e.lim.KV {
		k := tableKind{unit: offload.PageTok}
		switch {
		case p.Class == offload.Window:
			k = tableKind{ring: p.Tail / offload.PageTok}
		case p.Class.Stored():
			k.unit, tails.ring = offload.BlockTok, p.Tail/offload.PageTok
		}
		t.kinds = append(t.kinds, k)
	}
	t.kinds = append(t.kinds, tails)
	t.slots = slices.Repeat([]int{-1}, t.seqs)
	e.bufMem.want(&t.at, int64(t.bytes()))
}

func (t *tables) bytes() int { return 4 * (t.seqs*t.stride() + t.pages) }

// stride is entries from one sequence to the next.
func (t *tables) stride() int { return len(t.kinds) * t.pages }

// of is where a layer's tables begin.
func (t *tables) of(layer int) driver.Ptr { return t.at.Add(int64(4 * layer * t.pages)) }

// tails are the tables of tails behind records, stage that of the stage.
func (t *tables) tails() driver.Ptr { return t.of(len(t.kinds) - 1) }
func (t *tables) stage() driver.Ptr { return t.at.Add(int64(4 * t.seqs * t.stride())) }

func (t *tables) span() span { return span{name: "tables", at: t.at, bytes: int64(t.bytes())} }

// fill numbers the stage's pages; the first copy sends them.
func (t *tables) fill() {
	stage := pinnedmem.View[uint32](t.host)[t.seqs*t.stride():]
	for i := range stage {
		stage[i] = uint32(i)
	}
}

// update appends copies of what has changed in the tables of sequences that will
// hold so many tokens.
func (t *tables) update(b *batch, kv []*offload.Seq, ends []int) {
	for s, q := range kv {
		for row, k := range t.kinds {
			at := 4 * (s*len(t.kinds) + row) * t.pages
			switch {
			case k.ring > 0 && t.slots[s] != q.Slot():
				host := t.host[at : at+4*t.pages]
				for p, v := 0, pinnedmem.View[uint32](host); p < len(v); p++ {
					v[p] = uint32(q.Slot()*k.ring + p%k.ring)
				}
				b.copyIn(t.at.Add(int64(at)), host)
			case k.unit > 0:
				table := q.Table(row)
				t.units(b, at, rawBytes(table[:min(ceil(ends[s], k.unit), len(table))]))
			}
		}
		t.slots[s] = q.Slot()
	}
}

// units appends a copy of the part of a table that begins to differ.
func (t *tables) units(b *batch, at int, want []byte) {
	have := t.host[at : at+len(want)]
	if bytes.Equal(want, have) {
		return
	}
	first := 0
	for want[first] == have[first] {
		first++
	}
	first = first / 4 * 4
	copy(have[first:], want[first:])
	b.copyIn(t.at.Add(int64(at+first)), have[first:])
}

// exactPages is where kernels find exact tokens: pages by a table.
type exactPages struct {
	span   span
	bytes  int // of a page
	table  driver.Ptr
	stride int // of the table, from one sequence to the next
}

// exact is where a layer's exact tokens lie in a step: those of the stage while a
// prompt is read layer by layer.
func (e *exec) exact(layer int, s shape) exactPages {
	c, plan := &e.caches[layer], &e.lim.KV[layer]
	x := exactPages{span: c.units, bytes: c.pageBytes, table: e.tables.of(layer), stride: e.tables.stride()}
	if plan.Class == offload.Exact {
		return x
	}
	if s.prompt {
		x.span, x.table = span{name: "stage", at: e.stage.at, bytes: e.stage.bytes}, e.tables.stage()
		return x
	}
	x.span = c.tails
	if plan.Class.Stored() {
		x.table = e.tables.tails()
	}
	return x
}

// fillSequences writes what a step's kernels know of its sequences, and says
// whether tokens leave tails.
func (e *exec) fillSequences(kv []*offload.Seq) (flushes bool) {
	for i, q := range kv {
		flushes = e.state.sequence(i, q, q.Len()+1) || flushes
	}
	return flushes
}

// updateTables sends what has changed in tables for a step's rows.
func (e *exec) updateTables(rows *graph.Rows, kv []*offload.Seq) error {
	e.batch.reset()
	ends := e.ends[:len(kv)]
	for s, q := range kv {
		ends[s] = q.Len()
	}
	for i, s := range rows.Seq {
		ends[s] = int(rows.Pos[i]) + 1
	}
	e.tables.update(&e.batch, kv, ends)
	if len(e.batch.cmds) == 0 {
		return nil
	}
	return e.queue.Run(e.batch.cmds)
}
