package model

import (
	"fmt"
	"math"

	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/offload"
)

// builder assembles one program. Methods that cannot fail record the first
// failure of a weight lookup in err.
type builder struct {
	file *gguf.File
	fam  family
	h    params
	p    *graph.Program
	ids  map[string]graph.WeightID
	err  error

	hidden, normed, branch graph.Buf // [rows, hidden]: residual stream, a block's input, a block's output
	q, k, v, attn          graph.Buf // [rows, heads*headDim] or [rows, kvHeads*headDim]
	mlp                    graph.Buf // [rows, ffn]
	last, lastNormed       graph.Buf // [out rows, hidden]
	globalRope, windowRope int
}

func (b *builder) build() error {
	table := b.weight("token_embd.weight")
	if b.err != nil {
		return b.err
	}
	b.p.Vocab = b.p.Weights[table].N
	b.buffers()
	if err := b.ropes(); err != nil {
		return err
	}
	scale := float32(1)
	if b.fam.scaledEmbed {
		scale = float32(math.Sqrt(float64(b.h.hidden)))
	}
	b.emit(graph.Embed{Dst: b.hidden, Table: table, Scale: scale})
	b.p.Hidden = b.hidden
	for l := range b.h.layers {
		b.part(l)
		b.attention(l)
		b.feedForward(l)
	}
	b.part(b.h.layers)
	b.head(table)
	if b.err != nil {
		return b.err
	}
	return b.leftOver()
}

// part begins a layer or the head; the first layer has the embedding before it.
func (b *builder) part(i int) {
	at := len(b.p.Ops)
	if i == 0 {
		at = 0
	}
	b.p.Parts = append(b.p.Parts, at)
}

// leftOver refuses a tensor that the program does not use: the model has a
// part that would silently be missing from its answers.
func (b *builder) leftOver() error {
	for _, t := range b.file.Tensors() {
		if _, used := b.ids[t.Name]; !used && t.Name != "rope_freqs.weight" {
			return fmt.Errorf("tensor %s has no place in the program: its part of the model is %w", t.Name, ErrUnsupported)
		}
	}
	return nil
}

func (b *builder) buffers() {
	h := b.h
	b.hidden = b.buffer("hidden", h.hidden, graph.AllRows)
	b.normed = b.buffer("normed", h.hidden, graph.AllRows)
	if b.fam.sandwich {
		b.branch = b.buffer("branch", h.hidden, graph.AllRows)
	}
	b.q = b.buffer("q", h.heads*h.headDim, graph.AllRows)
	b.k = b.buffer("k", h.kvHeads*h.headDim, graph.AllRows)
	b.v = b.buffer("v", h.kvHeads*h.headDim, graph.AllRows)
	b.attn = b.buffer("attn", h.heads*h.headDim, graph.AllRows)
	b.mlp = b.buffer("mlp", h.ffn, graph.AllRows)
	b.last = b.buffer("last", h.hidden, graph.OutRows)
	b.lastNormed = b.buffer("last_normed", h.hidden, graph.OutRows)
	b.p.Logits = b.buffer("logits", b.p.Vocab, graph.OutRows)
}

func (b *builder) ropes() error {
	divisors, err := b.ropeDivisors()
	if err != nil {
		return err
	}
	f, scale, err := b.h.rope.invFreq(b.h.ropeDim, divisors)
	if err != nil {
		return err
	}
	b.p.Ropes = append(b.p.Ropes, graph.RopeTable{InvFreq: f, Scale: scale, Interleaved: b.fam.interleaved})
	if b.fam.localLayers == 0 {
		return nil
	}
	local := ropeParams{base: b.h.localBase, factor: 1}
	f, scale, err = local.invFreq(b.h.ropeDim, nil)
	b.windowRope = len(b.p.Ropes)
	b.p.Ropes = append(b.p.Ropes, graph.RopeTable{InvFreq: f, Scale: scale, Interleaved: b.fam.interleaved})
	return err
}

func (b *builder) ropeDivisors() ([]float32, error) {
	t, ok := b.file.Tensor("rope_freqs.weight")
	if !ok {
		return nil, nil
	}
	if t.Type != gguf.F32 || len(t.Dims) != 1 || t.Dims[0] != uint64(b.h.ropeDim/2) {
		return nil, fmt.Errorf("tensor rope_freqs.weight is %s %v, not F32 [%d]", t.Type, t.Dims, b.h.ropeDim/2)
	}
	f := make([]float32, t.Dims[0])
	if err := t.Type.Dequantize(f, t.Data); err != nil {
		return nil, fmt.Errorf("read rope_freqs.weight: %w", err)
	}
	return f, nil
}

