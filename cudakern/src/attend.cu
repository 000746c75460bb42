// Attention of single rows over records: all of a sequence's, or those of a
// working set; and over the exact tokens behind them.
#include "bulk.cuh"
#include "records.cuh"
#include "marked.cuh"

enum {
	MOST_RECORDS = 16, // of a block at a time
};

// What both kinds take.
#define ATTEND_PARAMS \
	const float *q, float *dst, const u8 *units, const u32 *table, const u8 *tails, const u32 *exact, u8 *sets, const u32 *chosen, const u32 *sources, u64 *traffic, const u32 *step, \
		const Sequence *seqs, const int *pos, const int *seq, float *partial, u32 *tickets, u64 unit_bytes, u64 page_bytes, u32 table_stride, u32 exact_stride, u32 heads, u32 kv_heads, u32 budget, u32 tokens, u32 k_bits, u32 v_bits, u32 slots, u32 most, u32 looks, u32 layer, u32 layers, float scale
#define ATTEND_ARGS q, dst, units, table, tails, exact, sets, chosen, sources, traffic, step, seqs, pos, seq, partial, tickets, unit_bytes, page_bytes, table_stride, exact_stride, heads, kv_heads, budget, tokens, k_bits, v_bits, slots, most, looks, layer, layers, scale

// Whose attention a block computes: of some query heads, from first_head on, that share a
// KV head of a row. The row is the last of end tokens of sequence n.
struct Tile {
	int warp, lane, row, kv, some, first_head, n, end;
	Sequence s;

	__device__ __forceinline__ Tile(int heads, int kv_heads, const Sequence *seqs, const int *pos, const int *seq) : warp(threadIdx.x / 32), lane(threadIdx.x % 32), row(blockIdx.z) {
		int group = heads / kv_heads, tiles = (group + 7) / 8, first = blockIdx.y % tiles * 8;
		kv = blockIdx.y / tiles;
		some = min(group - first, 8);
		first_head = kv * group + first;
		n = seq[row];
		end = pos[row] + 1;
		s = seqs[n];
		allow_next();
	}

	// Exact pages behind the tokens that are records.
	__device__ __forceinline__ int tail() const { return (end - s.stored + PAGE - 1) / PAGE; }

	// Brings the i-th of them, with the warp's threads, and returns how many of its tokens there are.
	template <int DIM> __device__ __forceinline__ int bring_tail(u8 *to, int i, const u8 *tails, const u32 *exact, u32 stride, u64 page_bytes) const {
		int page = s.stored / PAGE + i, tokens = end - page * PAGE;
		bring_page<DIM>(shared_address(to), tails + exact[(u64)n * stride + page] * page_bytes + (u64)kv * DIM * PAGE * 4, 0, tokens, lane, 32);
		return tokens;
	}

	// The query of the lane's row of a tile of operands, which there is where ours().
	__device__ __forceinline__ const float *query(const float *q, int heads, int dim) const { return q + ((u64)row * heads + first_head + lane / 4) * dim; }
	__device__ __forceinline__ bool ours() const { return lane / 4 < some; }
};

