package cuda

import (
	"fmt"

	"edged/cudakern"
	"edged/cudakern/driver"
)

const (
	leastBatch   = 3   // rows from which float16 inputs are worth their preparation
	batchRows    = 16  // most rows of a launch of batch.cu
	operandRows  = 8   // rows of an operand
	batchWarps   = 16  // WARPS of batch.cu
	operandBytes = 512 // BLOCK_BYTES of batch.cu: 32 inputs of 8 rows
	operandBlock = 32
	batchColumn  = 20 // COLUMN of batch.cu
)

// operandBlocks is the blocks of a prepared row of k inputs.
func operandBlocks(k int) int { return ceil(k, orderedUnit) * orderedUnit / operandBlock }

// operands prepares rows of what a product of several rows reads, the norm in
// front included.
func (e *exec) operands(b *batch, src *array, n *normNode, rows int) {
	x, norm, eps := source(src, n, rows)
	blocks := operandBlocks(x.width)
	to := e.operandSpan(rows, x.width)
	to.write = true
	b.launch("operand_rows", driver.Dim{X: rows}, min(blocks*4, 1024), 0,
		cudakern.OrderRows{X: x.at, Norm: norm.at, Dst: e.halves, Factor: e.factors, K: uint32(x.width), Steps: uint32(blocks), Eps: eps},
		used(x.reading(rows), norm, to, span{name: "factors", at: e.factors, bytes: int64(rows) * 4, write: true})...)
}

func (e *exec) operandSpan(rows, k int) span {
	return span{name: "halves", at: e.halves, bytes: int64(ceil(rows, operandRows)*operandBlocks(k)) * operandBytes}
}

// batchPass is how one launch of batch.cu multiplies.
type batchPass struct {
	rows, share, stages, shared int
	suffix                      string
}

// batchPass finds the launch for up to so many rows: unit bytes of a unit, pair
// matrices whose results are gated.
func (e *exec) batchPass(left int, w *weight, unit, tiles, pair int) batchPass {
	p := batchPass{rows: min(left, batchRows), share: batchWarps, suffix: "_8"}
	sums := pair*operandRows*batchColumn + 8 // EACH of batch.cu
	if p.rows > operandRows {
		p.suffix, sums = "_16", 2*pair*operandRows*batchColumn+16
	}
	sums *= 2 * batchWarps * 4
	for ; p.share > w.units(); p.share /= 2 {
	}
	p.stages = mostStages
	if ceil(ceil(tiles, batchWarps/p.share), e.backend.info.SMs)*ceil(w.units(), p.share)*pair <= shortTurns {
		p.stages = leastStages
	}
	for p.stages > leastStages && batchWarps*p.stages*unit+sums > e.backend.info.SharedBytes-sharedStatic {
		p.stages--
	}
	p.shared = batchWarps*p.stages*unit + sums
	return p
}

func (e *exec) batchGrid(p batchPass, tiles int) driver.Dim {
	return driver.Dim{X: min(ceil(tiles, batchWarps/p.share), e.backend.info.SMs)}
}

// batch multiplies prepared rows with up to three weights, of which those from
// mixed on are of a second type.
func (n *linearNode) batch(b *batch, rows int, parts []*part) {
	e, w, tiles, unit, mixed, name := n.e, parts[0].w, 0, 0, 0, parts[0].w.form.name
	for _, t := range parts {
		tiles += t.w.tiles()
		unit = max(unit, t.w.form.bytes)
		if t.w.Type == w.Type {
			mixed++
		}
	}
	if mixed < len(parts) {
		name += "_" + parts[mixed].w.form.name
	}
	for first := 0; first < rows; {
		p := e.batchPass(rows-first, w, unit, tiles, 1)
		a := cudakern.Batch{X: e.halves.Add(int64(first/operandRows*operandBlocks(w.K)) * operandBytes), Factor: e.factors.Add(int64(first) * 4),
			Rows: uint32(p.rows), Units: uint32(w.units()), Blocks: uint32(operandBlocks(w.K)), Warps: uint32(p.share), Stages: uint32(p.stages), Mixed: uint32(mixed)}
		uses := []span{e.operandSpan(rows, w.K), {name: "factors", at: e.factors, bytes: int64(rows) * 4}}
		for i, t := range parts {
			a.W[i], a.Dst[i], a.Bias[i], a.N[i], a.Add = t.w.tiled, t.dst.row(first), t.bias.at, uint32(t.w.N), a.Add|flag(t.add)<<i
			uses = append(uses, t.w.inTiles(), t.bias, t.dst.writing(rows))
		}
		b.launch("batch_"+name+p.suffix, e.batchGrid(p, tiles), batchWarps*32, p.shared, a, used(uses...)...)
		first += p.rows
	}
}

func (n *gatedNode) batch(b *batch, rows int) {
	e, g := n.e, n.gate
	e.operands(b, n.src, n.norm, rows)
	for first := 0; first < rows; {
		p := e.batchPass(rows-first, g, g.form.bytes, g.tiles(), 2)
		b.launch(fmt.Sprintf("batch_gated_%s%s", g.form.name, p.suffix), e.batchGrid(p, g.tiles()), batchWarps*32, p.shared, cudakern.BatchGated{
			Gate: g.tiled, Up: n.up.tiled, Dst: n.dst.row(first), X: e.halves.Add(int64(first/operandRows*operandBlocks(g.K)) * operandBytes), Factor: e.factors.Add(int64(first) * 4),
			N: uint32(g.N), Rows: uint32(p.rows), Units: uint32(g.units()), Blocks: uint32(operandBlocks(g.K)), Warps: uint32(p.share), Stages: uint32(p.stages), GELU: flag(n.gelu),
		}, e.operandSpan(rows, g.K), span{name: "factors", at: e.factors, bytes: int64(rows) * 4}, g.inTiles(), n.up.inTiles(), n.dst.writing(rows))
		first += p.rows
	}
}
