package gguftest

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/x448/float16"

	"edged/infer/gguf"
)

// RandomBlocks returns n blocks of type t (n elements for F32, F16 and BF16)
// whose decoded values lie within about maxAbs of zero and average to about
// zero. Quantized codes and sub-block scales are uniform random bits, so that
// every bit of the format is exercised; only the float16 scales are chosen.
// maxAbs below 0.001 loses precision in the float16 scales of the K types.
//
// It panics when t is not supported.
func RandomBlocks(rng *rand.Rand, t gguf.Type, n int, maxAbs float32) []byte {
	size := t.BlockBytes()
	out := randomBytes(rng, n*size)
	for i := range n {
		setScale(rng, t, out[i*size:(i+1)*size], float64(maxAbs))
	}
	return out
}

// RandomTensor adds a tensor of random weights to b, see RandomBlocks.
func (b *Builder) RandomTensor(rng *rand.Rand, name string, typ gguf.Type, dims []uint64, maxAbs float32) {
	elems := uint64(1)
	for _, d := range dims {
		elems *= d
	}
	if !typ.Supported() || elems%uint64(typ.BlockElems()) != 0 {
		b.fail(fmt.Errorf("add random tensor %q: %s %d is not whole blocks of a supported type", name, typ, dims))
		return
	}
	b.Tensor(name, typ, dims, RandomBlocks(rng, typ, int(elems)/typ.BlockElems(), maxAbs))
}

func randomBytes(rng *rand.Rand, n int) []byte {
	out := make([]byte, 0, n+8)
	for len(out) < n {
		out = binary.LittleEndian.AppendUint64(out, rng.Uint64())
	}
	return out[:n]
}

// setScale overwrites the floating-point fields of one block.
func setScale(rng *rand.Rand, t gguf.Type, block []byte, maxAbs float64) {
	le := binary.LittleEndian
	uniform := maxAbs * (2*rng.Float64() - 1)
	size := maxAbs * (0.5 + 0.5*rng.Float64())
	signed := math.Copysign(size, uniform)
	switch t {
	case gguf.F32:
		le.PutUint32(block, math.Float32bits(float32(uniform)))
	case gguf.F16:
		putHalf(block, uniform)
	case gguf.BF16:
		le.PutUint16(block, uint16(math.Float32bits(float32(uniform))>>16))
	case gguf.Q4_0:
		putHalf(block, signed/8)
	case gguf.Q4_1:
		putHalf(block, size/7.5)
		putHalf(block[2:], -size)
	case gguf.Q5_0:
		putHalf(block, signed/16)
	case gguf.Q5_1:
		putHalf(block, size/15.5)
		putHalf(block[2:], -size)
	case gguf.Q8_0:
		putHalf(block, size/128)
	case gguf.Q2_K: // the largest d*s*q is d*15*3; dmin makes the mean zero
		putHalf(block[80:], size/(15*3))
		putHalf(block[82:], size/(15*3)*1.5)
	case gguf.Q3_K:
		putHalf(block[108:], signed/(32*4))
	case gguf.Q4_K:
		putHalf(block, size/(63*15))
		putHalf(block[2:], size/(63*15)*7.5)
	case gguf.Q5_K:
		putHalf(block, size/(63*31))
		putHalf(block[2:], size/(63*31)*15.5)
	case gguf.Q6_K:
		putHalf(block[208:], signed/(128*32))
	case gguf.IQ4_NL:
		putHalf(block, signed/127)
	case gguf.IQ4_XS:
		putHalf(block, signed/(32*127))
	default:
		panic(fmt.Sprintf("gguftest: no random blocks of type %s (%d)", t, uint32(t)))
	}
}

func putHalf(b []byte, x float64) {
	binary.LittleEndian.PutUint16(b, float16.Fromfloat32(float32(x)).Bits())
}