// A query's operands in shared memory, for when registers have no room for them beside
// records.
template <int DIM> struct Operands {
	uint4 at[DIM / 16][32];

	// src is that of the lane's row.
	__device__ __forceinline__ void put(const float *src, bool ok, int warp, int warps, int lane) {
		for (int k = warp; k < DIM / 16; k += warps)
			Split<DIM>::operand(src, ok, k, lane, (u32 *)&at[k][lane]);
	}

	struct Operand {
		u32 v[4];
		__device__ __forceinline__ u32 operator[](int i) const { return v[i]; }
	};

	// A lane's, each read where it is used.
	struct Lane {
		const uint4 *at;
		__device__ __forceinline__ Operand operator[](int k) const {
			uint4 x = at[k * 32];
			return {{x.x, x.y, x.z, x.w}};
		}
	};
	__device__ __forceinline__ Lane of(int lane) const { return {&at[0][lane]}; }
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
	Record r(DIM, tokens, k_bits, v_bits);
	Tile t(heads, kv_heads, seqs, pos, seq);
	after_previous();
	int coded = t.s.stored / PAGE, count = coded + t.tail();
	Splits splits(count, most, WARPS / 2);
	if (blockIdx.x >= splits.n)
		return;
	u8 *mine = dynamic + t.warp * P::BYTES;

	constexpr bool WIDE = DIM > 128; // too wide for registers that hold the query all the time
	__shared__ Operands<WIDE ? DIM : 16> query;
	const float *own = t.query(q, heads, DIM);
	if constexpr (WIDE) {
		query.put(own, t.ours(), t.warp, WARPS, t.lane);
		__syncthreads();
	}
	Split<DIM> found;
	Found all = {dst, partial, tickets, t.row, (int)heads, t.first_head, t.some, (int)most};
	for (int split = blockIdx.x; split < splits.n; split += gridDim.x) {
		int from = split * splits.each, to = min(from + splits.each, count);
		if (split != blockIdx.x)
			__syncthreads();
		if (split == blockIdx.x && !WIDE)
			found.begin(own, t.ours(), t.lane);
		else
			found.clear();
		for (int i = from + t.warp; i < to; i += WARPS) {
			int tokens_of = PAGE;
			if (i >= coded) {
				tokens_of = t.bring_tail<DIM>(mine, i - coded, tails, exact, exact_stride, page_bytes);
				copy_wait<0>();
			} else {
				int at = i * PAGE % BLOCK;
				const u8 *a = units + table[(u64)t.n * table_stride + i * PAGE / BLOCK] * unit_bytes + (u64)(at / r.group * kv_heads + t.kv) * r.bytes;
				expand(r, Expansion{a, a + (u64)kv_heads * r.bytes, at % r.group / PAGE, mine, P::K_ROW, mine + P::V, P::V_ROW, t.lane, 32});
			}
			__syncwarp();
			if constexpr (WIDE)
				found.page(query.of(t.lane), shared_address(mine), 0, tokens_of, scale * 1.4426950408889634f, t.lane);
			else
				found.page(shared_address(mine), 0, tokens_of, scale * 1.4426950408889634f, t.lane);
			__syncwarp();
		}
		leave<DIM, WARPS>(found, all, splits, split, t.warp, t.lane);
	}
	finish_row<DIM>(all, splits);
}

// A row's working set: its records by their places, and where each is read.
struct Held {
	u8 *set;             // [budget] records
	const u32 *places;   // [budget] by the list, or null: all are listed, and their order is that of the places
	const u32 *sources;  // [budget] of places, see choose.cu
	u32 bytes;

	__device__ __forceinline__ u32 place(int entry) const { return places ? places[entry] : entry; }

	// Where lane j has the j-th of a few entries from first on in the set.
	__device__ __forceinline__ const u8 *at(int first, int entries, int lane) const { return set + (lane < entries ? place(first + lane) * (u64)bytes : 0); }

	// The same of what has yet to come over the bus, with bit j of fresh.
	__device__ __forceinline__ const u8 *find(int first, int entries, int lane, const u8 *units, u64 unit_bytes, u32 kv_heads, int kv, u32 &fresh) const {
		u32 from = lane < entries ? source(sources + place(first + lane)) : HELD;
		fresh = __ballot_sync(~0u, from != HELD);
		if (from == HELD)
			return at(first, entries, lane);
		return units + from / (BLOCK / COLD) * unit_bytes + (u64)(from % (BLOCK / COLD) * kv_heads + kv) * bytes;
	}

	// What the choice says of a place, by now or before its end.
	static __device__ __forceinline__ u32 source(const u32 *at) {
		u32 from = look_at(at);
		for (int looks = 1; from == TO_COME && looks < MOST_LOOKS; looks++)
			from = look_at(at);
		if (from == TO_COME) {
			after_previous();
			from = look_at(at);
		}
		return from;
	}

	// Puts a record that came where the next step looks for it, with so many threads.
	__device__ __forceinline__ void keep(int entry, const u8 *from, int thread, int threads) const {
		u8 *to = set + (u64)place(entry) * bytes;
		for (int i = thread * 16; i < bytes; i += threads * 16)
			*(uint4 *)(to + i) = *(const uint4 *)(from + i);
	}
};

// Brings the record that lane j knows of with so many threads.
static __device__ __forceinline__ void bring_record(u8 *to, const u8 *src, int j, u32 bytes, int threads) {
	const u8 *from = (const u8 *)__shfl_sync(~0u, (u64)src, j);
	for (int i = threadIdx.x * 16; i < bytes; i += threads * 16)
		copy_async(shared_address(to + i), from + i);
}


// Records that cross the bus to shared memory, the j-th to to + j * bytes, with so many threads
// and, where the device can, each as one copy.
struct Arrivals {
	u8 *to;
	u32 bytes, threads;
	u32 barriers, phases; // a barrier for each, and the parities of what is waited for

