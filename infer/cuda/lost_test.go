package cuda

import (
	"errors"
	"testing"

	"edged/cudakern/driver"
	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/infer/sample"
	"edged/offload"
)

// TestLost: whatever finds that the device is lost tells of it, so that nobody tries
// anything more.
func TestLost(t *testing.T) {
	f := newFake(t)
	p := toy(gguf.Q4_K)
	e, pool := openFakeWith(t, f, p, func(l *graph.Limits) {
		keepAs(p, l, offload.LayerPlan{Class: offload.Window, Tail: 160})
		l.MaxAsk = 1
	})
	q, err := pool.NewSeq()
	if err != nil {
		t.Fatal(err)
	}
	readFake(t, e, q, 20, 20)
	if err := q.Reserve(1); err != nil {
		t.Fatal(err)
	}
	in := graph.Rows{Ask: []*sample.Ask{{}}}
	in.Add(1, int32(q.Len()), 0, true)
	l, err := e.Step(t.Context(), &in, []*offload.Seq{q})
	if err != nil {
		t.Fatal(err)
	}
	f.lost = &driver.Error{Call: "cuStreamSynchronize", Code: 700}
	defer func() { f.lost = nil }() // closing is of no interest here
	if _, err := l.Whole(0); !errors.Is(err, graph.ErrLost) {
		t.Errorf("bringing a row: %v", err)
	}
	if _, err := e.Step(t.Context(), &in, []*offload.Seq{q}); !errors.Is(err, graph.ErrLost) {
		t.Errorf("a step: %v", err)
	}
	r, err := pool.NewSeq()
	if err == nil {
		err = r.BeginPrefill(10)
	}
	if err != nil {
		t.Fatal(err)
	}
	part := graph.Rows{}
	for i := range int32(10) {
		part.Add(i, i, 0, false)
	}
	if _, err := e.Part(t.Context(), 0, &part, r); !errors.Is(err, graph.ErrLost) {
		t.Errorf("a part: %v", err)
	}
}
