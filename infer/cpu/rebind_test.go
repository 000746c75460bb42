package cpu_test

import (
	"testing"

	"edged/infer/cpu"
	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

// TestRefusedPoolIsForgotten offers a pool whose first layer fits and whose
// second does not: a step over the first pool must not touch the other's pages.
func TestRefusedPoolIsForgotten(t *testing.T) {
	const vocab, dim = 32, 32
	spec, wide := offload.LayerSpec{KVHeads: 1, HeadDim: dim}, offload.LayerSpec{KVHeads: 2, HeadDim: dim}
	p := newToy(spec, spec)
	table := make([]float32, vocab*dim)
	for i := range table {
		table[i] = float32(i % 11)
	}
	x, out := p.input(vocab, table), p.buffer(dim, graph.AllRows)
	p.emit(graph.KVAppend{Layer: 0, K: x, V: x}, graph.Attend{Dst: out, Q: x, Layer: 0, Heads: 1, Scale: 1})
	r := compile(t, cpu.ISAs()[0], p.program(vocab, out))
	q := newSeq(t, r.pool)
	r.feed(q, 1, 2, 3)

	host := pinnedmem.NewHost(0)
	other := newPool(t, host, offload.ExactLayers([]offload.LayerSpec{spec, wide}, offload.F16)...)
	stranger := newSeq(t, other)
	if err := stranger.Reserve(1); err != nil {
		t.Fatal(err)
	}
	var rows graph.Rows
	rows.Add(1, 0, 0, true)
	if _, err := r.exec.Step(t.Context(), &rows, []*offload.Seq{stranger}); err == nil {
		t.Fatal("pages of another shape are accepted")
	}
	r.feed(q, 4)
	for i, b := range other.Page(0, stranger.Table(0)[0]) {
		if b != 0 {
			t.Fatalf("byte %d of the refused pool's page was written", i)
		}
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
}
