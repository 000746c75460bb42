package infer

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"edged/infer/cpu"
	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/infer/model"
	"edged/offload"
	"edged/pinnedmem"
)

// hiddenStates is a program that needs more memory beside caches that are not exact.
func hiddenStates(context int, kv []offload.LayerPlan) (int64, error) {
	if slices.ContainsFunc(kv, func(p offload.LayerPlan) bool { return p.Class != offload.Exact }) {
		return 1<<20 + 1024*int64(context), nil
	}
	return 1 << 20, nil
}

// TestPlanBesideItsProgram: a plan and the program that reads it fit the budget
// together, and what a refusal says would fit does.
func TestPlanBesideItsProgram(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := kvPlan{
			layers: slices.Repeat([]offload.LayerSpec{{KVHeads: 1, HeadDim: 64}}, 8),
			policy: rapid.SampledFrom([]string{"auto", "q8", "full", "tailorkv"}).Draw(t, "policy"),
			slots:  rapid.IntRange(2, 8).Draw(t, "slots"), running: 2, size: hiddenStates,
		}
		context, budget := rapid.IntRange(MinContext, 8192).Draw(t, "context"), rapid.Int64Range(1, 40<<20).Draw(t, "budget")
		plan, err := p.context(context, false, budget, 0)
		if err == nil {
			program, _ := p.program(context, plan.Config.Layers)
			if n := plan.Bytes.Fast.Total() + plan.Bytes.Host.Total() + program; n > budget {
				t.Fatalf("%s takes %d bytes of %d", plan.Resolved, n, budget)
			}
			return
		}
		var no *offload.NoFitError
		if !errors.As(err, &no) {
			t.Fatal(err)
		}
		longest := 0
		for _, f := range no.Fits {
			q, n := p, context
			switch {
			case f.Context > 0:
				n, longest = f.Context, f.Context
			case f.Sessions > 0:
				q.slots = f.Sessions
			case f.Elem != "":
				q.options.Elem = f.Elem
			default:
				q.policy = f.Policy
			}
			if !strings.Contains(err.Error(), f.String()) {
				t.Fatalf("%s is not in %q", f, err)
			}
			if _, err := q.context(n, false, budget, 0); err != nil {
				t.Fatalf("%s does not fit: %v", f, err)
			}
		}
		shorter, err := p.context(context, true, budget, 0)
		if err != nil && longest > 0 || err == nil && shorter.Config.Context != longest {
			t.Fatalf("a context of %d is said to fit, and is %+v, %v", longest, shorter, err)
		}
	})
}

// TestHostSize is what compiling takes, whatever the cache.
func TestHostSize(t *testing.T) {
	f, err := gguf.Open("../models/needle-26m-q8_0.gguf")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	prog, err := model.Build(f)
	if err != nil {
		t.Fatal(err)
	}
	b := cpu.New()
	for _, ask := range []offload.Ask{
		{Policy: "full"}, {Policy: "q8"}, {Policy: "tailorkv"}, {Policy: "auto", Options: offload.Options{Sparse: true}}, {Policy: "auto", Options: offload.Options{Sparse: true, Budget: 512}},
	} {
		ask.Layers, ask.Context = prog.KV, 3000
		plan, err := offload.MakePlan(ask)
		if err != nil {
			t.Fatal(err)
		}
		host := pinnedmem.NewHost(0)
		l := graph.Limits{MaxRows: 66, MaxOut: 2, MaxAsk: 2, MaxSeqs: 2, Context: ask.Context, KV: plan.Config.Layers, Threads: 2, Host: host}
		size, err := b.(graph.HostSizer).HostSize(prog, l)
		if err != nil {
			t.Fatal(err)
		}
		if n := host.Usage().Total(); n > 0 {
			t.Errorf("%s: sizing took %d bytes", plan.Resolved, n)
		}
		e, err := b.Compile(prog, l)
		if err != nil {
			t.Fatal(err)
		}
		if got := host.Usage().Total(); size != got {
			t.Errorf("%s: %d bytes are taken, sized %d", plan.Resolved, got, size)
		}
		if err := errors.Join(e.Close(), host.Close()); err != nil {
			t.Error(err)
		}
	}
}
