package cpu_test

import (
	"testing"

	"edged/infer/backendtest"
	"edged/infer/cpu"
	"edged/infer/gguf"
	"edged/offload"
)

// TestConformance runs the suite with every set of vector instructions that
// this processor has.
func TestConformance(t *testing.T) {
	for _, isa := range cpu.ISAs() {
		t.Run(isa, func(t *testing.T) {
			b, err := cpu.NewISA(isa)
			if err != nil {
				t.Fatal(err)
			}
			backendtest.Run(t, b, backendtest.Options{
				Tolerance:    toleranceOf(isa),
				BitIdentical: true,
				AnyHeadDim:   true,
				Elems:        []offload.Elem{offload.F16, offload.F32},
			})
		})
	}
}

// tolerance is relative to the reference's largest value. Coded weights meet
// activations rounded to 16 bits beside the outliers that the suite plants,
// which is where nearly all of it goes; sums
// and softmax are float32 against the reference's float64. A norm of a row that is one
// outlier has that one's roundings and no mean of many: of the sum and the division by its
// length, halved by the root, the root, its inverse, two products and the reference's own,
// six and a half of 2^-24 at most (3.4e-7 was seen).
var tolerance = backendtest.Tolerance{
	Embed:  backendtest.Tol{},
	Norm:   backendtest.Tol{RMS: 4e-7, Max: 1e-6},
	Rope:   backendtest.Tol{RMS: 3e-7, Max: 1e-6},
	Attend: backendtest.Tol{RMS: 2e-5, Max: 2e-4},
	Linear: backendtest.Tol{RMS: 5e-4, Max: 3e-3},
	Logits: backendtest.Tol{RMS: 1e-3, Max: 1e-2},
	LinearType: map[gguf.Type]backendtest.Tol{
		gguf.F32: {RMS: 1e-6, Max: 1e-5}, gguf.F16: {RMS: 1e-6, Max: 1e-5}, gguf.BF16: {RMS: 1e-6, Max: 1e-5},
	},
}

// toleranceOf is tolerance, and more where records are multiplied byte by byte: queries and
// softmax weights are rounded to 16 bits of the largest then, which shows most where scores
// are large. RMS 1.01e-3 was seen in one of some 30 runs.
func toleranceOf(isa string) backendtest.Tolerance {
	t := tolerance
	if isa == "avx512-vnni" {
		t.AttendElem = map[offload.Elem]backendtest.Tol{offload.Q64: {RMS: 4e-3, Max: 4e-2}}
	}
	return t
}
