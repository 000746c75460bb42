package cuda

import (
	"fmt"

	"edged/cudakern"
	"edged/cudakern/driver"
	"edged/infer/gguf"
)

const (
	stepInputs    = 64                        // STEP of operands.cuh
	slabRows      = 128                       // SLAB of warpgroup.cu
	slabStepBytes = slabRows * stepInputs * 2 // SLAB_BYTES
	orderedUnit   = 256                       // inputs that prepared rows are padded to
	wideColumns   = 256
	pieceTiles    = 8   // TILES of warpgroup.cu: 128 outputs
	wgmmaThreads  = 384 // two warpgroups that multiply, one that brings
)

// byWarpgroups says whether the device has products of warpgroups.
func (b *Backend) byWarpgroups() bool { return b.info.Major == 9 && b.info.Minor == 0 }

// orderedSteps is the steps of a prepared row of k inputs.
func orderedSteps(k int) int { return ceil(k, orderedUnit) * orderedUnit / stepInputs }

// halvesBytes is what prepared rows of the widest product take.
func (e *exec) halvesBytes(rows int) int64 {
	k, batch := ceil(e.maxK, orderedUnit)*orderedUnit, ceil(e.fewRows(), operandRows)*operandRows
	if e.backend.byWarpgroups() {
		rows = ceil(rows, wideColumns) * wideColumns
	}
	return int64(max(rows, batch)) * int64(k) * 2
}

// order prepares rows of what a product reads, the norm in front included.
func (e *exec) order(b *batch, src *array, n *normNode, s shape) {
	x, norm, eps := source(src, n, s)
	rows := s.of(src.rows)
	steps := orderedSteps(x.width)
	b.launch("order_rows", driver.Dim{X: rows}, min(steps*stepInputs/16, 1024), 0,
		cudakern.OrderRows{X: x.at, Norm: norm.at, Dst: e.halves, Factor: e.factors, K: uint32(x.width), Steps: uint32(steps), Eps: eps},
		used(x.reading(rows), norm, e.ordered(rows, x.width, true), span{name: "factors", at: e.factors, bytes: int64(rows) * 4, write: true})...)
}

// ordered are prepared rows of k inputs, whole slabs of them.
func (e *exec) ordered(rows, k int, write bool) span {
	return span{name: "halves", at: e.halves, bytes: int64(ceil(rows, slabRows)*orderedSteps(k)) * slabStepBytes, write: write}
}

// columns is the rows of a piece by which the device is done sooner: narrow
// pieces take a little more than half as long as wide ones.
func (e *exec) columns(rows int, outputs ...int) int {
	turns := func(columns int) int {
		pieces := 0
		for _, n := range outputs {
			pieces += n
		}
		return ceil(pieces*ceil(rows, columns), e.backend.info.SMs)
	}
	if 115*turns(slabRows) < 200*turns(wideColumns) {
		return slabRows
	}
	return wideColumns
}

// wgmmaShared is Shape::BYTES of warpgroup.cu.
func wgmmaShared(f tileForm, columns int) int {
	stages, units := 6, 2
	if columns == wideColumns {
		stages = 4
	}
	if f.span == stepInputs {
		units = 4
	}
	return stages*columns*stepInputs*2 + units*pieceTiles*f.bytes + 2*(stages+units)*8
}

// wgmma multiplies prepared rows with up to three weights of one type.
func (n *linearNode) wgmma(b *batch, rows int, parts []*part) {
	w := parts[0].w
	a := cudakern.Wgmma{X: n.e.halves, Factor: n.e.factors, M: uint32(rows), Units: uint32(w.units()), Steps: uint32(orderedSteps(w.K))}
	uses := []span{n.e.ordered(rows, w.K, false), {name: "factors", at: n.e.factors, bytes: int64(rows) * 4}}
	var pieces []int
	for i, t := range parts {
		a.W[i], a.Dst[i], a.Bias[i] = t.w.tiled, t.dst.at, t.bias.at
		a.N[i], a.LD[i], a.Add = uint32(t.w.N), uint32(t.dst.width), a.Add|flag(t.add)<<i
		uses = append(uses, t.w.inTiles(), t.bias, t.dst.writing(rows))
		pieces = append(pieces, ceil(t.w.tiles(), pieceTiles))
	}
	n.e.launchWgmma(b, "wgmma_"+w.form.name, w.form, rows, pieces, a, used(uses...))
}

