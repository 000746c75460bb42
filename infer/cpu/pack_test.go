package cpu_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"edged/infer/cpu"
	"edged/infer/gguf"
	"edged/infer/gguf/gguftest"
	"edged/infer/graph"
)

// TestPackedWeightsReadBack multiplies a weight of random bits with unit
// vectors: every output is one repacked weight, which must be what gguf reads
// from the file. One row at a time reads tiles directly, many go through
// panels.
func TestPackedWeightsReadBack(t *testing.T) {
	const n, k = 256, 256
	eye := make([]float32, n*k)
	for i := range k {
		eye[i*k+i] = 1
	}
	for _, isa := range cpu.ISAs() {
		for _, typ := range gguf.Types() {
			t.Run(fmt.Sprintf("%s/%s", isa, typ), func(t *testing.T) {
				data := gguftest.RandomBlocks(rand.New(rand.NewPCG(1, uint64(typ))), typ, n*k/typ.BlockElems(), 1)
				want := make([]float32, n*k)
				if err := typ.Dequantize(want, data); err != nil {
					t.Fatal(err)
				}
				p := newToy()
				x, y := p.input(n, eye), p.buffer(n, graph.AllRows)
				p.emit(graph.Linear{Src: x, Parts: []graph.Part{{Dst: y, W: p.weight(typ, n, k, data), Bias: graph.NoWeight}}})
				r := compile(t, isa, p.program(n, y))
				all := make([]int32, k)
				for i := range all {
					all[i] = int32(i)
				}
				q := newSeq(t, r.pool)
				many := r.feed(q, all...)
				q.Free()
				for c := range k {
					q := newSeq(t, r.pool)
					one := r.feed(q, int32(c))[0]
					q.Free()
					for o := range n {
						if w := want[o*k+c]; math.Abs(float64(one[o]-w)) > 1e-6 || one[o] != many[c][o] {
							t.Fatalf("weight [%d,%d] is %g alone and %g in a chunk, the file says %g", o, c, one[o], many[c][o], w)
						}
					}
				}
			})
		}
	}
}
