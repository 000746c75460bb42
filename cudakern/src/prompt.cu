// Attention of a prompt's rows over exact pages: a block takes 128 pairs of row
// and query head that share a KV head, and walks the pages that they see.
#include "pages.cuh"

#define WARPS 8
#define PAIRS (WARPS * 16)

extern __shared__ __align__(16) u8 dynamic[];

// tiles [n][3]: first row, rows, sequence. A tile's rows are one sequence's.
// Pair i of a tile is row i / group, head i % group of the KV head's.
template <int DIM> static __device__ void prompt(const float *q, float *dst, const u8 *pages, const u32 *table, const int *pos, const int *tiles,
	u64 page_bytes, u32 table_stride, u32 heads, u32 kv_heads, u32 window, float scale) {
	typedef Page<DIM> P;
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, kv = blockIdx.y;
	allow_next();
	after_previous();
	// Later rows see more tokens: they begin first.
	const int *tile = tiles + 3 * (gridDim.x - 1 - blockIdx.x);
	int row0 = tile[0], rows = tile[1], group = heads / kv_heads, pairs = rows * group;
	const u32 *numbers = table + (u64)tile[2] * table_stride;
	u64 head_at = (u64)kv * DIM * PAGE * 4;
	u32 shared = shared_address(dynamic);

	// This lane's two pairs.
	int end[2], begin[2];
	const float *src[2];
	float *to[2];
#pragma unroll
	for (int r = 0; r < 2; r++) {
		int i = warp * 16 + g + 8 * r, row = row0 + min(i, pairs - 1) / group;
		end[r] = i < pairs ? pos[row] + 1 : 0;
		begin[r] = window && end[r] > window ? end[r] - window : 0;
		u64 at = ((u64)row * heads + kv * group + i % group) * DIM;
		src[r] = q + at;
		to[r] = dst + at;
	}
	u32 query[DIM / 16][4];
#pragma unroll
	for (int k = 0; k < DIM / 16; k++)
#pragma unroll
		for (int h = 0; h < 2; h++)
#pragma unroll
			for (int r = 0; r < 2; r++) {
				float2 v = end[r] ? *(const float2 *)(src[r] + k * 16 + h * 8 + t * 2) : make_float2(0, 0);
				query[k][2 * h + r] = to_half2(v.x, v.y);
			}
	float o[DIM / 8][4] = {}, top[2] = {-INF, -INF}, sum[2] = {};
	scale *= 1.4426950408889634f;

	int see = pos[row0] + 1, last = pos[row0 + rows - 1] + 1;
	int least = window && see > window ? see - window : 0, first = least / PAGE, count = (last + PAGE - 1) / PAGE;
	auto bring = [&](int page, int stage) {
		if (page < count)
			bring_page<DIM>(shared + stage * P::BYTES, pages + numbers[page] * page_bytes + head_at, least - page * PAGE, last - page * PAGE, threadIdx.x, WARPS * 32);
		else
			copy_commit();
	};
	bring(first, 0);
	for (int page = first; page < count; page++) {
		int stage = (page - first) % 2;
		bring(page + 1, stage ^ 1);
		copy_wait<1>();
		__syncthreads();
		float s[4][4];
		u32 at = shared + stage * P::BYTES;
		scores<DIM>(at, query, lane, s);
		// Whole pages need no looking at single tokens.
		bool whole = true;
#pragma unroll
		for (int r = 0; r < 2; r++)
			whole = whole && page * PAGE >= begin[r] && page * PAGE + PAGE <= end[r];
		float most[2] = {top[0], top[1]};
#pragma unroll
		for (int n = 0; n < 4; n++)
#pragma unroll
			for (int i = 0; i < 4; i++) {
				int tok = page * PAGE + n * 8 + t * 2 + i % 2, r = i / 2;
				s[n][i] = whole || tok >= begin[r] && tok < end[r] ? s[n][i] * scale : -INF;
				most[r] = fmaxf(most[r], s[n][i]);
			}
#pragma unroll
		for (int r = 0; r < 2; r++) {
			most[r] = fmaxf(most[r], __shfl_xor_sync(~0u, most[r], 1));
			most[r] = fmaxf(most[r], __shfl_xor_sync(~0u, most[r], 2));
			float f = top[r] == -INF ? 0 : exp2f(top[r] - most[r]);
			top[r] = most[r];
			sum[r] *= f;
#pragma unroll
			for (int n = 0; n < DIM / 8; n++) {
				o[n][2 * r] *= f;
				o[n][2 * r + 1] *= f;
			}
		}
		u32 p[2][4];
#pragma unroll
		for (int n = 0; n < 4; n++)
#pragma unroll
			for (int r = 0; r < 2; r++) {
				float base = most[r] == -INF ? 0 : most[r];
				float a = exp2f(s[n][2 * r] - base), b = exp2f(s[n][2 * r + 1] - base);
				sum[r] += a + b;
				p[n / 2][n % 2 * 2 + r] = to_half2(a, b);
			}
		add_values<DIM>(at, p, lane, o);
		__syncthreads();
	}
#pragma unroll
	for (int r = 0; r < 2; r++) {
		sum[r] += __shfl_xor_sync(~0u, sum[r], 1);
		sum[r] += __shfl_xor_sync(~0u, sum[r], 2);
		if (!end[r])
			continue;
		float f = 1 / sum[r];
#pragma unroll
		for (int n = 0; n < DIM / 8; n++)
			*(float2 *)(to[r] + n * 8 + t * 2) = make_float2(o[n][2 * r] * f, o[n][2 * r + 1] * f);
	}
}

#define PROMPT(DIM) \
	KERNEL(WARPS * 32, 1) prompt_##DIM(const float *q, float *dst, const u8 *pages, const u32 *table, const int *pos, const int *tiles, \
		u64 page_bytes, u32 table_stride, u32 heads, u32 kv_heads, u32 window, float scale) { \
		prompt<DIM>(q, dst, pages, table, pos, tiles, page_bytes, table_stride, heads, kv_heads, window, scale); \
	}

PROMPT(64)
PROMPT(80)
PROMPT(96)
PROMPT(128)
PROMPT(256)