func (b *builder) attention(l int) {
	h := b.h
	name := func(s string) string { return fmt.Sprintf("blk.%d.%s", l, s) }
	spec := offload.LayerSpec{KVHeads: h.kvHeads, HeadDim: h.headDim}
	table := b.globalRope
	if b.fam.local(l) {
		spec.Window, table = h.window, b.windowRope
	}
	b.p.KV = append(b.p.KV, spec)

	b.norm(b.normed, b.hidden, name("attn_norm.weight"))
	b.emit(graph.Linear{Src: b.normed, Parts: []graph.Part{
		{Dst: b.q, W: b.weight(name("attn_q.weight")), Bias: b.optional(name("attn_q.bias"))},
		{Dst: b.k, W: b.weight(name("attn_k.weight")), Bias: b.optional(name("attn_k.bias"))},
		{Dst: b.v, W: b.weight(name("attn_v.weight")), Bias: b.optional(name("attn_v.bias"))},
	}})
	if b.fam.headNorm {
		b.emit(graph.HeadNorm{X: b.q, Heads: h.heads, Dim: h.headDim, W: b.weight(name("attn_q_norm.weight")), Eps: h.eps})
		b.emit(graph.HeadNorm{X: b.k, Heads: h.kvHeads, Dim: h.headDim, W: b.weight(name("attn_k_norm.weight")), Eps: h.eps})
	}
	b.emit(graph.Rope{X: b.q, Heads: h.heads, Dim: h.headDim, Table: table})
	b.emit(graph.Rope{X: b.k, Heads: h.kvHeads, Dim: h.headDim, Table: table})
	b.emit(graph.KVAppend{Layer: l, K: b.k, V: b.v})
	b.emit(graph.Attend{Dst: b.attn, Q: b.q, Layer: l, Heads: h.heads, Scale: b.scale()})
	b.project(b.attn, name("attn_output"), name("post_attention_norm.weight"))
}

// scale is what q.k is multiplied with: 1/sqrt(headDim), except that Gemma 3's
// 27B model, known by its 62 layers, uses its hidden width per head instead
// (query_pre_attn_scalar 168), which its files do not state.
func (b *builder) scale() float32 {
	d := float64(b.h.headDim)
	if b.p.Name == "gemma3" && b.h.layers == 62 {
		d = float64(b.h.hidden) / float64(b.h.heads)
	}
	return float32(1 / math.Sqrt(d))
}

func (b *builder) feedForward(l int) {
	name := func(s string) string { return fmt.Sprintf("blk.%d.%s", l, s) }
	act := graph.SiLU
	if b.fam.gelu {
		act = graph.GELUTanh
	}
	b.norm(b.normed, b.hidden, name("ffn_norm.weight"))
	b.emit(graph.GatedLinear{Dst: b.mlp, Src: b.normed, Gate: b.weight(name("ffn_gate.weight")), Up: b.weight(name("ffn_up.weight")), Act: act})
	b.project(b.mlp, name("ffn_down"), name("post_ffw_norm.weight"))
}

// project returns a block's result to the residual stream, through a second
// norm where the family has one.
func (b *builder) project(src graph.Buf, weight, norm string) {
	part := graph.Part{Dst: b.hidden, W: b.weight(weight + ".weight"), Bias: b.optional(weight + ".bias"), Add: true}
	if b.fam.sandwich {
		part.Dst, part.Add = b.branch, false
	}
	b.emit(graph.Linear{Src: src, Parts: []graph.Part{part}})
	if b.fam.sandwich {
		b.emit(graph.AddRMSNorm{X: b.hidden, Y: b.branch, W: b.weight(norm), Eps: b.h.eps})
	}
}

func (b *builder) head(table graph.WeightID) {
	b.emit(graph.Select{Dst: b.last, Src: b.hidden})
	b.norm(b.lastNormed, b.last, "output_norm.weight")
	out := b.optional("output.weight")
	if out == graph.NoWeight {
		out = table // tied embeddings
	}
	b.emit(graph.Linear{Src: b.lastNormed, Parts: []graph.Part{{Dst: b.p.Logits, W: out, Bias: graph.NoWeight}}})
	// The residual stream of all rows still stands, and no layer needs its input any more.
	b.p.Final = []graph.Op{graph.RMSNorm{Dst: b.normed, Src: b.hidden, W: b.weight("output_norm.weight"), Eps: b.h.eps}}
	b.p.States = b.normed
}

func (b *builder) norm(dst, src graph.Buf, w string) {
	b.emit(graph.RMSNorm{Dst: dst, Src: src, W: b.weight(w), Eps: b.h.eps})
}

func (b *builder) emit(op graph.Op) { b.p.Ops = append(b.p.Ops, op) }

func (b *builder) buffer(name string, width int, rows graph.Extent) graph.Buf {
	b.p.Buffers = append(b.p.Buffers, graph.Buffer{Name: name, Width: width, Rows: rows})
	return graph.Buf(len(b.p.Buffers) - 1)
}

// weight finds a required tensor.
func (b *builder) weight(name string) graph.WeightID {
	id := b.optional(name)
	if id == graph.NoWeight && b.err == nil {
		b.err = fmt.Errorf("tensor %s is missing", name)
	}
	return id
}

// optional finds a tensor that some models lack.
func (b *builder) optional(name string) graph.WeightID {
	if id, ok := b.ids[name]; ok {
		return id
	}
	t, ok := b.file.Tensor(name)
	if !ok {
		return graph.NoWeight
	}
	if len(t.Dims) < 1 || len(t.Dims) > 2 {
		if b.err == nil {
			b.err = fmt.Errorf("tensor %s has %d dimensions, not 1 or 2", name, len(t.Dims))
		}
		return graph.NoWeight
	}
	n, k := t.Rows()
	file := b.file
	id := graph.WeightID(len(b.p.Weights))
	b.p.Weights = append(b.p.Weights, graph.Weight{Name: name, Type: t.Type, N: n, K: k, Data: t.Data,
		Drop: func() error { return file.DropPages(t) }})
	b.ids[name] = id
	return id
}
