package cuda

import (
	"fmt"

	"edged/cudakern"
	"edged/cudakern/driver"
)

const (
	batchRows    = 16  // most rows of a launch of batch.cu
	operandRows  = 8   // rows of an operand
	operandBytes = 512 // BLOCK_BYTES of batch.cu: 32 inputs of 8 rows
	operandBlock = 32
)

// operandBlocks is the blocks of a prepared row of k inputs.
func operandBlocks(k int) int { return ceil(k, orderedUnit) * orderedUnit / operandBlock }

// operands prepares rows of what a product of several rows reads, the norm in
// front included, for weights with units like w's.
func (e *exec) operands(b *batch, src *array, n *normNode, s shape, w *weight) {
	x, norm, eps := source(src, n, s)
	rows := s.of(src.rows)
	in := e.prepared(rows, w)
	for i := range in {
		in[i].write = true
	}
	b.launch(fmt.Sprintf("operands_%d", w.form.span), driver.Dim{X: rows}, share(w.units())*32, 0,
		cudakern.Operands{X: x.at, Norm: norm.at, Dst: e.halves, RowFactor: e.factors, UnitFactor: e.unitFactors, K: uint32(x.width), Blocks: uint32(operandBlocks(w.K)), Units: uint32(w.units()), Eps: eps},
		used(append(in, x.reading(rows), norm)...)...)
}

// prepared are rows that operands has made: inputs, and their factors.
func (e *exec) prepared(rows int, w *weight) []span {
	groups := ceil(rows, operandRows)
	return []span{{name: "halves", at: e.halves, bytes: int64(groups*operandBlocks(w.K)) * operandBytes}, {name: "factors", at: e.factors, bytes: int64(rows) * 4},
		{name: "factors of units", at: e.unitFactors, bytes: int64(groups*w.units()*operandRows) * 4}}
}

// batchPass is how one launch of batch.cu multiplies.
type batchPass struct {
	rows, first, stages, shared int
	suffix                      string
}

// batchPass finds the launch for up to so many rows: unit bytes of a unit, pair
// matrices whose results are gated.
func (e *exec) batchPass(first, rows int, w *weight, unit, tiles, pair int) batchPass {
	p := batchPass{rows: min(rows-first, batchRows), first: first, stages: e.stages(w, tiles, pair), suffix: "_8"}
	columns := operandRows
	if p.rows > operandRows {
		p.suffix, columns = "_16", batchRows
	}
	size := func() int { return fewWarps*p.stages*unit + sums(columns, pair) }
	for p.stages > leastStages && size() > e.backend.info.SharedBytes-sharedStatic {
		p.stages--
	}
	p.shared = size()
	return p
}

// at are where a pass's inputs and factors begin.
func (p batchPass) at(e *exec, w *weight) (x, row, unit driver.Ptr) {
	groups := int64(p.first / operandRows)
	return e.halves.Add(groups * int64(operandBlocks(w.K)) * operandBytes), e.factors.Add(int64(p.first) * 4), e.unitFactors.Add(groups * int64(w.units()) * operandRows * 4)
}

// batch multiplies prepared rows with up to three weights.
func (n *linearNode) batch(b *batch, rows int, parts []*part) {
	e, w, all := n.e, parts[0].w, joined(parts)
	for first := 0; first < rows; first += batchRows {
		p := e.batchPass(first, rows, w, all.unit, all.tiles, 1)
		a := cudakern.Batch{Rows: uint32(p.rows), Units: uint32(w.units()), Blocks: uint32(operandBlocks(w.K)), Warps: uint32(share(w.units())), Stages: uint32(p.stages), Mixed: uint32(all.mixed)}
		a.X, a.RowFactor, a.UnitFactor = p.at(e, w)
		uses := e.prepared(rows, w)
		for i, t := range parts {
			a.W[i], a.Dst[i], a.Bias[i], a.N[i], a.Add = t.w.tiled, t.dst.row(first), t.bias.at, uint32(t.w.N), a.Add|flag(t.add)<<i
			uses = append(uses, t.w.inTiles(), t.bias, t.dst.writing(rows))
		}
		b.launch("batch_"+all.name+p.suffix, e.grid(share(w.units()), all.tiles), fewWarps*32, p.shared, a, used(uses...)...)
	}
}

func (n *gatedNode) batch(b *batch, s shape) {
	e, g, rows := n.e, n.gate, s.of(n.src.rows)
	e.operands(b, n.src, n.norm, s, g)
	for first := 0; first < rows; first += batchRows {
		p := e.batchPass(first, rows, g, g.form.bytes, g.tiles(), 2)
		a := cudakern.BatchGated{Gate: g.tiled, Up: n.up.tiled, Dst: n.dst.row(first), N: uint32(g.N), Rows: uint32(p.rows), Units: uint32(g.units()), Blocks: uint32(operandBlocks(g.K)),
			Warps: uint32(share(g.units())), Stages: uint32(p.stages), GELU: flag(n.gelu)}
		a.X, a.RowFactor, a.UnitFactor = p.at(e, g)
		b.launch(fmt.Sprintf("batch_gated_%s%s", g.form.name, p.suffix), e.grid(share(g.units()), g.tiles()), fewWarps*32, p.shared, a,
			append(e.prepared(rows, g), g.inTiles(), n.up.inTiles(), n.dst.writing(rows))...)
	}
}
