// Attention of single rows over a sequence's exact pages, for decoding: the
// pages are split between blocks, which merge what they found.
//
// Eight query heads that share a KV head take rows 0 to 7 of a tile, and what
// float16 left of them, times 2048, rows 8 to 15; so do their softmax weights.
// 22 bits survive, and a tile costs the same.
#include "pages.cuh"

extern __shared__ __align__(16) u8 dynamic[];

#define LOW 2048.0f

// Largest score of the four lanes of a row, and their sum.
static __device__ __forceinline__ float row_max(float v) {
	v = fmaxf(v, __shfl_xor_sync(~0u, v, 1));
	return fmaxf(v, __shfl_xor_sync(~0u, v, 2));
}
static __device__ __forceinline__ float row_sum(float v) {
	v += __shfl_xor_sync(~0u, v, 1);
	return v + __shfl_xor_sync(~0u, v, 2);
}

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
		most = row_max(most);
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
		sum += row_sum(added);
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

// Merges n partial results of one head, each stride floats after the other; a
// warp's lanes take the channels.
template <int DIM> static __device__ __forceinline__ void merge(const volatile float *part, int n, u64 stride, float *out, bool final, int lane) {
	float top = -INF, sum = 0;
	for (int i = 0; i < n; i++)
		top = fmaxf(top, part[i * stride + DIM]);
	float acc[(DIM + 31) / 32] = {};
	for (int i = 0; i < n; i++) {
		const volatile float *p = part + i * stride;
		float f = rescale(p[DIM], top);
		sum += p[DIM + 1] * f;
#pragma unroll
		for (int c = 0; c < (DIM + 31) / 32; c++)
			if (c * 32 + lane < DIM)
				acc[c] += p[c * 32 + lane] * f;
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

// Grid: splits, KV heads by tiles of 8 query heads, rows.
// partial [rows, heads, splits, DIM+2]; tickets [rows, kvHeads*tiles] are zero
// between launches.
// A warp has STAGES pages at hand or under way.
template <int DIM, int WARPS, int STAGES> static __device__ void decode(const float *q, float *dst, const u8 *pages, const u32 *table, const int *pos, const int *seq, float *partial, u32 *tickets,
	u64 page_bytes, u32 table_stride, u32 heads, u32 kv_heads, u32 window, float scale) {
	typedef Page<DIM> P;
	const int W = DIM + 2;
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = blockIdx.z;
	int group = heads / kv_heads, tiles = (group + 7) / 8, kv = blockIdx.y / tiles, tile = blockIdx.y % tiles;
	int some = min(group - tile * 8, 8), first_head = kv * group + tile * 8;
	allow_next();
	after_previous();
	int end = pos[row] + 1, begin = window && end > window ? end - window : 0;
	int first = begin / PAGE, count = (end + PAGE - 1) / PAGE - first;
	int each = max((count + (int)gridDim.x - 1) / (int)gridDim.x, WARPS), splits = (count + each - 1) / each;
	if (blockIdx.x >= splits)
		return;
	int from = first + blockIdx.x * each, to = min(from + each, first + count);
	const u32 *numbers = table + (u64)seq[row] * table_stride;
	u64 head_at = (u64)kv * DIM * PAGE * 4;
	u32 mine = shared_address(dynamic) + warp * STAGES * P::BYTES;

	Split<DIM> s;
	s.begin(q + ((u64)row * heads + first_head + lane / 4) * DIM, lane / 4 < some, lane);
	auto bring = [&](int page, int stage) {
		if (page < to)
			bring_page<DIM>(mine + stage * P::BYTES, pages + numbers[page] * page_bytes + head_at, begin - page * PAGE, end - page * PAGE, lane, 32);
		else
			copy_commit();
	};
	int stage = 0, last_stage = STAGES - 1;
	for (int s = 0; s < STAGES - 1; s++)
		bring(from + warp + s * WARPS, s);
	for (int page = from + warp; page < to; page += WARPS) {
		bring(page + (STAGES - 1) * WARPS, last_stage);
		copy_wait<STAGES - 1>();
		__syncwarp();
		s.page(mine + stage * P::BYTES, begin - page * PAGE, end - page * PAGE, scale * 1.4426950408889634f, lane);
		__syncwarp();
		last_stage = stage;
		stage = stage + 1 == STAGES ? 0 : stage + 1;
	}
	copy_wait<0>();
	__syncthreads();
	float *found = (float *)dynamic; // [8 heads][WARPS][W]
	s.store(found + (lane / 4 * WARPS + warp) * W, lane);
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

#define DECODE(DIM, WARPS, STAGES) \
	KERNEL(WARPS * 32, 1) decode_##DIM(const float *q, float *dst, const u8 *pages, const u32 *table, const int *pos, const int *seq, float *partial, u32 *tickets, \
		u64 page_bytes, u32 table_stride, u32 heads, u32 kv_heads, u32 window, float scale) { \
		decode<DIM, WARPS, STAGES>(q, dst, pages, table, pos, seq, partial, tickets, page_bytes, table_stride, heads, kv_heads, window, scale); \
	}

// As many warps as shared memory has room for.
DECODE(64, 8, 2)
DECODE(80, 8, 2)
DECODE(96, 8, 2)
DECODE(128, 6, 2)
DECODE(256, 3, 2)
