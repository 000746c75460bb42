package cuda

import (
	"edged/cudakern"
	"edged/cudakern/driver"
	"edged/infer/gguf"
	"edged/infer/graph"
)

const (
	anyWarps     = 8               // outputs of a block of linear.cu
	anyColumns   = 8               // rows of a pass of linear.cu
	gemmRows     = 128             // TM of gemm.cu
	gemmStage    = 4 * (32*2 + 16) // bytes of a tile's row, all stages
	unpackFloats = 64 << 20        // weights that are unpacked at once, elements
)

// part is one product of a linearNode.
type part struct {
	w    *weight
	dst  *array
	bias span
	add  bool
}

// linearNode is Linear.
type linearNode struct {
	e     *exec
	src   *array
	norm  *normNode // what src is the result of, when products compute it; or nil
	parts []part
}

func (e *exec) newLinear(o graph.Linear) *linearNode {
	n := &linearNode{e: e, src: e.buf(o.Src), norm: e.norms[o.Src]}
	for _, t := range o.Parts {
		n.parts = append(n.parts, part{w: &e.weights[t.W], dst: e.buf(t.Dst), bias: e.vectorOf(t.Bias), add: t.Add})
		e.noteProduct(&e.weights[t.W])
		delete(e.norms, t.Dst)
	}
	return n
}

// noteProduct sizes what products with a weight need beside it.
func (e *exec) noteProduct(w *weight) {
	e.maxK = max(e.maxK, w.K)
	if w.hasTiles() {
		e.maxUnits = max(e.maxUnits, w.units())
	}
	if e.backend.byWarpgroups() && w.hasTiles() {
		return // nothing is unpacked
	}
	k := ceil(w.K, stepInputs) * stepInputs
	rows := max(unpackFloats/k/tileRows*tileRows, tileRows)
	e.unpackElems = max(e.unpackElems, int64(min(rows, ceil(w.N, tileRows)*tileRows))*int64(k))
}

func (n *linearNode) emit(b *batch, s shape) {
	rows := s.of(n.src.rows)
	if rows == 0 {
		return
	}
	done := make([]bool, len(n.parts))
	holds := prepared{} // what the halves are prepared for
	prepare := func(want prepared, how func()) {
		if holds != want {
			how()
			holds = want
		}
	}
	for i := range n.parts {
		if done[i] {
			continue
		}
		p := &n.parts[i]
		switch p.w.way(s.many(n.src.rows)) {
		case byTiles:
			same := n.mixable(i, n.sameType(i, done), done)
			if all := joined(same); n.e.alone(rows, p.w, all.unit, all.tiles, 1) {
				n.tiled(b, s, same)
				continue
			}
			prepare(prepared{forBatch, p.w.form.span}, func() { n.e.operands(b, n.src, n.norm, s, p.w) })
			n.batch(b, rows, same)
		case byHalves:
			switch {
			case !n.e.backend.byWarpgroups():
				prepare(prepared{what: forGemm}, func() { n.e.halve(b, n.src, rows) })
				n.e.gemm(b, rows, p.w, p.bias, p.dst, p.add)
			case p.w.hasTiles():
				prepare(prepared{what: forWgmma}, func() { n.e.order(b, n.src, n.norm, s) })
				n.wgmma(b, rows, n.sameType(i, done))
			default:
				prepare(prepared{what: forWgmma}, func() { n.e.order(b, n.src, n.norm, s) })
				n.e.wgmmaAny(b, rows, p)
			}
		default:
			b.launch("linear_any", driver.Dim{X: ceil(p.w.N, anyWarps), Y: ceil(rows, anyColumns)}, anyWarps*32, 0, cudakern.LinearAny{
				W: p.w.raw, X: n.src.at, Bias: p.bias.at, Dst: p.dst.at, Type: uint32(p.w.Type), N: uint32(p.w.N), K: uint32(p.w.K),
				RowBytes: uint32(p.w.Type.RowBytes(p.w.K)), Rows: uint32(rows), Add: flag(p.add),
			}, used(p.w.inRaw(), n.src.reading(rows), p.bias, p.dst.writing(rows))...)
		}
	}
}

