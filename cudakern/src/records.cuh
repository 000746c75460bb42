// Records of coded tokens as offload.Record lays them out, and how they become
// pages of float16.
#pragma once

#include "prim.cuh"

enum { TOKENS = 32, COLD = 16, BLOCK = 256, V_GROUP = 64 };

// Where things lie in a record of so many tokens of one KV head. Bits are 16 for
// float16 values, which need no scales.
struct Record {
	int dim, group, k_bits, v_bits;
	int step_bytes, per, groups;                            // per: channels of a run of K; groups: zeros of a token's value
	int k_steps, k, k_row, v_scales, v_steps, v, v_row, bytes; // byte offsets and sizes

	__device__ __forceinline__ Record(int dim, int group, int k_bits, int v_bits) : dim(dim), group(group), k_bits(k_bits), v_bits(v_bits) {
		int tok = min(group, (int)TOKENS);
		step_bytes = group == COLD ? 1 : 2;
		groups = (dim + V_GROUP - 1) / V_GROUP;
		k_steps = 2 * dim;
		if (k_bits == 16) {
			per = 1;
			k = 0;
			k_row = tok * 2;
			v_row = dim * 2;
			v_scales = v_steps = v = group * dim * 2;
		} else {
			per = (k_bits == 6 ? 64 : 32) / tok;
			k = (2 + step_bytes) * dim;
			k_row = k_bits == 6 ? 48 : 4 * k_bits;
			v_row = (dim + 31) / 32 * 4 * v_bits;
			v_scales = k + k_runs() * k_row;
			v_steps = v_scales + 2 * group * groups;
			v = v_scales + (2 + step_bytes) * group * groups;
		}
		bytes = (v + group * v_row + 127) / 128 * 128;
	}

	// Runs of K of the whole record, and of one page of it.
	__device__ __forceinline__ int page_runs() const { return (dim + per - 1) / per; }
	__device__ __forceinline__ int k_runs() const { return group / min(group, (int)TOKENS) * page_runs(); }
	__device__ __forceinline__ bool cold() const { return group == COLD; }
};

// A step in float16, from a byte or as it is.
static __device__ __forceinline__ u32 step_half(const Record &r, const u8 *steps, int i) {
	u32 h = r.step_bytes == 1 ? to_half(exp2f(steps[i] * 0.125f - 16)) : ((const u16 *)steps)[i];
	return h | h << 16;
}

// Part p of a run of codes of 6 bits, all of which is read: no load waits for a branch.
static __device__ __forceinline__ void codes6(const u8 *run, int p, u32 w[4]) {
	uint4 x[3];
#pragma unroll
	for (int i = 0; i < 3; i++)
		x[i] = ((const uint4 *)run)[i];
	const u32 *a = (const u32 *)&x[0], *b = (const u32 *)&x[1], *c = (const u32 *)&x[2];
#pragma unroll
	for (int i = 0; i < 4; i++) {
		u32 low = (p == 0 ? a[i] : p == 1 ? b[i] : c[i]) & 0x3f3f3f3f, rest = a[i] >> 6 & 0x03030303 | b[i] >> 4 & 0x0c0c0c0c | c[i] >> 2 & 0x30303030;
		w[i] = p < 3 ? low : rest;
	}
}

// Part p of a run, 16 neighbouring codes, a byte each.
template <int BITS> static __device__ __forceinline__ void codes16(const u8 *run, int p, u32 w[4]) {
	uint4 x;
	uint2 y;
	if (BITS == 8) {
		x = *(const uint4 *)(run + 16 * p);
		w[0] = x.x, w[1] = x.y, w[2] = x.z, w[3] = x.w;
	} else if (BITS == 6) {
		codes6(run, p, w);
	} else if (BITS == 4) {
		x = *(const uint4 *)run;
		w[0] = x.x >> 4 * p & 0x0f0f0f0f, w[1] = x.y >> 4 * p & 0x0f0f0f0f, w[2] = x.z >> 4 * p & 0x0f0f0f0f, w[3] = x.w >> 4 * p & 0x0f0f0f0f;
	} else if (BITS == 2) {
		y = *(const uint2 *)run;
		w[0] = y.x >> 4 * p & 0x03030303, w[1] = y.y >> 4 * p & 0x03030303;
		w[2] = y.x >> (4 * p + 2) & 0x03030303, w[3] = y.y >> (4 * p + 2) & 0x03030303;
	} else {
		x.x = *(const u32 *)run;
#pragma unroll
		for (int i = 0; i < 4; i++)
			w[i] = x.x >> (4 * p + i) & 0x01010101;
	}
}

