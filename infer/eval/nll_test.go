package eval

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func mustAdd(t interface{ Fatal(...any) }, d *Divergence, base, other []float32, next int32) {
	if err := d.Add(base, other, next); err != nil {
		t.Fatal(err)
	}
}

func mustReport(t interface{ Fatal(...any) }, d *Divergence) DivergenceReport {
	r, err := d.Report()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// logs are logits of given probabilities; a shift must not matter.
func logs(shift float64, p ...float64) []float32 {
	row := make([]float32, len(p))
	for i, x := range p {
		row[i] = float32(math.Log(x) + shift)
	}
	return row
}

func TestDivergenceOfKnownRows(t *testing.T) {
	var d Divergence
	for range 64 { // the first block
		mustAdd(t, &d, logs(3, 0.5, 0.25, 0.25), logs(-40, 0.25, 0.5, 0.25), 0)
	}
	for range 64 { // the second: the same distribution
		mustAdd(t, &d, logs(0, 0.5, 0.25, 0.25), logs(80, 0.5, 0.25, 0.25), 1)
	}
	kl := 0.5*math.Log(2) - 0.25*math.Log(2)
	want := DivergenceReport{
		Positions: 128,
		BaseNLL:   1.5 * math.Ln2, OtherNLL: 2 * math.Ln2,
		Percent: 100.0 / 3, PercentCI: Interval{0, 100},
		MeanKL: kl / 2, MaxKL: kl, Top1: 0.5,
	}
	if diff := cmp.Diff(want, mustReport(t, &d), cmpopts.EquateApprox(1e-5, 1e-4)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Rows agree with the textbook formulas, and the base with itself.
func TestDivergenceProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vocab := rapid.IntRange(2, 40).Draw(t, "vocabulary")
		logits := rapid.SliceOfN(rapid.Float32Range(-30, 30), vocab, vocab)
		var d, same Divergence
		var base, kl float64
		const rows = 65
		for i := range rows {
			b, o := logits.Draw(t, "base"), logits.Draw(t, "other")
			next := int32(i % vocab)
			mustAdd(t, &d, b, o, next)
			mustAdd(t, &same, b, b, next)
			p, q := probabilities(b), probabilities(o)
			base -= math.Log(p[next]) / rows
			for k := range p {
				kl += p[k] * math.Log(p[k]/q[k]) / rows
			}
		}
		r, s := mustReport(t, &d), mustReport(t, &same)
		if math.Abs(r.BaseNLL-base) > 1e-9 || math.Abs(r.MeanKL-kl) > 1e-9 || r.MaxKL < r.MeanKL {
			t.Fatalf("%+v, want NLL %v and KL %v", r, base, kl)
		}
		if s.Percent != 0 || s.MeanKL > 1e-12 || s.Top1 != 1 || s.PercentCI != (Interval{}) {
			t.Fatalf("the base against itself: %+v", s)
		}
	})
}

func probabilities(logits []float32) []float64 {
	p := make([]float64, len(logits))
	var sum float64
	for i, l := range logits {
		p[i] = math.Exp(float64(l))
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

func TestDivergenceIsStable(t *testing.T) {
	const vocab = 262_144
	base, other := make([]float32, vocab), make([]float32, vocab)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range base {
		base[i] = float32(r.NormFloat64())
		other[i] = base[i] + 9000 // a shift of the whole row, which float32 rounds
	}
	base[7], other[7] = 2000, 11000 // exp overflows without care
	var d Divergence
	for range 65 {
		mustAdd(t, &d, base, other, 8)
	}
	got := mustReport(t, &d)
	if got.MeanKL > 1e-9 || got.Top1 != 1 || math.Abs(got.BaseNLL-(2000-float64(base[8]))) > 1e-3 || math.Abs(got.Percent) > 1e-3 {
		t.Errorf("%+v", got)
	}
}

func TestDivergenceDoesNotAllocate(t *testing.T) {
	base, other := logs(0, 0.5, 0.5), logs(0, 0.25, 0.75)
	var d Divergence
	mustAdd(t, &d, base, other, 0)
	if n := testing.AllocsPerRun(divergenceBlock-2, func() { _ = d.Add(base, other, 1) }); n != 0 {
		t.Errorf("%v allocations a row", n)
	}
}

func TestDivergenceRefuses(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		name        string
		base, other []float32
		next        int32
		want        string
	}{
		{"no logits", nil, nil, 0, "no logits"},
		{"lengths", []float32{1, 2}, []float32{1, 2, 3}, 0, "2 and 3 logits, want 2"},
		{"another vocabulary", []float32{1, 2, 3}, []float32{1, 2, 3}, 0, "position 1: 3 and 3 logits, want 2"},
		{"next token", []float32{1, 2}, []float32{1, 2}, 2, "next token 2 is outside the vocabulary of 2"},
		{"negative next token", []float32{1, 2}, []float32{1, 2}, -1, "next token -1"},
		{"NaN", []float32{nan, 2}, []float32{1, 2}, 0, "not finite"},
		{"NaN of the other", []float32{1, 2}, []float32{1, nan}, 0, "not finite"},
		{"infinite", []float32{1, inf}, []float32{1, 2}, 0, "not finite"},
		{"masked", []float32{1, -inf}, []float32{1, 2}, 0, "not finite"},
		{"masked in the other", []float32{1, 2}, []float32{-inf, 2}, 0, "not finite"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d Divergence
			if c.base != nil {
				mustAdd(t, &d, []float32{1, 2}, []float32{1, 2}, 0)
			}
			before := d.rows
			if err := d.Add(c.base, c.other, c.next); err == nil || !strings.Contains(err.Error(), c.want) || d.rows != before {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	var d Divergence
	for range 64 {
		mustAdd(t, &d, []float32{1, 2}, []float32{1, 2}, 0)
	}
	if _, err := d.Report(); err == nil || !strings.Contains(err.Error(), "at least 65 positions are needed, got 64") {
		t.Errorf("one block: %v", err)
	}
	var certain Divergence
	for range 65 {
		mustAdd(t, &certain, []float32{0, 100}, []float32{1, 2}, 1)
	}
	if _, err := certain.Report(); err == nil || !strings.Contains(err.Error(), "certain") {
		t.Errorf("a base without loss: %v", err)
	}
}
