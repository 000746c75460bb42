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

// attendNode is attention over a layer's pages.
type attendNode struct {
	e          *exec
	op         graph.Attend
	spec       offload.LayerSpec
	group      int // query heads of a KV head
	headTiles  int // tiles of them
	grouping   int // index of the tiles of rows for such groups
	maxSplits  int
	decodeName string
	promptName string

	promptThreads, promptShared int
}

func (e *exec) newAttend(o graph.Attend) (*attendNode, error) {
	spec := e.prog.KV[o.Layer]
	n := &attendNode{e: e, op: o, spec: spec, group: o.Heads / spec.KVHeads}
	if n.group > promptPairs {
		return nil, fmt.Errorf("%w: %d query heads share a KV head, at most %d", ErrUnsupported, n.group, promptPairs)
	}
	n.headTiles = ceil(n.group, tileHeads)
	n.grouping = e.state.grouping(n.group)
	n.maxSplits = e.splits(n, 1)
	n.decodeName, n.promptName = fmt.Sprintf("decode_%d", spec.HeadDim), fmt.Sprintf("prompt_%d", spec.HeadDim)
	n.promptThreads, n.promptShared = promptWarps*32, 2*pageShared(spec.HeadDim)
	if e.backend.byWarpgroups() && (spec.HeadDim == 64 || spec.HeadDim == 128) {
		n.promptName, n.promptThreads, n.promptShared = fmt.Sprintf("prompt_wgmma_%d", spec.HeadDim), wgmmaThreads, promptStages*(promptTokens*spec.HeadDim*4+2*8)+promptPairs*spec.HeadDim*2+promptHolds
	}
	e.partialFloats = max(e.partialFloats, n.partial(1), n.partial(smallRows))
	e.tickets = max(e.tickets, smallRows*spec.KVHeads*n.headTiles)
	return n, nil
}

// splits is between how many blocks a row's pages are split, so that all rows
// together fill the device once.
func (e *exec) splits(n *attendNode, rows int) int {
	pages := ceil(e.lim.Context, offload.PageTok)
	return max(min(e.backend.info.SMs/(n.spec.KVHeads*n.headTiles*rows), ceil(pages, decodeWarps(n.spec.HeadDim))), 1)
}

// partial is the floats that splits of so many rows leave.
func (n *attendNode) partial(rows int) int {
	most := 0
	for r := 1; r <= rows; r++ {
		most = max(most, r*n.op.Heads*n.e.splits(n, r)*(n.spec.HeadDim+2))
	}
	return most
}

func (n *attendNode) emit(b *batch, s shape) {
	if s.rows == 0 {
		return
	}
	e, st, x, dim := n.e, &n.e.state, n.e.exact(n.op.Layer, s), n.spec.HeadDim
	q, dst := e.buf(n.op.Q), e.buf(n.op.Dst)
	if s.rows > smallRows {
		tiles := st.tiles[n.grouping]
		b.launch(n.promptName, driver.Dim{X: tiles.n, Y: n.spec.KVHeads}, n.promptThreads, n.promptShared, cudakern.Prompt{
			Q: q.at, Dst: dst.at, Pages: x.span.at, Table: x.table, Pos: st.pos, Tiles: tiles.at, PageBytes: uint64(x.bytes),
			TableStride: uint32(x.stride), Heads: uint32(n.op.Heads), KVHeads: uint32(n.spec.KVHeads), Window: uint32(n.spec.Window), Scale: n.op.Scale,
		}, q.reading(s.rows), dst.writing(s.rows), x.span, e.tables.span(), st.words("pos", st.pos, s.rows), st.words("tiles", tiles.at, 3*tiles.n))
		return
	}
	warps, splits := decodeWarps(dim), e.splits(n, s.rows)
	b.launch(n.decodeName, driver.Dim{X: splits, Y: n.spec.KVHeads * n.headTiles, Z: s.rows}, warps*32, max(warps*pageStages*pageShared(dim), tileHeads*warps*(dim+2)*4), cudakern.Decode{
		Q: q.at, Dst: dst.at, Pages: x.span.at, Table: x.table, Pos: st.pos, Seq: st.seq, Partial: e.partial, Tickets: e.ticketAt,
		PageBytes: uint64(x.bytes), TableStride: uint32(x.stride), Heads: uint32(n.op.Heads), KVHeads: uint32(n.spec.KVHeads), Window: uint32(n.spec.Window), Scale: n.op.Scale,
	}, q.reading(s.rows), dst.writing(s.rows), x.span, e.tables.span(), st.words("pos", st.pos, s.rows), st.words("seq", st.seq, s.rows),
		span{name: "partial", at: e.partial, bytes: int64(s.rows*n.op.Heads*splits*(dim+2)) * 4, write: true},
		span{name: "tickets", at: e.ticketAt, bytes: int64(s.rows*n.spec.KVHeads*n.headTiles) * 4, write: true})
}