	__device__ __forceinline__ void begin(u64 *at) {
#if __CUDA_ARCH__ >= 900
		barriers = shared_address(at), phases = 0;
		if (threadIdx.x < MOST_RECORDS)
			barrier_init(barriers + 8 * threadIdx.x, 1);
		barriers_ready();
		__syncthreads();
#endif
	}

	// Before all threads meet, behind which others are brought.
	__device__ __forceinline__ void again() {
#if __CUDA_ARCH__ >= 900
		show_to_tensor_cores();
#endif
	}

	// Asks for those of fresh, behind all other copies: lane j knows where the j-th is.
	__device__ __forceinline__ void bring(u32 fresh, const u8 *src) {
#if __CUDA_ARCH__ >= 900
		int lane = threadIdx.x;
		if (lane < MOST_RECORDS && fresh >> lane & 1) {
			barrier_expect(barriers + 8 * lane, bytes);
			copy_bulk(shared_address(to + lane * bytes), src, bytes, barriers + 8 * lane);
		}
#else
		for (u32 f = fresh; f; f &= f - 1) {
			int j = __ffs(f) - 1;
			bring_record(to + j * bytes, src, j, bytes, threads);
			copy_commit();
		}
#endif
	}

	// Waits for all copies but those of coming, for all threads.
	__device__ __forceinline__ void others(u32 coming) const {
#if __CUDA_ARCH__ >= 900
		copy_wait<0>();
#else
		left(coming);
#endif
		__syncthreads();
	}

	// Waits for the j-th, with some behind it coming.
	__device__ __forceinline__ void wait(int j, u32 coming) {
#if __CUDA_ARCH__ >= 900
		barrier_wait(barriers + 8 * j, phases >> j & 1);
		phases ^= 1u << j;
#else
		left(coming);
		__syncthreads();
#endif
	}

	static __device__ __forceinline__ void left(u32 coming) {
		switch (__popc(coming)) {
		case 0: copy_wait<0>(); break;
		case 1: copy_wait<1>(); break;
		case 2: copy_wait<2>(); break;
		case 3: copy_wait<3>(); break;
		default: copy_wait<4>();
		}
	}
};

