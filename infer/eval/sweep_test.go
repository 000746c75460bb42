package eval

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// measured is a row of a model with 128 MiB of exact cache.
func measured(policy, setting string, share, moved, score, nll float64) SweepRow {
	const exact = 128 << 20
	return SweepRow{
		Policy: policy, Setting: setting,
		FastBytes: int64(share * exact), FastShare: share, ColdBytes: int64((1 - share) * exact),
		MovedBytesPerTok: moved * exact, MovedShare: moved,
		Retrieval: &PairedRow{Cases: 84, Turns: 300, Base: 0.98, Other: score, Won: 2, Lost: 2 + int(300*(0.98-score)), Diff: score - 0.98, DiffCI: Interval{score - 0.98 - 0.03*(1.01-score), score - 0.98 + 0.03*(1.01-score)}},
		NLL:       &DivergenceReport{Positions: 4096, Percent: nll, PercentCI: Interval{0.8*nll - 0.02, 1.2*nll + 0.02}, MeanKL: nll / 100, Top1: 1 - nll/200},
		TokPerSec: 100 * (1 - moved),
	}
}

func exampleSweep() *Sweep {
	return &Sweep{Model: "needle-26m-q8_0", Context: 32768, Date: "2026-11-26", Machine: "2 cores, CPU", Rows: []SweepRow{
		measured("full", "exact", 1, 0, 0.98, 0),
		measured("offload", "all cold", 0.02, 0.98, 0.98, 0),
		measured("recent", "5 %", 0.05, 0, 0.11, 6.1),
		measured("recent", "10 %", 0.10, 0, 0.22, 3.2),
		measured("recent", "25 %", 0.25, 0, 0.35, 1.4),
		measured("top pages", "5 %", 0.06, 0.012, 0.71, 1.1),
		measured("top pages", "10 %", 0.11, 0.025, 0.86, 0.55),
		measured("top pages", "25 %", 0.26, 0.06, 0.955, 0.2),
		measured("top pages & hints", "5 %", 0.065, 0.007, 0.88, 0.6),
		measured("top pages & hints", "10 %", 0.115, 0.013, 0.962, 0.24),
		measured("top pages & hints", "25 %", 0.265, 0.03, 0.977, 0.06),
	}}
}

// EVAL_SWEEP_SVG names a file to look at.
func TestSweepSVG(t *testing.T) {
	var b strings.Builder
	if err := exampleSweep().WriteSVG(&b); err != nil {
		t.Fatal(err)
	}
	texts := wellFormed(t, b.String())
	for _, want := range []string{
		"needle-26m-q8_0 at 32768 tokens: quality against traffic and memory", "top pages & hints", "all cold", "0",
		"Bytes moved per generated token", "Bytes resident in fast memory", "Retrieval score (share of values found)", "NLL increase, logarithmic beyond 0.1 %",
		"32 MiB",
	} {
		if !strings.Contains(texts, "\n"+want+"\n") {
			t.Errorf("no text %q", want)
		}
	}
	if path := os.Getenv("EVAL_SWEEP_SVG"); path != "" {
		if err := os.WriteFile(filepath.Clean(path), []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// wellFormed parses XML and returns its texts, one a line.
func wellFormed(t interface{ Fatalf(string, ...any) }, doc string) string {
	d := xml.NewDecoder(strings.NewReader(doc))
	texts := "\n"
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if text, ok := token.(xml.CharData); ok {
			texts += string(text) + "\n"
		}
	}
}

// Whatever was measured, the picture parses and no coordinate is missing.
func TestSweepSVGOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &Sweep{Model: rapid.String().Draw(t, "model"), Context: 10}
		for range rapid.IntRange(1, 20).Draw(t, "rows") {
			r := SweepRow{
				Policy:           rapid.StringN(0, 4, -1).Draw(t, "policy"),
				Setting:          rapid.StringN(0, 8, -1).Draw(t, "setting"),
				FastBytes:        rapid.Int64Range(0, 1<<50).Draw(t, "fast"),
				MovedBytesPerTok: rapid.SampledFrom([]float64{0, 1e-9, 0.5, 1, 1e4, 3e9}).Draw(t, "moved"),
			}
			score := rapid.Float64Range(0, 1)
			r.Retrieval = &PairedRow{Base: 0.5, Other: score.Draw(t, "score"), DiffCI: Interval{-score.Draw(t, "low"), score.Draw(t, "high")}}
			if rapid.Bool().Draw(t, "with NLL") {
				v := rapid.Float64Range(-50, 5000).Draw(t, "change")
				r.NLL = &DivergenceReport{Percent: v, PercentCI: Interval{v - 1, v + 1}}
			}
			s.Rows = append(s.Rows, r)
		}
		var b strings.Builder
		if err := s.WriteSVG(&b); err != nil {
			t.Fatal(err)
		}
		wellFormed(t, b.String())
		for _, bad := range []string{`="NaN`, `="+Inf`, `="-Inf`, "(NaN", "(+Inf"} {
			if strings.Contains(b.String(), bad) {
				t.Fatalf("%s in\n%s", bad, b.String())
			}
		}
	})
}

