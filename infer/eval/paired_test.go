package eval

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// scores makes a report with one case of each id and its turns' scores.
func scores(model string, cases ...any) *CasesReport {
	r := &CasesReport{File: "f", Model: model}
	for i := 0; i < len(cases); i += 2 {
		for k, s := range cases[i+1].([]float64) {
			r.Turns = append(r.Turns, Turn{Case: cases[i].(string), Turn: k, Score: s, Values: []string{fmt.Sprint("v", k)}})
		}
	}
	return r
}

func mustCompare(t interface{ Fatal(...any) }, base, other *CasesReport) *Paired {
	p, err := Compare(base, other)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCompare(t *testing.T) {
	base := scores("full", "number-10-0", []float64{1, 1}, "number-10-1", []float64{1, 0}, "trace-10-0", []float64{0.5, 0.25}, "number-20-0", []float64{1})
	other := scores("recent", "number-20-0", []float64{1}, "number-10-1", []float64{1, 1}, "number-10-0", []float64{0, 0}, "trace-10-0", []float64{0.25, 0.25})
	p := mustCompare(t, base, other)
	want := &Paired{
		Base: PairedSide{"f", "full"}, Other: PairedSide{"f", "recent"},
		Rows: []PairedRow{
			{Task: "number", Length: 10, Cases: 2, Turns: 4, Base: 0.75, Other: 0.5, Won: 1, Lost: 2, Diff: -0.25, DiffCI: Interval{-1, 0.5}, SignP: 1},
			{Task: "trace", Length: 10, Cases: 1, Turns: 2, Base: 0.375, Other: 0.25, Lost: 1, Diff: -0.125, DiffCI: Interval{-0.125, -0.125}, SignP: 1},
			{Task: "number", Length: 20, Cases: 1, Turns: 1, Base: 1, Other: 1, SignP: 1},
		},
		Overall: PairedRow{Cases: 4, Turns: 7, Base: 4.75 / 7, Other: 3.5 / 7, Won: 1, Lost: 3, Diff: -1.25 / 7, DiffCI: Interval{-4.25 / 7, 1.75 / 7}, SignP: 0.625},
	}
	if diff := cmp.Diff(want, p, cmpopts.EquateApprox(0, 1e-12)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCompareRefuses(t *testing.T) {
	base := func() *CasesReport { return scores("m", "number-10-0", []float64{1, 1}) }
	changed := func(f func(r *CasesReport)) *CasesReport { r := base(); f(r); return r }
	for _, c := range []struct {
		name        string
		base, other *CasesReport
		want        string
	}{
		{"nothing", &CasesReport{}, base(), "no turns"},
		{"missing turn", base(), scores("m", "number-10-0", []float64{1}), "case number-10-0, turn 1 is in the base alone"},
		{"additional case", base(), scores("m", "number-10-0", []float64{1, 1}, "uuid-10-0", []float64{0}), "case uuid-10-0, turn 0 is in the other alone"},
		{"other values", base(), changed(func(r *CasesReport) { r.Turns[1].Values = []string{"w"} }), `["v1"] in the base and ["w"] in the other`},
		{"turn twice", base(), changed(func(r *CasesReport) { r.Turns[1].Turn = 0 }), "other: case number-10-0, turn 0 is listed twice"},
		{"score", changed(func(r *CasesReport) { r.Turns[0].Score = math.NaN() }), base(), "base: case number-10-0, turn 0 has the score NaN"},
		{"id", scores("m", "number", []float64{1}), scores("m", "number", []float64{1}), "TASK-LENGTH-NUMBER"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Compare(c.base, c.other); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// Exchanging the sides mirrors the comparison; the difference lies in its
// interval, and the interval in the range of differences.
func TestCompareMirrors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ids, a, b []any
		for i := range rapid.IntRange(1, 6).Draw(t, "cases") {
			turns := rapid.IntRange(1, 4).Draw(t, "turns")
			score := rapid.SliceOfN(rapid.SampledFrom([]float64{0, 0.25, 0.5, 1}), turns, turns)
			id := fmt.Sprintf("%s-10-%d", rapid.SampledFrom([]string{"number", "trace"}).Draw(t, "task"), i)
			ids = append(ids, id)
			a = append(a, id, score.Draw(t, "base"))
			b = append(b, id, score.Draw(t, "other"))
		}
		p, q := mustCompare(t, scores("a", a...), scores("b", b...)), mustCompare(t, scores("b", b...), scores("a", a...))
		turns := 0
		for i, r := range append(p.Rows, p.Overall) {
			m := append(q.Rows, q.Overall)[i]
			if r.Diff != -m.Diff || r.Won != m.Lost || r.Net() != -m.Net() || r.SignP != m.SignP || math.Abs(r.DiffCI.Low+m.DiffCI.High) > 1e-12 {
				t.Fatalf("%+v is not the mirror of %+v", r, m)
			}
			if r.DiffCI.Low > r.Diff+1e-12 || r.DiffCI.High < r.Diff-1e-12 || r.DiffCI.Low < -1 || r.DiffCI.High > 1 {
				t.Fatalf("%+v: difference and interval", r)
			}
			if i < len(p.Rows) {
				turns += r.Turns
			}
		}
		if turns != p.Overall.Turns || p.Overall.Cases != len(ids) {
			t.Fatalf("%d turns in rows, overall %+v", turns, p.Overall)
		}
	})
}

func TestSignTest(t *testing.T) {
	for _, c := range []struct {
		won, lost int
		want      float64
	}{
		{0, 0, 1}, {1, 0, 1}, {5, 0, 0.0625}, {0, 6, 0.03125}, {1, 9, 22.0 / 1024}, {10, 10, 1}, {3, 1, 0.625},
		{6000, 4000, 1.3e-89},
	} {
		if got := signTest(c.won, c.lost); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%d to %d: %v, want %v", c.won, c.lost, got, c.want)
		}
	}
}

func TestPairedTable(t *testing.T) {
	p := &Paired{
		Rows: []PairedRow{
			{Task: "number", Length: 2048, Cases: 6, Turns: 24, Base: 1, Other: 0.9583, Lost: 1, Diff: -0.0417, DiffCI: Interval{-0.125, 0}, SignP: 1},
			{Task: "trace", Length: 32768, Cases: 12, Turns: 48, Base: 0.302, Other: 0.4, Won: 9, Diff: 0.098, DiffCI: Interval{0.05, 0.15}, SignP: 0.00390625},
		},
		Overall: PairedRow{Cases: 18, Turns: 72, Base: 0.5347, Other: 0.586, Won: 9, Lost: 1, Diff: 0.0513, DiffCI: Interval{0.01, 0.09}, SignP: 0.0214},
	}
	var b strings.Builder
	if err := p.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	want := `    task  length  cases  turns   base  other  won  lost  net  difference     95 % interval  sign test p
  number    2048      6     24  1.000  0.958    0     1   -1      -0.042  -0.125 to +0.000            1
   trace   32768     12     48  0.302  0.400    9     0   +9      +0.098  +0.050 to +0.150       0.0039
     all             18     72  0.535  0.586    9     1   +8      +0.051  +0.010 to +0.090        0.021
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A comparison survives JSON, the form in which it is kept.
func TestPairedJSON(t *testing.T) {
	p := mustCompare(t, scores("a", "number-10-0", []float64{1, 0}, "number-10-1", []float64{0, 0}), scores("b", "number-10-0", []float64{0, 0}, "number-10-1", []float64{1, 1}))
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var read Paired
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, &read); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
}