// The same over working sets: chosen [sets][kvHeads][1+2*budget] lists their records,
// of as many cold pages as there are, up to the budget, which lie in sets
// [sets][kvHeads][budget]; but what sources [rows][kvHeads][budget] name has yet to
// come, and is put there. Shared memory has room for so many slots, a
// page and a pair of records each. Records of all slots come at once, so that their
// latency counts once: what the set has becomes pages while others cross the bus. All threads
// make pages, and a warp attends to each. A full set is attended to in the order of its places: so
// if it looks at sources while the choice is made, a block begins with what the set held before, and does anew what
// that changed. Where a choice runs, all that was in front of its scan has ended.
template <int DIM, int WARPS> static __device__ void attend_held(ATTEND_PARAMS) {
	typedef Page<DIM> P;
	Record r(DIM, tokens, k_bits, v_bits);
	Tile t(heads, kv_heads, seqs, pos, seq);
	u64 set = (u64)t.s.set * kv_heads + t.kv, head = (u64)t.row * kv_heads + t.kv;
	bool full = t.s.stored / COLD > budget;
	Held held = {sets + set * budget * r.bytes, full ? nullptr : chosen + set * (1 + 2 * budget) + 1 + budget, sources + head * budget, (u32)r.bytes};
	int coded = min(t.s.stored / COLD, (int)budget) / 2, count = coded + t.tail();
	Splits splits(count, most, 1);
#if __CUDA_ARCH__ >= 900
	bool early = full && looks;
#else
	bool early = false;
#endif
	if (!early || blockIdx.x >= splits.n)
		after_previous();
	if (blockIdx.x >= splits.n)
		return;
	u8 *records = dynamic + slots * P::BYTES, *mine = dynamic + t.warp * P::BYTES;

	__shared__ Operands<DIM> query;
	__shared__ u64 barriers[MOST_RECORDS];
	__shared__ u32 mark;
	if (threadIdx.x == 0)
		mark = look_at(step) * layers + layer;
	Arrivals arrivals = {records, (u32)r.bytes, WARPS * 32};
	arrivals.begin(barriers);
	query.put(t.query(q, heads, DIM), t.ours(), t.warp, WARPS, t.lane);
	Split<DIM> found;
	for (int split = blockIdx.x; split < splits.n; split += gridDim.x) {
		int from = split * splits.each, to = min(from + splits.each, count);
		found.clear();
		for (int first = from; first < to; first += slots) {
			int there = min(to, first + (int)slots), pairs = max(min(there, coded) - first, 0), i = first + t.warp, tokens_of = PAGE;
			if (split != blockIdx.x || first > from) {
				arrivals.again();
				__syncthreads(); // whoever still reads what lies there
			}
			u32 fresh = 0;
			const u8 *src = early ? held.at(2 * first, 2 * pairs, t.lane) : held.find(2 * first, 2 * pairs, t.lane, units, unit_bytes, kv_heads, t.kv, fresh);
			auto attend_own = [&] { found.page(query.of(t.lane), shared_address(mine), 0, tokens_of, scale * 1.4426950408889634f, t.lane); };
			auto bring_fresh = [&] {
				arrivals.bring(fresh, src);
				if (fresh && threadIdx.x == 0)
					atomicAdd(&traffic[FETCHED], (u64)__popc(fresh) * r.bytes);
			};
			if (i < there && i >= coded)
				tokens_of = t.bring_tail<DIM>(mine, i - coded, tails, exact, exact_stride, page_bytes);
			for (int j = 0; j < 2 * pairs; j++)
				if (!(fresh >> j & 1))
					bring_record(records + j * r.bytes, src, j, r.bytes, WARPS * 32);
			copy_commit();
			bring_fresh();
			auto keep_fresh = [&] {
				int busy = pairs < WARPS ? pairs : 0;
				if (t.warp < busy)
					return;
				for (u32 f = fresh; f; f &= f - 1)
					held.keep(2 * first + __ffs(f) - 1, records + (__ffs(f) - 1) * r.bytes, threadIdx.x - busy * 32, (WARPS - busy) * 32);
			};
			// First all that the set has, and then, one by one, what comes: pages that lack none of it
			// are attended to meanwhile.
			u32 coming = fresh, now = ~fresh;
#pragma unroll 1
			for (bool begun = true;; begun = false) {
				if (begun)
					arrivals.others(coming);
				else
					arrivals.wait(__ffs(now) - 1, coming);
#pragma unroll 1
				for (int j = 0; j < pairs; j++) {
					u8 *page = dynamic + j * P::BYTES;
					int halves = now >> 2 * j & 3;
					if (halves)
						expand(r, Expansion{records + 2 * j * r.bytes, records + (2 * j + 1) * r.bytes, 0, page, P::K_ROW, page + P::V, P::V_ROW, (int)threadIdx.x, WARPS * 32, halves});
				}
				if (early && begun)
					arrivals.again();
				if (begun || !coming)
					__syncthreads();
				if (i < there && (begun ? !(fresh >> 2 * t.warp & 3) : !coming && fresh >> 2 * t.warp & 3))
					attend_own();
#if __CUDA_ARCH__ >= 900
				if (early && begun) { // with the first of the block's pages
					early = false;
					__syncthreads(); // whoever still attends to a page that changes
					src = held.find(2 * first, 2 * pairs, t.lane, units, unit_bytes, kv_heads, t.kv, fresh);
					bring_fresh();
					coming = fresh;
					if (fresh >> 2 * t.warp & 3)
						found.clear();
				}
#endif
				// What came is put where it belongs by warps that have no page.
				if (fresh && !coming)
					keep_fresh();
				if (!coming)
					break;
				now = coming & -coming;
				coming ^= now;
			}
		}
		// Results of the warps that have had pages lie over those.
		__syncthreads();
		float *results = (float *)dynamic; // [warps][8 heads]
		if (t.warp < slots)
			found.store(results + (t.warp * 8 + t.lane / 4) * Result<DIM>::FLOATS, t.lane);
		__syncthreads();
		auto part = [&](int h, int w) { return (const float *)results + (w * 8 + h) * Result<DIM>::FLOATS; };
		Marked<DIM>{partial, (int)most, t.row * (int)heads + t.first_head, mark}.put(split, t.some, slots, part);
	}
	// A row's last block begins when all of its others have.
	if (blockIdx.x == min((int)gridDim.x, splits.n) - 1)
		Marked<DIM>{partial, (int)most, t.row * (int)heads + t.first_head, mark}.merge(splits.n, t.some, dst + ((u64)t.row * heads + t.first_head) * DIM);
	after_previous();
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
