// Attention of single rows over a sequence's exact pages, for decoding: the
// pages are split between blocks, which merge what they found.
#include "split.cuh"

// Grid: blocks that share a row's splits, KV heads by tiles of 8 query heads, rows.
// A warp has STAGES pages at hand or under way; while a block merges a split, those
// of its next one are.
template <int DIM, int WARPS, int STAGES> static __device__ void decode(const float *q, float *dst, const u8 *pages, const u32 *table, const int *pos, const int *seq, float *partial, u32 *tickets,
	u64 page_bytes, u32 table_stride, u32 heads, u32 kv_heads, u32 window, u32 most, float scale) {
	typedef Page<DIM> P;
	__shared__ int free_stage[WARPS]; // where each warp has put what it found
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = blockIdx.z;
	int group = heads / kv_heads, tiles = (group + 7) / 8, kv = blockIdx.y / tiles, tile = blockIdx.y % tiles;
	int some = min(group - tile * 8, 8), first_head = kv * group + tile * 8;
	allow_next();
	after_previous();
	int end = pos[row] + 1, begin = window && end > window ? end - window : 0;
	int first = begin / PAGE, count = (end + PAGE - 1) / PAGE - first;
	Splits splits(count, most, WARPS);
	if (blockIdx.x >= splits.n)
		return;
	const u32 *numbers = table + (u64)seq[row] * table_stride;
	u64 head_at = (u64)kv * DIM * PAGE * 4;
	u8 *ring = dynamic + warp * STAGES * P::BYTES;
	u32 mine = shared_address(ring);
	auto end_of = [&](int split) { return min((split + 1) * splits.each, count) + first; };

	// The page that is brought next, of this split or one behind it.
	int split_ahead = blockIdx.x, ahead = first + split_ahead * splits.each + warp;
	auto bring = [&](int stage) {
		while (split_ahead < splits.n && ahead >= end_of(split_ahead)) {
			split_ahead += gridDim.x;
			ahead = first + split_ahead * splits.each + warp;
		}
		if (split_ahead < splits.n)
			bring_page<DIM>(mine + stage * P::BYTES, pages + numbers[ahead] * page_bytes + head_at, begin - ahead * PAGE, end - ahead * PAGE, lane, 32);
		else
			copy_commit();
		ahead += WARPS;
	};
	Split<DIM> s;
	auto read_query = [&]() { s.begin(q + ((u64)row * heads + first_head + lane / 4) * DIM, lane / 4 < some, lane); };
	read_query();
	int stage = 0, last_stage = STAGES - 1;
	for (int i = 0; i < STAGES - 1; i++)
		bring(i);
	Found found = {dst, partial, tickets, row, (int)heads, first_head, some, (int)most};
	for (int split = blockIdx.x; split < splits.n; split += gridDim.x) {
		int to = end_of(split);
		for (int page = first + split * splits.each + warp; page < to; page += WARPS) {
			bring(last_stage);
			copy_wait<STAGES - 1>();
			__syncwarp();
			s.page(mine + stage * P::BYTES, begin - page * PAGE, end - page * PAGE, scale * 1.4426950408889634f, lane);
			__syncwarp();
			last_stage = stage;
			stage = stage + 1 == STAGES ? 0 : stage + 1;
		}
		// What was found goes where the last page was.
		s.store((float *)(ring + last_stage * P::BYTES) + lane / 4 * Result<DIM>::FLOATS, lane);
		if (lane == 0)
			free_stage[warp] = last_stage;
		finish_split<DIM, WARPS>(found, splits, split, [&](int h, int w) { return (const float *)(dynamic + (w * STAGES + free_stage[w]) * P::BYTES) + h * Result<DIM>::FLOATS; });
		if (split + gridDim.x >= splits.n)
			break;
		__syncthreads();
		if (DIM > 128) // there are no registers in which it could wait
			read_query();
		else
			s.clear();
	}
	copy_wait<0>();
	finish_row<DIM>(found, splits);
}

#define DECODE(DIM, WARPS, STAGES) \
	KERNEL(WARPS * 32, 1) decode_##DIM(const float *q, float *dst, const u8 *pages, const u32 *table, const int *pos, const int *seq, float *partial, u32 *tickets, \
		u64 page_bytes, u32 table_stride, u32 heads, u32 kv_heads, u32 window, u32 most, float scale) { \
		decode<DIM, WARPS, STAGES>(q, dst, pages, table, pos, seq, partial, tickets, page_bytes, table_stride, heads, kv_heads, window, most, scale); \
	}

// As many warps as shared memory has room for.
DECODE(64, 8, 2)
DECODE(80, 8, 2)
DECODE(96, 8, 2)
DECODE(128, 6, 2)
DECODE(256, 3, 2)
