package cuda

import (
	"fmt"

	"edged/cudakern"
	"edged/cudakern/driver"
	"edged/infer/graph"
	"edged/offload"
)

const (
	storeThreads  = 256 // STORE_THREADS of store.cu
	unpackThreads = 128 // of unpack_records
	moveThreads   = 256 // of move_bytes
	chooseThreads = 512 // THREADS of choose.cu
	chooseHeads   = 256 // MOST_HEADS of choose.cu
	scanWarps     = 4   // WARPS of scan.cu
	scanBlocks    = 5   // blocks of scan.cu that fit a multiprocessor, BLOCKS of most of its kernels
	blockPages    = offload.BlockTok / offload.ColdTok
	laneBytes     = 8 // Lane of store.cu
)

// storeNode is KVStore: tokens that leave the tail become records. While a prompt
// is read, its end does that once for all of them.
type storeNode struct {
	e      *exec
	layer  int
	record offload.Record
	shared int
	scales *driver.Ptr // of queries, of a Paged layer; or nil
}

func (e *exec) newStore(layer int) *storeNode {
	plan := e.lim.KV[layer]
	r, err := plan.Record()
	if err != nil {
		return nil // Limits.Validate has seen the plan
	}
	pages := max(plan.Group/offload.PageTok, 1)
	n := &storeNode{e: e, layer: layer, record: r}
	n.shared = pages*4*offload.PageTok*r.Dim + r.Once() + 4*offload.MaxIndexDim + laneBytes*(r.Dim+r.Group*r.VGroups())
	if plan.Class == offload.Paged {
		n.scales = &e.cold.scales[layer]
	}
	return n
}

func (n *storeNode) emit(b *batch, s shape) {
	if s.flush && !s.prompt {
		n.store(b, s, 1, s.rows)
	}
}

// store writes the records of sequences, of so many blocks at most.
func (n *storeNode) store(b *batch, s shape, blocks, seqs int) {
	e, c, x := n.e, &n.e.caches[n.layer], n.e.exact(n.layer, s)
	spec := e.prog.KV[n.layer]
	a := cudakern.StoreRecords{
		Pages: x.span.at, Exact: x.table, Units: c.units.at, Table: e.tables.of(n.layer), Peaks: c.peaks.at, Seqs: e.state.seqs,
		PageBytes: uint64(x.bytes), UnitBytes: uint64(c.unitBytes), ExactStride: uint32(x.stride), TableStride: uint32(e.tables.stride()),
		KVHeads: uint32(spec.KVHeads), Dim: uint32(spec.HeadDim), RecordBytes: uint32(n.record.Bytes), KRows: uint32(n.record.KRows), Group: uint32(n.record.Group), KBits: uint32(n.record.Elem.KBits()), VBits: uint32(n.record.Elem.VBits()),
	}
	uses := []span{x.span, c.units.writing(), e.tables.span(), e.state.sequences(seqs)}
	if c.peaks.at != 0 {
		uses = append(uses, c.peaks.writing())
	}
	if n.scales != nil {
		a.Indexes, a.Queries = c.indexes.at, *n.scales
		uses = append(uses, c.indexes.writing(), span{name: "query scales", at: a.Queries, bytes: int64(spec.KVHeads*spec.HeadDim) * 4})
	}
	b.launch("store_records", driver.Dim{X: spec.KVHeads, Y: blocks, Z: seqs}, storeThreads, n.shared, a, uses...)
}

// choiceNode is KVSelect and KVFetch: it scores a layer's pages and renews the lists of
// working sets. What they lack attention brings, or, where several blocks would bring
// the same, the choice.
type choiceNode struct {
	e    *exec
	op   graph.KVSelect
	plan offload.LayerPlan
}

