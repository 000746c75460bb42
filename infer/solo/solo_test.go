package solo_test

import (
	"errors"
	"testing"

	"edged/infer/cpu"
	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/infer/model"
	"edged/infer/solo"
	"edged/offload"
)

const needle = "../../models/needle-26m-q8_0.gguf"

func needleProgram(t *testing.T) *graph.Program {
	t.Helper()
	f, err := gguf.Open(needle)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := model.Build(f)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func start(t *testing.T, prog *graph.Program, ask offload.Ask) *solo.Runner {
	t.Helper()
	return startAs(t, prog, ask, func(*offload.LayerPlan) {})
}

// startAs changes how each layer is kept.
func startAs(t *testing.T, prog *graph.Program, ask offload.Ask, change func(*offload.LayerPlan)) *solo.Runner {
	t.Helper()
	ask.Layers = prog.KV
	plan, err := offload.MakePlan(ask)
	if err != nil {
		t.Fatal(err)
	}
	for i := range plan.Config.Layers {
		change(&plan.Config.Layers[i])
	}
	r, err := solo.New(prog, solo.Config{Backend: cpu.New(), Layers: plan.Config.Layers, Context: plan.Config.Context, ChunkTok: 256, Threads: 2, FastBytes: ask.Fast})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func tokens(n int) []int32 {
	tok := make([]int32, n)
	for i := range tok {
		tok[i] = 100 + int32(i)*7919%3900
	}
	return tok
}

// A budget of everything has the bits of the exact cache when records are
// floats, and of a resident cache of the same records when they are codes.
func TestWholeBudgetHasTheSameBits(t *testing.T) {
	prog := needleProgram(t)
	tok := tokens(700)
	as := func(ask offload.Ask, change func(*offload.LayerPlan)) [][]float32 {
		ask.Context = 1024
		r := startAs(t, prog, ask, change)
		if err := r.Prefill(t.Context(), tok[:500]); err != nil {
			t.Fatal(err)
		}
		var rows [][]float32
		for _, id := range tok[500:] {
			row, err := r.Decode(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, append([]float32(nil), row...))
		}
		return rows
	}
	run := func(ask offload.Ask) [][]float32 { return as(ask, func(*offload.LayerPlan) {}) }
	same := func(name string, a, b [][]float32) {
		for i := range a {
			for c := range a[i] {
				if a[i][c] != b[i][c] {
					t.Fatalf("%s: token %d, logit %d: %g and %g", name, i, c, a[i][c], b[i][c])
				}
			}
		}
	}
	full := run(offload.Ask{Policy: "full"})
	all := offload.Options{Sparse: true, Budget: 1024, Elem: "f16"}
	same("auto in f16", run(offload.Ask{Policy: "auto", Options: all}), full)
	all.Elem = "q8"
	same("auto in q8", run(offload.Ask{Policy: "auto", Options: all}),
		as(offload.Ask{Policy: "q8"}, func(l *offload.LayerPlan) { l.Group = offload.ColdTok }))
}

// A decode step of a paged cache makes no heap allocation, a step that writes
// records included.
func TestPagedStepsDoNotAllocate(t *testing.T) {
	r := start(t, needleProgram(t), offload.Ask{Policy: "auto", Options: offload.Options{Sparse: true, Budget: 128}, Context: 1024})
	if err := r.Prefill(t.Context(), tokens(600)); err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(100, func() {
		if _, err := r.Decode(t.Context(), 300); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("a decode step allocates %v times", n)
	}
}

// A plan that cannot fit says what would.
func TestPlanThatDoesNotFitSaysWhatWould(t *testing.T) {
	prog := needleProgram(t)
	var no *offload.NoFitError
	_, err := offload.MakePlan(offload.Ask{Layers: prog.KV, Policy: "auto", Context: 16384, Fast: 1 << 20})
	if !errors.As(err, &no) || no.NeedFast <= 1<<20 || len(no.Fits) == 0 {
		t.Errorf("%v", err)
	}
}
