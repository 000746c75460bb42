package cuda

import (
	"fmt"

	"edged/cudakern"
	"edged/cudakern/driver"
	"edged/infer/graph"
	"edged/offload"
)

// headDims are the head sizes that attention is compiled for.
var headDims = []int{64, 80, 96, 128, 256}

const (
	promptWarps  = 8 // WARPS of prompt.cu
	promptPairs  = promptWarps * 16
	promptStages = 3                    // STAGES of prompt_wgmma.cu
	promptTokens = 128                  // STEP_TOKENS of prompt_wgmma.cu
	promptHolds  = promptWarps * 32 * 4 // what hold of prompt_wgmma.cu writes
	tileHeads    = 8                    // query heads of a decode tile
	pageStages   = 2                    // STAGES of decode.cu
)

// decodeWarps is the warps of a decode block.
func decodeWarps(dim int) int {
	switch dim {
	case 128:
		return 6
	case 256:
		return 3
	}
	return 8
}

// pageShared is Page<dim>::BYTES of pages.cuh.
func pageShared(dim int) int { return dim*(offload.PageTok*2+16) + offload.PageTok*(dim*2+16) }

// pieceFloats is Marked<dim>::FLOATS of marked.cuh.
func pieceFloats(dim int) int { return 4 * (ceil(dim, 3) + 1) }

// resultFloats is Result<dim>::FLOATS of split.cuh.
func resultFloats(dim int) int { return dim + 4 }

// attendNode is attention over a layer's pages.
type attendNode struct {
	e          *exec
	op         graph.Attend
	spec       offload.LayerSpec
	group      int // query heads of a KV head
	leastPages int // of a split
	headTiles  int // tiles of them
	grouping   int // index of the tiles of rows for such groups
	decodeName string
	promptName string

	promptThreads, promptShared int
}

func (e *exec) newAttend(o graph.Attend) (*attendNode, error) {
	spec := e.prog.KV[o.Layer]
	n := &attendNode{e: e, op: o, spec: spec, group: o.Heads / spec.KVHeads, leastPages: decodeWarps(spec.HeadDim)}
	if n.group > promptPairs {
		return nil, fmt.Errorf("%w: %d query heads share a KV head, at most %d", ErrUnsupported, n.group, promptPairs)
	}
	n.headTiles = ceil(n.group, tileHeads)
	n.grouping = e.state.grouping(n.group)
	n.decodeName, n.promptName = fmt.Sprintf("decode_%d", spec.HeadDim), fmt.Sprintf("prompt_%d", spec.HeadDim)
	n.promptThreads, n.promptShared = promptWarps*32, 2*pageShared(spec.HeadDim)
	if e.backend.byWarpgroups() && (spec.HeadDim == 64 || spec.HeadDim == 128) {
		n.promptName, n.promptThreads, n.promptShared = fmt.Sprintf("prompt_wgmma_%d", spec.HeadDim), wgmmaThreads, promptStages*(promptTokens*spec.HeadDim*4+2*8)+promptPairs*spec.HeadDim*2+promptHolds
	}
	e.partialFloats = max(e.partialFloats, n.partial(e.keptRows()))
	e.tickets = max(e.tickets, e.keptRows()*spec.KVHeads*n.headTiles)
	return n, nil
}

// blocks is how many share the splits of a row, so that all rows together fill the
// device once. As many as one row has are the most splits.
func (n *attendNode) blocks(rows int) int {
	pages := ceil(n.e.lim.Context, offload.PageTok)
	return max(min(n.e.backend.info.SMs/(n.spec.KVHeads*n.headTiles*rows), ceil(pages, n.leastPages)), 1)
}

// partial is the floats that splits of so many rows leave.
func (n *attendNode) partial(rows int) int {
	return rows * n.op.Heads * n.blocks(1) * resultFloats(n.spec.HeadDim)
}

// merging is what a launch uses that merges splits of so many rows by tickets, behind what else it does.
func (n *attendNode) merging(rows int, more ...span) []span {
	return append(more,
		span{name: "partial", at: n.e.partial, bytes: int64(n.partial(rows)) * 4, write: true},
		span{name: "tickets", at: n.e.ticketAt, bytes: int64(rows*n.spec.KVHeads*n.headTiles) * 4, write: true})
}

func (n *attendNode) emit(b *batch, s shape) {
	if s.rows == 0 {
		return
	}
	e, st, x, dim := n.e, &n.e.state, n.e.exact(n.op.Layer, s), n.spec.HeadDim
	q, dst := e.buf(n.op.Q), e.buf(n.op.Dst)
	if s.reads {
		tiles := st.tiles[n.grouping]
		b.launch(n.promptName, driver.Dim{X: tiles.n, Y: n.spec.KVHeads}, n.promptThreads, n.promptShared, cudakern.Prompt{
			Q: q.at, Dst: dst.at, Pages: x.span.at, Table: x.table, Pos: st.pos, Tiles: tiles.at, PageBytes: uint64(x.bytes),
			TableStride: uint32(x.stride), Heads: uint32(n.op.Heads), KVHeads: uint32(n.spec.KVHeads), Window: uint32(n.spec.Window), Scale: n.op.Scale,
		}, q.reading(s.rows), dst.writing(s.rows), x.span, e.tables.span(), st.words("pos", st.pos, s.rows), st.words("tiles", tiles.at, 3*tiles.n))
		return
	}
	warps := decodeWarps(dim)
	b.launch(n.decodeName, driver.Dim{X: n.blocks(s.rows), Y: n.spec.KVHeads * n.headTiles, Z: s.rows}, warps*32, warps*pageStages*pageShared(dim), cudakern.Decode{
		Q: q.at, Dst: dst.at, Pages: x.span.at, Table: x.table, Pos: st.pos, Seq: st.seq, Partial: e.partial, Tickets: e.ticketAt,
		PageBytes: uint64(x.bytes), TableStride: uint32(x.stride), Heads: uint32(n.op.Heads), KVHeads: uint32(n.spec.KVHeads), Window: uint32(n.spec.Window), Most: uint32(n.blocks(1)), Scale: n.op.Scale,
	}, n.merging(s.rows, q.reading(s.rows), dst.writing(s.rows), x.span, e.tables.span(), st.words("pos", st.pos, s.rows), st.words("seq", st.seq, s.rows))...)
}
