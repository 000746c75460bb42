package sample

import "math"

const (
	// expFloor is where expNeg becomes 0; e^-708 is still a normal float64.
	expFloor = -708

	log2e = 1 / math.Ln2
	// ln2Hi has 32 significant bits, so that k*ln2Hi is exact for |k| < 2^20.
	ln2Hi = 6.93147180369123816490e-01
	ln2Lo = math.Ln2 - ln2Hi
	// Adding roundShift to |x| < 2^51 leaves the nearest integer in the low
	// bits of the sum.
	roundShift = 3 << 51
)

// expNeg returns e^x for x <= 0, with a relative error below 1e-12: 1 for
// x >= 0 and 0 for x < -708 and NaN. Every product is rounded by a conversion,
// which forbids fused multiply-add and keeps the result equal on all machines.
func expNeg(x float64) float64 {
	if !(x >= expFloor) {
		return 0
	}
	if x >= 0 {
		return 1
	}
	t := float64(x*log2e) + roundShift
	k := t - roundShift
	r := x - float64(k*ln2Hi) - float64(k*ln2Lo) // |r| <= ln2/2

	// Taylor polynomial of degree 11 in Estrin's form, for instruction-level
	// parallelism.
	r2 := float64(r * r)
	r4 := float64(r2 * r2)
	r8 := float64(r4 * r4)
	p01 := 1 + r
	p23 := 1.0/2 + float64(r*(1.0/6))
	p45 := 1.0/24 + float64(r*(1.0/120))
	p67 := 1.0/720 + float64(r*(1.0/5040))
	p89 := 1.0/40320 + float64(r*(1.0/362880))
	pab := 1.0/3628800 + float64(r*(1.0/39916800))
	low := p01 + float64(r2*p23) + float64(r4*(p45+float64(r2*p67)))
	e := low + float64(r8*(p89+float64(r2*pab)))

	// k is in [-1022, 0]: add it to the exponent.
	return math.Float64frombits(math.Float64bits(e) + math.Float64bits(t)<<52)
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
