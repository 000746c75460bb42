// Weights repacked for tensor cores: units of 16 rows by SPAN inputs, whose
// bytes lie as the lanes of a warp take them.
//
// Inputs may stand in any order as long as both operands agree. In every 32
// inputs, the four lanes t of a row take inputs 8t to 8t+7: as pairs 0 and 1 of
// one instruction and pairs 2 and 3 of the next. Lane l has rows g = l/4 and
// g+8, with t = l%4. Codes become float16 integers with their sub-block's
// scale, which is exact, and a unit's scale multiplies the sum.
#pragma once

#include "weights.cuh"

#define HALF2(x) ((x) * 0x10001u)
#define H_1024 HALF2(0x6400u)

// Byte b of w as two equal float16 numbers, plus 1024.
static __device__ __forceinline__ u32 byte_as_half2(u32 w, int b) { return __byte_perm(w, 0x64646464, 0x4040 | b << 8 | b); }

// Four pairs of 4-bit codes of a word, and of their high bits, as integers times
// a scale; each pair p of the word has its codes at bits 4p and 16+4p. High bits
// of width bits lie in h from bit at of both halves on, pair after pair.
template <int bits> static __device__ __forceinline__ void code_pairs(u32 w, u32 h, int at, u32 a[4]) {
	const u32 high = (1u << bits) - 1;
#pragma unroll
	for (int p = 0; p < 4; p++) {
		u32 v = p < 2 ? w : w >> 8;
		a[p] = and_or(v, p % 2 ? 0x00f000f0 : 0x000f000f, H_1024);
		if (bits > 0) {
			int to = p % 2 ? 8 : 4, from = at + bits * p;
			a[p] = and_or(to > from ? h << (to - from) : h >> (from - to), HALF2(high << to), a[p]);
		}
	}
}

// Q4_K, and with one high bit Q5_K:
//   4 x [lane] { row g block 2i, row g+8 block 2i, row g block 2i+1, row g+8 block 2i+1 } words of 8 codes
//   Q5_K: [lane] { blocks 0 and 1, 2 and 3, ... } words of high bits
//   [lane] 8 bytes: t=0 scales of row g, t=1 minima, t=2 and t=3 of row g+8
//   [16 rows] { d, dmin }
template <int bits> struct KTile {
	enum { SPAN = 256, CODES = 2048, HIGH = bits * 512, BYTES = CODES + HIGH + 256 + 64, MINS = 1, BLOCK_SCALES = 0 };
	uint4 w[4], h;
	uint2 meta;
	u32 d;
	u32 s[2][2], m[2][2]; // [row g, g+8][8 bytes]

	__device__ __forceinline__ void load(const u8 *unit, int lane) {
#pragma unroll
		for (int i = 0; i < 4; i++)
			w[i] = load_stream(unit + i * 512 + lane * 16);
		if (bits > 0)
			h = load_stream(unit + CODES + lane * 16);
		meta = load_stream8(unit + CODES + HIGH + lane * 8);
		d = load_stream4(unit + CODES + HIGH + 256 + (lane / 4 + lane % 4 / 2 * 8) * 4);
	}
	__device__ __forceinline__ void prepare(int lane) {
#pragma unroll
		for (int r = 0; r < 2; r++) {
			int from = (lane & ~3) + 2 * r;
			s[r][0] = __shfl_sync(~0u, meta.x, from);
			s[r][1] = __shfl_sync(~0u, meta.y, from);
			m[r][0] = __shfl_sync(~0u, meta.x, from + 1);
			m[r][1] = __shfl_sync(~0u, meta.y, from + 1);
		}
	}
	__device__ __forceinline__ u32 step(int lane, int r) { return __shfl_sync(~0u, d, (lane & ~3) + 2 * r); }
	__device__ __forceinline__ float scale(int lane, int r) { return from_half((u16)step(lane, r)); }
	__device__ __forceinline__ float low(int lane, int r) { return from_half((u16)(step(lane, r) >> 16)); }
	__device__ __forceinline__ float block_scale(int, int) { return 1; }
	// Minima 2t and 2t+1 of a row.
	__device__ __forceinline__ u32 minima(int lane, int r) {
		u32 v = lane % 4 < 2 ? m[r][0] : m[r][1];
		return half2_add(__byte_perm(lane % 2 ? v >> 16 : v, 0x64646464, 0x4140), HALF2(0xe400u));
	}
	__device__ __forceinline__ float minimum(int j, int r) { return (float)(m[r][j / 4] >> (j % 4 * 8) & 255); }
	__device__ __forceinline__ void pairs(int, int j, int r, u32 a[4]) {
		const uint4 &q = w[j / 2];
		u32 word = j % 2 ? (r ? q.w : q.z) : (r ? q.y : q.x);
		u32 high = j / 2 == 0 ? h.x : j / 2 == 1 ? h.y : j / 2 == 2 ? h.z : h.w;
		code_pairs<bits>(word, high, j % 2 * 8 + r * 4, a);
		u32 f = half2_add(byte_as_half2(s[r][j / 4], j % 4), HALF2(0xe400u));        // s
		u32 f16 = half2_mul(f, HALF2(0x2c00u));                                     // s / 16
		u32 c = half2_mul(f, HALF2(0xe400u)), c16 = half2_mul(f, HALF2(0xd400u)); // -1024 s, -64 s
		a[0] = half2_fma(a[0], f, c);
		a[1] = half2_fma(a[1], f16, c16);
		a[2] = half2_fma(a[2], f, c);
		a[3] = half2_fma(a[3], f16, c16);
	}
};

