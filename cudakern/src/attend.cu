// Attention of single rows over records: all of a sequence's, or those of a
// working set; and over the exact tokens behind them.
#include "records.cuh"
#include "split.cuh"

// What both kinds take.
#define ATTEND_PARAMS \
	const float *q, float *dst, const u8 *units, const u32 *table, const u8 *tails, const u32 *exact, const u8 *sets, const u32 *chosen, \
		const Sequence *seqs, const int *pos, const int *seq, float *partial, u32 *tickets, u64 unit_bytes, u64 page_bytes, u32 table_stride, u32 exact_stride, u32 heads, u32 kv_heads, u32 budget, u32 tokens, u32 k_bits, u32 v_bits, u32 slots, u32 most, float scale
#define ATTEND_ARGS q, dst, units, table, tails, exact, sets, chosen, seqs, pos, seq, partial, tickets, unit_bytes, page_bytes, table_stride, exact_stride, heads, kv_heads, budget, tokens, k_bits, v_bits, slots, most, scale

// A query's operands in shared memory, for when registers have no room for them beside
// records.
template <int DIM> struct Operands {
	uint4 at[DIM / 16][32];

	// src is that of the lane's row.
	__device__ __forceinline__ void put(const float *src, bool ok, int warp, int warps, int lane) {
		for (int k = warp; k < DIM / 16; k += warps)
			Split<DIM>::operand(src, ok, k, lane, (u32 *)&at[k][lane]);
	}

	__device__ __forceinline__ void get(Split<DIM> &s, int lane) const {
#pragma unroll
		for (int k = 0; k < DIM / 16; k++)
			*(uint4 *)s.q[k] = at[k][lane];
	}
};

// Puts what a block's warps found of a split where it belongs; it lies over pages on the way.
template <int DIM, int WARPS> static __device__ __forceinline__ void leave(const Split<DIM> &found, const Found &all, const Splits &splits, int split, int warp, int lane) {
	__syncthreads();
	float *results = (float *)dynamic; // [8 heads][WARPS]
	found.store(results + (lane / 4 * WARPS + warp) * Result<DIM>::FLOATS, lane);
	finish_split<DIM, WARPS>(all, splits, split, [&](int h, int w) { return results + (h * WARPS + w) * Result<DIM>::FLOATS; });
}

// Grid: blocks that share a row's splits, KV heads by tiles of 8 query heads, rows. units [ids][BLOCK/group]
// [kvHeads] records, by table [seqs, table_stride]; tails are pages by exact
// [seqs, exact_stride].
template <int DIM, int WARPS> static __device__ void attend(ATTEND_PARAMS) {
	typedef Page<DIM> P;
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = blockIdx.z;
	int group = heads / kv_heads, tiles = (group + 7) / 8, kv = blockIdx.y / tiles, tile = blockIdx.y % tiles;
	int some = min(group - tile * 8, 8), first_head = kv * group + tile * 8;
	Record r(DIM, tokens, k_bits, v_bits);
	int n = seq[row], end = pos[row] + 1;
	Sequence s = seqs[n];
	allow_next();
	after_previous();
	int coded = s.stored / PAGE, count = coded + (end - s.stored + PAGE - 1) / PAGE;
	Splits splits(count, most, WARPS / 2);
	if (blockIdx.x >= splits.n)
		return;
	u8 *mine = dynamic + warp * P::BYTES;

	constexpr bool WIDE = DIM > 128; // too wide for registers that hold the query all the time
	__shared__ Operands<WIDE ? DIM : 16> query;
	const float *own = q + ((u64)row * heads + first_head + lane / 4) * DIM;
	if constexpr (WIDE) {
		query.put(own, lane / 4 < some, warp, WARPS, lane);
		__syncthreads();
	}
	Split<DIM> found;
	Found all = {dst, partial, tickets, row, (int)heads, first_head, some, (int)most};
	for (int split = blockIdx.x; split < splits.n; split += gridDim.x) {
		int from = split * splits.each, to = min(from + splits.each, count);
		if (split != blockIdx.x)
			__syncthreads();
		if (split == blockIdx.x && !WIDE)
			found.begin(own, lane / 4 < some, lane);
		else
			found.clear();
		for (int i = from + warp; i < to; i += WARPS) {
			int tokens_of = PAGE;
			if (i >= coded) {
				int page = s.stored / PAGE + i - coded;
				tokens_of = end - page * PAGE;
				bring_page<DIM>(shared_address(mine), tails + exact[(u64)n * exact_stride + page] * page_bytes + (u64)kv * DIM * PAGE * 4, 0, tokens_of, lane, 32);
				copy_wait<0>();
			} else {
				int at = i * PAGE % BLOCK;
				const u8 *a = units + table[(u64)n * table_stride + i * PAGE / BLOCK] * unit_bytes + (u64)(at / r.group * kv_heads + kv) * r.bytes;
				expand(r, Expansion{a, a + (u64)kv_heads * r.bytes, at % r.group / PAGE, mine, P::K_ROW, mine + P::V, P::V_ROW, lane, 32});
			}
			__syncwarp();
			if constexpr (WIDE)
				query.get(found, lane);
			found.page(shared_address(mine), 0, tokens_of, scale * 1.4426950408889634f, lane);
			__syncwarp();
		}
		leave<DIM, WARPS>(found, all, splits, split, warp, lane);
	}
	finish_row<DIM>(all, splits);
}

