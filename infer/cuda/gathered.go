package cuda

import (
	"fmt"

	"edged/cudakern"
	"edged/cudakern/driver"
	"edged/infer/graph"
	"edged/offload"
)

const (
	scoreThreads = 128  // SCORE_THREADS of gather.cu
	pickThreads  = 1024 // CHOOSE_THREADS
	fetchThreads = 256  // FETCH_THREADS
	// scoreBlocks is the blocks of a stream, where there is one for each KV head and row: they
	// fill the bus, and more would take multiprocessors from the products that run beside them.
	scoreBlocks = 16
)

// gatheredNode is KVSelect and KVFetch of a Gathered layer: it streams critical
// channels, chooses tokens, and brings their rows.
type gatheredNode struct {
	e      *exec
	op     graph.KVSelect
	plan   offload.LayerPlan
	record offload.Record
}

func (e *exec) newGathered(o graph.KVSelect) (*gatheredNode, error) {
	n := &gatheredNode{e: e, op: o, plan: e.lim.KV[o.Layer]}
	var err error
	if n.record, err = n.plan.Record(); err != nil {
		return nil, err
	}
	e.early[o.Layer] = o.Predicted
	e.tokenKeys = max(e.tokenKeys, e.keptRows()*n.plan.KVHeads*e.coldTokens())
	return n, nil
}

// coldTokens is the tokens of a sequence that can lie in records, in whole pages.
func (e *exec) coldTokens() int { return ceil(e.lim.Context, offload.PageTok) * offload.PageTok }

func (n *gatheredNode) emit(b *batch, s shape) {
	if s.prompt {
		return
	}
	from := len(b.cmds)
	n.score(b, s)
	n.choose(b, s)
	n.fetch(b, s)
	for i := from; i < len(b.cmds); i++ {
		b.cmds[i].beside = n.op.Predicted
	}
}

// keys are the orders of tokens' scores.
func (n *gatheredNode) keys(rows int) span {
	return span{name: "keys of tokens", at: n.e.tokenKeyAt, bytes: int64(rows*n.plan.KVHeads*n.e.coldTokens()) * 4}
}

func (n *gatheredNode) score(b *batch, s shape) {
	e, c, q := n.e, &n.e.caches[n.op.Layer], n.e.buf(n.op.Q)
	blocks := max(scoreBlocks/(n.plan.KVHeads*s.rows), 1)
	b.launch("score_tokens", driver.Dim{X: blocks, Y: n.plan.KVHeads, Z: s.rows}, scoreThreads, 0, cudakern.ScoreTokens{
		Q: q.at, Peaks: c.peaks.at, Units: c.units.at, Table: e.tables.of(n.op.Layer), Seqs: e.state.seqs, Seq: e.state.seq, Keys: e.tokenKeyAt, Traffic: e.cold.traffic,
		UnitBytes: uint64(c.unitBytes), TableStride: uint32(e.tables.stride()), Heads: uint32(n.op.Heads), KVHeads: uint32(n.plan.KVHeads), Dim: uint32(n.plan.HeadDim), RecordBytes: uint32(n.record.Bytes), Group: uint32(n.plan.Group),
		Budget: uint32(n.plan.Budget), Channels: uint32(n.plan.Channels), Sink: uint32(n.plan.Sink), MaxTokens: uint32(e.coldTokens()),
	}, q.reading(s.rows), c.peaks, c.units, e.tables.span(), e.state.sequences(s.rows), e.state.words("seq", e.state.seq, s.rows), n.keys(s.rows).writing(), e.cold.counted())
}

func (n *gatheredNode) choose(b *batch, s shape) {
	e, c := n.e, &n.e.caches[n.op.Layer]
	b.launch("choose_tokens", driver.Dim{X: n.plan.KVHeads, Y: s.rows}, pickThreads, 0, cudakern.ChooseTokens{
		Keys: e.tokenKeyAt, Chosen: c.chosen.at, Seqs: e.state.seqs, Seq: e.state.seq, Traffic: e.cold.traffic,
		KVHeads: uint32(n.plan.KVHeads), Dim: uint32(n.plan.HeadDim), Budget: uint32(n.plan.Budget), MaxTokens: uint32(e.coldTokens()), ListWords: uint32(c.listWords),
	}, n.keys(s.rows), c.chosen.writing(), e.state.sequences(s.rows), e.state.words("seq", e.state.seq, s.rows), e.cold.counted())
}

