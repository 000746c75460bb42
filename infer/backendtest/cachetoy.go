package backendtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/x448/float16"

	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/offload"
)

// headShape is how query heads share KV heads.
type headShape struct{ heads, kvHeads, dim int }

func (h headShape) String() string { return fmt.Sprintf("%d_over_%dx%d", h.heads, h.kvHeads, h.dim) }

var headShapes = []headShape{
	{3, 3, 64}, {9, 3, 64}, {16, 2, 64}, {2, 2, 80}, {8, 2, 80}, {3, 1, 128}, {8, 1, 128}, {4, 1, 256}, {11, 1, 64},
}

const (
	toyInputs = 64  // channels of a token that queries, keys and values are chosen from
	toyWidth  = 192 // and those that attention is added to; also the vocabulary
)

// cacheToy is a program of attention layers whose queries, keys and values are
// channels of the token's embedding: the same bits in every backend, whatever
// attention gave before. Every layer's result is folded into further channels
// of the hidden state, which are the logits.
type cacheToy struct {
	*builder
	shape  headShape
	scale  float32
	table  []float32 // [toyWidth, toyWidth]
	q, k   []choose  // [layers]
	v      []choose
	hidden graph.Buf
	prog   *graph.Program
}

// choose is a buffer's source: channel c is sign[c] times input from[c].
type choose struct {
	from []int
	sign []float32
}

// newCacheToy has a layer for every plan. Peak multiplies the usual scale.
func newCacheToy(t *testing.T, rng *rand.Rand, shape headShape, peak float64, plans []offload.LayerPlan) *cacheToy {
	specs := make([]offload.LayerSpec, len(plans))
	for i, p := range plans {
		specs[i] = p.LayerSpec
	}
	c := &cacheToy{builder: newBuilder(rng, toyWidth, specs...), shape: shape, scale: float32(peak / math.Sqrt(float64(shape.dim)))}
	c.fillTable()
	for layer := range plans {
		c.p.Parts = append(c.p.Parts, len(c.p.Ops))
		if layer == 0 {
			c.hidden = c.embed(c.add(gguf.F32, toyWidth, toyWidth, floatBytes(c.table)), toyWidth, 1)
		}
		c.layer(layer)
	}
	c.p.Parts, c.p.Hidden = append(c.p.Parts, len(c.p.Ops)), c.hidden
	c.prog = c.program(t, c.hidden)
	return c
}

// fillTable gives every token its own channels; a few have a mean of their own,
// and one is large, as in trained models.
func (c *cacheToy) fillTable() {
	c.table = make([]float32, toyWidth*toyWidth)
	mean := make([]float64, toyInputs)
	for i := range 6 {
		mean[i] = 2 * c.rng.NormFloat64()
	}
	for tok := range toyWidth {
		for i := range toyInputs {
			x := c.rng.NormFloat64()
			if i == 7 {
				x *= 6
			}
			c.table[tok*toyWidth+i] = float32(x + mean[i])
		}
	}
}

func (c *cacheToy) layer(layer int) {
	n, kv := c.shape.heads*c.shape.dim, c.shape.kvHeads*c.shape.dim
	parts := make([]graph.Part, 3)
	for i, x := range []struct {
		to    *[]choose
		width int
	}{{&c.q, n}, {&c.k, kv}, {&c.v, kv}} {
		from, w := c.selection(x.width)
		*x.to = append(*x.to, from)
		parts[i] = graph.Part{Dst: c.buffer(x.width, graph.AllRows), W: w, Bias: graph.NoWeight}
	}
	out := c.buffer(n, graph.AllRows)
	c.emit(graph.Linear{Src: c.hidden, Parts: parts})
	c.emit(graph.KVAppend{Layer: layer, K: parts[1].Dst, V: parts[2].Dst})
	c.emit(graph.Attend{Dst: out, Q: parts[0].Dst, Layer: layer, Heads: c.shape.heads, Scale: c.scale})
	c.emit(graph.Linear{Src: out, Parts: []graph.Part{{Dst: c.hidden, W: c.fold(n), Bias: graph.NoWeight, Add: true}}})
}

// selection is a random choice of inputs and its matrix.
func (c *cacheToy) selection(width int) (choose, graph.WeightID) {
	x := choose{from: make([]int, width), sign: make([]float32, width)}
	w := make([]float32, width*toyWidth)
	for i := range width {
		x.from[i], x.sign[i] = c.rng.IntN(toyInputs), float32(1-2*c.rng.IntN(2))
		w[i*toyWidth+x.from[i]] = x.sign[i]
	}
	return x, c.add(gguf.F32, width, toyWidth, floatBytes(w))
}

// fold adds every channel to one behind the inputs.
func (c *cacheToy) fold(width int) graph.WeightID {
	w := make([]float32, toyWidth*width)
	for i := range width {
		w[(toyInputs+i%(toyWidth-toyInputs))*width+i] = float32(1 - 2*c.rng.IntN(2))
	}
	return c.add(gguf.F32, toyWidth, width, floatBytes(w))
}

func (c *cacheToy) tokens(n int) []int32 {
	tok := make([]int32, n)
	for i := range tok {
		tok[i] = int32(c.rng.IntN(toyWidth))
	}
	return tok
}

// of is what a token's channels of one head are.
func (c *cacheToy) of(x choose, tok int32, head int) []float32 {
	out := make([]float32, c.shape.dim)
	for i := range out {
		at := head*c.shape.dim + i
		out[i] = x.sign[at] * c.table[int(tok)*toyWidth+x.from[at]]
	}
	return out
}

// key and value are what a KV head keeps of a token, exactly.
func (c *cacheToy) key(layer int, tok int32, head int) []float32 {
	return throughHalf(c.of(c.k[layer], tok, head))
}

func (c *cacheToy) value(layer int, tok int32, head int) []float32 {
	return throughHalf(c.of(c.v[layer], tok, head))
}

// queries are those of the query heads that share a KV head.
func (c *cacheToy) queries(layer int, tok int32, head int) []float32 {
	group := c.shape.heads / c.shape.kvHeads
	var q []float32
	for g := range group {
		q = append(q, c.of(c.q[layer], tok, head*group+g)...)
	}
	return q
}

// throughHalf rounds to float16.
func throughHalf(x []float32) []float32 {
	for i := range x {
		x[i] = float16.Fromfloat32(x[i]).Float32()
	}
	return x
}

// limits are those of a rig that keeps the toy's layers as planned.
func (c *cacheToy) limits(plans []offload.LayerPlan) graph.Limits {
	return graph.Limits{MaxRows: 96, MaxOut: 96, MaxSeqs: 4, Context: 640, KV: plans, Threads: 2}
}
