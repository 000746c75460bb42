package cuda

import (
	"edged/cudakern"
	"edged/cudakern/driver"
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
	suffix string
}

const (
	passRows    = 8 // most rows of a launch
	mostStages  = 4
	leastStages = 2
	// sharedStatic is at least what kernels take beside their dynamic shared memory.
	sharedStatic = 512
)

// pass finds the launch that takes most of the rows, since each reads all
// weights, in the fewest slices, with the deepest ring. Inputs that are
// normalised on the way cannot be sliced, nor can pairs.
func (e *exec) pass(left int, w *weight, sliced bool, pair int) tiledPass {
	most := e.backend.info.SharedBytes - sharedStatic
	var p tiledPass
	for rows := min(left, passRows); rows > 0; rows-- {
		for slices := 1; slices <= 8 && (slices == 1 || sliced); slices *= 2 {
			for stages := mostStages; stages >= leastStages; stages-- {
				if p = newPass(w, rows, slices, stages, pair); p.shared <= most {
					return p
				}
			}
		}
	}
	return p // one row, which no matrix is wide enough not to fit; planWeight has checked
}

func newPass(w *weight, rows, slices, stages, pair int) tiledPass {
	p := tiledPass{rows: rows, slices: slices, stages: stages, units: ceil(w.units(), slices), warps: 16, suffix: "_2"}
	held := 2 // rows that a warp's sums have room for
	if rows > held {
		p.warps, p.suffix, held = 8, "_8", passRows
	}
	for p.share = p.warps; p.share > p.units; p.share /= 2 {
	}
	// Rings, inputs, their sums, factors, squares, and results to add up.
	own := p.warps * ceil(p.units, p.share)
	p.shared = p.warps*stages*w.form.bytes + own*rows*(w.form.span*w.form.input+64+4) + p.warps*rows*4 + 2*p.warps*(pair*held*16+1)*4
	return p
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
	w := parts[0].w
	for first := 0; first < rows; {
		p := n.e.pass(rows-first, w, norm.at == 0, 1)
		for unit := 0; unit < w.units(); unit += p.units {
			at := unit * w.form.span
			a := cudakern.Tiled{X: x.row(first).Add(int64(4 * at)), Norm: norm.at, K: uint32(min(p.units*w.form.span, w.K-at)), Rows: uint32(p.rows), LD: uint32(w.K),
				Units: uint32(w.units()), First: uint32(unit), Warps: uint32(p.share), Stages: uint32(p.stages), Eps: eps}
			uses := []span{x.reading(rows), norm}
			tiles := 0
			for i, t := range parts {
				a.W[i], a.Dst[i], a.N[i] = t.w.tiled, t.dst.row(first), uint32(t.w.N)
				uses = append(uses, t.w.inTiles(), t.dst.writing(rows))
				if unit == 0 {
					a.Bias[i] = t.bias.at
					uses = append(uses, t.bias)
				}
				a.Add |= flag(t.add || unit > 0) << i
				tiles += t.w.tiles()
			}
			b.launch("tiled_"+w.form.name+p.suffix, n.e.grid(p, tiles), p.warps*32, p.shared, a, used(uses...)...)
		}
		first += p.rows
	}
}

func (n *gatedNode) tiled(b *batch, rows int) {
	x, norm, eps := source(n.src, n.norm, rows)
	for first := 0; first < rows; {
		p := n.e.pass(rows-first, n.gate, false, 2)
		b.launch("tiled_gated_"+n.gate.form.name+p.suffix, n.e.grid(p, n.gate.tiles()), p.warps*32, p.shared, cudakern.TiledGated{
			Gate: n.gate.tiled, Up: n.up.tiled, Dst: n.dst.row(first), X: x.row(first), Norm: norm.at, N: uint32(n.gate.N), K: uint32(n.gate.K),
			Rows: uint32(p.rows), Warps: uint32(p.share), Stages: uint32(p.stages), GELU: flag(n.gelu), Eps: eps,
		}, used(x.reading(rows), norm, n.gate.inTiles(), n.up.inTiles(), n.dst.writing(rows))...)
		first += p.rows
	}
}
