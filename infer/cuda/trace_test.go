package cuda

import (
	"slices"
	"testing"

	"edged/cudakern/driver"
	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/offload"
)

// Clocked runs nothing; a command takes 100 ns.
func (q *fakeQueue) Clocked(cmds []command) (driver.Graph, clocks, error) {
	g, err := q.Prepare(cmds)
	q.clocks++
	return g, &fakeClocks{q.fakeGPU, len(cmds)}, err
}

type fakeClocks struct {
	f *fakeGPU
	n int
}

func (c *fakeClocks) Seconds() (out []float64, err error) {
	for i := range c.n {
		out = append(out, float64(i)*100e-9)
	}
	return out, nil
}

func (c *fakeClocks) Close() error { c.f.clocks--; return nil }

// TestTrace: a traced step is the step's graph, and every launch of it has a span.
func TestTrace(t *testing.T) {
	f := newFake(t)
	p := toy(gguf.Q4_K)
	e, pool := openFakeWith(t, f, p, func(l *graph.Limits) {
		keepAs(p, l, offload.LayerPlan{Class: offload.Paged, Elem: offload.Q8, Group: 16, Tail: 64, Budget: 2, Exchange: 2, ByRecord: true})
	})
	q, err := pool.NewSeq()
	if err != nil {
		t.Fatal(err)
	}
	readFake(t, e, q, 200, 90)
	decodeFake(t, e, []*offload.Seq{q})
	var whole []command
	for _, g := range f.graphs {
		whole = g
	}
	if err := q.Reserve(1); err != nil {
		t.Fatal(err)
	}
	var in graph.Rows
	in.Add(1, int32(q.Len()), 0, true)
	spans, err := e.Trace(t.Context(), &in, []*offload.Seq{q})
	if err != nil {
		t.Fatal(err)
	}
	if len(spans) != len(whole)-1 {
		t.Fatalf("%d spans, the step has %d commands", len(spans), len(whole))
	}
	names := []string{}
	for i, s := range spans {
		names = append(names, s.Name)
		if s.Kernel != whole[i+1].kernel {
			t.Errorf("span %d is of kernel %s, in the step it is %s", i, s.Kernel, whole[i+1].kernel)
		}
		if want := float64(i) * 100e-9; s.Begin < want-1e-12 || s.Begin > want+1e-12 || s.End <= s.Begin {
			t.Errorf("span %d is from %g to %g", i, s.Begin, s.End)
		}
	}
	for _, want := range []string{"embed", "scan_", "choose_pages", "attend", "answer"} {
		if !slices.ContainsFunc(names, func(n string) bool { return n == want || n+"_" == want }) {
			t.Errorf("no %q among %q", want, names)
		}
	}
	if len(f.graphs) != 1 || f.clocks != 0 {
		t.Errorf("%d graphs and %d clocks are left", len(f.graphs), f.clocks)
	}
}