// prepared is what the order of float16 inputs is for, and the inputs of a unit
// where that matters.
type prepared struct {
	what purpose
	span int
}

type purpose uint8

const (
	nothing purpose = iota
	forBatch
	forWgmma
	forGemm
)

// mixable adds to parts of one type, of which i is the first, those of a second one
// that the same launch takes, which are done then.
func (n *linearNode) mixable(i int, same []*part, done []bool) []*part {
	w, second := n.parts[i].w, (*weight)(nil)
	for j := range n.parts {
		o := &n.parts[j]
		if done[j] || len(same) == 3 || !mixable[[2]gguf.Type{w.Type, o.w.Type}] || !o.w.hasTiles() || second != nil && second.Type != o.w.Type {
			continue
		}
		same, second, done[j] = append(same, o), o.w, true
	}
	return same
}

// sameType is as many parts of part i's type as one launch takes, which are done.
func (n *linearNode) sameType(i int, done []bool) []*part {
	var same []*part
	for j := i; j < len(n.parts) && len(same) < 3; j++ {
		if !done[j] && n.parts[j].w.Type == n.parts[i].w.Type {
			same, done[j] = append(same, &n.parts[j]), true
		}
	}
	return same
}

// way is how a weight is multiplied with so many rows.
type way uint8

const (
	byTiles way = iota
	byHalves
	asIs
)

func (w *weight) way(many bool) way {
	switch {
	case w.Type == gguf.F32 || !w.hasTiles() && !many:
		return asIs
	case many:
		return byHalves
	}
	return byTiles
}

// used drops absent spans.
func used(s ...span) []span {
	out := s[:0]
	for _, u := range s {
		if u.at != 0 {
			out = append(out, u)
		}
	}
	return out
}

// source is what a tiled product reads: the norm's own source if it computes it.
func source(src *array, n *normNode, s shape) (x *array, w span, eps float32) {
	if n.folds(s) {
		return n.src, n.w, n.eps
	}
	return src, span{}, 0
}

// halve makes float16 rows of src; a norm in front has been computed.
func (e *exec) halve(b *batch, src *array, rows int) {
	b.launch("halve_rows", driver.Dim{X: rows}, 256, 0, cudakern.HalveRows{X: src.at, Dst: e.halves, Factor: e.factors, K: uint32(src.width)},
		src.reading(rows), span{name: "halves", at: e.halves, bytes: int64(rows) * int64(src.width) * 2, write: true},
		span{name: "factors", at: e.factors, bytes: int64(rows) * 4, write: true})
}

// gemm multiplies the rows that halve made with a weight, a slab of its rows
// after the other.
func (e *exec) gemm(b *batch, rows int, w *weight, bias span, dst *array, add bool) {
	slab := int(e.unpackElems / int64(w.K) / tileRows * tileRows)
	for first := 0; first < w.N; first += slab {
		n := min(slab, w.N-first)
		to := span{name: "unpacked", at: e.unpacked, bytes: int64(n) * int64(w.K) * 2, write: true}
		if w.hasTiles() {
			from := w.tiled.Add(int64(first/tileRows) * int64(w.units()*w.form.bytes))
			b.launch("unpack_tiles", driver.Dim{X: w.units(), Y: ceil(ceil(n, tileRows), 4)}, 128, 0,
				cudakern.UnpackTiles{Tiles: from, Dst: e.unpacked, Type: uint32(w.Type), N: uint32(n), K: uint32(w.K)}, w.inTiles(), to)
		} else {
			rowBytes := w.Type.RowBytes(w.K)
			b.launch("unpack_rows", driver.Dim{X: ceil(w.K, 2048), Y: n}, 256, 0,
				cudakern.UnpackRows{W: w.raw.Add(int64(first) * int64(rowBytes)), Dst: e.unpacked, Type: uint32(w.Type), K: uint32(w.K), RowBytes: uint32(rowBytes)}, w.inRaw(), to)
		}
		a := cudakern.Gemm{A: e.halves, B: e.unpacked, Factor: e.factors, Dst: dst.at.Add(int64(first) * 4), M: uint32(rows), N: uint32(n), K: uint32(w.K), LD: uint32(dst.width), Add: flag(add)}
		if bias.at != 0 {
			a.Bias = bias.at.Add(int64(first) * 4)
		}
		to.write = false
		name, wide := "gemm_128", 128
		if ceil(rows, gemmRows)*ceil(n, 256) >= e.backend.info.SMs {
			name, wide = "gemm_256", 256
		}
		b.launch(name, driver.Dim{X: ceil(rows, gemmRows), Y: ceil(n, wide)}, 256, gemmStage*(gemmRows+wide), a, used(
			span{name: "halves", at: e.halves, bytes: int64(rows) * int64(w.K) * 2}, to, span{name: "factors", at: e.factors, bytes: int64(rows) * 4}, bias, dst.writing(rows))...)
	}
}

