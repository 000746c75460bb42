package daemon

import (
	"edged/infer"
	"edged/infer/cpu"
)

// Backends lists the values of engine.backend that this build knows.
func Backends() []string { return infer.Backends() }

// CPUFeatures lists the vector instructions that the cpu backend can use on
// this processor, best first.
func CPUFeatures() []string { return cpu.ISAs() }
