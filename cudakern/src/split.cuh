// Attention of single rows whose pages are split between warps and blocks.
//
// Eight query heads that share a KV head take rows 0 to 7 of a tile, and what
// float16 left of them, times 2048, rows 8 to 15; so do their softmax weights.
// 22 bits survive, and a tile costs the same.
#pragma once

#include "pages.cuh"

// Whole lines, as records are: a copy whose two ends are apart asks the bus for pieces of lines.
extern __shared__ __align__(128) u8 dynamic[];

#define LOW 2048.0f

// The factor from a maximum to a larger one; 0 where there was none.
static __device__ __forceinline__ float rescale(float from, float to) { return from == -INF ? 0 : exp2f(from - to); }

template <int DIM> struct Split {
	float o[DIM / 8][4], top, sum; // of rows g; top in units of log2
	u32 q[DIM / 16][4];

	__device__ __forceinline__ void clear() {
		top = -INF;
		sum = 0;
#pragma unroll
		for (int n = 0; n < DIM / 8; n++)
			o[n][0] = o[n][1] = o[n][2] = o[n][3] = 0;
	}
	// The k-th of the query's operands; zeros where !ok.
	static __device__ __forceinline__ void operand(const float *src, bool ok, int k, int lane, u32 to[4]) {
#pragma unroll
		for (int h = 0; h < 2; h++) {
			float2 v = ok ? __ldcg((const float2 *)(src + k * 16 + h * 8 + lane % 4 * 2)) : make_float2(0, 0);
			u32 hi = to_half2(v.x, v.y);
			to[2 * h] = hi;
			to[2 * h + 1] = to_half2((v.x - from_half((u16)hi)) * LOW, (v.y - from_half((u16)(hi >> 16))) * LOW);
		}
	}
	__device__ __forceinline__ void begin(const float *src, bool ok, int lane) {
		clear();
#pragma unroll
		for (int k = 0; k < DIM / 16; k++)
			operand(src, ok, k, lane, q[k]);
	}

	// Attends to tokens [from, to) of a page.
	__device__ __forceinline__ void page(u32 at, int from, int to, float scale, int lane) { page(q, at, from, to, scale, lane); }

	// The same with a query that lies elsewhere.
	template <class Query> __device__ __forceinline__ void page(const Query &query, u32 at, int from, int to, float scale, int lane) {
		float s[4][4];
		scores<DIM>(at, query, lane, s);
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

// What is found of a head: its channels, their largest score, the sum of weights.
template <int DIM> struct Result {
	enum { FLOATS = DIM + 4 }; // whole groups of 16 bytes
};

// Merges n results of some heads, part(h, i) each, into out(h): a thread takes four
// channels of a head, of so many results at once.
template <int DIM, int AT_ONCE, class Part, class Out> static __device__ __forceinline__ void merge(const Part &part, int n, int some, const Out &out, bool final) {
	for (int task = threadIdx.x; task < some * (DIM / 4); task += blockDim.x) {
		int h = task / (DIM / 4), c = task % (DIM / 4) * 4;
		float top = -INF, sum = 0;
		float4 acc = make_float4(0, 0, 0, 0);
#pragma unroll 1
		for (int i = 0; i < n; i += AT_ONCE) {
			float4 v[AT_ONCE];
			float2 of[AT_ONCE];
#pragma unroll
			for (int k = 0; k < AT_ONCE; k++) {
				of[k].x = -INF;
				if (i + k < n) {
					const float *p = part(h, i + k);
					v[k] = *(const float4 *)(p + c);
					of[k] = *(const float2 *)(p + DIM);
				}
			}
			float most = top;
#pragma unroll
			for (int k = 0; k < AT_ONCE; k++)
				most = fmaxf(most, of[k].x);
			float before = rescale(top, most);
			top = most, sum *= before;
			acc = make_float4(acc.x * before, acc.y * before, acc.z * before, acc.w * before);
#pragma unroll
			for (int k = 0; k < AT_ONCE; k++)
				if (i + k < n) {
					float w = rescale(of[k].x, top);
					sum += of[k].y * w;
					acc.x += v[k].x * w;
					acc.y += v[k].y * w;
					acc.z += v[k].z * w;
					acc.w += v[k].w * w;
				}
		}
		float f = final ? 1 / sum : 1;
		float *to = out(h);
		*(float4 *)(to + c) = make_float4(acc.x * f, acc.y * f, acc.z * f, acc.w * f);
		if (!final && c == 0)
			*(float2 *)(to + DIM) = make_float2(top, sum);
	}
}

// A row's pages as splits, which blocks take in turn. How many and how long they are
// depends on the row's tokens alone, so that its result has the same bits whatever
// rows stand beside it.
struct Splits {
	int each, n;
	__device__ __forceinline__ Splits(int pages, int most, int least_each) {
		each = max((pages + most - 1) / most, least_each);
		n = (pages + each - 1) / each;
	}
	// How many of them this block takes.
	__device__ __forceinline__ int mine() const { return blockIdx.x < n ? (n - 1 - (int)blockIdx.x) / (int)gridDim.x + 1 : 0; }
};

// Where a block puts what it finds of a split: results of some heads of a row.
// partial [rows, heads, most splits] results.
struct Found {
	float *dst, *partial;
	u32 *tickets; // [rows, gridDim.y], zero between launches
	int row, heads, first_head, some, most;
};

// Merges what the warps of a block found of a split: part(h, w) is that of warp w for
// head h, in shared memory.
template <int DIM, int WARPS, class Part> static __device__ __forceinline__ void finish_split(const Found &f, const Splits &splits, int split, const Part &part) {
	__syncthreads();
	u64 head = (u64)f.row * f.heads + f.first_head;
	if (splits.n == 1)
		merge<DIM, 4>(part, WARPS, f.some, [&](int h) { return f.dst + (head + h) * DIM; }, true);
	else
		merge<DIM, 4>(part, WARPS, f.some, [&](int h) { return f.partial + ((head + h) * f.most + split) * Result<DIM>::FLOATS; }, false);
}

// The last block of a row to come here merges what all splits found.
template <int DIM> static __device__ __forceinline__ void finish_row(const Found &f, const Splits &splits) {
	if (splits.n == 1)
		return;
	__shared__ bool last;
	__threadfence();
	__syncthreads();
	if (threadIdx.x == 0) {
		u32 *ticket = f.tickets + (u64)f.row * gridDim.y + blockIdx.y;
		int mine = splits.mine();
		last = atomicAdd(ticket, mine) == splits.n - mine;
		if (last)
			*ticket = 0;
	}
	__syncthreads();
	if (!last)
		return;
	__threadfence();
	u64 head = (u64)f.row * f.heads + f.first_head;
	const float *all = f.partial + head * f.most * Result<DIM>::FLOATS;
	merge<DIM, 9>([&](int h, int i) { return all + (u64)(h * f.most + i) * Result<DIM>::FLOATS; }, splits.n, f.some, [&](int h) { return f.dst + (head + h) * DIM; }, true);
}
