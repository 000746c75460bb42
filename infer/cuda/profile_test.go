package cuda

import (
	"slices"
	"testing"

	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/offload"
)

// TestProfile: every launch of a step is of one op, weights are counted once, and the
// cache at its length.
func TestProfile(t *testing.T) {
	for name, plan := range map[string]offload.LayerPlan{
		"exact": {}, "dense": {Class: offload.Dense, Elem: offload.Q8, Group: 32, Tail: 96},
		"paged":              {Class: offload.Paged, Elem: offload.Q8, Group: 16, Tail: 64, Budget: 2, Exchange: 2},
		"weighed by records": {Class: offload.Paged, Elem: offload.Q8, Group: 16, Tail: 64, Budget: 2, Exchange: 2, ByRecord: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			p := toy(gguf.Q4_K)
			e, pool := openFakeWith(t, f, p, func(l *graph.Limits) {
				if plan.Class != offload.Exact {
					keepAs(p, l, plan)
				}
			})
			q, err := pool.NewSeq()
			if err != nil {
				t.Fatal(err)
			}
			if pool.LayerMajor() {
				readFake(t, e, q, 200, 90)
			} else if err := q.Reserve(200); err != nil || q.Commit(200) != nil {
				t.Fatal("no room")
			}
			if err := q.Reserve(1); err != nil {
				t.Fatal(err)
			}
			var in graph.Rows
			in.Add(1, 200, 0, true)
			ops, err := e.Profile(t.Context(), &in, []*offload.Seq{q})
			if err != nil {
				t.Fatal(err)
			}
			profiled(t, e, f, ops)
			if n := e.pool.Traffic().Steps; n != 1 {
				t.Errorf("%d steps were counted", n)
			}
		})
	}
}

func profiled(t *testing.T, e *exec, f *fakeGPU, ops []graph.OpTime) {
	t.Helper()
	launches, weights := 0, int64(0)
	names := []string{}
	for _, op := range ops {
		launches += op.Launches
		names = append(names, op.Name)
		if op.Bytes <= 0 != (op.Name == "choose_pages") || op.Seconds <= 0 {
			t.Errorf("%+v", op)
		}
		if w := weightsOf(e, op.Name); w > 0 {
			weights++
			if op.Bytes < w || op.Bytes > w+w/5+50_000 {
				t.Errorf("%s moves %d bytes, its weights are %d", op.Name, op.Bytes, w)
			}
		}
	}
	for _, want := range []string{"embed", "linear wq wk wv", "norm, rope, append", "attend", "gated linear gate up", "linear down", "answer"} {
		if !slices.Contains(names, want) {
			t.Errorf("no %q among %q", want, names)
		}
	}
	if weights != 5 {
		t.Errorf("%d products", weights)
	}
	for _, g := range f.graphs { // of the whole step
		if launches != len(g)-1 { // without the copy of its state
			t.Errorf("%d launches in ops, %d in the step", launches, len(g)-1)
		}
	}
	i := slices.IndexFunc(ops, func(o graph.OpTime) bool { return o.Name == "attend" })
	s := offload.Plan{Config: offload.Config{Layers: e.lim.KV, Context: e.lim.Context}}
	b := s.Step(201, false)
	if least := b.Fast() - b.Index; ops[i].Bytes < least || ops[i].Bytes > least+10_000 {
		t.Errorf("attention moves %d bytes, the cache is %d", ops[i].Bytes, least)
	}
}

// weightsOf is the bytes of a product's matrices, as they lie on the device.
func weightsOf(e *exec, op string) (sum int64) {
	for _, n := range e.nodes {
		if name := opName(n, command{}); name == op {
			switch n := n.(type) {
			case *linearNode:
				for _, p := range n.parts {
					sum += p.w.tileBytes()
				}
			case *gatedNode:
				sum += n.gate.tileBytes() + n.up.tileBytes()
			}
		}
	}
	return sum
}
