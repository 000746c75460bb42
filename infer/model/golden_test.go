package model_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/infer/eval"
	"edged/infer/gguf"
	"edged/infer/model"
	"edged/infer/ref"
	"edged/offload"
)

var update = flag.Bool("update", false, "rewrite the golden program texts")

// tinyModels are made by testdata/make_tiny.py.
func tinyModels(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/tiny-*.gguf")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no tiny models: %v", err)
	}
	return paths
}

func beside(path, ext string) string { return strings.TrimSuffix(path, ".gguf") + ext }

// TestGoldenLogits compares whole models with transformers, past windows and
// past the contexts that rope scaling extends.
func TestGoldenLogits(t *testing.T) {
	for _, path := range tinyModels(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			r, err := eval.Golden(t.Context(), eval.GoldenOptions{
				File: beside(path, ".json"), Model: path, Backend: ref.New(), Elem: offload.F32, Chunk: 32, Threads: 2,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("largest logit difference %.3g", r.Overall.MaxLogit)
			bars := eval.ReferenceBars()
			bars.MaxLogit = 1e-4
			if err := r.Check(bars); err != nil {
				t.Errorf("%v\n%s", err, r)
			}
		})
	}
}

// TestProgramText shows every change of what is built for a family.
func TestProgramText(t *testing.T) {
	for _, path := range tinyModels(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f, err := gguf.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			}()
			p, err := model.Build(f)
			if err != nil {
				t.Fatal(err)
			}
			golden := beside(path, ".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(p.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v (run with -update to make it)", err)
			}
			if diff := cmp.Diff(string(want), p.String()); diff != "" {
				t.Errorf("program of %s (-want +got; -update accepts it):\n%s", path, diff)
			}
		})
	}
}