func (n *gatheredNode) fetch(b *batch, s shape) {
	e, c := n.e, &n.e.caches[n.op.Layer]
	b.launch("fetch_tokens", driver.Dim{X: ceil(n.plan.Budget, offload.PageTok), Y: n.plan.KVHeads, Z: s.rows}, fetchThreads, 0, cudakern.FetchTokens{
		Units: c.units.at, Table: e.tables.of(n.op.Layer), Chosen: c.chosen.at, Seqs: e.state.seqs, Seq: e.state.seq, Work: e.work.at, Traffic: e.cold.traffic,
		UnitBytes: uint64(c.unitBytes), PageBytes: uint64(c.pageBytes), WorkBytes: uint64(e.workBytes), TableStride: uint32(e.tables.stride()),
		KVHeads: uint32(n.plan.KVHeads), Dim: uint32(n.plan.HeadDim), RecordBytes: uint32(n.record.Bytes), KRows: uint32(n.record.KRows), Group: uint32(n.plan.Group), ListWords: uint32(c.listWords),
	}, c.units, e.tables.span(), c.chosen, e.state.sequences(s.rows), e.state.words("seq", e.state.seq, s.rows), e.work.writing(), e.cold.counted())
}

// gatheredAttendNode is Attend of a Gathered layer. While a prompt is read, all that
// it attends to lies exact in the stage.
type gatheredAttendNode struct {
	*attendNode
	plan   offload.LayerPlan
	warps  int
	shared int  // of a block
	joins  bool // what it reads was fetched beside the layer in front
}

func (e *exec) newGatheredAttend(a *attendNode) *gatheredAttendNode {
	n := &gatheredAttendNode{attendNode: a, plan: e.lim.KV[a.op.Layer], warps: 4, joins: e.early[a.op.Layer]}
	if a.spec.HeadDim == 256 {
		n.warps = 2
	}
	n.leastPages = n.warps / 2
	n.shared = max(n.warps*pageShared(a.spec.HeadDim), tileHeads*n.warps*resultFloats(a.spec.HeadDim)*4)
	e.partialFloats = max(e.partialFloats, n.partial(e.keptRows()))
	return n
}

func (n *gatheredAttendNode) emit(b *batch, s shape) {
	if s.prompt {
		n.attendNode.emit(b, s)
		return
	}
	e, st, x := n.e, &n.e.state, n.e.exact(n.op.Layer, s)
	q, dst := e.buf(n.op.Q), e.buf(n.op.Dst)
	b.launch(fmt.Sprintf("attend_gathered_%d", n.spec.HeadDim), driver.Dim{X: n.blocks(s.rows), Y: n.spec.KVHeads * n.headTiles, Z: s.rows}, n.warps*32, n.shared, cudakern.AttendGathered{
		Q: q.at, Dst: dst.at, Work: e.work.at, Tails: x.span.at, Exact: x.table, Seqs: st.seqs, Pos: st.pos, Seq: st.seq, Partial: e.partial, Tickets: e.ticketAt,
		PageBytes: uint64(x.bytes), WorkBytes: uint64(e.workBytes), ExactStride: uint32(x.stride), Heads: uint32(n.op.Heads), KVHeads: uint32(n.spec.KVHeads),
		Budget: uint32(n.plan.Budget), Most: uint32(n.blocks(1)), Scale: n.op.Scale,
	}, n.merging(s.rows, q.reading(s.rows), dst.writing(s.rows), e.work, x.span, e.tables.span(), st.sequences(s.rows), st.words("pos", st.pos, s.rows), st.words("seq", st.seq, s.rows))...)
	b.cmds[len(b.cmds)-1].joins = n.joins
}