// gatedNode is GatedLinear.
type gatedNode struct {
	e        *exec
	src, dst *array
	norm     *normNode
	gate, up *weight
	gelu     bool
}

func (e *exec) newGated(o graph.GatedLinear) *gatedNode {
	n := &gatedNode{e: e, src: e.buf(o.Src), dst: e.buf(o.Dst), norm: e.norms[o.Src], gate: &e.weights[o.Gate], up: &e.weights[o.Up], gelu: o.Act == graph.GELUTanh}
	e.noteProduct(n.gate)
	e.noteProduct(n.up)
	e.gatedWidth = max(e.gatedWidth, n.dst.width)
	return n
}

func (n *gatedNode) emit(b *batch, s shape) {
	rows, many := s.of(n.src.rows), s.many(n.src.rows)
	gate, up := n.gate.way(many), n.up.way(many)
	switch {
	case rows == 0:
	case gate == byTiles && n.gate.Type == n.up.Type:
		if n.e.alone(rows, n.gate, n.gate.form.bytes, n.gate.tiles(), 2) {
			n.tiled(b, s)
		} else {
			n.batch(b, s)
		}
	case gate == byHalves && n.gate.hasTiles() && n.gate.Type == n.up.Type && n.e.backend.byWarpgroups():
		n.wgmma(b, s)
	case gate == asIs && up == asIs:
		b.launch("gated_any", driver.Dim{X: ceil(n.gate.N, anyWarps), Y: ceil(rows, anyColumns)}, anyWarps*32, 0, cudakern.GatedAny{
			Gate: n.gate.raw, Up: n.up.raw, X: n.src.at, Dst: n.dst.at, GateType: uint32(n.gate.Type), UpType: uint32(n.up.Type), N: uint32(n.gate.N), K: uint32(n.gate.K),
			GateBytes: uint32(n.gate.Type.RowBytes(n.gate.K)), UpBytes: uint32(n.up.Type.RowBytes(n.up.K)), Rows: uint32(rows), GELU: flag(n.gelu),
		}, n.gate.inRaw(), n.up.inRaw(), n.src.reading(rows), n.dst.writing(rows))
	default:
		// Two products, then the gate.
		other := &array{name: "up", at: n.e.gated, width: n.dst.width, rows: n.dst.rows}
		l := linearNode{e: n.e, src: n.src, norm: n.norm, parts: []part{{w: n.gate, dst: n.dst}, {w: n.up, dst: other}}}
		l.emit(b, s)
		count := rows * n.dst.width
		b.launch("gate_rows", driver.Dim{X: ceil(count, rowThreads)}, rowThreads, 0, cudakern.GateRows{Gate: n.dst.at, Up: other.at, N: uint64(count), GELU: flag(n.gelu)},
			n.dst.writing(rows), other.reading(rows))
	}
}
