package offload

import "math"

// Steps of cold pages are bytes: 2^(b/8 - 16), from 1.5e-5 to some 60,000. Each
// is the least that spans its values, so that a code is at most 9 % coarser than
// one with a step of any size would be, and a step takes half of a float16's room.

// stepMantissas are 2^(i/8).
var stepMantissas = [8]float32{1, 1.0905077, 1.1892071, 1.2968396, 1.4142135, 1.5422108, 1.6817929, 1.8340081}

// StepOf is the step that a byte stands for.
func StepOf(b byte) float32 {
	return stepMantissas[b%8] * math.Float32frombits(uint32(int(b)/8-16+127)<<23)
}

// StepFor is the byte of the least step of x or more, as far as there is one;
// what is no number has the least.
func StepFor(x float32) byte {
	if !(x > StepOf(0)) {
		return 0
	}
	bits := math.Float32bits(x)
	b := (int(bits>>23) - 127 + 16) * 8
	mantissa := math.Float32frombits(bits&(1<<23-1) | 127<<23)
	for b%8 < 7 && stepMantissas[b%8] < mantissa {
		b++
	}
	if stepMantissas[b%8] < mantissa {
		b++
	}
	return byte(min(b, 255))
}
