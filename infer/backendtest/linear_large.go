package backendtest

import (
	"fmt"
	"testing"

	"edged/infer/gguf"
	"edged/infer/graph"
)

// largeCase is a product of more rows and outputs than a GPU's units take at once.
type largeCase struct {
	typ  gguf.Type
	rows int
	shape
	gated bool
}

var largeCases = []largeCase{
	{gguf.Q4_K, 290, shape{9000, 256}, false},
	{gguf.Q6_K, 290, shape{6000, 256}, false},
	{gguf.F16, 290, shape{9000, 160}, false},
	{gguf.Q8_0, 2048, shape{4096, 64}, false},
	{gguf.Q4_0, 290, shape{5000, 160}, false},
	{gguf.Q5_K, 290, shape{4500, 256}, true},
}

func (s *suite) testLargeLinear(t *testing.T) {
	for _, c := range largeCases {
		name := fmt.Sprintf("%s/%dx%d/rows=%d/gated=%t", c.typ, c.n, c.k, c.rows, c.gated)
		t.Run(name, func(t *testing.T) {
			b := newBuilder(s.rng(t), c.n)
			x := b.input(c.k)
			y := b.buffer(c.n, graph.AllRows)
			if c.gated {
				b.emit(graph.GatedLinear{Dst: y, Src: x, Gate: b.weight(c.typ, c.n, c.k), Up: b.weight(c.typ, c.n, c.k)})
			} else {
				b.emit(graph.Linear{Src: x, Parts: []graph.Part{{Dst: y, W: b.weight(c.typ, c.n, c.k), Bias: b.vector(c.n, 0)}}})
			}
			p := b.program(t, y)
			l := limits(p, s.opt.Elems[0])
			l.MaxRows, l.Context, l.MaxSeqs = c.rows, c.rows, 1
			pair := s.pair(t, p, l)
			tok := b.tokens(c.rows)
			run := func(r *rig) rows {
				return r.step(piece{seq: r.seq(0), tok: tok, out: func(i int) bool { return i%41 == 0 || i == c.rows-1 }})
			}
			check(t, name, s.opt.Tolerance.linear(c.typ), run(pair.got), run(pair.want))
		})
	}
}
