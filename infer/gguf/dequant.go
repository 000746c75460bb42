package gguf

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/x448/float16"
)

// Dequantize decodes src, whole blocks of type t, into dst. It is the plain
// definition of each format: float32 arithmetic in a fixed order, no fused
// multiply-add, so that results are the same bits on every machine.
func (t Type) Dequantize(dst []float32, src []byte) error {
	info := t.info()
	if !t.Supported() {
		return fmt.Errorf("dequantize: %s", t.unsupported())
	}
	if len(dst)%info.blockElems != 0 {
		return fmt.Errorf("dequantize %s: %d elements are not whole blocks of %d", t, len(dst), info.blockElems)
	}
	if want := len(dst) / info.blockElems * info.blockBytes; len(src) != want {
		return fmt.Errorf("dequantize %s: %d elements take %d bytes, got %d", t, len(dst), want, len(src))
	}
	switch t {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case F16:
		for i := range dst {
			dst[i] = half(src[2*i:])
		}
	case BF16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
		}
	default:
		block := t.blockDecoder()
		for len(dst) > 0 {
			block(dst[:info.blockElems], src[:info.blockBytes])
			dst, src = dst[info.blockElems:], src[info.blockBytes:]
		}
	}
	return nil
}

// blockDecoder returns the function that decodes one block of a quantized type.
func (t Type) blockDecoder() func(dst []float32, src []byte) {
	switch t {
	case Q4_0:
		return decodeQ4_0
	case Q4_1:
		return decodeQ4_1
	case Q5_0:
		return decodeQ5_0
	case Q5_1:
		return decodeQ5_1
	case Q8_0:
		return decodeQ8_0
	case Q2_K:
		return decodeQ2_K
	case Q3_K:
		return decodeQ3_K
	case Q4_K:
		return decodeQ4_K
	case Q5_K:
		return decodeQ5_K
	case Q6_K:
		return decodeQ6_K
	case IQ4_NL:
		return decodeIQ4_NL
	default:
		return decodeIQ4_XS
	}
}

// half decodes the little-endian float16 at the start of b.
func half(b []byte) float32 {
	return float16.Frombits(binary.LittleEndian.Uint16(b)).Float32()
}

// nibble returns element i of 32 that are packed as 16 low halves, then 16
// high halves.
func nibble(q []byte, i int) byte {
	return q[i%16] >> (i / 16 * 4) & 0xf
}

// Q4_0: f16 d; 32 4-bit q. x = d * (q - 8)
func decodeQ4_0(dst []float32, src []byte) {
	d, q := half(src), src[2:]
	for i := range dst {
		dst[i] = d * float32(int(nibble(q, i))-8)
	}
}

// Q4_1: f16 d, m; 32 4-bit q. x = d*q + m
func decodeQ4_1(dst []float32, src []byte) {
	d, m, q := half(src), half(src[2:]), src[4:]
	for i := range dst {
		dst[i] = float32(d*float32(nibble(q, i))) + m
	}
}

// Q5_0: f16 d; 32 high bits; 32 low nibbles. x = d * (q - 16)
func decodeQ5_0(dst []float32, src []byte) {
	d, high, q := half(src), binary.LittleEndian.Uint32(src[2:]), src[6:]
	for i := range dst {
		v := int(nibble(q, i)) | int(high>>i&1)<<4
		dst[i] = d * float32(v-16)
	}
}

// Q5_1: f16 d, m; 32 high bits; 32 low nibbles. x = d*q + m
func decodeQ5_1(dst []float32, src []byte) {
	d, m, high, q := half(src), half(src[2:]), binary.LittleEndian.Uint32(src[4:]), src[8:]
	for i := range dst {
		v := int(nibble(q, i)) | int(high>>i&1)<<4
		dst[i] = float32(d*float32(v)) + m
	}
}

// Q8_0: f16 d; 32 int8 q. x = d * q
func decodeQ8_0(dst []float32, src []byte) {
	d, q := half(src), src[2:]
	for i := range dst {
		dst[i] = d * float32(int8(q[i]))
	}
}

// iq4Values are the 16 levels that a 4-bit code of the IQ4 types selects.
var iq4Values = [16]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// IQ4_NL: f16 d; 32 4-bit codes. x = d * level[q]
func decodeIQ4_NL(dst []float32, src []byte) {
	d, q := half(src), src[2:]
	for i := range dst {
		dst[i] = d * iq4Values[nibble(q, i)]
	}
}

// IQ4_XS: f16 d; 8 sub-blocks of 32, their 6-bit scales s split in 8 high
// pairs of bits and 8 low nibbles; 256 4-bit codes. x = d * (s - 32) * level[q]
func decodeIQ4_XS(dst []float32, src []byte) {
	d, high, low, q := half(src), binary.LittleEndian.Uint16(src[2:]), src[4:8], src[8:]
	for sub := range 8 {
		s := int(low[sub/2]>>(sub%2*4)&0xf) | int(high>>(2*sub)&3)<<4
		ds := d * float32(s-32)
		for i := range 32 {
			dst[32*sub+i] = ds * iq4Values[nibble(q[16*sub:], i)]
		}
	}
}
