package cpu_test

import (
	"testing"

	"edged/infer/backendtest"
	"edged/infer/cpu"
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
				Tolerance:    backendtest.Tolerance{},
				BitIdentical: true,
				Elems:        []offload.Elem{offload.F16, offload.F32},
			})
		})
	}
}
