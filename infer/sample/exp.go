package sample

import "math"

const (
	// expFloor is where expNeg becomes 0; e^-707 is still a normal float64.
	expFloor = -707

	// expNeg splits its argument into k*ln2/expSteps + r, |r| <= ln2/expSteps/2.
	expBits  = 8
	expSteps = 1 << expBits
	stepHi   = 0x1.62e42fep-1 / expSteps // 25 significant bits: exact times k, |k| < 2^19
	stepLo   = (math.Ln2 - 0x1.62e42fep-1) / expSteps

	// Adding roundShift to |x| < 2^51 leaves the nearest integer in the low
	// bits of the sum.
	roundShift = 3 << 51
)

// exp2Steps[i] is 2^(i/expSteps).
var exp2Steps = makeExp2Steps()

// ExpSteps is the table of powers, 2^(i/256), that exponentials are made with: a
// device that makes the same ones needs it.
func ExpSteps() []float64 { return exp2Steps[:] }

// makeExp2Steps sums Taylor series, with products rounded by conversions: the
// table, like expNeg, must come out equal on all machines.
func makeExp2Steps() (t [expSteps]float64) {
	for i := range t {
		x, sum := float64(i)*(math.Ln2/expSteps), 1.0
		for n := 20; n >= 1; n-- {
			sum = 1 + float64(x*sum)/float64(n)
		}
		t[i] = sum
	}
	return t
}

// expNeg returns e^x for x <= 0, with a relative error below 1e-12: 1 for
// x >= 0 and 0 for x < -707 and NaN. Every product is rounded by a conversion,
// which forbids fused multiply-add and keeps the result equal on all machines.
func expNeg(x float64) float64 {
	if !(x >= expFloor) {
		return 0
	}
	return expNegNormal(min(x, 0))
}

// expNegNormal is expNeg for expFloor <= x <= 0. It is apart, and short, so
// that the compiler expands it in place.
func expNegNormal(x float64) float64 {
	t := float64(x*(expSteps/math.Ln2)) + roundShift
	k := t - roundShift
	r := x - float64(k*stepHi) - float64(k*stepLo)
	e := 1 + float64(r*(1+float64(r*(1.0/2+float64(r*(1.0/6))))))
	n := math.Float64bits(t) // k modulo 2^51 in the low bits
	scale := math.Float64bits(exp2Steps[n%expSteps]) + n>>expBits<<52
	return float64(e * math.Float64frombits(scale))
}

// ln returns the natural logarithm of a finite x > 0, with an absolute error
// below 1e-14 + |ln x| * 1e-15, equal on all machines as expNeg is.
func ln(x float64) float64 {
	m, k := math.Frexp(x)
	if m < math.Sqrt2/2 {
		m *= 2
		k--
	}
	// ln m = 2 artanh(s), |s| <= 0.172.
	s := (m - 1) / (m + 1)
	s2 := float64(s * s)
	sum := 0.0
	for n := 21; n >= 1; n -= 2 {
		sum = float64(sum*s2) + 1/float64(n)
	}
	return float64(float64(k)*math.Ln2) + float64(2*float64(s*sum))
}
