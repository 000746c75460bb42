// Codes of tiles (tiles.cuh) to float16 operands of tensor cores: 64 inputs of a
// unit at a time, as the first operand of four instructions [16, 16].
//
// Two codes are taken out of a word with one mask, and their exponent put above
// them with the same instruction: 1024 + code, or 1024 + 16 times the code for the
// upper halves of bytes. So an instruction's 16 inputs are first the even ones
// of 16 neighbours, then the odd ones: whoever prepares inputs orders them so.
#pragma once

#include "tiles.cuh"

enum { STEP = 64 }; // inputs of a step

// The place of input i of 16 among an instruction's inputs.
static __device__ __forceinline__ int place_of(int i) { return i % 2 * 8 + i / 2; }

#define MINUS_1024 0xe400e400u
#define MINUS_1056 0xe420e420u
#define MINUS_1152 0xe480e480u
#define MINUS_64 0xd400d400u
#define MINUS_96 0xd600d600u
#define SIXTEENTH 0x2c002c00u

// Both halves of a pair of float16, of its lower and of its upper one.
static __device__ __forceinline__ u32 twice_low(u32 x) { return __byte_perm(x, 0, 0x1010); }
static __device__ __forceinline__ u32 twice_high(u32 x) { return __byte_perm(x, 0, 0x3232); }

// Two bytes of x, from `first` on, as float16.
static __device__ __forceinline__ u32 bytes_to_half(u32 x, int first) { return half2_add(__byte_perm(x, 0x64646464, first ? 0x4342 : 0x4140), MINUS_1024); }

static __device__ __forceinline__ u32 at16_of(const u8 *p) { return *(const u16 *)p; }

// The row of a unit that a lane makes one row of its operand from: row lane/4 of
// the tile, or with `lower` row lane/4 + 8.
struct UnitRow {
	const u8 *unit;
	int lower;
};

// A step's words of 4-bit codes of a row: blocks 2*step and 2*step+1.
static __device__ __forceinline__ uint2 code_words(UnitRow r, int step, int lane) {
	uint4 w = *(const uint4 *)(r.unit + step * 512 + lane * 16);
	return r.lower ? make_uint2(w.y, w.w) : make_uint2(w.x, w.z);
}

// Fields of bytes 0 and 2 of h, `mask` at bit `from`, moved to bit `to`.
static __device__ __forceinline__ u32 high_bits(u32 h, int from, int to, u32 mask) {
	return (from < to ? h << (to - from) : h >> (from - to)) & mask * 0x00010001u << to;
}

// The scales of a row's 64 inputs: words of which those from byte `first` on count,
// and what multiplies them.
struct Scales {
	u32 s, m, d;
	int first;
};

// All scales of a row of a unit.
struct UnitScales {
	uint4 v;
	u32 d;
};

// A type's scales lie in 32 bytes for rows g and g+8 of each lane, and behind those
// may be a unit's.
template <class T> static __device__ __forceinline__ const u8 *scales_at(UnitRow r, int lane) { return r.unit + T::SCALES + lane / 4 * 32 + r.lower * 16; }
template <class T> static __device__ __forceinline__ u32 unit_step(UnitRow r, int lane) { return *(const u32 *)(r.unit + T::SCALES + 256 + (lane / 4 + r.lower * 8) * 4); }

template <class T> static __device__ __forceinline__ UnitScales unit_scales(const T *, UnitRow r, int lane) {
	return {*(const uint4 *)scales_at<T>(r, lane), T::BYTES > T::SCALES + 256 ? unit_step<T>(r, lane) : 0};
}
static __device__ __forceinline__ UnitScales unit_scales(const HalfTile *, UnitRow, int) { return {}; }

