package cpu_test

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"edged/infer/cpu"
	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

// toy is a program in the making whose inputs are embedding rows given as
// float32: token t's row is what the ops see.
type toy struct {
	p graph.Program
}

func newToy(kv ...offload.LayerSpec) *toy {
	if kv == nil {
		kv = []offload.LayerSpec{{KVHeads: 1, HeadDim: 32}}
	}
	return &toy{graph.Program{Name: "toy", Context: 512, KV: kv}}
}

func floats(v []float32) []byte {
	out := make([]byte, 0, 4*len(v))
	for _, x := range v {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
	}
	return out
}

func (p *toy) weight(typ gguf.Type, n, k int, data []byte) graph.WeightID {
	p.p.Weights = append(p.p.Weights, graph.Weight{Name: "w", Type: typ, N: n, K: k, Data: data})
	return graph.WeightID(len(p.p.Weights) - 1)
}

func (p *toy) buffer(width int, rows graph.Extent) graph.Buf {
	p.p.Buffers = append(p.p.Buffers, graph.Buffer{Name: "b", Width: width, Rows: rows})
	return graph.Buf(len(p.p.Buffers) - 1)
}

// input is a buffer that holds table's row of the token, [vocab, width].
func (p *toy) input(vocab int, table []float32) graph.Buf {
	width := len(table) / vocab
	x := p.buffer(width, graph.AllRows)
	p.p.Ops = append(p.p.Ops, graph.Embed{Dst: x, Table: p.weight(gguf.F32, vocab, width, floats(table)), Scale: 1})
	return x
}

func (p *toy) emit(ops ...graph.Op) { p.p.Ops = append(p.p.Ops, ops...) }

// program ends with out's rows as logits. Embed wants tables as long as the
// logits are wide, so out is copied into the wanted width by an identity when
// they differ.
func (p *toy) program(vocab int, out graph.Buf) *graph.Program {
	wide := out
	if n := p.p.Buffers[out].Width; n != vocab {
		eye := make([]float32, vocab*n)
		for i := range min(n, vocab) {
			eye[i*n+i] = 1
		}
		wide = p.buffer(vocab, graph.AllRows)
		p.emit(graph.Linear{Src: out, Parts: []graph.Part{{Dst: wide, W: p.weight(gguf.F32, vocab, n, floats(eye)), Bias: graph.NoWeight}}})
	}
	last := p.buffer(vocab, graph.OutRows)
	p.emit(graph.Select{Dst: last, Src: wide})
	p.p.Vocab, p.p.Logits = vocab, last
	return &p.p
}

// runner is a compiled toy with a pool of its own.
type runner struct {
	t    testing.TB
	exec graph.Exec
	pool *offload.Pool
}

func compile(t testing.TB, isa string, p *graph.Program) *runner {
	t.Helper()
	return compileKV(t, isa, p, offload.ExactLayers(p.KV, offload.F16)...)
}

// compileKV keeps layers as planned.
func compileKV(t testing.TB, isa string, p *graph.Program, kv ...offload.LayerPlan) *runner {
	t.Helper()
	b, err := cpu.NewISA(isa)
	if err != nil {
		t.Fatal(err)
	}
	host := pinnedmem.NewHost(0)
	e, err := b.Compile(p, graph.Limits{MaxRows: 512, MaxOut: 512, MaxSeqs: 2, Context: p.Context, KV: kv, Threads: 2, Host: host})
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{t: t, exec: e, pool: newPool(t, host, kv...)}
	t.Cleanup(func() {
		if err := errors.Join(e.Close(), r.pool.Close(), host.Close()); err != nil {
			t.Error(err)
		}
	})
	return r
}

func newPool(t testing.TB, host *pinnedmem.Host, kv ...offload.LayerPlan) *offload.Pool {
	t.Helper()
	pool, err := offload.NewPool(offload.One(host), offload.Config{Layers: kv, Context: 512, Tokens: 1024, MaxSeqs: 2})
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

func newSeq(t testing.TB, pool *offload.Pool) *offload.Seq {
	t.Helper()
	q, err := pool.NewSeq()
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// feed appends tokens to q in one step and returns a copy of all their rows.
func (r *runner) feed(q *offload.Seq, tok ...int32) [][]float32 {
	r.t.Helper()
	if err := q.Reserve(len(tok)); err != nil {
		r.t.Fatal(err)
	}
	var rows graph.Rows
	for i, t := range tok {
		rows.Add(t, int32(q.Len()+i), 0, true)
	}
	l, err := r.exec.Step(r.t.Context(), &rows, []*offload.Seq{q})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := q.Commit(len(tok)); err != nil {
		r.t.Fatal(err)
	}
	out := make([][]float32, len(tok))
	for i := range out {
		out[i] = append(out[i], l.Row(i)...)
	}
	return out
}

// hostAccount is an account that must be empty when the test ends.
func hostAccount(t testing.TB) *pinnedmem.Host {
	h := pinnedmem.NewHost(0)
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}
