package sample

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestExpNegAccuracy(t *testing.T) {
	for _, tc := range []struct{ x, want float64 }{
		{0, 1}, {math.Copysign(0, -1), 1}, {1, 1}, {math.Inf(1), 1},
		{math.NaN(), 0}, {math.Inf(-1), 0}, {-708, 0}, {-math.MaxFloat64, 0},
	} {
		if got := expNeg(tc.x); got != tc.want {
			t.Errorf("expNeg(%v) = %v, want %v", tc.x, got, tc.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.Float64Range(expFloor, 0).Draw(t, "x")
		got, want := expNeg(x), math.Exp(x)
		if math.Abs(got-want) > 1e-12*want {
			t.Fatalf("expNeg(%v) = %v, want %v", x, got, want)
		}
	})
}

func TestLnAccuracy(t *testing.T) {
	if got := ln(1); got != 0 {
		t.Errorf("ln(1) = %v, want exactly 0", got)
	}
	// math.Log is wrong for subnormal numbers on amd64.
	if got, want := ln(0x1p-1074), -1074*math.Ln2; math.Abs(got-want) > 1e-12 {
		t.Errorf("ln(2^-1074) = %v, want %v", got, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.Float64Range(0x1p-1022, math.MaxFloat64).Draw(t, "x")
		got, want := ln(x), math.Log(x)
		if math.Abs(got-want) > 1e-14+1e-15*math.Abs(want) {
			t.Fatalf("ln(%v) = %v, want %v", x, got, want)
		}
	})
}
