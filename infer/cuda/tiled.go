package cuda

import (
	"edged/cudakern"
	"edged/cudakern/driver"
	"edged/infer/gguf"
)

// tiledPass is how one launch of tiled.cu multiplies: so many rows, with a slice
// of the inputs at a time.
type tiledPass struct {
	rows   int
	slices int // of the inputs, each a launch
	units  int // of a slice
	warps  int // of a block
	share  int // warps that share a tile
	stages int // units in a warp's ring
	shared int // bytes
}

const (
	passRows    = 2 // most rows of a launch, for which a warp's sums have room
	tiledWarps  = 16
	mostStages  = 3
	leastStages = 2
	// shortTurns is up to how many units of a warp a shallow ring is better: it
	// leaves the next kernel room to begin beside this one.
	shortTurns = 4
	// sharedStatic is at least what kernels take beside their dynamic shared memory.
	sharedStatic = 512
)

// pass finds the launch that takes most of the rows, since each reads all
// weights, in the fewest slices, with the deepest ring. Inputs that are
// normalised on the way cannot be sliced, nor can pairs.
func (e *exec) pass(left int, w *weight, tiles int, sliced bool, pair int) tiledPass {
	most := e.backend.info.SharedBytes - sharedStatic
	var p tiledPass
	for rows := min(left, passRows); rows > 0; rows-- {
		for slices := 1; slices <= 8 && (slices == 1 || sliced); slices *= 2 {
			for stages := e.ring(w, tiles, slices, pair); stages >= leastStages; stages-- {
				if p = newPass(w, rows, slices, stages, pair); p.shared <= most {
					return p
				}
			}
		}
	}
	return p // one row, which no matrix is wide enough not to fit; planWeight has checked
}

// ring is the units that a warp's ring should hold.
func (e *exec) ring(w *weight, tiles, slices, pair int) int {
	p := newPass(w, 1, slices, leastStages, pair)
	if ceil(ceil(tiles, p.warps/p.share), e.backend.info.SMs)*ceil(p.units, p.share)*pair <= shortTurns {
		return leastStages
	}
	return mostStages
}

func newPass(w *weight, rows, slices, stages, pair int) tiledPass {
	p := tiledPass{rows: rows, slices: slices, stages: stages, units: ceil(w.units(), slices), warps: tiledWarps}
	last := w.units() - (ceil(w.units(), p.units)-1)*p.units // units of the last slice
	// As many as there are units: fewer would each prepare more inputs, which
	// costs more than fuller last turns bring.
	for p.share = p.warps; p.share > last; p.share /= 2 {
	}
	p.shared = p.size(w.form, w.form.bytes, 1, pair)
	return p
}

// size is the shared memory of a pass whose units take so many bytes, with sums
// of inputs for so many types: rings, inputs, their sums, factors, squares, and
// results to add up.
func (p tiledPass) size(form tileForm, unit, sums, pair int) int {
	own := p.warps * ceil(p.units, p.share)
	return p.warps*p.stages*unit + own*p.rows*(form.span*form.input+64*sums+4) + p.warps*p.rows*4 + 2*p.warps*(pair*passRows*16+1)*4
}

// fitsShared says whether a product of one row fits shared memory.
func (e *exec) fitsShared(w *weight) bool {
	return newPass(w, 1, 1, leastStages, 2).shared <= e.backend.info.SharedBytes-sharedStatic
}

// grid is blocks for so many tiles: one fills a multiprocessor.
func (e *exec) grid(p tiledPass, tiles int) driver.Dim {
	return driver.Dim{X: min(ceil(tiles, p.warps/p.share), e.backend.info.SMs)}
}

