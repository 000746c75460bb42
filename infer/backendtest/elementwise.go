package backendtest

import (
	"fmt"
	"math"
	"testing"

	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/offload"
)

func (s *suite) testEmbed(t *testing.T) {
	for _, typ := range gguf.Types() {
		widths := []int{32, 96, 256}
		if typ.BlockElems() == 256 {
			widths = []int{256, 768}
		}
		for _, width := range widths {
			t.Run(fmt.Sprintf("%s/%d", typ, width), func(t *testing.T) {
				b := newBuilder(s.rng(t), width)
				x := b.embed(b.weight(typ, width, width), width, 0.75)
				tok := make([]int32, 64)
				for i := range tok {
					tok[i] = int32(b.rng.IntN(width))
				}
				tok[0], tok[1] = 0, int32(width-1)
				got, want := s.exactPair(t, b.program(t, x)).one(tok, 0)
				check(t, "embed", s.opt.Tolerance.Embed, got, want)
			})
		}
	}
}

// normWidths are multiples of 32 that are no power of two, and one that is.
var normWidths = []int{32, 96, 256, 576, 640}

func (s *suite) testNorm(t *testing.T) {
	for _, width := range normWidths {
		s.normCase(t, fmt.Sprintf("rms/%d", width), width, func(b *builder, x graph.Buf) graph.Buf {
			y := b.buffer(width, graph.AllRows)
			b.emit(graph.RMSNorm{Dst: y, Src: x, W: b.vector(width, 1), Eps: 1e-5})
			return y
		})
		s.normCase(t, fmt.Sprintf("rms_in_place/%d", width), width, func(b *builder, x graph.Buf) graph.Buf {
			b.emit(graph.RMSNorm{Dst: x, Src: x, W: b.vector(width, 1), Eps: 1e-6})
			return x
		})
		s.normCase(t, fmt.Sprintf("rms_out_rows/%d", width), width, func(b *builder, x graph.Buf) graph.Buf {
			a, y := b.buffer(width, graph.OutRows), b.buffer(width, graph.OutRows)
			b.emit(graph.Select{Dst: a, Src: x})
			b.emit(graph.RMSNorm{Dst: y, Src: a, W: b.vector(width, 1), Eps: 1e-5})
			return y
		})
		s.normCase(t, fmt.Sprintf("add/%d", width), width, func(b *builder, x graph.Buf) graph.Buf {
			y := b.input(width)
			b.emit(graph.AddRMSNorm{X: x, Y: y, W: b.vector(width, 1), Eps: 1e-6})
			return x
		})
	}
	for _, c := range []struct{ heads, dim int }{{1, 64}, {3, 64}, {2, 80}, {5, 128}, {2, 256}} {
		s.normCase(t, fmt.Sprintf("head/%dx%d", c.heads, c.dim), c.heads*c.dim, func(b *builder, x graph.Buf) graph.Buf {
			b.emit(graph.HeadNorm{X: x, Heads: c.heads, Dim: c.dim, W: b.vector(c.dim, 1), Eps: 1e-6})
			return x
		})
	}
}

func (s *suite) normCase(t *testing.T, name string, width int, op func(*builder, graph.Buf) graph.Buf) {
	t.Run(name, func(t *testing.T) {
		b := newBuilder(s.rng(t), width)
		y := op(b, b.input(width))
		p := s.exactPair(t, b.program(t, y))
		for _, n := range []int{1, 3, 17, 64} {
			got, want := p.one(b.tokens(n), 0)
			check(t, fmt.Sprintf("%s of %d rows", name, n), s.opt.Tolerance.Norm, got, want)
		}
	})
}

func (s *suite) testRope(t *testing.T) {
	for _, c := range []struct {
		heads, dim, rotated, start int
		interleaved                bool
		scale                      float32
	}{
		{heads: 1, dim: 64, rotated: 64, interleaved: true, scale: 1},
		{heads: 1, dim: 64, rotated: 64, scale: 1},
		{heads: 9, dim: 64, rotated: 64, start: 1000, interleaved: true, scale: 1},
		{heads: 4, dim: 80, rotated: 32, start: 31, interleaved: true, scale: 1.25},
		{heads: 4, dim: 80, rotated: 32, start: 31, scale: 1.25},
		{heads: 3, dim: 128, rotated: 96, start: 30000, scale: 1},
		{heads: 2, dim: 256, rotated: 256, start: 30000, scale: 0.9},
		{heads: 2, dim: 80, rotated: 80, start: 5, scale: 1},
		{heads: 2, dim: 80, rotated: 80, start: 5, interleaved: true, scale: 1},
	} {
		t.Run(fmt.Sprintf("%dx%d/rotated=%d/start=%d/interleaved=%v", c.heads, c.dim, c.rotated, c.start, c.interleaved), func(t *testing.T) {
			b := newBuilder(s.rng(t), c.heads*c.dim, offload.LayerSpec{KVHeads: 1, HeadDim: 64})
			table := graph.RopeTable{InvFreq: make([]float64, c.rotated/2), Scale: c.scale, Interleaved: c.interleaved}
			for i := range table.InvFreq {
				table.InvFreq[i] = math.Pow(10000, -2*float64(i)/float64(c.rotated))
			}
			// A second table keeps a backend from reading the first for all.
			b.p.Ropes = []graph.RopeTable{{InvFreq: []float64{0.5}, Scale: 2}, table}
			x := b.input(c.heads * c.dim)
			b.emit(graph.Rope{X: x, Heads: c.heads, Dim: c.dim, Table: 1})
			prog := b.program(t, x)
			l := limits(prog, s.opt.Elems[0])
			l.Context, l.MaxSeqs = c.start+64, 1
			p := s.pair(t, prog, l)
			for _, n := range []int{1, 50} {
				got, want := p.one(b.tokens(n), c.start)
				check(t, fmt.Sprintf("rope of %d rows", n), s.opt.Tolerance.Rope, got, want)
			}
		})
	}
}
