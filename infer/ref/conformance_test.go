package ref_test

import (
	"testing"

	"edged/infer/backendtest"
	"edged/infer/ref"
	"edged/offload"
)

// TestConformance runs the suite on its own judge. Single ops compare equal by
// construction; what it finds is results that depend on chunking, sharing,
// threads or cancellation, and limits and memory that are not honoured.
func TestConformance(t *testing.T) {
	exact := backendtest.Tol{}
	backendtest.Run(t, ref.New(), backendtest.Options{
		Tolerance:    backendtest.Tolerance{Embed: exact, Norm: exact, Rope: exact, Attend: exact, Linear: exact, Logits: exact},
		BitIdentical: true,
		Elems:        []offload.Elem{offload.F16},
		Narrows:      true,
	})
}
