package eval_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edged/infer/cpu"
	"edged/infer/eval"
	"edged/infer/ref"
	"edged/offload"
)

const (
	needleModel  = "../../models/needle-26m-q8_0.gguf"
	needleGolden = "testdata/golden-needle-26m-q8_0.json"
)

func needle(file string) eval.GoldenOptions {
	return eval.GoldenOptions{File: file, Model: needleModel, Backend: ref.New(), Elem: offload.F32, Chunk: 32, Threads: 2}
}

func TestGoldenNeedle(t *testing.T) {
	r := measure(t, needle(keep(t, nil, "one", "random-48", "text-64")), eval.ReferenceBars())
	if r.Overall.Tokens != 64+48+1 || r.Overall.Listed != 64+48+1 || r.Overall.Scored != 63+47 {
		t.Errorf("compared %+v, not all of the file", r.Overall)
	}
}

// Positions far from the first ones show errors that grow with distance.
func TestGoldenNeedleLong(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 10 s on two cores")
	}
	r := measure(t, needle(keep(t, nil, "text-1024")), eval.ReferenceBars())
	if r.Overall.Tokens != 1024 || r.Overall.Listed != 32 || r.Overall.Scored != 1023 {
		t.Errorf("compared %+v, not all of the file", r.Overall)
	}
}

func TestGoldenNeedleOnCPU(t *testing.T) {
	opt := needle(needleGolden)
	opt.Backend, opt.Elem, opt.Chunk = cpu.New(), offload.F16, 100
	measure(t, opt, eval.QuantizedBars())
}

func measure(t *testing.T, opt eval.GoldenOptions, bars eval.GoldenBars) eval.GoldenReport {
	t.Helper()
	r, err := eval.Golden(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + r.String())
	if err := r.Check(bars); err != nil {
		t.Error(err)
	}
	if err := opt.Backend.Close(); err != nil {
		t.Error(err)
	}
	return r
}

// keep writes a copy of the needle's golden file with only some sequences,
// each changed by f if there is one.
func keep(t *testing.T, f func(seq map[string]any), names ...string) string {
	t.Helper()
	data, err := os.ReadFile(needleGolden)
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	all := file["sequences"].(map[string]any)
	kept := map[string]any{}
	for _, name := range names {
		kept[name] = all[name]
		if f != nil {
			f(all[name].(map[string]any))
		}
	}
	file["sequences"] = kept
	if data, err = json.Marshal(file); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "golden.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Bars are worth something only if wrong vectors miss them.
func TestGoldenCheckNamesMissedBars(t *testing.T) {
	path := keep(t, func(one map[string]any) {
		top := one["top"].([]any)[0].(map[string]any)
		top["logits"].([]any)[0] = top["logits"].([]any)[0].(float64) - 0.5
		one["argmax"] = []int{1}
	}, "one")
	r, err := eval.Golden(t.Context(), needle(path))
	if err != nil {
		t.Fatal(err)
	}
	err = r.Check(eval.ReferenceBars())
	if !errors.Is(err, eval.ErrGoldenBars) {
		t.Fatalf("error is %v, want ErrGoldenBars", err)
	}
	for _, want := range []string{"logit difference 0.5", "mean KL", "argmax agrees at 0 of 1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
}

func TestGoldenRefuses(t *testing.T) {
	for _, c := range []struct {
		name, want string
		change     func(one map[string]any)
	}{
		{"token outside the vocabulary", "token 4096 is outside the model's vocabulary of 4096", func(one map[string]any) { one["tokens"] = []int{4096} }},
		{"negative token", "token 0 is -1", func(one map[string]any) { one["tokens"] = []int{-1} }},
		{"no tokens", "no tokens", func(one map[string]any) { one["tokens"] = []int{} }},
		{"unknown key", `unknown field "extra"`, func(one map[string]any) { one["extra"] = 1 }},
		{"missing lse", "1 tokens with 0 lse", func(one map[string]any) { delete(one, "lse") }},
		{"too many nll", "2 nll", func(one map[string]any) { one["nll"] = []int{1, 2} }},
		{"no logits", "no position with logits", func(one map[string]any) { one["top"] = []int{} }},
		{"position outside", "position 1 of 1", func(one map[string]any) { one["top"].([]any)[0].(map[string]any)["pos"] = 1 }},
		{"ids without logits", "16 ids with 1 logits", func(one map[string]any) { one["top"].([]any)[0].(map[string]any)["logits"] = []int{1} }},
		{"impossible logit", "probabilities add up to", func(one map[string]any) { one["lse"] = []float64{13} }},
		{"id twice", "listed twice", func(one map[string]any) {
			ids := one["top"].([]any)[0].(map[string]any)["ids"].([]any)
			ids[1] = ids[0]
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := eval.Golden(t.Context(), needle(keep(t, c.change, "one")))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one that says %q", err, c.want)
			}
		})
	}
}

func TestGoldenStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := eval.Golden(ctx, needle(needleGolden)); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want context.Canceled", err)
	}
}

func TestGoldenMissingFiles(t *testing.T) {
	opt := needle("testdata/none.json")
	if _, err := eval.Golden(t.Context(), opt); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing golden file: error is %v", err)
	}
	opt = needle(needleGolden)
	opt.Model = "testdata/none.gguf"
	if _, err := eval.Golden(t.Context(), opt); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing model: error is %v", err)
	}
}

func TestGoldenModel(t *testing.T) {
	if name, err := eval.GoldenModel(needleGolden); err != nil || name != "needle-26m-q8_0" {
		t.Errorf("got %q, %v", name, err)
	}
	data, err := os.ReadFile(keep(t, nil, "one"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, c := range map[string]struct{ text, want string }{
		"nameless.json": {strings.Replace(string(data), `"model":"needle-26m-q8_0.gguf"`, `"model":""`, 1), "names no model"},
		"broken.json":   {"{", "malformed"},
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := eval.GoldenModel(file); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