func (n *linearNode) tiled(b *batch, rows int, parts []*part) {
	x, norm, eps := source(n.src, n.norm, rows)
	w, tiles, mixed := parts[0].w, 0, 0
	for _, t := range parts {
		tiles += t.w.tiles()
		if t.w.Type == w.Type {
			mixed++
		}
	}
	for first := 0; first < rows; {
		p := n.e.pass(rows-first, w, tiles, norm.at == 0, 1)
		name := w.form.name
		if mixed < len(parts) {
			p, name = n.e.mixedPass(rows-first, w, parts[mixed].w, tiles)
		}
		for unit := 0; unit < w.units(); unit += p.units {
			at := unit * w.form.span
			a := cudakern.Tiled{X: x.row(first).Add(int64(4 * at)), Norm: norm.at, K: uint32(min(p.units*w.form.span, w.K-at)), Rows: uint32(p.rows), LD: uint32(w.K),
				Units: uint32(w.units()), First: uint32(unit), Warps: uint32(p.share), Stages: uint32(p.stages), Eps: eps}
			uses := []span{x.reading(rows), norm}
			for i, t := range parts {
				a.W[i], a.Dst[i], a.N[i] = t.w.tiled, t.dst.row(first), uint32(t.w.N)
				uses = append(uses, t.w.inTiles(), t.dst.writing(rows))
				if unit == 0 {
					a.Bias[i] = t.bias.at
					uses = append(uses, t.bias)
				}
				a.Add |= flag(t.add || unit > 0) << i
			}
			var args any = a
			if mixed < len(parts) {
				args = cudakern.TiledMixed{W: a.W, Dst: a.Dst, Bias: a.Bias, X: a.X, Norm: a.Norm, N: a.N, K: a.K, Rows: a.Rows, LD: a.LD,
					Units: a.Units, First: a.First, Warps: a.Warps, Stages: a.Stages, Add: a.Add, Mixed: uint32(mixed), Eps: a.Eps}
			}
			b.launch("tiled_"+name+"_2", n.e.grid(p, tiles), p.warps*32, p.shared, args, used(uses...)...)
		}
		first += p.rows
	}
}

// mixable are the pairs of types that one launch multiplies with.
var mixable = map[[2]gguf.Type]string{{gguf.Q4_K, gguf.Q6_K}: "q4k_q6k", {gguf.Q5_K, gguf.Q6_K}: "q5k_q6k"}

// mixes says whether one launch takes parts of both types.
func (e *exec) mixes(rows int, w, other *weight) bool {
	if _, ok := mixable[[2]gguf.Type{w.Type, other.Type}]; !ok {
		return false
	}
	if rows > passRows {
		return true // batch.cu holds no inputs
	}
	p, _ := e.mixedPass(rows, w, other, w.tiles())
	return p.rows == rows && p.shared <= e.backend.info.SharedBytes-sharedStatic
}

// mixedPass is a launch with parts of two types.
func (e *exec) mixedPass(rows int, w, other *weight, tiles int) (tiledPass, string) {
	p := newPass(w, rows, 1, e.ring(w, tiles, 1, 1), 1)
	for ; p.stages > leastStages; p.stages-- {
		if p.size(w.form, max(w.form.bytes, other.form.bytes), 2, 1) <= e.backend.info.SharedBytes-sharedStatic {
			break
		}
	}
	p.shared = p.size(w.form, max(w.form.bytes, other.form.bytes), 2, 1)
	return p, mixable[[2]gguf.Type{w.Type, other.Type}]
}

func (n *gatedNode) tiled(b *batch, rows int) {
	x, norm, eps := source(n.src, n.norm, rows)
	for first := 0; first < rows; {
		p := n.e.pass(rows-first, n.gate, n.gate.tiles(), false, 2)
		b.launch("tiled_gated_"+n.gate.form.name+"_2", n.e.grid(p, n.gate.tiles()), p.warps*32, p.shared, cudakern.TiledGated{
			Gate: n.gate.tiled, Up: n.up.tiled, Dst: n.dst.row(first), X: x.row(first), Norm: norm.at, N: uint32(n.gate.N), K: uint32(n.gate.K),
			Rows: uint32(p.rows), Warps: uint32(p.share), Stages: uint32(p.stages), GELU: flag(n.gelu), Eps: eps,
		}, used(x.reading(rows), norm, n.gate.inTiles(), n.up.inTiles(), n.dst.writing(rows))...)
		first += p.rows
	}
}
