// Weights in the model file's own encodings, eight neighbouring values at a
// time. The definitions are infer/gguf's.
#pragma once

#include "prim.cuh"

// Encodings, in ggml's numbering.
enum { F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q5_0 = 6, Q5_1 = 7, Q8_0 = 8, Q2_K = 10, Q3_K = 11, Q4_K = 12, Q5_K = 13, Q6_K = 14, IQ4_NL = 20, IQ4_XS = 23, BF16 = 30 };

static __device__ __forceinline__ u16 at16(const u8 *p) { return *(const u16 *)p; }
static __device__ __forceinline__ u32 at32(const u8 *p) { return at16(p) | (u32)at16(p + 2) << 16; }
static __device__ __forceinline__ float half_at(const u8 *p) { return from_half(at16(p)); }

__constant__ float iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// The 6-bit scale and minimum of sub-block j of Q4_K and Q5_K.
static __device__ __forceinline__ void scale_min(const u8 *b, int j, int *s, int *m) {
	if (j < 4) {
		*s = b[j] & 63;
		*m = b[j + 4] & 63;
	} else {
		*s = (b[j + 4] & 15) | b[j - 4] >> 6 << 4;
		*m = b[j + 4] >> 4 | b[j] >> 6 << 4;
	}
}

// Bytes of a row's first k values, whole blocks.
static __device__ __forceinline__ u64 block_at(int k, int elems, int bytes) { return (u64)(k / elems) * bytes; }

// Values k to k+7 of a row; k is a multiple of 8.
static __device__ __forceinline__ void decode8(int type, const u8 *row, int k, float x[8]) {
	switch (type) {
	case F32:
#pragma unroll
		for (int i = 0; i < 8; i++)
			x[i] = ((const float *)row)[k + i];
		return;
	case F16:
#pragma unroll
		for (int i = 0; i < 8; i++)
			x[i] = from_half(((const u16 *)row)[k + i]);
		return;
	case BF16:
#pragma unroll
		for (int i = 0; i < 8; i++)
			x[i] = __uint_as_float((u32)((const u16 *)row)[k + i] << 16);
		return;
	}
	int in = k % 32;                   // place in a block of 32
	int low = in % 16, up = in / 16 * 4; // nibbles: 16 low halves, then 16 high ones
	switch (type) {
	case Q4_0: case IQ4_NL: {
		const u8 *b = row + block_at(k, 32, 18);
		float d = half_at(b);
#pragma unroll
		for (int i = 0; i < 8; i++) {
			int q = b[2 + low + i] >> up & 15;
			x[i] = d * (type == Q4_0 ? q - 8.0f : iq4_levels[q]);
		}
		return;
	}
	case Q4_1: {
		const u8 *b = row + block_at(k, 32, 20);
		float d = half_at(b), m = half_at(b + 2);
#pragma unroll
		for (int i = 0; i < 8; i++)
			x[i] = d * (b[4 + low + i] >> up & 15) + m;
		return;
	}
	case Q5_0: {
		const u8 *b = row + block_at(k, 32, 22);
		float d = half_at(b);
		u32 high = at32(b + 2) >> in;
#pragma unroll
		for (int i = 0; i < 8; i++)
			x[i] = d * ((int)((b[6 + low + i] >> up & 15) | (high >> i & 1) << 4) - 16);
		return;
	}
	case Q5_1: {
		const u8 *b = row + block_at(k, 32, 24);
		float d = half_at(b), m = half_at(b + 2);
		u32 high = at32(b + 4) >> in;
#pragma unroll
		for (int i = 0; i < 8; i++)
			x[i] = d * (int)((b[8 + low + i] >> up & 15) | (high >> i & 1) << 4) + m;
		return;
	}
	case Q8_0: {
		const u8 *b = row + block_at(k, 32, 34);
		float d = half_at(b);
#pragma unroll
		for (int i = 0; i < 8; i++)
			x[i] = d * (i8)b[2 + in + i];
		return;
	}
	}
	int e = k % 256; // place in a block of 256
	switch (type) {
	case Q2_K: {
		const u8 *b = row + block_at(k, 256, 84);
		float d = half_at(b + 80) * (b[e / 16] & 15), m = half_at(b + 82) * (b[e / 16] >> 4);
		const u8 *q = b + 16 + e / 128 * 32 + e % 32;
#pragma unroll
		for (int i = 0; i < 8; i++)
			x[i] = d * (q[i] >> (e % 128 / 32 * 2) & 3) - m;
		return;
	}
	case Q3_K: {
		const u8 *b = row + block_at(k, 256, 110), *p = b + 96;
		int sub = e / 16;
		int s = (p[sub % 8] >> (sub / 8 * 4) & 15) | (p[8 + sub % 4] >> (sub / 4 * 2) & 3) << 4;
		float d = half_at(b + 108) * (s - 32);
		const u8 *q = b + 32 + e / 128 * 32 + e % 32, *h = b + e % 32;
#pragma unroll
		for (int i = 0; i < 8; i++)
			x[i] = d * ((int)(q[i] >> (e % 128 / 32 * 2) & 3) - (h[i] >> (e / 32) & 1 ? 0 : 4));
		return;
	}
	case Q4_K: case Q5_K: {
		const u8 *b = row + block_at(k, 256, type == Q4_K ? 144 : 176);
		int s, m;
		scale_min(b + 4, e / 32, &s, &m);
		float d = half_at(b) * s, low = half_at(b + 2) * m;
		const u8 *q = b + (type == Q4_K ? 16 : 48) + e / 64 * 32 + e % 32, *h = b + 16 + e % 32;
#pragma unroll
		for (int i = 0; i < 8; i++) {
			int v = q[i] >> (e % 64 / 32 * 4) & 15;
			if (type == Q5_K)
				v |= (h[i] >> (e / 32) & 1) << 4;
			x[i] = d * v - low;
		}
		return;
	}
	case Q6_K: {
		const u8 *b = row + block_at(k, 256, 210);
		int j = e % 128;
		float d = half_at(b + 208) * (i8)b[192 + e / 16];
		const u8 *q = b + e / 128 * 64 + j % 64, *h = b + 128 + e / 128 * 32 + e % 32;
#pragma unroll
		for (int i = 0; i < 8; i++)
			x[i] = d * ((int)((q[i] >> (j / 64 * 4) & 15) | (h[i] >> (j / 32 * 2) & 3) << 4) - 32);
		return;
	}
	case IQ4_XS: {
		const u8 *b = row + block_at(k, 256, 136);
		int sub = e / 32;
		int s = (b[4 + sub / 2] >> (sub % 2 * 4) & 15) | (at16(b + 2) >> (2 * sub) & 3) << 4;
		float d = half_at(b) * (s - 32);
#pragma unroll
		for (int i = 0; i < 8; i++)
			x[i] = d * iq4_levels[b[8 + 16 * sub + low + i] >> up & 15];
		return;
	}
	}
}