// Q6_K:
//   4 x [lane] words as above
//   2 x [lane] { blocks 4i .. 4i+3 } words of two high bits, row g from bit 0, row g+8 from bit 8 of both halves
//   [lane] 8 scales: t=0 and t=1 of row g, t=2 and t=3 of row g+8
//   [16 rows] { d, unused }
struct Q6Tile {
	enum { SPAN = 256, CODES = 2048, HIGH = 1024, BYTES = CODES + HIGH + 256 + 64, MINS = 0, BLOCK_SCALES = 0 };
	uint4 w[4], h[2];
	uint2 meta;
	u32 d;
	u32 s[2][4]; // [row g, g+8][16 bytes], from this lane's first scale on

	__device__ __forceinline__ void load(const u8 *unit, int lane) {
#pragma unroll
		for (int i = 0; i < 4; i++)
			w[i] = load_stream(unit + i * 512 + lane * 16);
		h[0] = load_stream(unit + CODES + lane * 16);
		h[1] = load_stream(unit + CODES + 512 + lane * 16);
		meta = load_stream8(unit + CODES + HIGH + lane * 8);
		d = load_stream4(unit + CODES + HIGH + 256 + (lane / 4 + lane % 4 / 2 * 8) * 4);
	}
	__device__ __forceinline__ void prepare(int lane) {
#pragma unroll
		for (int r = 0; r < 2; r++)
#pragma unroll
			for (int i = 0; i < 2; i++) {
				int from = (lane & ~3) + 2 * r + i, shift = lane % 4 / 2 * 8;
				s[r][2 * i] = (__shfl_sync(~0u, meta.x, from) ^ 0x80808080) >> shift;
				s[r][2 * i + 1] = (__shfl_sync(~0u, meta.y, from) ^ 0x80808080) >> shift;
			}
	}
	__device__ __forceinline__ float scale(int lane, int r) { return from_half((u16)__shfl_sync(~0u, d, (lane & ~3) + 2 * r)); }
	__device__ __forceinline__ float low(int, int) { return 0; }
	__device__ __forceinline__ float block_scale(int, int) { return 1; }
	__device__ __forceinline__ u32 minima(int, int) { return 0; }
	__device__ __forceinline__ float minimum(int, int) { return 0; }
	__device__ __forceinline__ void pairs(int, int j, int r, u32 a[4]) {
		const uint4 &q = w[j / 2], &b = h[j / 4];
		u32 word = j % 2 ? (r ? q.w : q.z) : (r ? q.y : q.x);
		u32 high = j % 4 == 0 ? b.x : j % 4 == 1 ? b.y : j % 4 == 2 ? b.z : b.w;
		code_pairs<2>(word, high, r * 8, a);
		u32 f = half2_add(byte_as_half2(s[r][j / 2], j % 2 * 2), HALF2(0xe480u)); // byte + 1024 - 1152
		a[0] = half2_mul(half2_add(a[0], HALF2(0xe420u)), f);                    // - 1056
		a[1] = half2_mul(half2_fma(a[1], HALF2(0x2c00u), HALF2(0xd600u)), f);    // / 16 - 96
		a[2] = half2_mul(half2_add(a[2], HALF2(0xe420u)), f);
		a[3] = half2_mul(half2_fma(a[3], HALF2(0x2c00u), HALF2(0xd600u)), f);
	}
};

