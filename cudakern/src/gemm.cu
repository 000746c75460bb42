// Products of many input rows: float16 operands, float32 sums, on tensor cores.
#include "prim.cuh"

extern __shared__ __align__(16) u8 dynamic[];

// Rows of x [rows, k] to float16, times a power of two that is factor[row] when
// undone: so that no input is too large.
KERNEL(256, 1) halve_rows(const float *x, u16 *dst, float *factor, u32 k) {
	allow_next();
	after_previous();
	const float *row = x + (u64)blockIdx.x * k;
	float sum = 0, top = 0;
	for (int i = threadIdx.x; i < k; i += 256)
		top = fmaxf(top, fabsf(row[i]));
	block_reduce(&sum, &top);
	u32 e = min(max((__float_as_uint(top) >> 23) + 1, 1u), 253u);
	float down = __uint_as_float((254 - e) << 23);
	if (threadIdx.x == 0)
		factor[blockIdx.x] = __uint_as_float(e << 23);
	for (int i = threadIdx.x * 2; i < k; i += 512)
		*(u32 *)(dst + (u64)blockIdx.x * k + i) = to_half2(row[i] * down, row[i + 1] * down);
}

enum { TM = 128, TK = 32, STAGES = 4, ROW = TK * 2 + 16 };

// dst [m, ld] from column 0 on = factor[m] * a [m, k] b [n, k]^T + bias, or +=.
// Grid: tiles of m, of n. Eight warps take 64 by TN/4 each.
template <int TN> static __device__ void multiply(const u16 *a, const u16 *b, const float *factor, const float *bias, float *dst, u32 m, u32 n, u32 k, u32 ld, u32 add) {
	const int TILE_BYTES = (TM + TN) * ROW, WN = TN / 4;
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, m0 = blockIdx.x * TM, n0 = blockIdx.y * TN;
	int wm = warp / 4 * 64, wn = warp % 4 * WN;
	u32 shared = shared_address(dynamic);
	allow_next();
	after_previous();
	auto bring = [&](int at) {
		u32 to = shared + at / TK % STAGES * TILE_BYTES;
		if (at < k)
#pragma unroll
			for (int i = threadIdx.x; i < (TM + TN) * TK / 8; i += 256) {
				int r = i / (TK / 8), c = i % (TK / 8) * 8;
				bool left = r < TM;
				int row = left ? m0 + r : n0 + r - TM;
				bool ok = row < (left ? m : n) && at + c < k;
				copy_async(to + r * ROW + c * 2, (left ? a : b) + (ok ? (u64)row * k + at + c : 0), ok);
			}
		copy_commit();
	};
	float acc[4][WN / 8][4] = {};
	for (int s = 0; s < STAGES - 1; s++)
		bring(s * TK);
	for (int at = 0; at < k; at += TK) {
		copy_wait<STAGES - 2>();
		__syncthreads();
		bring(at + (STAGES - 1) * TK);
		u32 from = shared + at / TK % STAGES * TILE_BYTES;
#pragma unroll
		for (int kk = 0; kk < TK / 16; kk++) {
			u32 x[4][4], y[WN / 16][4];
#pragma unroll
			for (int i = 0; i < 4; i++)
				load_matrices(x[i], from + (wm + i * 16 + lane % 16) * ROW + kk * 32 + lane / 16 * 16);
#pragma unroll
			for (int j = 0; j < WN / 16; j++)
				load_matrices(y[j], from + (TM + wn + j * 16 + lane % 8 + lane / 16 * 8) * ROW + kk * 32 + lane / 8 % 2 * 16);
#pragma unroll
			for (int i = 0; i < 4; i++)
#pragma unroll
				for (int j = 0; j < WN / 8; j++)
					mma16(acc[i][j], x[i][0], x[i][1], x[i][2], x[i][3], y[j / 2][j % 2 * 2], y[j / 2][j % 2 * 2 + 1]);
		}
	}
#pragma unroll
	for (int i = 0; i < 4; i++)
#pragma unroll
		for (int h = 0; h < 2; h++) {
			int row = m0 + wm + i * 16 + lane / 4 + h * 8;
			if (row >= m)
				continue;
			float f = factor[row];
#pragma unroll
			for (int j = 0; j < WN / 8; j++)
#pragma unroll
				for (int c = 0; c < 2; c++) {
					int col = n0 + wn + j * 8 + lane % 4 * 2 + c;
					if (col >= n)
						continue;
					float *to = dst + (u64)row * ld + col, v = acc[i][j][2 * h + c] * f;
					if (bias)
						v += bias[col];
					*to = add ? *to + v : v;
				}
		}
}

#define GEMM(TN, BLOCKS) \
	KERNEL(256, BLOCKS) gemm_##TN(const u16 *a, const u16 *b, const float *factor, const float *bias, float *dst, u32 m, u32 n, u32 k, u32 ld, u32 add) { \
		multiply<TN>(a, b, factor, bias, dst, m, n, k, ld, add); \
	}

// The wide tile reads less from shared memory; the narrow one fills the device
// with small products.
GEMM(128, 2)
GEMM(256, 1)
