package eval_test

import (
	"path/filepath"
	"testing"

	"edged/infer"
	"edged/infer/eval"
)

// The shipped model finds every access code, and every turn after the first
// continues the one before.
func TestCasesOnTheShippedModel(t *testing.T) {
	files, err := filepath.Glob("../../models/*.gguf")
	if err != nil || len(files) == 0 {
		t.Fatalf("the repository's model is missing: %v", err)
	}
	cases, err := eval.ReadCases("testdata/cases.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	e, err := infer.New(infer.Config{Models: []infer.ModelConfig{{Name: "needle", Path: files[0]}}, Backend: "cpu", HostBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := e.Load(t.Context(), "", nil); err != nil {
		t.Fatal(err)
	}
	r, err := eval.Cases(t.Context(), eval.EngineAnswerer{Engine: e}, cases, eval.CasesOptions{Tasks: []string{"number"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, turn := range r.Turns {
		t.Logf("%s/%d: %.2f %q", turn.Case, turn.Turn, turn.Score, turn.Answer)
	}
	mins, err := eval.ParseMinScores("number=1")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Check(mins); err != nil {
		t.Error(err)
	}
}
