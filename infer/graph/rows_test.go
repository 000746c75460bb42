package graph

import (
	"errors"
	"testing"

	"edged/offload"
	"edged/pinnedmem"
)

// TestStepRefusesASequenceTwice: two entries of one sequence would write the
// same positions.
func TestStepRefusesASequenceTwice(t *testing.T) {
	pool, err := offload.NewPool(offload.One(pinnedmem.NewHost(0)), offload.Config{Layers: offload.ExactLayers([]offload.LayerSpec{{KVHeads: 1, HeadDim: 2}}, offload.F16), Context: 64, Tokens: 64, MaxSeqs: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	a, err := pool.NewSeq()
	if err != nil {
		t.Fatal(err)
	}
	b, err := pool.NewSeq()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.Reserve(1), b.Reserve(1)); err != nil {
		t.Fatal(err)
	}
	p := &Program{Vocab: 10}
	var rows Rows
	rows.Add(1, 0, 0, true)
	rows.Add(2, 0, 1, true)
	l := Limits{MaxRows: 4, MaxOut: 4, MaxSeqs: 2, Context: 64}
	if err := rows.Check(p, l, []*offload.Seq{a, b}); err != nil {
		t.Errorf("two sequences: %v", err)
	}
	if err := rows.Check(p, l, []*offload.Seq{a, a}); !errors.Is(err, ErrRows) {
		t.Errorf("one sequence twice: %v, want ErrRows", err)
	}
}
