package backendtest

import (
	"fmt"
	"math"
	"testing"

	"edged/infer/graph"
)

// Tol bounds the difference of two rows of numbers. RMS bounds its root mean
// square relative to the wanted row's; Max bounds every single difference
// relative to the wanted row's root mean square or, where that is larger, to
// the wanted value.
type Tol struct{ RMS, Max float64 }

// rows is a copy of a step's logits, which outlives the next step.
type rows [][]float32

func copyRows(l graph.Logits) rows {
	out := make(rows, len(l.Data)/l.Stride)
	for i := range out {
		out[i] = append([]float32(nil), l.Row(i)...)
	}
	return out
}

// check reports the first row that differs by more than the tolerance.
func check(t *testing.T, what string, tol Tol, got, want rows) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d rows, want %d", what, len(got), len(want))
	}
	for i := range want {
		if err := tol.compare(got[i], want[i]); err != nil {
			t.Fatalf("%s: row %d of %d: %v", what, i, len(want), err)
		}
	}
}

func (tol Tol) compare(got, want []float32) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d values, want %d", len(got), len(want))
	}
	var square, sum float64
	for c := range want {
		d := float64(got[c]) - float64(want[c])
		if math.IsNaN(d) || math.IsInf(d, 0) {
			return fmt.Errorf("channel %d is %g, want %g", c, got[c], want[c])
		}
		square += float64(want[c]) * float64(want[c])
		sum += d * d
	}
	n := float64(len(want))
	scale, rms := math.Sqrt(square/n), math.Sqrt(sum/n)
	for c := range want {
		w, d := float64(want[c]), math.Abs(float64(got[c])-float64(want[c]))
		if bound := tol.Max * math.Max(scale, math.Abs(w)); d > bound {
			return fmt.Errorf("channel %d is %g, want %g: difference %.3g > %.3g", c, got[c], want[c], d, bound)
		}
	}
	if rms > tol.RMS*scale {
		return fmt.Errorf("RMS of the difference is %.3g of the row's, bound %.3g", rms/scale, tol.RMS)
	}
	return nil
}

// checkSame reports the first row whose bits differ.
func checkSame(t *testing.T, what string, got, want rows) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d rows, want %d", what, len(got), len(want))
	}
	for i := range want {
		for c := range want[i] {
			if math.Float32bits(got[i][c]) != math.Float32bits(want[i][c]) {
				t.Fatalf("%s: row %d of %d, channel %d: %v and %v differ in bits", what, i, len(want), c, got[i][c], want[i][c])
			}
		}
	}
}

// checkAgain compares two runs of one backend over the same tokens.
func (s *suite) checkAgain(t *testing.T, what string, got, want rows) {
	t.Helper()
	s.checkWithin(t, what, s.opt.Tolerance.Logits, got, want)
}

// checkWithin is checkAgain with a tolerance for backends that need one.
func (s *suite) checkWithin(t *testing.T, what string, tol Tol, got, want rows) {
	t.Helper()
	if s.opt.BitIdentical {
		checkSame(t, what, got, want)
		return
	}
	check(t, what, tol, got, want)
}