func (e *exec) newChoice(o graph.KVSelect) (*choiceNode, error) {
	plan := e.lim.KV[o.Layer]
	if n := o.Heads / plan.KVHeads; n > chooseHeads {
		return nil, fmt.Errorf("%w: %d query heads of a KV head in cache layer %d, at most %d choose pages", ErrUnsupported, n, o.Layer, chooseHeads)
	}
	e.topFloats = max(e.topFloats, e.keptRows()*o.Heads*e.coldPages())
	return &choiceNode{e: e, op: o, plan: plan}, nil
}

func (n *choiceNode) emit(b *batch, s shape) {
	if s.prompt {
		return
	}
	n.scan(b, s)
	n.choose(b, s)
}

// scanShape is how scan.cu scores a layer: blocks that a warp takes side by side,
// and a block's shared memory.
func (n *choiceNode) scanShape() (name string, pair, shared int) {
	x := offload.NewIndex(n.plan.HeadDim, false)
	pair = 1
	if n.op.Heads/n.plan.KVHeads <= 4 {
		pair = 2
	}
	stride := ceil(n.plan.HeadDim, 32)*32 + 16
	return fmt.Sprintf("scan_%d_%d", x.Vectors, pair), pair, 8/pair*stride*4 + scanWarps*pair*x.Bytes
}

// scanBlocks is how many blocks share a KV head's pages, and how many tiles of query heads it has.
func (n *choiceNode) scanBlocks(rows int) (blocks, tiles int) {
	e := n.e
	_, pair, _ := n.scanShape()
	tiles = ceil(n.op.Heads/n.plan.KVHeads, 8/pair)
	blocks = ceil(ceil(e.lim.Context, offload.BlockTok), scanWarps*pair)
	if n.plan.ByRecord { // one for each record, where all run at once
		blocks = max(blocks, min(n.plan.Budget, scanBlocks*e.backend.info.SMs/(n.plan.KVHeads*tiles*rows)))
	}
	return blocks, tiles
}

// scan scores pages: by the index, or by records those that the set holds.
func (n *choiceNode) scan(b *batch, s shape) {
	e, c := n.e, &n.e.caches[n.op.Layer]
	name, _, shared := n.scanShape()
	blocks, tiles := n.scanBlocks(s.rows)
	q, sets, chosen := e.buf(n.op.Q), c.sets, c.chosen
	sets.early, chosen.early = true, true
	b.launch(name, driver.Dim{X: blocks, Y: n.plan.KVHeads * tiles, Z: s.rows}, scanWarps*32, shared, cudakern.Scan{
		Q: q.at, Indexes: c.indexes.at, Table: e.tables.of(n.op.Layer), Seqs: e.state.seqs, Seq: e.state.seq, Top: e.tops, Sums: e.topSums, Sets: sets.at, Chosen: chosen.at, Arrived: e.cold.arrived[n.op.Layer],
		TableStride: uint32(e.tables.stride()), Heads: uint32(n.op.Heads), KVHeads: uint32(n.plan.KVHeads), Dim: uint32(n.plan.HeadDim),
		Budget: uint32(n.plan.Budget), MaxPages: uint32(e.coldPages()), KBits: uint32(n.plan.Elem.KBits()), VBits: uint32(n.plan.Elem.VBits()), ByRecord: flag(n.plan.ByRecord), Scale: n.op.Scale,
	}, q.reading(s.rows), c.indexes, sets, chosen, e.tables.span(), e.state.sequences(s.rows), e.state.words("seq", e.state.seq, s.rows), n.tops(s.rows).writing(), n.sums(s.rows).writing(), e.arrived(n.op.Layer, s.rows).writing())
	// It reads the index before it waits for what came before it.
	if s.flush {
		b.cmds[len(b.cmds)-1].overlap = false
	}
}

func (n *choiceNode) tops(rows int) span {
	return span{name: "tops", at: n.e.tops, bytes: int64(rows*n.op.Heads*n.e.coldPages()) * 4}
}