func TestSweepRefuses(t *testing.T) {
	row := func(f func(r *SweepRow)) *Sweep {
		r := measured("p", "s", 1, 1, 1, 1)
		f(&r)
		return &Sweep{Rows: []SweepRow{r}}
	}
	for _, c := range []struct {
		name  string
		sweep *Sweep
		want  string
	}{
		{"nothing", &Sweep{}, "no rows"},
		{"bytes", row(func(r *SweepRow) { r.ColdBytes = -1 }), "row 0 (p s): 134217728 fast and -1 cold bytes"},
		{"moved", row(func(r *SweepRow) { r.MovedBytesPerTok = -2 }), "-2 bytes moved"},
		{"NaN", row(func(r *SweepRow) { r.NLL.Percent = math.NaN() }), "NaN is no measurement"},
		{"no quality", row(func(r *SweepRow) { r.NLL, r.Retrieval = nil, nil }), "none of 1 rows has a measure of quality"},
	} {
		if err := c.sweep.WriteSVG(io.Discard); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestSweepTable(t *testing.T) {
	s := exampleSweep()
	s.Rows = s.Rows[5:8]
	s.Rows[2].NLL, s.Rows[2].Retrieval, s.Rows[2].TokPerSec = nil, nil, 0
	var b strings.Builder
	if err := s.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	want := `needle-26m-q8_0, 32768 tokens of context, 2 cores, CPU, 2026-11-26

     policy  setting      fast   share      cold  moved/token  share  score  won-lost           difference, 95 %          NLL change, 95 %  KL (nats)   top-1  token/s
  top pages      5 %  7.68 MiB   6.0 %   120 MiB     1.54 MiB  1.2 %  0.710      2-83  -0.270 (-0.279 to -0.261)  +1.10 % (+0.86 to +1.34)      0.011  99.5 %     98.8
  top pages     10 %  14.1 MiB  11.0 %   114 MiB     3.20 MiB  2.5 %  0.860      2-38  -0.120 (-0.124 to -0.115)  +0.55 % (+0.42 to +0.68)     0.0055  99.7 %     97.5
  top pages     25 %  33.3 MiB  26.0 %  94.7 MiB     7.68 MiB  6.0 %      -         -                          -                         -          -       -        -
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSweepJSON(t *testing.T) {
	s := exampleSweep()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var read Sweep
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, &read); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[float64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.00 KiB", 1023.4 * 1024: "1023 KiB", 10.04 * 1024: "10.0 KiB", 9.996 * 1024: "10.0 KiB",
		99.96 * 1024: "100 KiB", 1.5 * (1 << 30): "1.50 GiB", 5000 * (1 << 40): "5000 TiB",
	} {
		if got := formatBytes(n); got != want {
			t.Errorf("%v: %q, want %q", n, got, want)
		}
	}
}