// Writes 16 values zero + step*code. A code c is 1024 + c in float16 when it
// stands below the exponent of 1024, and becomes c exactly.
static __device__ __forceinline__ void put16(const u32 w[4], u32 zero, u32 step, u8 *dst) {
	uint4 o[2];
	u32 *v = (u32 *)o;
	zero |= zero << 16;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		v[2 * i] = half2_fma(half2_add(__byte_perm(w[i], 0x64646464, 0x4140), 0xe400e400), step, zero);
		v[2 * i + 1] = half2_fma(half2_add(__byte_perm(w[i], 0x64646464, 0x4342), 0xe400e400), step, zero);
	}
	((uint4 *)dst)[0] = o[0];
	((uint4 *)dst)[1] = o[1];
}

static __device__ __forceinline__ void copy32(const u8 *src, u8 *dst) {
	((uint4 *)dst)[0] = ((const uint4 *)src)[0];
	((uint4 *)dst)[1] = ((const uint4 *)src)[1];
}

// Where a page of float16 of 32 tokens is made, K [dim, 32] in rows of k_stride bytes
// and V [32, dim] in rows of v_stride: of two cold pages' records a and b, or of part of
// record a; by which of so many threads. halves are those that are made, 1 of a, 2 of b: of
// one of them alone, other threads make values than keys.
struct Expansion {
	const u8 *a, *b;
	int part;
	u8 *k;
	int k_stride;
	u8 *v;
	int v_stride, thread, threads, halves = 3;

	template <int BITS> __device__ __forceinline__ void keys(const Record &r) const {
		int both = halves == 3;
#pragma unroll 1
		for (int u = thread; u < r.dim << both; u += threads) {
			int c = u >> both, h = both ? u % 2 : halves - 1;
			const u8 *rec = r.cold() && h ? b : a;
			u8 *dst = k + c * k_stride + h * 32;
			if (BITS == 16) {
				copy32(r.cold() ? rec + c * 32 : rec + (part * r.dim + c) * 64 + h * 32, dst);
				continue;
			}
			int run = c / r.per, p = c % r.per;
			if (!r.cold()) {
				run += part * r.page_runs();
				p = 2 * p + h;
			}
			u32 w[4];
			codes16<BITS>(rec + r.k + run * r.k_row, p, w);
			put16(w, ((const u16 *)rec)[c], step_half(r, rec + r.k_steps, c), dst);
		}
	}

	template <int BITS> __device__ __forceinline__ void values(const Record &r) const {
		int wide = r.dim / 16, both = halves == 3, first = halves == 2 ? COLD : 0;
#pragma unroll 1
		for (int u = both ? thread : (thread + threads / 2) % threads; u < COLD * wide << both; u += threads) {
			int t = first + u / wide, x = u % wide;
			const u8 *rec = r.cold() && t >= COLD ? b : a;
			u8 *dst = v + t * v_stride + x * 32;
			int at = r.cold() ? t % COLD : part * TOKENS + t;
			const u8 *row = rec + r.v + at * r.v_row;
			if (BITS == 16) {
				copy32(row + x * 32, dst);
				continue;
			}
			int g = at * r.groups + x / 4;
			u32 w[4];
			codes16<BITS>(row + x / 2 * 4 * BITS, x % 2, w);
			put16(w, ((const u16 *)(rec + r.v_scales))[g], step_half(r, rec + r.v_steps, g), dst);
		}
	}
};

static __device__ __forceinline__ void expand(const Record &r, const Expansion &e) {
	switch (r.k_bits) {
	case 16: e.keys<16>(r); break;
	case 8: e.keys<8>(r); break;
	case 6: e.keys<6>(r); break;
	case 4: e.keys<4>(r); break;
	case 2: e.keys<2>(r); break;
	default: e.keys<1>(r);
	}
	switch (r.v_bits) {
	case 16: e.values<16>(r); break;
	case 8: e.values<8>(r); break;
	case 4: e.values<4>(r); break;
	case 2: e.values<2>(r); break;
	default: e.values<1>(r);
	}
}

// What a step knows of each of its sequences.
struct Sequence {
	int slot, set, from, stored; // places in tails and working sets; tokens in records before the step and during it
};

// Words of the traffic, which choices and fetches count.
enum { PAGES_READ, CHOSEN, HITS, FETCHED, COLD_BYTES, STREAMED };

// In place of what a place of a working set lacks, page + (BLOCK / COLD) unit: it lacks nothing; and
// the choice that says so has yet to be made.
#define HELD ~0u
#define TO_COME ~1u

enum { MOST_LOOKS = 1 << 8 }; // at what another kernel says, before one waits for its end

// A word that others write meanwhile.
static __device__ __forceinline__ u32 look_at(const u32 *word) {
	u32 v;
	asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(word) : "memory");
	return v;
}

// The same, with all that whoever wrote it had seen.
static __device__ __forceinline__ u32 acquire(const u32 *word) {
	u32 v;
	asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(word) : "memory");
	return v;
}

// Counts a block with all that its threads had done before its last barrier.
static __device__ __forceinline__ void count_in(u32 *word) { asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(word) : "memory"); }