// sums are those of exponentials of scores, of a block and query head.
func (n *choiceNode) sums(rows int) span {
	return span{name: "sums of scores", at: n.e.topSums, bytes: int64(rows*n.op.Heads*n.e.coldPages()/blockPages) * 8}
}

func (n *choiceNode) choose(b *batch, s shape) {
	e, c := n.e, &n.e.caches[n.op.Layer]
	r, err := n.plan.Record()
	if err != nil {
		return // Limits.Validate has seen the plan
	}
	chosen, sets := c.chosen.writing(), c.sets
	chosen.early = true
	sets.write = !n.attentionFetches()
	blocks, tiles := n.scanBlocks(s.rows)
	a := cudakern.ChoosePages{
		Top: e.tops, Sums: e.topSums, Chosen: c.chosen.at, Sources: e.cold.sources[n.op.Layer], Arrived: e.cold.arrived[n.op.Layer], Sets: c.sets.at, Units: c.units.at, Table: e.tables.of(n.op.Layer), Seqs: e.state.seqs, Seq: e.state.seq, Traffic: e.cold.traffic,
		UnitBytes: uint64(c.unitBytes), TableStride: uint32(e.tables.stride()), Heads: uint32(n.op.Heads), KVHeads: uint32(n.plan.KVHeads),
		Budget: uint32(n.plan.Budget), Exchange: uint32(n.plan.Exchange), MaxPages: uint32(e.coldPages()), RecordBytes: uint32(r.Bytes), ByRecord: flag(n.plan.ByRecord), Fetches: flag(!n.attentionFetches()), Gain: n.plan.Gain,
	}
	b.launch("choose_pages", driver.Dim{X: n.plan.KVHeads, Y: s.rows}, chooseThreads, e.choiceShared(n.plan), a, n.tops(s.rows), n.sums(s.rows), chosen, e.sources(n.op.Layer, s.rows).writing(), e.arrived(n.op.Layer, s.rows).writing(), sets, c.units, e.tables.span(), e.state.sequences(s.rows), e.state.words("seq", e.state.seq, s.rows), e.cold.counted())
	a.Scanned = uint32(blocks * tiles)
	b.follows(a)
}

// attentionFetches says whether one block alone attends to a page of a working set.
func (n *choiceNode) attentionFetches() bool {
	return ceil(n.op.Heads/n.plan.KVHeads, tileHeads) == 1
}

// recordsNode is Attend of a layer that keeps records. While a prompt is read,
// all that it attends to lies exact in the stage.
type recordsNode struct {
	*attendNode
	plan   offload.LayerPlan
	record offload.Record
	warps  int
	shared int // of a block
	slots  int // pages that a block makes of a working set's records at a time
}

func (e *exec) newRecords(a *attendNode) (*recordsNode, error) {
	n := &recordsNode{attendNode: a, plan: e.lim.KV[a.op.Layer], warps: 8}
	if a.spec.HeadDim == 256 {
		n.warps = 4
	}
	n.leastPages = n.warps / 2
	var err error
	if n.record, err = n.plan.Record(); err != nil {
		return nil, err
	}
	page, results := pageShared(a.spec.HeadDim), tileHeads*n.warps*resultFloats(a.spec.HeadDim)*4
	n.shared = max(n.warps*page, results)
	if n.plan.Class == offload.Paged {
		page += 2 * n.record.Bytes
		n.slots = min(n.warps, ceil(n.pages(), n.splits()), (e.backend.info.SharedBytes-heldStatic)/page)
		n.shared = max(n.slots*page, results)
		e.markedFloats = max(e.markedFloats, n.pieces(e.keptRows()))
	} else {
		e.partialFloats = max(e.partialFloats, n.partial(e.keptRows()))
	}
	return n, nil
}

// heldStatic is at least what attend_held takes beside its dynamic shared memory.
const heldStatic = 9 << 10

// pages is how many pages of a working set and of the exact tail there are at most.
func (n *recordsNode) pages() int {
	return ceil(n.plan.Budget, 2) + ceil(n.plan.Tail, offload.PageTok) + 2
}

