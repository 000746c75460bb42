package gguf

// The K types hold 256 elements in sub-blocks of 16 or 32 with scales of
// their own. Products are rounded by an explicit conversion before they are
// added, because Go may fuse x*y + z otherwise.

// Q2_K: 16 sub-blocks, 4-bit scale s and minimum m each; 256 2-bit q; f16 d,
// dmin. x = d*s*q - dmin*m
func decodeQ2_K(dst []float32, src []byte) {
	scales, q := src[:16], src[16:80]
	d, dmin := half(src[80:]), half(src[82:])
	for i := range dst {
		s := scales[i/16]
		scale, low := d*float32(s&0xf), float32(dmin*float32(s>>4))
		dst[i] = float32(scale*float32(crumb(q, i))) - low
	}
}

// Q3_K: 256 high bits (set: no offset); 256 2-bit low parts; 16 6-bit scales s;
// f16 d. x = d * (s - 32) * (q - 4*!high)
func decodeQ3_K(dst []float32, src []byte) {
	high, q, packed := src[:32], src[32:96], src[96:108]
	d := half(src[108:])
	for i := range dst {
		sub := i / 16
		s := packed[sub%8]>>(sub/8*4)&0xf | packed[8+sub%4]>>(sub/4*2)&3<<4
		v := int(crumb(q, i))
		if high[i%32]>>(i/32)&1 == 0 {
			v -= 4
		}
		dst[i] = d * float32(int(s)-32) * float32(v)
	}
}

// Q4_K: f16 d, dmin; 8 sub-blocks, 6-bit scale s and minimum m each; 256
// 4-bit q. x = d*s*q - dmin*m
func decodeQ4_K(dst []float32, src []byte) {
	d, dmin, packed, q := half(src), half(src[2:]), src[4:16], src[16:]
	for i := range dst {
		s, m := scaleMin(packed, i/32)
		scale, low := d*float32(s), float32(dmin*float32(m))
		dst[i] = float32(scale*float32(pairedNibble(q, i))) - low
	}
}

// Q5_K: as Q4_K, with 256 high bits before the nibbles.
func decodeQ5_K(dst []float32, src []byte) {
	d, dmin, packed, high, q := half(src), half(src[2:]), src[4:16], src[16:48], src[48:]
	for i := range dst {
		s, m := scaleMin(packed, i/32)
		scale, low := d*float32(s), float32(dmin*float32(m))
		v := pairedNibble(q, i) | high[i%32]>>(i/32)&1<<4
		dst[i] = float32(scale*float32(v)) - low
	}
}

// Q6_K: 256 low nibbles; 256 high 2-bit parts; 16 int8 scales s; f16 d.
// x = d * s * (q - 32)
func decodeQ6_K(dst []float32, src []byte) {
	low, high, scales := src[:128], src[128:192], src[192:208]
	d := half(src[208:])
	for i := range dst {
		// Each half of the block packs elements j and j+64 into one byte.
		j := i % 128
		v := low[i/128*64+j%64]>>(j/64*4)&0xf | crumb(high, i)<<4
		dst[i] = d * float32(int8(scales[i/16])) * float32(int(v)-32)
	}
}

// crumb returns element i of 2-bit values: each 32 bytes hold 128 elements,
// the low bits of all bytes first.
func crumb(q []byte, i int) byte {
	return q[i/128*32+i%32] >> (i % 128 / 32 * 2) & 3
}

// pairedNibble returns element i of 4-bit values: each 32 bytes hold 64
// elements, the low halves of all bytes first.
func pairedNibble(q []byte, i int) byte {
	return q[i/64*32+i%32] >> (i % 64 / 32 * 4) & 0xf
}

// scaleMin unpacks the 6-bit scale and minimum of sub-block j (0 to 7) from
// 12 bytes: the first four of each stand in the low bits of bytes 0-3 and
// 4-7, the last four have their low nibbles in bytes 8-11 and their high bits
// in the top of bytes 0-3 and 4-7.
func scaleMin(b []byte, j int) (scale, minimum byte) {
	if j < 4 {
		return b[j] & 63, b[j+4] & 63
	}
	return b[j+4]&0xf | b[j-4]>>6<<4, b[j+4]>>4 | b[j]>>6<<4
}
