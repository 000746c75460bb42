package offload

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestStepsSpan(t *testing.T) {
	for b := 1; b < 256; b++ {
		if x := StepOf(byte(b)); StepFor(x) != byte(b) || StepFor(math.Nextafter32(x, 0)) != byte(b) || x <= StepOf(byte(b-1)) {
			t.Errorf("step %d is %g, which asks for %d", b, x, StepFor(x))
		}
	}
	for _, c := range []struct {
		x    float32
		want byte
	}{{0, 0}, {-1, 0}, {float32(math.NaN()), 0}, {1e-9, 0}, {float32(math.Inf(1)), 255}, {1e9, 255}, {1, 128}} {
		if got := StepFor(c.x); got != c.want {
			t.Errorf("a step of %g is byte %d, want %d", c.x, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.Float32Range(StepOf(0), StepOf(255)).Draw(t, "x")
		if s := StepOf(StepFor(x)); s < x || s > x*1.0906 {
			t.Fatalf("%g is rounded to a step of %g", x, s)
		}
	})
}
