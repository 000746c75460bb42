// Attention of single rows over records: all of a sequence's, or those of a
// working set; and over the exact tokens behind them.
#include "records.cuh"
#include "split.cuh"

// Grid: blocks that share a row's splits, KV heads by tiles of 8 query heads, rows. units [ids][BLOCK/group]
// [kvHeads] records, by table [seqs, table_stride]; tails are pages by exact
// [seqs, exact_stride]. With a budget, chosen [sets][kvHeads][1+2*budget] lists
// working sets whose records lie in sets [sets][kvHeads][budget]; raw says that
// shared memory has room for a pair of them for each warp.
template <int DIM, int WARPS> static __device__ void attend(const float *q, float *dst, const u8 *units, const u32 *table, const u8 *tails, const u32 *exact, const u8 *sets, const u32 *chosen,
	const Sequence *seqs, const int *pos, const int *seq, float *partial, u32 *tickets, u64 unit_bytes, u64 page_bytes, u32 table_stride, u32 exact_stride, u32 heads, u32 kv_heads, u32 budget, u32 tokens, u32 k_bits, u32 v_bits, u32 raw, u32 most, float scale) {
	typedef Page<DIM> P;
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = blockIdx.z;
	int group = heads / kv_heads, tiles = (group + 7) / 8, kv = blockIdx.y / tiles, tile = blockIdx.y % tiles;
	int some = min(group - tile * 8, 8), first_head = kv * group + tile * 8;
	Record r(DIM, tokens, k_bits, v_bits);
	int n = seq[row], end = pos[row] + 1;
	Sequence s = seqs[n];
	allow_next();
	after_previous();
	const u32 *list = chosen + ((u64)s.set * kv_heads + kv) * (1 + 2 * budget);
	const u8 *held = sets + ((u64)s.set * kv_heads + kv) * budget * r.bytes;
	int coded = budget ? list[0] / 2 : s.stored / PAGE, count = coded + (end - s.stored + PAGE - 1) / PAGE;
	Splits splits(count, most, WARPS / 2);
	if (blockIdx.x >= splits.n)
		return;
	u8 *mine = dynamic + warp * P::BYTES;

	Split<DIM> found;
	auto begin = [&](bool first) {
		if (first)
			found.begin(q + ((u64)row * heads + first_head + lane / 4) * DIM, lane / 4 < some, lane);
		else
			found.clear();
	};
	Found all = {dst, partial, tickets, row, (int)heads, first_head, some, (int)most};
	for (int split = blockIdx.x; split < splits.n; split += gridDim.x) {
		int from = split * splits.each, to = min(from + splits.each, count);
		bool first = split == blockIdx.x;
		if (!first)
			__syncthreads();
		if (raw) {
			// A block's records come at once, so that their latency counts once, and
			// all of its threads make pages of them.
			u8 *records = dynamic + WARPS * P::BYTES;
			int n = max(min(min(to, from + WARPS), coded) - from, 0), lines = r.bytes / 16;
			for (int i = threadIdx.x; i < 2 * n * lines; i += WARPS * 32)
				copy_async(shared_address(records + i * 16), held + (u64)list[1 + budget + 2 * from + i / lines] * r.bytes + i % lines * 16);
			copy_commit();
			begin(first);
			copy_wait<0>();
			__syncthreads();
			for (int i = 0; i < n; i++)
				expand(r, records + 2 * i * r.bytes, records + (2 * i + 1) * r.bytes, 0, dynamic + i * P::BYTES, P::K_ROW, dynamic + i * P::BYTES + P::V, P::V_ROW, threadIdx.x, WARPS * 32);
			__syncthreads();
		} else {
			begin(first);
		}
		for (int i = from + warp; i < to; i += WARPS) {
			int most = PAGE;
			if (i >= coded) {
				int page = s.stored / PAGE + i - coded;
				most = end - page * PAGE;
				bring_page<DIM>(shared_address(mine), tails + exact[(u64)n * exact_stride + page] * page_bytes + (u64)kv * DIM * PAGE * 4, 0, most, lane, 32);
				copy_wait<0>();
			} else if (!raw || i >= from + WARPS) {
				const u8 *a, *b;
				int part = 0;
				if (budget) {
					a = held + (u64)list[1 + budget + 2 * i] * r.bytes;
					b = held + (u64)list[2 + budget + 2 * i] * r.bytes;
				} else {
					int at = i * PAGE % BLOCK;
					a = units + table[(u64)n * table_stride + i * PAGE / BLOCK] * unit_bytes + (u64)(at / r.group * kv_heads + kv) * r.bytes;
					b = a + (u64)kv_heads * r.bytes;
					part = at % r.group / PAGE;
				}
				expand(r, a, b, part, mine, P::K_ROW, mine + P::V, P::V_ROW, lane, 32);
			}
			__syncwarp();
			found.page(shared_address(mine), 0, most, scale * 1.4426950408889634f, lane);
			__syncwarp();
		}
		__syncthreads(); // what warps found lies over pages
		float *results = (float *)dynamic; // [8 heads][WARPS]
		found.store(results + (lane / 4 * WARPS + warp) * Result<DIM>::FLOATS, lane);
		finish_split<DIM, WARPS>(all, splits, split, [&](int h, int w) { return results + (h * WARPS + w) * Result<DIM>::FLOATS; });
	}
	finish_row<DIM>(all, splits);
}

#define ATTEND(DIM, WARPS) \
	KERNEL(WARPS * 32, 1) attend_##DIM(const float *q, float *dst, const u8 *units, const u32 *table, const u8 *tails, const u32 *exact, const u8 *sets, const u32 *chosen, \
		const Sequence *seqs, const int *pos, const int *seq, float *partial, u32 *tickets, u64 unit_bytes, u64 page_bytes, u32 table_stride, u32 exact_stride, u32 heads, u32 kv_heads, u32 budget, u32 tokens, u32 k_bits, u32 v_bits, u32 raw, u32 most, float scale) { \
		attend<DIM, WARPS>(q, dst, units, table, tails, exact, sets, chosen, seqs, pos, seq, partial, tickets, unit_bytes, page_bytes, table_stride, exact_stride, heads, kv_heads, budget, tokens, k_bits, v_bits, raw, most, scale); \
	}

ATTEND(64, 8)
ATTEND(80, 8)
ATTEND(96, 8)
ATTEND(128, 8)
ATTEND(256, 4)
