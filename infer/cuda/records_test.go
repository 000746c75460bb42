package cuda

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/offload"
)

// keepAs keeps a toy's only layer as planned; prompts are read in parts.
func keepAs(p *graph.Program, l *graph.Limits, plan offload.LayerPlan) {
	if plan.Class != offload.Window {
		p.KV[0].Window = 0
	}
	p.Parts = []int{0, len(p.Ops) - 3} // Hidden is the first buffer
	plan.LayerSpec = p.KV[0]
	l.KV = []offload.LayerPlan{plan}
}

// keptPlans are layers of all classes and formats that records have kernels for.
func keptPlans() map[string]offload.LayerPlan {
	plans := map[string]offload.LayerPlan{"window": {Class: offload.Window, Tail: 160}}
	plans["gathered"] = offload.LayerPlan{Class: offload.Gathered, Elem: offload.F16, Group: 64, Tail: 160, Budget: 100, Channels: 9, Sink: 4}
	for _, e := range []offload.Elem{offload.F16, offload.Q8, offload.Q64, offload.Q4, offload.Q2, offload.Q1} {
		for _, group := range []int{16, 32, 64} {
			plans[fmt.Sprintf("dense %s in groups of %d", e, group)] = offload.LayerPlan{Class: offload.Dense, Elem: e, Group: group, Tail: 96}
		}
		plans[fmt.Sprintf("paged %s", e)] = offload.LayerPlan{Class: offload.Paged, Elem: e, Group: 16, Tail: 64, Budget: 6, Exchange: 2, Gain: 1}
		plans[fmt.Sprintf("paged %s weighed by records", e)] = offload.LayerPlan{Class: offload.Paged, Elem: e, Group: 16, Tail: 64, Budget: 6, Exchange: 2, Gain: 1, ByRecord: true}
	}
	return plans
}

// readFake reads a prompt of n tokens, chunk by chunk and layer by layer.
func readFake(t *testing.T, e *exec, q *offload.Seq, n, chunk int) {
	t.Helper()
	if err := q.BeginPrefill(n); err != nil {
		t.Fatal(err)
	}
	from := q.Len()
	for part := range 2 {
		for lo := 0; lo < n; lo += chunk {
			var in graph.Rows
			for i := lo; i < min(lo+chunk, n); i++ {
				if part == 0 || i == n-1 {
					in.Add(int32(i%100), int32(from+i), 0, part == 1)
				}
			}
			if len(in.Tok) == 0 {
				continue
			}
			if _, err := e.Part(t.Context(), part, &in, q); err != nil {
				t.Fatalf("part %d from token %d on: %v", part, lo, err)
			}
		}
	}
	if err := q.EndPrefill(); err != nil {
		t.Fatal(err)
	}
}

// TestRecordLaunches reads prompts and decodes over layers of every kind on a
// device that checks bounds and lifetimes.
func TestRecordLaunches(t *testing.T) {
	for name, plan := range keptPlans() {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			p := toy(gguf.Q4_K)
			e, pool := openFakeWith(t, f, p, func(l *graph.Limits) { keepAs(p, l, plan) })
			var kv []*offload.Seq
			for i := range 3 {
				q, err := pool.NewSeq()
				if err != nil {
					t.Fatal(err)
				}
				readFake(t, e, q, 20+100*i, 90)
				readFake(t, e, q, 40, 13)
				kv = append(kv, q)
			}
			for n := 1; n <= 3; n++ {
				for range 40 {
					decodeFake(t, e, kv[:n])
				}
			}
			want := []string{"prompt_wgmma_64", "move_bytes", "norm_rope_append"}
			if plan.Class.Stored() {
				want = append(want, "unpack_records", "store_records")
			} else {
				want = append(want, "decode_64")
			}
			switch plan.Class {
			case offload.Dense:
				want = append(want, "attend_64")
			case offload.Paged:
				want = append(want, "scan_1_2", "choose_pages", "attend_held_64")
			case offload.Gathered:
				want = append(want, "score_tokens", "choose_tokens", "fetch_tokens", "attend_gathered_64")
			}
			for _, k := range want {
				if f.launches[k] == 0 {
					t.Errorf("%s was never launched", k)
				}
			}
			ordered(t, f, plan)
			if plan.Class == offload.Paged {
				e.state.steps = e.state.mostSteps
				decodeFake(t, e, kv)
				if n := f.cleared[e.marked]; n != 2 {
					t.Errorf("marks were cleared %d times, by the first step and when steps are counted anew", n)
				}
			}
		})
	}
}

// decodeFake gives every sequence one token.
func decodeFake(t *testing.T, e *exec, kv []*offload.Seq) {
	t.Helper()
	var in graph.Rows
	for i, q := range kv {
		if err := q.Reserve(1); err != nil {
			t.Fatal(err)
		}
		in.Add(1, int32(q.Len()), int32(i), true)
	}
	if _, err := e.Step(t.Context(), &in, kv); err != nil {
		t.Fatal(err)
	}
	for _, q := range kv {
		if err := q.Commit(1); err != nil {
			t.Fatal(err)
		}
	}
}

// putsIn says whether a command writes memory whose name begins so.
func putsIn(c command, name string) bool {
	return slices.ContainsFunc(c.uses, func(u span) bool { return u.write && strings.HasPrefix(u.name, name) })
}

// ordered checks the graphs: those of steps in which tokens leave the tail store
// them first, and then a scan, which reads the index before it waits, begins late.
func ordered(t *testing.T, f *fakeGPU, plan offload.LayerPlan) {
	t.Helper()
	stores := 0
	for _, g := range f.graphs {
		at := func(prefix string) int {
			return slices.IndexFunc(g, func(c command) bool { return strings.HasPrefix(c.kernel, prefix) })
		}
		store, scan, read, choose := at("store_records"), at("scan_"), at("attend_"), at("choose_pages")
		if plan.Class == offload.Paged && choose >= 0 && (putsIn(g[choose], "sets") || !putsIn(g[read], "sets")) {
			t.Error("what comes into sets is put there by others than attention alone")
		}
		// Attention reads what was there before scan without waiting, since a choice runs behind one.
		if plan.Class == offload.Paged && choose >= 0 && (choose != scan+1 || read != choose+1) {
			t.Error("something stands between scan, choice and attention")
		}
		if store < 0 {
			if scan >= 0 && !g[scan].overlap {
				t.Error("a scan waits although nothing is stored")
			}
			continue
		}
		stores++
		if store > at("norm_rope_append") || store > read {
			t.Error("tokens are stored after they may be read")
		}
		if scan >= 0 && (g[scan].overlap || scan < store) {
			t.Error("a scan does not wait for what is stored")
		}
	}
	if len(f.graphs) != 3 && stores == 0 || plan.Class.Stored() != (stores > 0) {
		t.Errorf("%d of %d graphs store tokens", stores, len(f.graphs))
	}
}

// TestKeptPlans: what is kept is said to be, and what is not.
func TestKeptPlans(t *testing.T) {
	b := newFake(t).backend()
	spec := offload.LayerSpec{KVHeads: 2, HeadDim: 128}
	for name, p := range keptPlans() {
		if p.LayerSpec = spec; !b.Keeps(p) {
			t.Errorf("%s is refused", name)
		}
	}
	if p := (offload.LayerPlan{LayerSpec: spec, Class: offload.Paged, Elem: offload.Q8, Group: 16, Tail: 64, Budget: 6, Exchange: 2, Estimate: true}); b.Keeps(p) {
		t.Error("an estimate is said to be kept")
	}
}