// The same over working sets: chosen [sets][kvHeads][1+2*budget] lists their records,
// of as many cold pages as there are, up to the budget, which lie in sets
// [sets][kvHeads][budget]. Shared memory has room for so many slots, a
// page and a pair of records each. Records of all slots come at once, so that their
// latency counts once, all threads make pages of them, and a warp attends to each.
template <int DIM, int WARPS> static __device__ void attend_held(ATTEND_PARAMS) {
	typedef Page<DIM> P;
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = blockIdx.z;
	int group = heads / kv_heads, tiles = (group + 7) / 8, kv = blockIdx.y / tiles, tile = blockIdx.y % tiles;
	int some = min(group - tile * 8, 8), first_head = kv * group + tile * 8;
	Record r(DIM, tokens, k_bits, v_bits);
	int n = seq[row], end = pos[row] + 1;
	Sequence s = seqs[n];
	allow_next();
	after_previous();
	const u32 *places = chosen + ((u64)s.set * kv_heads + kv) * (1 + 2 * budget) + 1 + budget;
	const u8 *held = sets + ((u64)s.set * kv_heads + kv) * budget * r.bytes;
	int coded = min(s.stored / COLD, (int)budget) / 2, count = coded + (end - s.stored + PAGE - 1) / PAGE, lines = r.bytes / 16;
	Splits splits(count, most, 1);
	if (blockIdx.x >= splits.n)
		return;
	u8 *records = dynamic + slots * P::BYTES, *mine = dynamic + warp * P::BYTES;

	__shared__ Operands<DIM> query;
	query.put(q + ((u64)row * heads + first_head + lane / 4) * DIM, lane / 4 < some, warp, WARPS, lane);
	Split<DIM> found;
	Found all = {dst, partial, tickets, row, (int)heads, first_head, some, (int)most};
	for (int split = blockIdx.x; split < splits.n; split += gridDim.x) {
		int from = split * splits.each, to = min(from + splits.each, count);
		found.clear();
		for (int first = from; first < to; first += slots) {
			int there = min(to, first + (int)slots), pairs = max(min(there, coded) - first, 0), i = first + warp, tokens_of = PAGE;
			if (split != blockIdx.x || first > from)
				__syncthreads(); // whoever still reads what lies there
			for (int j = threadIdx.x; j < 2 * pairs * lines; j += WARPS * 32)
				copy_async(shared_address(records + j * 16), held + (u64)places[2 * first + j / lines] * r.bytes + j % lines * 16);
			if (i < there && i >= coded) {
				int page = s.stored / PAGE + i - coded;
				tokens_of = end - page * PAGE;
				bring_page<DIM>(shared_address(mine), tails + exact[(u64)n * exact_stride + page] * page_bytes + (u64)kv * DIM * PAGE * 4, 0, tokens_of, lane, 32);
			}
			copy_commit();
			copy_wait<0>();
			__syncthreads();
			for (int j = 0; j < pairs; j++)
				expand(r, Expansion{records + 2 * j * r.bytes, records + (2 * j + 1) * r.bytes, 0, dynamic + j * P::BYTES, P::K_ROW, dynamic + j * P::BYTES + P::V, P::V_ROW, (int)threadIdx.x, WARPS * 32});
			__syncthreads();
			if (i >= there)
				continue;
			query.get(found, lane);
			found.page(shared_address(mine), 0, tokens_of, scale * 1.4426950408889634f, lane);
		}
		leave<DIM, WARPS>(found, all, splits, split, warp, lane);
	}
	finish_row<DIM>(all, splits);
}

// BLOCKS of working sets fit a multiprocessor.
#define ATTEND(DIM, WARPS, BLOCKS) \
	KERNEL(WARPS * 32, 1) attend_##DIM(ATTEND_PARAMS) { attend<DIM, WARPS>(ATTEND_ARGS); } \
	KERNEL(WARPS * 32, BLOCKS) attend_held_##DIM(ATTEND_PARAMS) { attend_held<DIM, WARPS>(ATTEND_ARGS); }

ATTEND(64, 8, 2)
ATTEND(80, 8, 2)
ATTEND(96, 8, 2)
ATTEND(128, 8, 2)
ATTEND(256, 4, 1)
