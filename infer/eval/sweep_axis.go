package eval

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// axis maps values to pixels of a chart.
type axis struct {
	scale    func(float64) float64
	lo, hi   float64 // values at the ends
	from, to float64 // pixels of lo and hi
	ticks    []float64
	label    func(float64) string
	title    string

	// A logarithmic axis has no place for nothing at all; it gets one of its
	// own, apart from the others.
	zero   bool
	zeroAt float64 // pixels
}

func (a axis) at(v float64) float64 {
	if a.zero && v <= 0 {
		return a.zeroAt
	}
	share := (a.scale(v) - a.scale(a.lo)) / (a.scale(a.hi) - a.scale(a.lo))
	return a.from + share*(a.to-a.from)
}

// zeroBand is the width that a logarithmic axis gives to zero.
const zeroBand = 56

// byteAxis is logarithmic, with ticks at powers of two.
func byteAxis(title string, values []float64, from, to float64) axis {
	a := axis{scale: math.Log2, from: from, to: to, label: byteTick, title: title}
	var positive []float64
	for _, v := range values {
		if v > 0 {
			positive = append(positive, math.Log2(v))
		}
	}
	if a.zero = len(positive) < len(values); a.zero {
		a.zeroAt = from + zeroBand/2
		a.from += zeroBand
	}
	if len(positive) == 0 {
		positive = []float64{0}
	}
	lo, hi := math.Floor(slices.Min(positive)-0.3), math.Ceil(slices.Max(positive)+0.3)
	a.lo, a.hi = math.Exp2(lo), math.Exp2(hi)
	step := max(1, math.Ceil((hi-lo)/6))
	for e := lo; e <= hi; e += step {
		if !a.zero || e > lo { // the first one's label would touch that of zero
			a.ticks = append(a.ticks, math.Exp2(e))
		}
	}
	return a
}

// byteTick writes a power of two, such as 512 KiB.
func byteTick(n float64) string {
	if n < 1 {
		return fmt.Sprintf("%.2g B", n)
	}
	value, unit, _ := strings.Cut(formatBytes(n), " ")
	if strings.Contains(value, ".") {
		value = strings.TrimRight(strings.TrimRight(value, "0"), ".")
	}
	return value + " " + unit
}

// linearAxis has some five ticks at round numbers and room around the values.
func linearAxis(title, unit string, values []float64, from, to float64) axis {
	lo, hi := slices.Min(values), slices.Max(values)
	room := max(0.05*(hi-lo), 1e-3)
	lo, hi = lo-room, hi+room
	step := roundStep((hi - lo) / 6)
	a := axis{scale: func(v float64) float64 { return v }, lo: lo, hi: hi, from: from, to: to, title: title}
	for i := math.Ceil(lo / step); i*step <= hi; i++ {
		a.ticks = append(a.ticks, i*step)
	}
	decimals := int(max(0, -math.Floor(math.Log10(step)+1e-9)))
	a.label = func(v float64) string {
		return fmt.Sprintf("%.*f%s", decimals, v+0.0, unit) // adding 0 turns -0 into 0
	}
	return a
}

// roundStep is 1, 2 or 5 times a power of ten, and at least x.
func roundStep(x float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(x)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= x*(1-1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// changeAxis shows changes in per cent from hundredths to hundreds: a wide
// range is linear next to zero and logarithmic beyond.
func changeAxis(title string, values []float64, from, to float64) axis {
	lo, hi := slices.Min(values), slices.Max(values)
	if hi-lo <= 2 {
		return linearAxis(title, " %", values, from, to)
	}
	const linear = 0.1
	a := axis{scale: func(v float64) float64 { return math.Asinh(v / linear) }, from: from, to: to}
	a.title = fmt.Sprintf("%s, logarithmic beyond %g %%", title, linear)
	a.lo, a.hi = min(-linear/4, lo*1.25), max(linear/4, hi*1.25)
	for _, t := range []float64{0, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000} {
		for _, v := range []float64{-t, t} {
			if v >= a.lo && v <= a.hi && !slices.Contains(a.ticks, v) {
				a.ticks = append(a.ticks, v)
			}
		}
	}
	a.label = func(v float64) string { return fmt.Sprintf("%g %%", v+0.0) }
	return a
}
