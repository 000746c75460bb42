package calibrate

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"edged/infer/cpu"
	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/infer/model"
	"edged/infer/ref"
)

func TestTopOf(t *testing.T) {
	equal := make([]float32, 1000)
	if got := topOf(equal); math.Abs(got-TopShare) > 1e-12 {
		t.Errorf("equal tokens: the top holds %g, want %g", got, TopShare)
	}
	one := make([]float32, 1000)
	one[500] = 100
	if got := topOf(one); math.Abs(got-1) > 1e-12 {
		t.Errorf("one token: the top holds %g, want 1", got)
	}
	// 5 of 100 tokens with e^s = 19 each hold half of all.
	half := make([]float32, 100)
	for i := range 5 {
		half[20*i] = float32(math.Log(19))
	}
	if got := topOf(half); math.Abs(got-0.5) > 1e-6 {
		t.Errorf("five tokens: the top holds %g, want 0.5", got)
	}
}

func TestDense(t *testing.T) {
	scores := []Score{{Layer: 0, P: 0.5}, {Layer: 3, P: 0.2}, {Layer: 5, P: 0.21}}
	if got := Dense(scores, Threshold); !slices.Equal(got, []int{0, 5}) {
		t.Errorf("dense layers are %v, want [0 5]", got)
	}
	if got := Dense(scores, 0.9); got == nil || len(got) > 0 {
		t.Errorf("dense layers are %#v, want none: nil would mean a policy's default", got)
	}
}

// shipped is the repository's model.
func shipped(t *testing.T) *graph.Program {
	t.Helper()
	files, err := filepath.Glob("../../models/*.gguf")
	if err != nil || len(files) == 0 {
		t.Fatalf("the repository's model is missing: %v", err)
	}
	f, err := gguf.Open(files[0])
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

// TestScores compares backends and chunk sizes.
func TestScores(t *testing.T) {
	p := shipped(t)
	rng := rand.New(rand.NewPCG(1, 2))
	tok := make([]int32, MinTok+rng.IntN(40))
	for i := range tok {
		tok[i] = rng.Int32N(int32(p.Vocab))
	}
	run := func(b graph.Backend, chunk int) []Score {
		s, err := Scores(t.Context(), p, tok, Config{Backend: b, ChunkTok: chunk, Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	want := run(ref.New(), 64)
	got := run(cpu.New(), 64)
	if len(got) != len(p.KV) || len(want) != len(p.KV) {
		t.Fatalf("%d and %d layers of %d have a score", len(got), len(want), len(p.KV))
	}
	for i := range got {
		if got[i].Layer != i || math.Abs(got[i].P-want[i].P) > 1e-3 || got[i].P <= 0 || got[i].P > 1-TopShare/2 {
			t.Errorf("layer %d: score %v, want %v", i, got[i], want[i])
		}
	}
	if again := run(cpu.New(), 37); !slices.Equal(again, got) {
		t.Errorf("in other chunks, scores are %v, not %v", again, got)
	}
}

func TestScoresRefuse(t *testing.T) {
	p := shipped(t)
	c := Config{Backend: cpu.New(), ChunkTok: 64, Threads: 1}
	if _, err := Scores(t.Context(), p, make([]int32, MinTok-1), c); err == nil {
		t.Error("a short prompt is scored")
	}
	small := c
	small.ChunkTok = Queries - 1
	if _, err := Scores(t.Context(), p, make([]int32, MinTok), small); err == nil {
		t.Error("chunks that do not hold the queries are read")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Scores(gone, p, make([]int32, MinTok), c); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error is %v", err)
	}
	poor := c
	poor.HostBytes = 1 << 20
	if _, err := Scores(t.Context(), p, make([]int32, MinTok), poor); err == nil {
		t.Error("1 MiB was enough for a model of 26 million weights")
	}
}
