package backendtest

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"edged/infer/gguf"
	"edged/infer/gguf/gguftest"
	"edged/infer/graph"
	"edged/offload"
)

// builder makes programs around single ops: tokens choose rows of random
// tables, so that an op's inputs are what the test wants, and the op's result
// becomes the logits.
//
// Like a model's, the programs begin with their only Embed. Further inputs are
// chosen from its channels by matrices of 0, 1 and -1, which is exact in
// float32, so that an op's inputs are the same bits in every backend.
type builder struct {
	rng   *rand.Rand
	p     *graph.Program
	first graph.Buf // what Embed filled; meaningful once there are ops
	// outlier is one channel of row 2; the others have variance one. Trained
	// models have such channels, and they upset coarse rounding.
	outlier float32
}

func newBuilder(rng *rand.Rand, vocab int, layers ...offload.LayerSpec) *builder {
	if len(layers) == 0 {
		layers = []offload.LayerSpec{{KVHeads: 1, HeadDim: 64}}
	}
	return &builder{rng: rng, outlier: 300, p: &graph.Program{Name: "test", Vocab: vocab, Context: 1 << 20, KV: layers}}
}

func (b *builder) buffer(width int, x graph.Extent) graph.Buf {
	b.p.Buffers = append(b.p.Buffers, graph.Buffer{Name: fmt.Sprintf("buf%d", len(b.p.Buffers)), Width: width, Rows: x})
	return graph.Buf(len(b.p.Buffers) - 1)
}

func (b *builder) emit(op graph.Op) { b.p.Ops = append(b.p.Ops, op) }

func (b *builder) add(t gguf.Type, n, k int, data []byte) graph.WeightID {
	id := graph.WeightID(len(b.p.Weights))
	b.p.Weights = append(b.p.Weights, graph.Weight{Name: fmt.Sprintf("w%d", id), Type: t, N: n, K: k, Data: data})
	return id
}

// weight is a random matrix whose products with unit inputs are about one.
func (b *builder) weight(t gguf.Type, n, k int) graph.WeightID {
	blocks := n * k / t.BlockElems()
	return b.add(t, n, k, gguftest.RandomBlocks(b.rng, t, blocks, float32(math.Sqrt(3/float64(k)))))
}

// vector is a random F32 weight around mean.
func (b *builder) vector(n int, mean float32) graph.WeightID {
	v := make([]float32, n)
	for i := range v {
		v[i] = mean + 0.2*float32(b.rng.NormFloat64())
	}
	return b.add(gguf.F32, 1, n, floatBytes(v))
}

// input is a buffer of random rows, chosen by token.
func (b *builder) input(width int) graph.Buf {
	if len(b.p.Ops) == 0 {
		b.first = b.table(width)
		return b.first
	}
	k := b.p.Buffers[b.first].Width
	choose := make([]float32, width*k)
	for c := range width {
		choose[c*k+b.rng.IntN(k)] = float32(1 - 2*b.rng.IntN(2))
	}
	x := b.buffer(width, graph.AllRows)
	b.emit(graph.Linear{Src: b.first, Parts: []graph.Part{{Dst: x, W: b.add(gguf.F32, width, k, floatBytes(choose)), Bias: graph.NoWeight}}})
	return x
}

// table is a buffer that holds row tok of a random table [vocab, width]. The
// first rows are special: zeros, small numbers, and one large outlier.
func (b *builder) table(width int) graph.Buf {
	table := make([]float32, b.p.Vocab*width)
	for r := 1; r < min(b.p.Vocab, maxInputs); r++ {
		scale := 1.0
		if r == 1 {
			scale = 1e-3
		}
		row := table[r*width : (r+1)*width]
		for c := range row {
			row[c] = float32(scale * b.rng.NormFloat64())
		}
		if r == 2 {
			row[b.rng.IntN(width)] = b.outlier
		}
	}
	return b.embed(b.add(gguf.F32, b.p.Vocab, width, floatBytes(table)), width, 1)
}

// maxInputs is how many rows of an input's table are not zero.
const maxInputs = 64

// tokens are n random ids of an input's rows; the first few ids come first.
func (b *builder) tokens(n int) []int32 {
	limit := min(b.p.Vocab, maxInputs)
	tok := make([]int32, n)
	for i := range tok {
		tok[i] = int32(b.rng.IntN(limit))
		if i < min(3, limit) {
			tok[i] = int32(i)
		}
	}
	return tok
}

func (b *builder) embed(table graph.WeightID, width int, scale float32) graph.Buf {
	x := b.buffer(width, graph.AllRows)
	b.emit(graph.Embed{Dst: x, Table: table, Scale: scale})
	return x
}

// program ends with x as the logits.
func (b *builder) program(t *testing.T, x graph.Buf) *graph.Program {
	t.Helper()
	if b.p.Buffers[x].Rows == graph.AllRows {
		out := b.buffer(b.p.Vocab, graph.OutRows)
		b.emit(graph.Select{Dst: out, Src: x})
		x = out
	}
	b.p.Logits = x
	if err := b.p.Validate(); err != nil {
		t.Fatalf("the suite built a wrong program: %v", err)
	}
	return b.p
}

func floatBytes(v []float32) []byte {
	out := make([]byte, 0, 4*len(v))
	for _, x := range v {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
	}
	return out
}
