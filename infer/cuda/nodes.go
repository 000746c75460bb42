package cuda

import (
	"edged/cudakern"
	"edged/cudakern/driver"
	"edged/infer/graph"
)

// rowThreads is ROW_THREADS of rows.cu.
const rowThreads = 256

// array is an activation buffer [rows, width] of float32 on the device.
type array struct {
	name  string
	at    driver.Ptr
	width int
	rows  graph.Extent
}

// reading and writing are the first n rows, for checks of launches.
func (a *array) reading(n int) span {
	return span{name: a.name, at: a.at, bytes: int64(n) * int64(a.width) * 4}
}

func (a *array) writing(n int) span {
	return a.reading(n).writing()
}

// row is the address of a row.
func (a *array) row(i int) driver.Ptr { return a.at.Add(int64(i) * int64(a.width) * 4) }

func (e *exec) buf(b graph.Buf) *array { return &e.bufs[b] }

type embedNode struct {
	e  *exec
	op graph.Embed
}

func (n *embedNode) emit(b *batch, s shape) {
	w, dst := &n.e.weights[n.op.Table], n.e.buf(n.op.Dst)
	b.launch("embed", driver.Dim{X: s.rows}, rowThreads, 0, cudakern.Embed{
		Table: w.raw, Tok: n.e.state.tok, Dst: dst.at, Type: uint32(w.Type), K: uint32(w.K), RowBytes: uint32(w.Type.RowBytes(w.K)), Scale: n.op.Scale,
	}, w.inRaw(), n.e.state.words("tok", n.e.state.tok, s.rows), dst.writing(s.rows))
}

// normNode is RMSNorm, AddRMSNorm, or HeadNorm with so many heads.
type normNode struct {
	src, dst *array
	w        span
	eps      float32
	add      bool
	heads    int
	folded   bool // products with tiles compute it themselves
	always   bool // and so do those of many rows
}

func (n *normNode) emit(b *batch, s shape) {
	rows, k := s.of(n.src.rows), n.src.width
	if rows == 0 || n.folds(s) {
		return
	}
	grid := rows
	if n.heads > 0 {
		grid, k = rows*n.heads, k/n.heads
	}
	b.launch("norm_rows", driver.Dim{X: grid}, rowThreads, 0, cudakern.NormRows{Src: n.src.at, W: n.w.at, Dst: n.dst.at, K: uint32(k), Add: flag(n.add), Eps: n.eps},
		n.src.reading(rows), n.w, n.dst.writing(rows))
}

// folds says whether a step leaves the norm to products.
func (n *normNode) folds(s shape) bool {
	return n != nil && n.folded && (n.always || !s.many(n.src.rows))
}

type ropeNode struct {
	e  *exec
	op graph.Rope
}

func (n *ropeNode) emit(b *batch, s shape) {
	x, t := n.e.buf(n.op.X), &n.e.ropes[n.op.Table]
	b.launch("rope", driver.Dim{X: s.rows}, rowThreads, 0, cudakern.Rope{
		X: x.at, Freq: t.at, Pos: n.e.state.pos, Heads: uint32(n.op.Heads), Dim: uint32(n.op.Dim), Pairs: uint32(t.pairs), Interleaved: flag(t.interleaved), Scale: t.scale,
	}, x.writing(s.rows), t.span(), n.e.state.words("pos", n.e.state.pos, s.rows))
}

// ropeTable is a graph.RopeTable on the device.
type ropeTable struct {
	at          driver.Ptr // [pairs] float64
	pairs       int
	scale       float32
	interleaved bool
}

func (t *ropeTable) span() span {
	return span{name: "frequencies", at: t.at, bytes: int64(t.pairs) * 8}
}

type appendNode struct {
	e  *exec
	op graph.KVAppend
}

func (n *appendNode) emit(b *batch, s shape) {
	k, v, st := n.e.buf(n.op.K), n.e.buf(n.op.V), &n.e.state
	spec, x := n.e.prog.KV[n.op.Layer], n.e.exact(n.op.Layer, s)
	b.launch("append", driver.Dim{X: s.rows}, rowThreads, 0, cudakern.Append{
		K: k.at, V: v.at, Pages: x.span.at, Table: x.table, Pos: st.pos, Seq: st.seq,
		PageBytes: uint64(x.bytes), TableStride: uint32(x.stride), KVHeads: uint32(spec.KVHeads), Dim: uint32(spec.HeadDim),
	}, k.reading(s.rows), v.reading(s.rows), x.span.writing(), n.e.tables.span(), st.words("pos", st.pos, s.rows), st.words("seq", st.seq, s.rows))
}

// queryKeyNode is HeadNorm of query and key where there are weights for it, Rope
// of both, and KVAppend; and the KVStore before that. The key's buffer keeps what
// it was.
type queryKeyNode struct {
	e            *exec
	store        *storeNode // or nil
	layer        int
	q, k, v      *array
	heads        int
	qNorm, kNorm span
	eps          float32
	table        int
}

func (n *queryKeyNode) emit(b *batch, s shape) {
	if n.store != nil {
		n.store.emit(b, s)
	}
	spec, at, st, t := n.e.prog.KV[n.layer], n.e.exact(n.layer, s), &n.e.state, &n.e.ropes[n.table]
	const warps = 4
	uses := []span{n.q.writing(s.rows), n.k.reading(s.rows), n.v.reading(s.rows), t.span(), at.span.writing(), n.e.tables.span(),
		st.words("pos", st.pos, s.rows), st.words("seq", st.seq, s.rows)}
	for _, w := range []span{n.qNorm, n.kNorm} {
		if w.at != 0 {
			uses = append(uses, w)
		}
	}
	b.launch("norm_rope_append", driver.Dim{X: s.rows, Y: ceil(n.heads+2*spec.KVHeads, warps)}, warps*32, 0, cudakern.NormRopeAppend{
		Q: n.q.at, K: n.k.at, V: n.v.at, QNorm: n.qNorm.at, KNorm: n.kNorm.at, Freq: t.at, Pages: at.span.at, Table: at.table, Pos: st.pos, Seq: st.seq,
		PageBytes: uint64(at.bytes), TableStride: uint32(at.stride), Heads: uint32(n.heads), KVHeads: uint32(spec.KVHeads), Dim: uint32(spec.HeadDim),
		Pairs: uint32(t.pairs), Interleaved: flag(t.interleaved), Scale: t.scale, Eps: n.eps,
	}, uses...)
}

type selectNode struct {
	e        *exec
	src, dst *array
}

func (n *selectNode) emit(b *batch, s shape) {
	b.launch("select_rows", driver.Dim{X: s.outs}, rowThreads, 0, cudakern.SelectRows{Src: n.src.at, Out: n.e.state.out, Dst: n.dst.at, K: uint32(n.src.width)},
		n.src.reading(s.rows), n.e.state.words("out", n.e.state.out, s.outs), n.dst.writing(s.outs))
}
