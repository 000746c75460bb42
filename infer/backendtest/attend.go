package backendtest

import (
	"fmt"
	"math"
	"testing"

	"edged/infer/graph"
	"edged/offload"
)

// attention is one shape of heads and what they see.
type attention struct {
	heads, kvHeads, dim int
	window              int
	peak                float64 // multiplies the usual 1/sqrt(dim)
}

var attentions = []attention{
	{heads: 1, kvHeads: 1, dim: 64, peak: 1},
	{heads: 3, kvHeads: 1, dim: 64, peak: 1},
	{heads: 8, kvHeads: 2, dim: 64, window: 33, peak: 1},
	{heads: 9, kvHeads: 3, dim: 64, peak: 20}, // softmax picks one token
	{heads: 8, kvHeads: 1, dim: 128, window: 300, peak: 1},
	{heads: 4, kvHeads: 1, dim: 128, window: 1, peak: 1},
	{heads: 4, kvHeads: 4, dim: 256, window: 32, peak: 1},
	{heads: 4, kvHeads: 1, dim: 256, window: 5000, peak: 1},
	{heads: 6, kvHeads: 2, dim: 80, peak: 1},
	{heads: 8, kvHeads: 8, dim: 80, window: 40, peak: 0.1},
}

func (a attention) String() string {
	return fmt.Sprintf("%d_over_%dx%d/window=%d/peak=%g", a.heads, a.kvHeads, a.dim, a.window, a.peak)
}

func (s *suite) testAttend(t *testing.T) {
	for _, elem := range s.opt.Elems {
		for _, a := range attentions {
			t.Run(fmt.Sprintf("%s/%s", elem, a), func(t *testing.T) { s.attendCase(t, a, elem) })
		}
	}
}

// attendCase runs two layers that differ in their window, so that a backend
// that mixes up layers is found, over ragged steps of three sequences.
func (s *suite) attendCase(t *testing.T, a attention, elem offload.Elem) {
	spec := offload.LayerSpec{KVHeads: a.kvHeads, HeadDim: a.dim, Window: a.window}
	other := spec
	other.Window = 7
	b := newBuilder(s.rng(t), a.heads*a.dim, other, spec)
	b.outlier = 1 // scores of products of outliers exceed what float32 resolves
	b.input(96)   // the channels to choose from, few to keep the choosing cheap
	scale := float32(a.peak / math.Sqrt(float64(a.dim)))
	var out graph.Buf
	for layer := range 2 {
		q, k, v := b.input(a.heads*a.dim), b.input(a.kvHeads*a.dim), b.input(a.kvHeads*a.dim)
		out = b.buffer(a.heads*a.dim, graph.AllRows)
		b.emit(graph.KVAppend{Layer: layer, K: k, V: v})
		b.emit(graph.Attend{Dst: out, Q: q, Layer: layer, Heads: a.heads, Scale: scale})
	}
	prog := b.program(t, out)
	l := limits(prog, elem)
	l.MaxRows, l.MaxOut, l.Context = 300, 300, 640
	p := s.pair(t, prog, l)

	type feed struct{ seq, tokens int }
	var got, want []*offload.Seq
	for range 3 {
		got, want = append(got, p.got.seq(0)), append(want, p.want.seq(0))
	}
	steps := [][]feed{
		{{0, 45}},
		{{0, 7}, {1, 1}, {2, 70}},
		{{0, 1}, {1, 1}, {2, 1}},
		{{1, 30}, {2, 180}},
		{{0, 13}, {2, 9}},
		{{2, 25}},
		{{2, 1}},
		{{1, 2}, {2, 5}},
	}
	if a.heads*a.dim < 256 {
		steps = append(steps, []feed{{2, 290}}, []feed{{0, 1}, {2, 1}}) // beyond 512 tokens
	}
	for i, step := range steps {
		every := 1 + b.rng.IntN(3)
		var gotStep, wantStep []piece
		for _, f := range step {
			tok := b.tokens(f.tokens)
			choose := func(i int) bool { return i%every == 0 }
			gotStep = append(gotStep, piece{seq: got[f.seq], tok: tok, out: choose})
			wantStep = append(wantStep, piece{seq: want[f.seq], tok: tok, out: choose})
		}
		check(t, fmt.Sprintf("step %d %v", i, step), s.opt.Tolerance.Attend, p.got.step(gotStep...), p.want.step(wantStep...))
	}
}
