// Attention of single rows whose pages are split between warps and blocks.
//
// Eight query heads that share a KV head take rows 0 to 7 of a tile, and what
// float16 left of them, times 2048, rows 8 to 15; so do their softmax weights.
// 22 bits survive, and a tile costs the same.
#pragma once

#include "pages.cuh"

extern __shared__ __align__(16) u8 dynamic[];

#define LOW 2048.0f

// The factor from a maximum to a larger one; 0 where there was none.
static __device__ __forceinline__ float rescale(float from, float to) { return from == -INF ? 0 : exp2f(from - to); }

template <int DIM> struct Split {
	float o[DIM / 8][4], top, sum; // of rows g; top in units of log2
	u32 q[DIM / 16][4];

	__device__ __forceinline__ void begin(const float *src, bool ok, int lane) {
		top = -INF;
		sum = 0;
#pragma unroll
		for (int n = 0; n < DIM / 8; n++)
			o[n][0] = o[n][1] = o[n][2] = o[n][3] = 0;
#pragma unroll
		for (int k = 0; k < DIM / 16; k++)
#pragma unroll
			for (int h = 0; h < 2; h++) {
				float2 v = ok ? *(const float2 *)(src + k * 16 + h * 8 + lane % 4 * 2) : make_float2(0, 0);
				u32 hi = to_half2(v.x, v.y);
				q[k][2 * h] = hi;
				q[k][2 * h + 1] = to_half2((v.x - from_half((u16)hi)) * LOW, (v.y - from_half((u16)(hi >> 16))) * LOW);
			}
	}

	// Attends to tokens [from, to) of a page.
	__device__ __forceinline__ void page(u32 at, int from, int to, float scale, int lane) {
		float s[4][4];
		scores<DIM>(at, q, lane, s);
		float most = top;
#pragma unroll
		for (int n = 0; n < 4; n++)
#pragma unroll
			for (int i = 0; i < 2; i++) {
				int tok = n * 8 + lane % 4 * 2 + i;
				s[n][i] = tok >= from && tok < to ? (s[n][i] + s[n][i + 2] * (1 / LOW)) * scale : -INF;
				most = fmaxf(most, s[n][i]);
			}
		most = quad_max(most);
		float f = rescale(top, most);
		top = most;
		sum *= f;
#pragma unroll
		for (int n = 0; n < DIM / 8; n++) {
			o[n][0] *= f;
			o[n][1] *= f;
			o[n][2] *= f;
			o[n][3] *= f;
		}
		u32 p[2][4];
		float added = 0;
#pragma unroll
		for (int n = 0; n < 4; n++) {
			// Not -inf minus -inf, which is no number.
			float a = s[n][0] == -INF ? 0 : exp2f(s[n][0] - most), b = s[n][1] == -INF ? 0 : exp2f(s[n][1] - most);
			added += a + b;
			u32 hi = to_half2(a, b);
			p[n / 2][n % 2 * 2] = hi;
			p[n / 2][n % 2 * 2 + 1] = to_half2((a - from_half((u16)hi)) * LOW, (b - from_half((u16)(hi >> 16))) * LOW);
		}
		sum += quad_sum(added);
		add_values<DIM>(at, p, lane, o);
	}

	__device__ __forceinline__ void store(float *to, int lane) const {
#pragma unroll
		for (int n = 0; n < DIM / 8; n++)
			*(float2 *)(to + n * 8 + lane % 4 * 2) = make_float2(o[n][0] + o[n][2] * (1 / LOW), o[n][1] + o[n][3] * (1 / LOW));
		if (lane % 4 == 0) {
			to[DIM] = top;
			to[DIM + 1] = sum;
		}
	}
};

// Merges n partial results of one head, each stride floats after the other: a
// warp's lanes weigh one each, and then take the channels of all.
template <int DIM> static __device__ __forceinline__ void merge(const volatile float *part, int n, u64 stride, float *out, bool final, int lane) {
	float top = -INF, sum = 0, acc[(DIM + 31) / 32] = {};
	for (int first = 0; first < n; first += 32) {
		bool ok = first + lane < n;
		const volatile float *mine = part + (first + lane) * stride + DIM;
		float t = ok ? mine[0] : -INF, s = ok ? mine[1] : 0, most = fmaxf(top, warp_max(t)), w = rescale(t, most), old = rescale(top, most);
		sum = sum * old + warp_sum(s * w);
		top = most;
#pragma unroll
		for (int c = 0; c < (DIM + 31) / 32; c++)
			acc[c] *= old;
#pragma unroll 8
		for (int i = 0; i < min(n - first, 32); i++) {
			const volatile float *p = part + (first + i) * stride;
			float f = __shfl_sync(~0u, w, i);
#pragma unroll
			for (int c = 0; c < (DIM + 31) / 32; c++)
				if (c * 32 + lane < DIM)
					acc[c] += p[c * 32 + lane] * f;
		}
	}
	float f = final ? 1 / sum : 1;
#pragma unroll
	for (int c = 0; c < (DIM + 31) / 32; c++)
		if (c * 32 + lane < DIM)
			out[c * 32 + lane] = acc[c] * f;
	if (!final && lane == 0) {
		out[DIM] = top;
		out[DIM + 1] = sum;
	}
}

// Merges what the warps of a block found, in shared memory, and what all splits
// of a row did; the last block to come writes the result. Tickets are zero
// between launches.
template <int DIM, int WARPS> static __device__ __forceinline__ void finish(const Split<DIM> &s, float *found, float *dst, float *partial, u32 *tickets, int row, int splits, u32 heads, int first_head, int some) {
	const int W = DIM + 2;
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
	__syncthreads();
	s.store(found + (lane / 4 * WARPS + warp) * W, lane); // [8 heads][WARPS][W]
	__syncthreads();
	for (int h = warp; h < some; h += WARPS) {
		u64 head = (u64)row * heads + first_head + h;
		float *out = splits == 1 ? dst + head * DIM : partial + (head * gridDim.x + blockIdx.x) * W;
		merge<DIM>(found + h * WARPS * W, WARPS, W, out, splits == 1, lane);
	}
	if (splits == 1)
		return;
	__shared__ bool last;
	__threadfence();
	__syncthreads();
	if (threadIdx.x == 0) {
		u32 *ticket = tickets + (u64)row * gridDim.y + blockIdx.y;
		last = atomicAdd(ticket, 1) == splits - 1;
		if (last)
			*ticket = 0;
	}
	__syncthreads();
	if (!last)
		return;
	__threadfence();
	for (int h = warp; h < some; h += WARPS) {
		u64 head = (u64)row * heads + first_head + h;
		merge<DIM>(partial + head * gridDim.x * W, splits, W, dst + head * DIM, true, lane);
	}
}
