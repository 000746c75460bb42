package cuda_test

import (
	"testing"

	"edged/infer/backendtest"
	"edged/infer/cuda"
	"edged/infer/gguf"
	"edged/offload"
)

func TestConformance(t *testing.T) {
	b := cuda.Open(t)
	backendtest.Run(t, b, backendtest.Options{
		Tolerance:      tolerance,
		BatchIdentical: true,
		Elems:          []offload.Elem{offload.F16},
		Large:          true,
		Keeps:          b.Keeps,
		Narrows:        true,
	})
}

// tolerance is relative to the reference's largest value. Steps of many rows
// multiply float16 inputs with weights rounded to float16, and queries and
// softmax weights are float16 there, which is where nearly all of it goes: a score of 16
// is off by 2^-8 then, and a row of few weights that are not small by as much (4.4e-3
// was seen). Keys of records in one or two bits lie far apart, and so do their scores: as a prompt's
// pages they are float16, whose rounding alone takes the reference 1.7e-2 away from itself.
var tolerance = backendtest.Tolerance{
	Embed:  backendtest.Tol{},
	Norm:   backendtest.Tol{RMS: 1e-6, Max: 1e-5},
	Rope:   backendtest.Tol{RMS: 1e-6, Max: 1e-5},
	Attend: backendtest.Tol{RMS: 6e-3, Max: 6e-2},
	AttendElem: map[offload.Elem]backendtest.Tol{
		offload.Q2: {RMS: 3e-2, Max: 3e-1}, offload.Q1: {RMS: 3e-2, Max: 3e-1},
	},
	Linear: backendtest.Tol{RMS: 3e-3, Max: 2e-2},
	Logits: backendtest.Tol{RMS: 5e-3, Max: 5e-2},
	Coded:  backendtest.Tol{RMS: 5e-2, Max: 5e-1},
	LinearType: map[gguf.Type]backendtest.Tol{
		gguf.F32: {RMS: 1e-6, Max: 1e-5},
	},
}
