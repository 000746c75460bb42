package backendtest

import (
	"fmt"
	"testing"

	"edged/infer/gguf"
	"edged/infer/graph"
)

// rowCounts are step sizes that leave every remainder of the usual tiles.
var rowCounts = []int{1, 2, 3, 5, 8, 12, 13, 27, 41, 64}

type shape struct{ n, k int }

// shapes are awkward for tiles of 8, 16 and 32 outputs and for blocks.
func shapes(t gguf.Type) []shape {
	if t.BlockElems() == 256 {
		return []shape{{17, 256}, {48, 256}, {33, 768}}
	}
	return []shape{{7, 32}, {17, 96}, {48, 32}, {130, 256}, {33, 288}}
}

func (s *suite) testLinear(t *testing.T) {
	for _, typ := range gguf.Types() {
		for _, sh := range shapes(typ) {
			s.linearCase(t, fmt.Sprintf("%s/%dx%d", typ, sh.n, sh.k), typ, sh, func(b *builder, x, y graph.Buf) {
				b.emit(graph.Linear{Src: x, Parts: []graph.Part{{Dst: y, W: b.weight(typ, sh.n, sh.k), Bias: graph.NoWeight}}})
			})
		}
		sh := shapes(typ)[1]
		s.linearCase(t, fmt.Sprintf("%s/%dx%d/bias", typ, sh.n, sh.k), typ, sh, func(b *builder, x, y graph.Buf) {
			b.emit(graph.Linear{Src: x, Parts: []graph.Part{{Dst: y, W: b.weight(typ, sh.n, sh.k), Bias: b.vector(sh.n, 0)}}})
		})
		s.linearCase(t, fmt.Sprintf("%s/%dx%d/bias_add", typ, sh.n, sh.k), typ, sh, func(b *builder, x, y graph.Buf) {
			b.emit(graph.Linear{Src: x, Parts: []graph.Part{{Dst: y, W: b.weight(typ, sh.n, sh.k), Bias: b.vector(sh.n, 0), Add: true}}})
		})
	}
}

// linearCase checks op, which computes y from x.
func (s *suite) linearCase(t *testing.T, name string, typ gguf.Type, sh shape, op func(b *builder, x, y graph.Buf)) {
	t.Run(name, func(t *testing.T) {
		b := newBuilder(s.rng(t), sh.n)
		x, y := b.input(sh.k), b.input(sh.n)
		op(b, x, y)
		prog := b.program(t, y)
		l := limits(prog, s.opt.Elems[0])
		l.MaxSeqs = batchSeqs
		p := s.pair(t, prog, l)
		for _, n := range rowCounts {
			got, want := p.one(b.tokens(n), 0)
			check(t, fmt.Sprintf("%s of %d rows", name, n), s.opt.Tolerance.linear(typ), got, want)
		}
		p.batches(s, s.opt.Tolerance.linear(typ), b.tokens(batchSeqs))
	})
}

// testLinearParts checks that parts of one op with different widths, types,
// biases and accumulation do not disturb each other.
func (s *suite) testLinearParts(t *testing.T) {
	types := gguf.Types()
	for look := range 3 {
		t.Run(fmt.Sprintf("part=%d", look), func(t *testing.T) {
			rng := s.rng(t)
			widths := []int{256, 64, 17}
			b := newBuilder(rng, widths[look])
			x := b.input(256)
			var op graph.Linear
			var typ gguf.Type
			op.Src = x
			for i, n := range widths {
				part := graph.Part{Dst: b.input(n), Bias: graph.NoWeight, Add: rng.IntN(2) == 0}
				of := types[rng.IntN(len(types))]
				part.W = b.weight(of, n, 256)
				if rng.IntN(2) == 0 {
					part.Bias = b.vector(n, 0)
				}
				if i == look {
					typ = of
				}
				op.Parts = append(op.Parts, part)
			}
			b.emit(op)
			p := s.exactPair(t, b.program(t, op.Parts[look].Dst))
			got, want := p.one(b.tokens(29), 0)
			check(t, b.p.String(), s.opt.Tolerance.linear(typ), got, want)
		})
	}
	t.Run("out_rows", s.testOutRows)
}

// testOutRows multiplies only the rows whose logits are wanted.
func (s *suite) testOutRows(t *testing.T) {
	for _, typ := range gguf.Types() {
		t.Run(typ.String(), func(t *testing.T) {
			b := newBuilder(s.rng(t), 50)
			last, y := b.buffer(256, graph.OutRows), b.buffer(50, graph.OutRows)
			b.emit(graph.Select{Dst: last, Src: b.input(256)})
			b.emit(graph.Linear{Src: last, Parts: []graph.Part{{Dst: y, W: b.weight(typ, 50, 256), Bias: graph.NoWeight}}})
			p := s.exactPair(t, b.program(t, y))
			for _, every := range []int{1, 2, 7, 40} {
				tok := b.tokens(40)
				out := func(i int) bool { return i%every == every-1 }
				run := func(r *rig) rows { return r.step(piece{seq: r.seq(0), tok: tok, out: out}) }
				got, want := run(p.got), run(p.want)
				check(t, fmt.Sprintf("every %d. row", every), s.opt.Tolerance.linear(typ), got, want)
			}
		})
	}
}

func (s *suite) testGatedLinear(t *testing.T) {
	for _, act := range []graph.Activation{graph.SiLU, graph.GELUTanh} {
		for _, typ := range gguf.Types() {
			sh := shapes(typ)[2]
			s.linearCase(t, fmt.Sprintf("%s/%s/%dx%d", act, typ, sh.n, sh.k), typ, sh, func(b *builder, x, y graph.Buf) {
				b.emit(graph.GatedLinear{Dst: y, Src: x, Gate: b.weight(typ, sh.n, sh.k), Up: b.weight(typ, sh.n, sh.k), Act: act})
			})
		}
		mixed := shape{40, 256}
		s.linearCase(t, fmt.Sprintf("%s/mixed", act), gguf.Q4_K, mixed, func(b *builder, x, y graph.Buf) {
			b.emit(graph.GatedLinear{Dst: y, Src: x, Gate: b.weight(gguf.Q4_K, mixed.n, mixed.k), Up: b.weight(gguf.Q6_K, mixed.n, mixed.k), Act: act})
		})
	}
}
