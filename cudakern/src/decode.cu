// Attention of single rows over a sequence's exact pages, for decoding: the
// pages are split between blocks, which merge what they found.
#include "split.cuh"

// Grid: splits, KV heads by tiles of 8 query heads, rows.
// partial [rows, heads, splits, DIM+2]; tickets [rows, kvHeads*tiles] are zero
// between launches.
// A warp has STAGES pages at hand or under way.
template <int DIM, int WARPS, int STAGES> static __device__ void decode(const float *q, float *dst, const u8 *pages, const u32 *table, const int *pos, const int *seq, float *partial, u32 *tickets,
	u64 page_bytes, u32 table_stride, u32 heads, u32 kv_heads, u32 window, float scale) {
	typedef Page<DIM> P;
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
	finish<DIM, WARPS>(s, (float *)dynamic, dst, partial, tickets, row, splits, heads, first_head, some);
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