func (e *exec) launchWgmma(b *batch, name string, f tileForm, rows int, pieces []int, args any, uses []span) {
	columns, all := e.columns(rows, pieces...), 0
	for _, n := range pieces {
		all += n
	}
	b.launch(fmt.Sprintf("%s_%d", name, columns), driver.Dim{X: min(all*ceil(rows, columns), e.backend.info.SMs)}, wgmmaThreads, wgmmaShared(f, columns), args, uses...)
}

// wgmmaAny multiplies prepared rows with a weight that has no tiles: it becomes
// tiles of float16, a slab of its rows after the other.
func (e *exec) wgmmaAny(b *batch, rows int, p *part) {
	w, f := p.w, tileForms[gguf.F16]
	units, rowBytes := ceil(w.K, f.span), w.Type.RowBytes(w.K)
	slab := int(e.unpackElems / int64(units*f.span) / tileRows * tileRows)
	for first := 0; first < w.N; first += slab {
		n := min(slab, w.N-first)
		to := span{name: "unpacked", at: e.unpacked, bytes: int64(ceil(n, tileRows)) * int64(units*f.bytes), write: true}
		b.launch("unpack_to_tiles", driver.Dim{X: ceil(units*f.span, 2048), Y: n}, 256, 0, cudakern.UnpackRows{
			W: w.raw.Add(int64(first) * int64(rowBytes)), Dst: e.unpacked, Type: uint32(w.Type), K: uint32(w.K), RowBytes: uint32(rowBytes),
		}, w.inRaw(), to)
		to.write = false
		a := cudakern.Wgmma{X: e.halves, Factor: e.factors, M: uint32(rows), Units: uint32(units), Steps: uint32(orderedSteps(w.K)), Add: flag(p.add)}
		a.W[0], a.Dst[0], a.N[0], a.LD[0] = e.unpacked, p.dst.at.Add(int64(first)*4), uint32(n), uint32(p.dst.width)
		if p.bias.at != 0 {
			a.Bias[0] = p.bias.at.Add(int64(first) * 4)
		}
		to.early = true
		e.launchWgmma(b, "wgmma_f16", f, rows, []int{ceil(n, pieceTiles*tileRows)}, a,
			used(e.ordered(rows, w.K, false), span{name: "factors", at: e.factors, bytes: int64(rows) * 4}, to, p.bias, p.dst.writing(rows)))
		b.cmds[len(b.cmds)-1].overlap = false // weights are read without waiting
	}
}

func (n *gatedNode) wgmma(b *batch, s shape) {
	g, rows := n.gate, s.of(n.src.rows)
	n.e.order(b, n.src, n.norm, s)
	n.e.launchWgmma(b, "wgmma_gated_"+g.form.name, g.form, rows, []int{ceil(g.N, pieceTiles*tileRows/2)}, cudakern.WgmmaGated{
		Gate: g.tiled, Up: n.up.tiled, Dst: n.dst.at, X: n.e.halves, Factor: n.e.factors, N: uint32(g.N), LD: uint32(n.dst.width),
		M: uint32(rows), Units: uint32(g.units()), Steps: uint32(orderedSteps(g.K)), GELU: flag(n.gelu),
	}, used(n.e.ordered(rows, g.K, false), span{name: "factors", at: n.e.factors, bytes: int64(rows) * 4}, g.inTiles(), n.up.inTiles(), n.dst.writing(rows)))
}