static __device__ __forceinline__ u32 word_of(const uint4 &v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

template <int bits> static __device__ __forceinline__ Scales scales_of(const KTile<bits> *, const UnitScales &u, int step) {
	return {word_of(u.v, step / 2), word_of(u.v, 2 + step / 2), u.d, step % 2 * 2};
}
template <class T> static __device__ __forceinline__ Scales scales_of(const T *, const UnitScales &u, int step) { return {word_of(u.v, step), 0, u.d, 0}; }

// The same of one step.
template <int bits> static __device__ __forceinline__ Scales step_scales(const KTile<bits> *, UnitRow r, int step, int lane) {
	const u8 *at = scales_at<KTile<bits>>(r, lane) + 2 * step;
	return {at16_of(at), at16_of(at + 8), unit_step<KTile<bits>>(r, lane), 0};
}
template <class T> static __device__ __forceinline__ Scales step_scales(const T *, UnitRow r, int step, int lane) {
	return {*(const u32 *)(scales_at<T>(r, lane) + 4 * step), 0, T::BYTES > T::SCALES + 256 ? unit_step<T>(r, lane) : 0, 0};
}
static __device__ __forceinline__ Scales step_scales(const HalfTile *, UnitRow, int, int) { return {}; }

template <int bits> static __device__ __forceinline__ void operand(const KTile<bits> *, UnitRow row, Scales of, int step, int lane, int r, u32 a[4][4]) {
	typedef KTile<bits> T;
	uint2 words = code_words(row, step, lane);
	u32 high = bits ? *(const u32 *)(row.unit + T::CODES + lane * 16 + step * 4) >> (2 * row.lower) : 0;
	u32 s = half2_mul(bytes_to_half(of.s, of.first), twice_low(of.d));
	u32 m = half2_mul(bytes_to_half(of.m, of.first), twice_high(of.d)) ^ 0x80008000u;
#pragma unroll
	for (int b = 0; b < 2; b++) {
		u32 by = b ? twice_high(s) : twice_low(s), less = b ? twice_high(m) : twice_low(m);
#pragma unroll
		for (int odd = 0; odd < 2; odd++) {
			u32 w = (b ? words.y : words.x) >> (8 * odd), h = high >> (8 * odd);
			u32 low = and_or(w, 0x000f000f, 0x64006400), up = and_or(w, 0x00f000f0, 0x64006400);
			if (bits) {
				low |= high_bits(h, 4 * b, 4, 1);
				up |= high_bits(h, 4 * b + 1, 8, 1);
			}
			a[2 * b][2 * odd + r] = half2_fma(half2_add(low, MINUS_1024), by, less);
			a[2 * b + 1][2 * odd + r] = half2_fma(half2_fma(up, SIXTEENTH, MINUS_64), by, less);
		}
	}
}

static __device__ __forceinline__ void operand(const Q6Tile *, UnitRow row, Scales of, int step, int lane, int r, u32 a[4][4]) {
	typedef Q6Tile T;
	u32 scales = of.s ^ 0x80808080u;
	uint2 words = code_words(row, step, lane), high = *(const uint2 *)(row.unit + T::CODES + step / 2 * 512 + lane * 16 + step % 2 * 8);
#pragma unroll
	for (int b = 0; b < 2; b++) {
		u32 s = half2_add(__byte_perm(scales, 0x64646464, b ? 0x4342 : 0x4140), MINUS_1152);
		s = half2_mul(s, twice_low(of.d));
#pragma unroll
		for (int odd = 0; odd < 2; odd++) {
			u32 w = (b ? words.y : words.x) >> (8 * odd), h = (b ? high.y : high.x) >> (8 * odd + 4 * row.lower);
			u32 low = and_or(w, 0x000f000f, 0x64006400) | high_bits(h, 0, 4, 3);
			u32 up = and_or(w, 0x00f000f0, 0x64006400) | high_bits(h, 2, 8, 3);
			a[2 * b][2 * odd + r] = half2_mul(half2_add(low, MINUS_1056), twice_low(s));
			a[2 * b + 1][2 * odd + r] = half2_mul(half2_fma(up, SIXTEENTH, MINUS_96), twice_high(s));
		}
	}
}

static __device__ __forceinline__ void operand(const Q8Tile *, UnitRow row, Scales of, int step, int lane, int r, u32 a[4][4]) {
#pragma unroll
	for (int b = 0; b < 2; b++) {
		uint2 w = *(const uint2 *)(row.unit + (2 * step + b) * 512 + lane * 16 + row.lower * 8);
		u32 by = b ? twice_high(of.s) : twice_low(of.s);
#pragma unroll
		for (int half = 0; half < 2; half++) {
			u32 c = (half ? w.y : w.x) ^ 0x80808080u;
			a[2 * b + half][r] = half2_mul(half2_add(__byte_perm(c, 0x64646464, 0x4240), MINUS_1152), by);
			a[2 * b + half][2 + r] = half2_mul(half2_add(__byte_perm(c, 0x64646464, 0x4341), MINUS_1152), by);
		}
	}
}

// Lanes store 8 neighbours of 32 inputs and want 4 of two groups of 16.
static __device__ __forceinline__ void operand(const HalfTile *, UnitRow row, Scales, int, int lane, int r, u32 a[4][4]) {
	int t = lane % 4;
#pragma unroll
	for (int b = 0; b < 2; b++)
#pragma unroll
		for (int half = 0; half < 2; half++) {
			uint2 w = *(const uint2 *)(row.unit + (2 * b + row.lower) * 512 + (lane / 4 * 4 + 2 * half + t / 2) * 16 + t % 2 * 8);
			a[2 * b + half][r] = __byte_perm(w.x, w.y, 0x5410);
			a[2 * b + half][2 + r] = __byte_perm(w.x, w.y, 0x7632);
		}
}
