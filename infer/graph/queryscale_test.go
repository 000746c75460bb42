package graph_test

import (
	"encoding/binary"
	"math"
	"testing"

	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/offload"
)

// TestQueryScales compares with sums by hand: two query heads of four channels
// share a KV head, inputs have two channels.
func TestQueryScales(t *testing.T) {
	const none = graph.NoWeight
	w := [][]float32{
		{1, 2}, // norm
		{1, 0, 0, 1, 0, 0, 1, 1, 3, 0, 0, 0, 0, 0, 0, 0}, // Wq [8, 2]
		{0, 0, 0, 0, 0, 0, 2, 0},                         // bias
		{1, 2, 3, 4},                                     // head norm
	}
	shape := [][2]int{{1, 2}, {8, 2}, {1, 8}, {1, 4}}
	make := func(bias graph.WeightID, headNorm, rope, interleaved bool) *graph.Program {
		p := &graph.Program{KV: []offload.LayerSpec{{KVHeads: 1, HeadDim: 4}}, Ropes: []graph.RopeTable{{InvFreq: []float64{1}, Interleaved: interleaved}}}
		for i, x := range w {
			b := []byte{}
			for _, v := range x {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
			}
			p.Weights = append(p.Weights, graph.Weight{Type: gguf.F32, N: shape[i][0], K: shape[i][1], Data: b})
		}
		const x, normed, q, out = 0, 1, 2, 3
		p.Ops = []graph.Op{graph.RMSNorm{Dst: normed, Src: x, W: 0}, graph.Linear{Src: normed, Parts: []graph.Part{{Dst: q, W: 1, Bias: bias}}}}
		if headNorm {
			p.Ops = append(p.Ops, graph.HeadNorm{X: q, Heads: 2, Dim: 4, W: 3})
		}
		if rope {
			p.Ops = append(p.Ops, graph.Rope{X: q, Heads: 2, Dim: 4})
		}
		p.Ops = append(p.Ops, graph.Attend{Dst: out, Q: q, Heads: 2})
		return p
	}
	// Mean squares of the first head are 1, 4, 0, 5, of the second 9, 0, 0, 0.
	for name, c := range map[string]struct {
		p    *graph.Program
		want [4]float64 // squares
	}{
		"product":     {make(none, false, false, false), [4]float64{5, 2, 0, 2.5}},
		"bias":        {make(2, false, false, false), [4]float64{5, 2, 2, 2.5}},
		"neighbours":  {make(none, false, true, true), [4]float64{3.5, 3.5, 0, 2.5}},
		"halves":      {make(none, false, true, false), [4]float64{3.5, 3.5, 0, 2.5}},
		"normalized":  {make(none, true, false, false), [4]float64{(0.4 + 4) / 2, 4 * 1.6 / 2, 0, 16 * 2 / 2}},
		"not a query": {&graph.Program{KV: []offload.LayerSpec{{KVHeads: 1, HeadDim: 4}}}, [4]float64{1, 1, 1, 1}},
	} {
		got, err := c.p.QueryScales(0)
		if err != nil || len(got) != 4 {
			t.Fatalf("%s: %v, %v", name, got, err)
		}
		for i, v := range got {
			if math.Abs(float64(v)-math.Sqrt(c.want[i])) > 1e-6 {
				t.Errorf("%s: channel %d is %g, want the root of %g", name, i, v, c.want[i])
			}
		}
	}
	short := make(none, false, false, false)
	short.Weights[0].Data = nil
	if _, err := short.QueryScales(0); err == nil {
		t.Error("a norm without data is accepted")
	}
}
