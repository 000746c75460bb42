// Products with weights of every encoding as it is in the model file: exact in
// float32, for types and shapes that have no faster form.
#include "weights.cuh"

#define WARPS 8
#define COLUMNS 8 // input rows of one pass over a weight

// The products of one row of w with up to COLUMNS rows of x, in every lane.
static __device__ __forceinline__ void row_times(int type, const u8 *w, const float *x, int k, int rows, float y[COLUMNS]) {
#pragma unroll
	for (int c = 0; c < COLUMNS; c++)
		y[c] = 0;
	for (int i = threadIdx.x % 32 * 8; i < k; i += 256) {
		float v[8];
		decode8(type, w, i, v);
#pragma unroll
		for (int c = 0; c < COLUMNS; c++) {
			if (c >= rows)
				break;
			const float4 *p = (const float4 *)(x + (u64)c * k + i);
			float4 a = p[0], b = p[1];
			y[c] += v[0] * a.x + v[1] * a.y + v[2] * a.z + v[3] * a.w + v[4] * b.x + v[5] * b.y + v[6] * b.z + v[7] * b.w;
		}
	}
#pragma unroll
	for (int c = 0; c < COLUMNS; c++)
		y[c] = warp_sum(y[c]);
}

static __device__ __forceinline__ float pick(const float y[COLUMNS], int c) {
	float v = y[0];
#pragma unroll
	for (int i = 1; i < COLUMNS; i++)
		v = c == i ? y[i] : v;
	return v;
}

// dst [rows, n] = x [rows, k] w^T + bias, or +=. Grid: outputs by WARPS, rows by COLUMNS.
KERNEL(WARPS * 32, 1) linear_any(const u8 *w, const float *x, const float *bias, float *dst, u32 type, u32 n, u32 k, u32 row_bytes, u32 rows, u32 add) {
	allow_next();
	after_previous();
	u32 out = blockIdx.x * WARPS + threadIdx.x / 32, first = blockIdx.y * COLUMNS, lane = threadIdx.x % 32;
	if (out >= n)
		return;
	u32 some = min(rows - first, COLUMNS);
	float y[COLUMNS];
	row_times(type, w + (u64)out * row_bytes, x + (u64)first * k, k, some, y);
	if (lane < some) {
		float *to = dst + (u64)(first + lane) * n + out;
		float v = pick(y, lane) + (bias ? bias[out] : 0);
		*to = add ? *to + v : v;
	}
}

// dst [rows, n] = act(x gate^T) * (x up^T).
KERNEL(WARPS * 32, 1) gated_any(const u8 *gate, const u8 *up, const float *x, float *dst, u32 gate_type, u32 up_type, u32 n, u32 k, u32 gate_bytes, u32 up_bytes, u32 rows, u32 gelu) {
	allow_next();
	after_previous();
	u32 out = blockIdx.x * WARPS + threadIdx.x / 32, first = blockIdx.y * COLUMNS, lane = threadIdx.x % 32;
	if (out >= n)
		return;
	u32 some = min(rows - first, COLUMNS);
	float g[COLUMNS], y[COLUMNS];
	row_times(gate_type, gate + (u64)out * gate_bytes, x + (u64)first * k, k, some, g);
	row_times(up_type, up + (u64)out * up_bytes, x + (u64)first * k, k, some, y);
	if (lane < some)
		dst[(u64)(first + lane) * n + out] = activate(gelu, pick(g, lane)) * pick(y, lane);
}
