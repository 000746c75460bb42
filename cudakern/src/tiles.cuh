// Weights repacked for tensor cores: units of 16 rows by SPAN inputs, whose
// bytes lie as the lanes of a warp take them. Lane l has rows g = l/4 and g+8;
// t = l%4. Of every 32 inputs it takes 4t to 4t+3 and 16+4t to 16+4t+3. How they
// become operands is in operands.cuh.
#pragma once

#include "weights.cuh"

// Four bytes of 4 bits: the lower or upper halves of a word's bytes.
static __device__ __forceinline__ u32 nibbles(u32 w, int half) { return (half ? w >> 4 : w) & 0x0f0f0f0f; }

// Moves a field of all bytes from bit at to bit 4 and adds it to v.
static __device__ __forceinline__ u32 with_high(u32 v, u32 h, int at, u32 mask) {
	u32 m = mask * 0x01010101u << 4;
	return ((at < 4 ? h << (4 - at) : h >> (at - 4)) & m) | v;
}

static __device__ __forceinline__ u32 byte_of(u32 w, int b) { return w >> (8 * b) & 255; }

// Q4_K, and with one high bit Q5_K:
//   4 x [lane] { row g block 2i, row g+8 block 2i, row g block 2i+1, row g+8 block 2i+1 }: byte b of a word
//     holds the code of input 4t+b and, in its upper half, of 16+4t+b
//   Q5_K: [lane] { blocks 2i, 2i+1 }: bit 4*(block%2) + 2*(g+8) + half of byte b is input b's high bit
//   [lane] 8 bytes: t=0 scales of row g, t=1 minima, t=2 and t=3 of row g+8
//   [16 rows] { d, dmin }
template <int bits> struct KTile {
	enum { SPAN = 256, CODES = 2048, HIGH = bits * 512, SCALES = CODES + HIGH, BYTES = SCALES + 256 + 64 };
	uint4 w[4], h;
	u32 d[2], s[2][2], m[2][2]; // [row g, g+8][8 bytes]

	__device__ __forceinline__ void load(const u8 *unit, int lane) {
#pragma unroll
		for (int i = 0; i < 4; i++)
			w[i] = *(const uint4 *)(unit + i * 512 + lane * 16);
		if (bits > 0)
			h = *(const uint4 *)(unit + CODES + lane * 16);
#pragma unroll
		for (int r = 0; r < 2; r++) {
			uint4 v = *(const uint4 *)(unit + CODES + HIGH + lane / 4 * 32 + r * 16);
			s[r][0] = v.x;
			s[r][1] = v.y;
			m[r][0] = v.z;
			m[r][1] = v.w;
			d[r] = *(const u32 *)(unit + CODES + HIGH + 256 + (lane / 4 + r * 8) * 4);
		}
	}
	__device__ __forceinline__ u32 codes(int j, int r, int half) const {
		const uint4 &q = w[j / 2];
		u32 v = nibbles(j % 2 ? (r ? q.w : q.z) : (r ? q.y : q.x), half);
		if (bits == 0)
			return v;
		return with_high(v, j / 2 == 0 ? h.x : j / 2 == 1 ? h.y : j / 2 == 2 ? h.z : h.w, j % 2 * 4 + r * 2 + half, 1);
	}
	__device__ __forceinline__ int scale(int j, int r, int) const { return byte_of(s[r][j / 4], j % 4); }
	__device__ __forceinline__ float step(int r) const { return from_half((u16)d[r]); }
	__device__ __forceinline__ float value(int j, int r, int half, int code) const {
		return step(r) * scale(j, r, half) * code - from_half((u16)(d[r] >> 16)) * byte_of(m[r][j / 4], j % 4);
	}
};

// Q6_K:
//   4 x [lane] words as above
//   2 x [lane] { blocks 4i .. 4i+3 }: bits 4*(g+8) + 2*half of byte b are input b's two high bits
//   [lane] 8 scales: t=0 and t=1 of row g, t=2 and t=3 of row g+8
//   [16 rows] { d, unused }
struct Q6Tile {
	enum { SPAN = 256, CODES = 2048, HIGH = 1024, SCALES = CODES + HIGH, BYTES = SCALES + 256 + 64 };
	uint4 w[4], h[2];
	u32 d[2], s[2][4]; // [row g, g+8][16 bytes]

	__device__ __forceinline__ void load(const u8 *unit, int lane) {
#pragma unroll
		for (int i = 0; i < 4; i++)
			w[i] = *(const uint4 *)(unit + i * 512 + lane * 16);
		h[0] = *(const uint4 *)(unit + CODES + lane * 16);
		h[1] = *(const uint4 *)(unit + CODES + 512 + lane * 16);
#pragma unroll
		for (int r = 0; r < 2; r++) {
			*(uint4 *)s[r] = *(const uint4 *)(unit + CODES + HIGH + lane / 4 * 32 + r * 16);
			d[r] = *(const u32 *)(unit + CODES + HIGH + 256 + (lane / 4 + r * 8) * 4);
		}
	}
	__device__ __forceinline__ u32 codes(int j, int r, int half) const {
		const uint4 &q = w[j / 2], &b = h[j / 4];
		u32 v = nibbles(j % 2 ? (r ? q.w : q.z) : (r ? q.y : q.x), half);
		return with_high(v, j % 4 == 0 ? b.x : j % 4 == 1 ? b.y : j % 4 == 2 ? b.z : b.w, r * 4 + half * 2, 3);
	}
	__device__ __forceinline__ int scale(int j, int r, int half) const { return (int)(s[r][j / 2] << (24 - 8 * (j % 2 * 2 + half))) >> 24; }
	__device__ __forceinline__ float step(int r) const { return from_half((u16)d[r]); }
	__device__ __forceinline__ float value(int j, int r, int half, int code) const { return step(r) * scale(j, r, half) * (code - 32); }
};

// Q8_0:
//   8 x [lane] { row g inputs 4t.., row g inputs 16+4t.., row g+8 likewise } of a block
//   [lane] 4 float16 scales: t=0 blocks 0-3 of row g, t=1 blocks 4-7, t=2 and t=3 of row g+8
struct Q8Tile {
	enum { SPAN = 256, CODES = 4096, SCALES = CODES, BYTES = SCALES + 256 };
	uint4 w[8];
	u32 s[2][4];

	__device__ __forceinline__ void load(const u8 *unit, int lane) {
#pragma unroll
		for (int i = 0; i < 8; i++)
			w[i] = *(const uint4 *)(unit + i * 512 + lane * 16);
#pragma unroll
		for (int r = 0; r < 2; r++)
			*(uint4 *)s[r] = *(const uint4 *)(unit + CODES + lane / 4 * 32 + r * 16);
	}
	__device__ __forceinline__ u32 codes(int j, int r, int half) const { return r ? (half ? w[j].w : w[j].z) : (half ? w[j].y : w[j].x); }
	__device__ __forceinline__ float block_scale(int j, int r) const { return from_half((u16)(s[r][j / 2] >> (j % 2 * 16))); }
	__device__ __forceinline__ float value(int j, int r, int, int code) const { return block_scale(j, r) * (i8)code; }
};

// F16: 4 x [lane] 8 numbers, of 32 inputs 8t to 8t+7: row g block 0, row g+8 block
// 0, row g block 1, row g+8 block 1.
struct HalfTile {
	enum { SPAN = 64, BYTES = 2048 };
	uint4 w[4];

	__device__ __forceinline__ void load(const u8 *unit, int lane) {
#pragma unroll
		for (int i = 0; i < 4; i++)
			w[i] = *(const uint4 *)(unit + i * 512 + lane * 16);
	}
};