// fewPages is how many pages of a block leave room for another one beside it.
const fewPages = 4

// splits is the most splits of a row: as many as fill the device once, or a little more
// where they are so small that two of them run beside each other.
func (n *recordsNode) splits() int {
	if n.plan.Class != offload.Paged {
		return n.attendNode.blocks(1)
	}
	heads, sms := n.spec.KVHeads*n.headTiles, n.e.backend.info.SMs
	splits := max(sms/heads, 1)
	if ceil(n.pages(), splits) > fewPages {
		return splits
	}
	return ceil(n.pages(), max(n.pages()*heads/sms, 1))
}

// blocks is how many share the splits of a row, so that all rows together fill the
// device.
func (n *recordsNode) blocks(rows int) int {
	if n.plan.Class != offload.Paged {
		return n.attendNode.blocks(rows)
	}
	return max(n.splits()/rows, 1)
}

// pieces is the floats that splits of so many rows of a working set leave, with their marks.
func (n *recordsNode) pieces(rows int) int {
	return rows * n.op.Heads * n.splits() * pieceFloats(n.spec.HeadDim)
}

func (n *recordsNode) emit(b *batch, s shape) {
	if s.prompt {
		n.attendNode.emit(b, s)
		return
	}
	e, st, c, x := n.e, &n.e.state, &n.e.caches[n.op.Layer], n.e.exact(n.op.Layer, s)
	q, dst := e.buf(n.op.Q), e.buf(n.op.Dst)
	a := cudakern.Attend{
		Q: q.at, Dst: dst.at, Units: c.units.at, Table: e.tables.of(n.op.Layer), Tails: x.span.at, Exact: x.table,
		Seqs: st.seqs, Pos: st.pos, Seq: st.seq,
		UnitBytes: uint64(c.unitBytes), PageBytes: uint64(x.bytes), TableStride: uint32(e.tables.stride()), ExactStride: uint32(x.stride), Heads: uint32(n.op.Heads), KVHeads: uint32(n.spec.KVHeads),
		Group: uint32(n.record.Group), KBits: uint32(n.record.Elem.KBits()), VBits: uint32(n.record.Elem.VBits()), Slots: uint32(n.slots), Most: uint32(n.splits()), Scale: n.op.Scale,
	}
	uses := []span{q.reading(s.rows), dst.writing(s.rows), c.units, x.span, e.tables.span(), st.sequences(s.rows), st.words("pos", st.pos, s.rows), st.words("seq", st.seq, s.rows)}
	name, looks := "attend_", false
	if n.plan.Class == offload.Paged {
		name = "attend_held_"
		a.Sets, a.Chosen, a.Sources, a.Traffic, a.Budget = c.sets.at, c.chosen.at, e.cold.sources[n.op.Layer], e.cold.traffic, uint32(n.plan.Budget)
		a.Step, a.Layer, a.Layers = st.step, uint32(n.op.Layer), uint32(len(e.lim.KV))
		sets := c.sets.writing()
		if n.headTiles == 1 { // nobody else puts anything there, so that it need not wait for the choice
			looks, sets.early = true, true
		}
		a.Partial = e.marked
		uses = append(uses, sets, c.chosen, e.sources(n.op.Layer, s.rows), e.cold.counted(), st.words("step", st.step, 1),
			span{name: "marked", at: e.marked, bytes: int64(n.pieces(s.rows)) * 4, write: true})
	} else {
		a.Partial, a.Tickets = e.partial, e.ticketAt
		uses = n.merging(s.rows, uses...)
	}
	b.launch(fmt.Sprintf("%s%d", name, n.spec.HeadDim), driver.Dim{X: n.blocks(s.rows), Y: n.spec.KVHeads * n.headTiles, Z: s.rows}, n.warps*32, n.shared, a, uses...)
	if looks {
		a.Looks = 1
		b.follows(a)
	}
}
