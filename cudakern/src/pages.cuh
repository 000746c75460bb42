// Pages of exact tokens as attention reads them (offload.Layout): 32 tokens, of
// every KV head K [dim, 32] and V [32, dim] in float16.
#pragma once

#include "prim.cuh"

enum { PAGE = 32 };

// Rows in shared memory are padded so that the eight rows of a matrix lie in
// different banks.
template <int DIM> struct Page {
	enum { K_ROW = PAGE * 2 + 16, V_ROW = DIM * 2 + 16, V = DIM * K_ROW, BYTES = V + PAGE * V_ROW };
};

// Brings a head's page to shared memory with the given threads. Values of tokens
// outside [from, to) of the page become zeros: what was never written must not
// reach a sum, not even times zero.
template <int DIM> static __device__ __forceinline__ void bring_page(u32 dst, const u8 *head, int from, int to, int thread, int threads) {
	typedef Page<DIM> P;
#pragma unroll 4
	for (int i = thread; i < DIM * 4; i += threads)
		copy_async(dst + i / 4 * P::K_ROW + i % 4 * 16, head + i * 16, true);
	const u8 *v = head + DIM * PAGE * 2;
#pragma unroll 4
	for (int i = thread; i < PAGE * DIM / 8; i += threads) {
		int tok = i / (DIM / 8);
		copy_async(dst + P::V + tok * P::V_ROW + i % (DIM / 8) * 16, v + i * 16, tok >= from && tok < to);
	}
	copy_commit();
}

// s [16, 32] = q k^T for 16 query rows given as operands [DIM/16][4].
template <int DIM, class Query> static __device__ __forceinline__ void scores(u32 page, const Query &q, int lane, float s[4][4]) {
#pragma unroll
	for (int n = 0; n < 4; n++)
		s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
	u32 at = page + lane % 16 * Page<DIM>::K_ROW + lane / 16 * 16;
#pragma unroll
	for (int k = 0; k < DIM / 16; k++) {
		const auto &a = q[k];
#pragma unroll
		for (int n = 0; n < 2; n++) {
			u32 b[4];
			load_matrices_turned(b, at + k * 16 * Page<DIM>::K_ROW + n * 32);
			mma16(s[2 * n], a[0], a[1], a[2], a[3], b[0], b[1]);
			mma16(s[2 * n + 1], a[0], a[1], a[2], a[3], b[2], b[3]);
		}
	}
}

// o [16, DIM] += p v for weights of 32 tokens given as operands [2][4].
template <int DIM> static __device__ __forceinline__ void add_values(u32 page, const u32 p[2][4], int lane, float o[][4]) {
	u32 at = page + Page<DIM>::V + lane % 16 * Page<DIM>::V_ROW + lane / 16 * 16;
#pragma unroll
	for (int k = 0; k < 2; k++) {
#pragma unroll
		for (int n = 0; n < DIM / 16; n++) {
			u32 b[4];
			load_matrices_turned(b, at + k * 16 * Page<DIM>::V_ROW + n * 32);
			mma16(o[2 * n], p[k][0], p[k][1], p[k][2], p[k][3], b[0], b[1]);
			mma16(o[2 * n + 1], p[k][0], p[k][1], p[k][2], p[k][3], b[2], b[3]);
		}
	}
}