// Q8_0:
//   8 x [lane] { row g codes 0-3, 4-7, row g+8 codes 0-3, 4-7 } of a block
//   [lane] 4 float16 scales: t=0 blocks 0-3 of row g, t=1 blocks 4-7, t=2 and t=3 of row g+8
struct Q8Tile {
	enum { SPAN = 256, CODES = 4096, BYTES = CODES + 256, MINS = 0, BLOCK_SCALES = 1 };
	uint4 w[8];
	uint2 meta;
	u32 s[2][4];

	__device__ __forceinline__ void load(const u8 *unit, int lane) {
#pragma unroll
		for (int i = 0; i < 8; i++)
			w[i] = load_stream(unit + i * 512 + lane * 16);
		meta = load_stream8(unit + CODES + lane * 8);
	}
	__device__ __forceinline__ void prepare(int lane) {
#pragma unroll
		for (int r = 0; r < 2; r++)
#pragma unroll
			for (int i = 0; i < 2; i++) {
				int from = (lane & ~3) + 2 * r + i;
				s[r][2 * i] = __shfl_sync(~0u, meta.x, from);
				s[r][2 * i + 1] = __shfl_sync(~0u, meta.y, from);
			}
	}
	__device__ __forceinline__ float scale(int, int) { return 1; }
	__device__ __forceinline__ float low(int, int) { return 0; }
	__device__ __forceinline__ float block_scale(int j, int r) { return from_half((u16)(s[r][j / 2] >> (j % 2 * 16))); }
	__device__ __forceinline__ u32 minima(int, int) { return 0; }
	__device__ __forceinline__ float minimum(int, int) { return 0; }
	__device__ __forceinline__ void pairs(int, int j, int r, u32 a[4]) {
		u32 v[2] = {(r ? w[j].z : w[j].x) ^ 0x80808080, (r ? w[j].w : w[j].y) ^ 0x80808080};
#pragma unroll
		for (int p = 0; p < 4; p++)
			a[p] = half2_add(__byte_perm(v[p / 2], 0x64646464, p % 2 ? 0x4342 : 0x4140), HALF2(0xe480u)); // byte + 1024 - 1152
	}
};

// F16: 4 x [lane] 8 numbers: row g block 0, row g+8 block 0, row g block 1, row g+8 block 1.
struct HalfTile {
	enum { SPAN = 64, BYTES = 2048, MINS = 0, BLOCK_SCALES = 0 };
	uint4 w[4];

	__device__ __forceinline__ void load(const u8 *unit, int lane) {
#pragma unroll
		for (int i = 0; i < 4; i++)
			w[i] = load_stream(unit + i * 512 + lane * 16);
	}
	__device__ __forceinline__ void prepare(int) {}
	__device__ __forceinline__ float scale(int, int) { return 1; }
	__device__ __forceinline__ float low(int, int) { return 0; }
	__device__ __forceinline__ float block_scale(int, int) { return 1; }
	__device__ __forceinline__ u32 minima(int, int) { return 0; }
	__device__ __forceinline__ float minimum(int, int) { return 0; }
	__device__ __forceinline__ void pairs(int, int j, int r, u32 a[4]) {
		const uint4 &q = w[2 * j + r];
		a[0] = q.x;
		a[1] = q.y;
		a[2] = q.z;
		a[3] = q.w;
	}
};
