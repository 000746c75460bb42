package cuda

import (
	"edged/cudakern"
	"edged/cudakern/driver"
	"edged/infer/gguf"
)

// tiledPass is how one launch of tiled.cu multiplies.
type tiledPass struct {
	rows   int
	units  int
	share  int // warps that share a tile
	stages int // units in a warp's ring
	shared int // bytes
	suffix string
}

const (
	passRows    = 2  // most rows of the smaller kernels
	manyRows    = 8  // most rows that blocks prepare themselves
	fewWarps    = 16 // WARPS of columns.cuh
	sumColumn   = 20 // COLUMN of columns.cuh
	mostStages  = 3
	leastStages = 2
	// shortTurns is up to how many units of a warp a shallow ring is better: it
	// leaves the next kernel room to begin beside this one.
	shortTurns = 4
	// sharedStatic is at least what kernels take beside their dynamic shared memory.
	sharedStatic = 512
)

// share is how many warps share a tile of so many units. As many as there are
// units: fewer would each prepare more inputs, which costs more than fuller last
// turns bring. How sums are ordered depends on it, so nothing but the weight may.
func share(units int) int {
	n := fewWarps
	for n > units {
		n /= 2
	}
	return n
}

// sums is the bytes of a block's sums for so many rows, pair matrices at once.
func sums(rows, pair int) int { return 2 * fewWarps * (pair*rows*sumColumn + 8) * 4 }

// stages is the units that a warp's ring should hold.
func (e *exec) stages(w *weight, tiles, pair int) int {
	n := share(w.units())
	if ceil(ceil(tiles, fewWarps/n), e.backend.info.SMs)*ceil(w.units(), n)*pair <= shortTurns {
		return leastStages
	}
	return mostStages
}

// pass finds the launch that takes most of the rows, since each reads all
// weights, with the deepest ring. unit is the bytes of the largest unit.
func (e *exec) pass(left int, w *weight, unit, tiles, pair int) tiledPass {
	p, ok := e.passOf(left, w, unit, tiles, pair)
	for rows := min(left, passRows); !ok && rows > 0; rows-- {
		p, ok = e.passOf(rows, w, unit, tiles, pair)
	}
	return p // one row, which no matrix is wide enough not to fit; planWeight has checked
}

// passOf is the launch that takes all of so many rows, if there is one.
func (e *exec) passOf(rows int, w *weight, unit, tiles, pair int) (p tiledPass, ok bool) {
	for stages := e.stages(w, tiles, pair); rows <= manyRows && stages >= leastStages; stages-- {
		if p = newPass(w, unit, rows, stages, pair); p.shared <= e.backend.info.SharedBytes-sharedStatic {
			return p, true
		}
	}
	return p, false
}

func newPass(w *weight, unit, rows, stages, pair int) tiledPass {
	p := tiledPass{rows: rows, units: w.units(), share: share(w.units()), stages: stages, suffix: "_2"}
	columns, room, factors := passRows, rows, 0
	if rows > passRows {
		p.suffix, columns, room, factors = "_8", manyRows, manyRows, manyRows
	}
	own := fewWarps * ceil(p.units, p.share)
	p.shared = fewWarps*stages*unit + sums(columns, pair) + own*room*(w.form.span*2+4) + (room*fewWarps+factors)*4
	return p
}

// alone says whether one launch multiplies all of so many rows and prepares them itself.
func (e *exec) alone(rows int, w *weight, unit, tiles, pair int) bool {
	_, ok := e.passOf(rows, w, unit, tiles, pair)
	return ok || rows <= passRows
}

// mixedUnit is the bytes of the largest unit that one launch multiplies beside those
// of another type.
const mixedUnit = 3392

// fitsShared says whether a product of one row fits shared memory.
func (e *exec) fitsShared(w *weight) bool {
	return newPass(w, max(w.form.bytes, mixedUnit), 1, leastStages, 2).shared <= e.backend.info.SharedBytes-sharedStatic
}

// grid is blocks for so many tiles: one fills a multiprocessor.
func (e *exec) grid(share, tiles int) driver.Dim {
	return driver.Dim{X: min(ceil(tiles, fewWarps/share), e.backend.info.SMs)}
}

// together are parts that one launch multiplies: those from mixed on are of a second
// type.
type together struct {
	name               string
	tiles, unit, mixed int // unit: bytes of the largest
}

func joined(parts []*part) together {
	w := parts[0].w
	t := together{name: w.form.name}
	for _, p := range parts {
		t.tiles += p.w.tiles()
		t.unit = max(t.unit, p.w.form.bytes)
		if p.w.Type == w.Type {
			t.mixed++
		}
	}
	if t.mixed < len(parts) {
		t.name += "_" + parts[t.mixed].w.form.name
	}
	return t
}

func (n *linearNode) tiled(b *batch, s shape, parts []*part) {
	x, norm, eps := source(n.src, n.norm, s)
	rows, w, all := s.of(n.src.rows), parts[0].w, joined(parts)
	for first := 0; first < rows; {
		p := n.e.pass(rows-first, w, all.unit, all.tiles, 1)
		a := cudakern.Tiled{X: x.row(first), Norm: norm.at, K: uint32(w.K), Rows: uint32(p.rows), Units: uint32(p.units), Warps: uint32(p.share), Stages: uint32(p.stages), Mixed: uint32(all.mixed), Eps: eps}
		uses := []span{x.reading(rows), norm}
		for i, t := range parts {
			a.W[i], a.Dst[i], a.Bias[i], a.N[i], a.Add = t.w.tiled, t.dst.row(first), t.bias.at, uint32(t.w.N), a.Add|flag(t.add)<<i
			uses = append(uses, t.w.inTiles(), t.bias, t.dst.writing(rows))
		}
		b.launch("tiled_"+all.name+p.suffix, n.e.grid(p.share, all.tiles), fewWarps*32, p.shared, a, used(uses...)...)
		first += p.rows
	}
}

// mixable are the pairs of types that one launch multiplies with.
var mixable = map[[2]gguf.Type]bool{{gguf.Q4_K, gguf.Q6_K}: true, {gguf.Q5_K, gguf.Q6_K}: true}

func (n *gatedNode) tiled(b *batch, s shape) {
	x, norm, eps := source(n.src, n.norm, s)
	rows, g := s.of(n.src.rows), n.gate
	for first := 0; first < rows; {
		p := n.e.pass(rows-first, g, g.form.bytes, g.tiles(), 2)
		b.launch("tiled_gated_"+g.form.name+p.suffix, n.e.grid(p.share, g.tiles()), fewWarps*32, p.shared, cudakern.TiledGated{
			Gate: g.tiled, Up: n.up.tiled, Dst: n.dst.row(first), X: x.row(first), Norm: norm.at, N: uint32(g.N), K: uint32(g.K),
			Rows: uint32(p.rows), Units: uint32(p.units), Warps: uint32(p.share), Stages: uint32(p.stages), GELU: flag(n.gelu), Eps: eps,
		}, used(x.reading(rows), norm, g.inTiles(), n.up.inTiles(), n.dst.writing(rows))...)
		first += p.rows
	}
}
