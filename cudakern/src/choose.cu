// Dominant pages of a KV head: the choice by scores, and the exchange of its working
// set (offload/set.go). What comes in is fetched by attention, but where several of its
// blocks would fetch the same: by the choice.
//
// A block of threads makes a KV head's choice alone, and most of its time would be
// waiting: for memory, for other warps, and for instructions, which each launch reads
// anew. So it looks at pages of those index blocks only that can have one of the
// best, and loops are not unrolled.
#include "records.cuh"

extern __shared__ __align__(16) u8 dynamic[];

#define THREADS 512

enum {
	GROUP = BLOCK / COLD, // pages of an index block
	WARPS = THREADS / 32,
	HEADS = 4,            // query heads at a time
	PARTS = WARPS / HEADS,
	KEPT = 4,             // keys of a thread in registers
	AHEAD = 2,            // loads of scores that a thread has under way
	TURN = THREADS / HEADS / 4, // held pages of each head at a time
	FEW = 64,             // keys that are compared with each other
	LINES = 6,            // of 512 bytes that a warp reads at once
	MOST_HEADS = 256,     // query heads of a KV head
};

// Sets of pages are bitmaps, and before[w] counts the members in the words in
// front of w. Counts two sets; every thread gets the totals.
static __device__ __forceinline__ int2 count(const u32 *a, const u32 *b, u32 *before_a, u32 *before_b, int words, u32 (*shared)[2]) {
	int thread = threadIdx.x, lane = thread % 32, warp = thread / 32, each = (words + THREADS - 1) / THREADS, from = min(thread * each, words), to = min(from + each, words);
	u32 own = 0, own_b = 0;
	__syncthreads();
#pragma unroll 1
	for (int w = from; w < to; w++) {
		own += __popc(a[w]);
		own_b += __popc(b[w]);
	}
	u32 x = own, y = own_b;
#pragma unroll 1
	for (int i = 1; i < 32; i *= 2) {
		u32 p = __shfl_up_sync(~0u, x, i), q = __shfl_up_sync(~0u, y, i);
		if (lane >= i)
			x += p, y += q;
	}
	if (lane == 31)
		shared[warp][0] = x, shared[warp][1] = y;
	__syncthreads();
	u32 all = lane < WARPS ? shared[lane][0] : 0, all_b = lane < WARPS ? shared[lane][1] : 0;
	x += __reduce_add_sync(~0u, lane < warp ? all : 0) - own;
	y += __reduce_add_sync(~0u, lane < warp ? all_b : 0) - own_b;
#pragma unroll 1
	for (int w = from; w < to; w++) {
		before_a[w] = x;
		before_b[w] = y;
		x += __popc(a[w]);
		y += __popc(b[w]);
	}
	int2 totals = make_int2(__reduce_add_sync(~0u, all), __reduce_add_sync(~0u, all_b));
	__syncthreads();
	return totals;
}

static __device__ __forceinline__ bool has(const u32 *bits, int page) { return bits[page / 32] >> page % 32 & 1; }

// Lists the members of a set in ascending order.
static __device__ __forceinline__ void list_of(const u32 *bits, const u32 *before, int words, u32 *list) {
#pragma unroll 1
	for (int w = threadIdx.x; w < words; w += THREADS) {
		int at = before[w];
#pragma unroll 1
		for (u32 b = bits[w]; b; b &= b - 1)
			list[at++] = w * 32 + __ffs(b) - 1;
	}
}

// A float's order as an unsigned number.
static __device__ __forceinline__ u32 order_of(float f) {
	u32 b = __float_as_int(f);
	return b >> 31 ? ~b : b | 1u << 31;
}

// Reads what scan left of blocks, [heads][blocks] of them, and makes sums of exponentials
// anew of those that have some of the held pages, whose scores are no longer what scan
// added up: four lanes for each. All loads of a turn are under way at once.
static __device__ __forceinline__ void read_sums(const float *top, const float2 *sums, float2 *to, int heads, u32 max_pages, int blocks, int pages, const u32 *page, int held) {
	// A quarter of the threads has a head's, four lanes a page.
	int thread = threadIdx.x, h = thread / (THREADS / HEADS), mine = h < heads ? held : 0, first = thread % (THREADS / HEADS) / 4, lane = thread % 4;
	float4 x[AHEAD];
	auto load = [&](int j0) {
#pragma unroll
		for (int k = 0; k < AHEAD; k++) {
			int j = j0 + k * TURN + first;
			x[k] = make_float4(0, 0, 0, 0);
			if (j < mine)
				x[k] = __ldcg((const float4 *)(top + h * max_pages + page[j] / GROUP * GROUP + lane * 4));
		}
	};
	load(0);
#pragma unroll 1
	for (int b = thread; b < blocks; b += THREADS) {
		float2 of[HEADS];
#pragma unroll
		for (int i = 0; i < HEADS; i++)
			if (i < heads)
				of[i] = __ldcg(sums + i * (max_pages / GROUP) + b);
#pragma unroll
		for (int i = 0; i < HEADS; i++)
			if (i < heads)
				to[i * blocks + b] = of[i];
	}
	__syncthreads();
#pragma unroll 1
	for (int j0 = 0; j0 < held; j0 += AHEAD * TURN) {
		if (j0)
			load(j0);
#pragma unroll
		for (int k = 0; k < AHEAD; k++) {
			int j = j0 + k * TURN + first, block = j < mine ? page[j] / GROUP : 0, p = block * GROUP + lane * 4;
			float v[4] = {x[k].x, x[k].y, x[k].z, x[k].w}, most = -3e38f, sum = 0;
#pragma unroll
			for (int c = 0; c < 4; c++) {
				v[c] = p + c < pages ? fminf(v[c], 1e38f) : -INF;
				most = fmaxf(most, v[c]);
			}
			most = quad_max(most);
#pragma unroll
			for (int c = 0; c < 4; c++)
				sum += __expf(v[c] - most);
			sum = quad_sum(sum);
			// The first of a block's pages, of which there may be many.
			if (lane == 0 && j < mine && (j == 0 || page[j - 1] / GROUP != block))
				to[h * blocks + block] = make_float2(most, sum);
		}
	}
	__syncthreads();
}

// Logarithms of the sums of so many query heads, of what their blocks have: PARTS warps
// share a head.
static __device__ __forceinline__ void normalise(const float2 *sums, int heads, int blocks, float *log_sum, float2 (*shared)[PARTS]) {
	int lane = threadIdx.x % 32, warp = threadIdx.x / 32, head = warp % HEADS, part = warp / HEADS;
	float most = -INF, sum = 0;
	if (head < heads) {
#pragma unroll 1
		for (int b = part * 32 + lane; b < blocks; b += PARTS * 32)
			most = fmaxf(most, sums[head * blocks + b].x);
		most = warp_max(most);
#pragma unroll 1
		for (int b = part * 32 + lane; b < blocks; b += PARTS * 32)
			sum += sums[head * blocks + b].y * __expf(sums[head * blocks + b].x - most);
		sum = warp_sum(sum);
	}
	if (lane == 0)
		shared[head][part] = make_float2(most, sum);
	__syncthreads();
	if (threadIdx.x < heads) {
		float all = -INF, added = 0;
#pragma unroll
		for (int i = 0; i < PARTS; i++)
			all = fmaxf(all, shared[threadIdx.x][i].x);
#pragma unroll
		for (int i = 0; i < PARTS; i++) {
			float2 x = shared[threadIdx.x][i];
			added += x.x == -INF ? 0 : x.y * __expf(x.x - all);
		}
		log_sum[threadIdx.x] = all + logf(added);
	}
	__syncthreads();
}

// What is known of the n-th largest of keys: so many are least or more, so many are
// beyond those that begin as it does up to bit.
struct Nth {
	u32 least;
	int bit, found, above;
	__device__ __forceinline__ u32 last() const { return bit < 32 ? least | ((1u << bit) - 1) : ~0u; } // the largest key that begins so
};

// Finds the n-th largest of keys, each at key[list[i]] or, without a list, key[i], two
// bits at a time, until it is one of few.
static __device__ __forceinline__ Nth nth_of(const u32 *key, const u32 *list, int keys, int n, int few, u32 (*counts)[WARPS][2]) {
	int thread = threadIdx.x, lane = thread % 32, turn = 0;
	u32 mine[KEPT];
#pragma unroll
	for (int i = 0; i < KEPT; i++) {
		int at = i * THREADS + thread;
		mine[i] = at < keys ? key[list ? list[at] : at] : 0; // a thread's own
	}
	// How many keys are no less than each of three.
	int from[3];
	auto compare = [&](u32 a, u32 b, u32 c) {
		u32 x = 0, y = 0;
		auto add = [&](u32 k) { x += (k >= a) + (k >= b ? 1 << 16 : 0), y += k >= c; };
#pragma unroll
		for (int i = 0; i < KEPT; i++)
			add(mine[i]);
#pragma unroll 1
		for (int i = KEPT * THREADS + thread; i < keys; i += THREADS)
			add(key[list ? list[i] : i]);
		x = __reduce_add_sync(~0u, x), y = __reduce_add_sync(~0u, y);
		if (lane == 0)
			counts[turn][thread / 32][0] = x, counts[turn][thread / 32][1] = y;
		__syncthreads();
		x = lane < WARPS ? counts[turn][lane][0] : 0, y = lane < WARPS ? counts[turn][lane][1] : 0;
		turn ^= 1;
		x = __reduce_add_sync(~0u, x), y = __reduce_add_sync(~0u, y);
		from[0] = x & 0xffff, from[1] = x >> 16, from[2] = y;
	};
	Nth r = {0, 32, keys, 0};
	// The least of n is mostly a share between e^-16 and e^-4: those begin with 9 bits of
	// one of two kinds.
	const u32 wide = order_of(-16) + 1, near = order_of(-8) + 1;
	compare(wide, near, order_of(-4) + 1);
	if (from[0] >= n && from[2] < n) {
		bool is_near = from[1] >= n;
		r.least = is_near ? near : wide, r.bit = 23;
		r.found = is_near ? from[1] : from[0], r.above = is_near ? from[2] : from[1];
	}
#pragma unroll 1
	while (r.bit > 0 && r.found != n && r.found - r.above > few) {
		r.bit = max(r.bit - 2, 0); // a last one comes with one that is known
		u32 step = 1u << r.bit;
		compare(r.least | step, r.least | 2 * step, r.least | 3 * step);
		int m = from[2] >= n ? 3 : from[1] >= n ? 2 : from[0] >= n ? 1 : 0;
		r.above = m == 0 ? from[0] : m == 1 ? from[1] : m == 2 ? from[2] : r.above;
		r.found = m == 1 ? from[0] : m == 2 ? from[1] : m == 3 ? from[2] : r.found;
		r.least |= (u32)m * step;
	}
	__syncthreads(); // counts are read
	return r;
}

// Marks the n pages of the largest keys among those that are listed, earlier ones among
// equals. spare is a set for some of them.
static __device__ __forceinline__ void choose(const u32 *key, const u32 *list, int listed, int n, int words, u32 *want, u32 *spare, u32 *before, u32 (*counts)[WARPS][2], u32 (*shared)[2]) {
	__shared__ u32 left[FEW], lefts;
	int thread = threadIdx.x, lane = thread % 32;
#pragma unroll 1
	for (int w = thread; w < words; w += THREADS)
		want[w] = spare[w] = 0;
	if (thread == 0)
		lefts = 0;
	Nth r = nth_of(key, list, listed, n, FEW, counts);
	bool all = r.found == n;
	int some = all ? 0 : r.found - r.above, room = n - r.above;
	u32 last = r.last();
#pragma unroll 1
	for (int i = thread; i < listed; i += THREADS) {
		u32 p = list[i], k = key[p];
		if (all ? k >= r.least : k > last)
			atomicOr(&want[p / 32], 1u << p % 32);
		else if (!all && k >= r.least) {
			if (some <= FEW)
				left[atomicAdd(&lefts, 1)] = p;
			else
				atomicOr(&spare[p / 32], 1u << p % 32);
		}
	}
	__syncthreads();
	if (all)
		return;
	if (some > FEW) { // all alike: a text that repeats one token
		count(spare, spare, before, before, words, shared);
#pragma unroll 1
		for (int w = thread; w < words; w += THREADS) {
			int at = before[w];
#pragma unroll 1
			for (u32 b = spare[w]; b && at < room; b &= b - 1, at++)
				want[w] |= b & -b;
		}
		__syncthreads();
		return;
	}
	// A warp compares one of them with 32 others at a time.
#pragma unroll 1
	for (int j = thread / 32; j < some; j += WARPS) {
		u32 p = left[j], k = key[p];
		int better = 0;
#pragma unroll 1
		for (int i0 = 0; i0 < some; i0 += 32) {
			u32 q = left[min(i0 + lane, some - 1)], other = key[q];
			better += __popc(__ballot_sync(~0u, i0 + lane < some && (other > k || other == k && q < p)));
		}
		if (lane == 0 && better < room)
			atomicOr(&want[p / 32], 1u << p % 32);
	}
	__syncthreads();
}

// How many of n ascending pages are below one.
static __device__ __forceinline__ int below(const u32 *list, int n, u32 page) {
	int from = 0;
#pragma unroll 1
	while (from < n) {
		int middle = (from + n) / 2;
		if (list[middle] < page)
			from = middle + 1;
		else
			n = middle;
	}
	return from;
}

// Drops all but the best of the listed pages: of those that come all but so many of the largest
// keys, of those that leave of the smallest; earlier ones among equals stay. What is dropped leaves the
// set out too. rank [come] and rank_out [leave] are for keys, kept for bits of a list each, and
// left_in [most] and left_out [exchange] become the lists of those that are left.
static __device__ __forceinline__ void keep_best(const u32 *list_in, const u32 *list_out, int come, int leave, int most, int exchange, const u32 *key, u32 *rank, u32 *rank_out, u32 *out, u32 *kept_in, u32 *kept_out, u32 *left_in, u32 *left_out) {
	int lane = threadIdx.x % 32;
#pragma unroll 1
	for (int i = threadIdx.x; i < come + leave; i += THREADS)
		if (i < come)
			rank[i] = key[list_in[i]];
		else
			rank_out[i - come] = ~key[list_out[i - come]];
#pragma unroll 1
	for (int i = threadIdx.x; i < max(come + 31, leave + 31) / 32; i += THREADS)
		kept_in[i] = kept_out[i] = 0;
	__syncthreads();
#pragma unroll 1
	for (int j0 = threadIdx.x / 32; j0 < come + leave; j0 += WARPS) {
		bool comes = j0 < come;
		int j = comes ? j0 : j0 - come, n = comes ? come : leave, better = 0;
		const u32 *keys = comes ? rank : rank_out;
		u32 mine = keys[j];
#pragma unroll 2
		for (int i = lane; i - lane < n; i += 32) {
			u32 other = keys[min(i, n - 1)];
			better += __popc(__ballot_sync(~0u, i < n && (other > mine || other == mine && i < j)));
		}
		if (lane == 0 && better < (comes ? most : exchange))
			atomicOr(&(comes ? kept_in : kept_out)[j / 32], 1u << j % 32);
		else if (lane == 0 && !comes)
			atomicAnd(&out[list_out[j] / 32], ~(1u << list_out[j] % 32));
	}
	__syncthreads();
#pragma unroll 1
	for (int j0 = threadIdx.x; j0 < come + leave; j0 += THREADS) {
		bool comes = j0 < come;
		int j = comes ? j0 : j0 - come, at = 0;
		const u32 *kept = comes ? kept_in : kept_out;
		if (!has(kept, j))
			continue;
#pragma unroll 1
		for (int w = 0; w < j / 32; w++)
			at += __popc(kept[w]);
		at += __popc(kept[j / 32] & (1u << j % 32) - 1);
		(comes ? left_in : left_out)[at] = (comes ? list_in : list_out)[j];
	}
	__syncthreads();
}

// Brings the records of so many pages to places of a set, a warp each. A unit's records of one KV
// head lie so far apart.
static __device__ __forceinline__ void fetch(const u32 *pages, const u32 *places, int n, const u8 *units, const u32 *numbers, u64 unit_bytes, u64 apart, u8 *set, u32 bytes) {
	int lane = threadIdx.x % 32;
#pragma unroll 1
	for (int j = threadIdx.x / 32; j < n; j += WARPS) {
		const u8 *src = units + numbers[pages[j] / GROUP] * unit_bytes + pages[j] % GROUP * apart;
		u8 *dst = set + (u64)places[j] * bytes;
#pragma unroll 1
		for (int i = lane * 16; i < bytes; i += LINES * 512) {
			uint4 v[LINES];
#pragma unroll
			for (int k = 0; k < LINES; k++)
				if (i + k * 512 < bytes)
					v[k] = *(const uint4 *)(src + i + k * 512);
#pragma unroll
			for (int k = 0; k < LINES; k++)
				if (i + k * 512 < bytes)
					*(uint4 *)(dst + i + k * 512) = v[k];
		}
	}
}

// Grid: KV heads, rows. top [rows, heads, max_pages] is what scan left, max_pages
// a multiple of 32; by_record says that scan scored what is held by records.
// sources [rows, kv_heads, budget] say of each place of the set which unit's which page has yet to come
// there, HELD of other places that are listed, and of all where the choice fetches. stages [rows, kv_heads] say how
// far a choice is.
// Shared memory: 2 max_pages numbers, 8 for each 32 of them, and 5 for each of the budget.
KERNEL(THREADS, 1) choose_pages(const float *top, const float2 *sums, u32 *chosen, u32 *sources, u32 *stages, u8 *sets, const u8 *units, const u32 *table, const Sequence *seqs, const int *seq, u64 *traffic,
	u64 unit_bytes, u32 table_stride, u32 heads, u32 kv_heads, u32 budget, u32 exchange, u32 max_pages, u32 record_bytes, u32 by_record, u32 fetches, float gain) {
	__shared__ float2 parts[HEADS][PARTS];
	__shared__ u32 counts[2][WARPS][2], shared[WARPS][2];
	__shared__ u32 candidates[2];
	__shared__ float log_sum[MOST_HEADS];
	int kv = blockIdx.x, row = blockIdx.y, thread = threadIdx.x, group = heads / kv_heads, most_words = max_pages / 32;
	u32 *key = (u32 *)dynamic, *list_all = key + max_pages, *want = list_all + max_pages, *have = want + most_words, *in = have + most_words, *out = in + most_words;
	u32 *before_in = out + most_words, *before_out = before_in + most_words;
	u32 *numbers = before_out + most_words; // of the sequence's blocks
	u32 *page = numbers + 2 * most_words, *place = page + budget, *list_in = place + budget, *list_out = list_in + budget, *vacant = list_out + budget;
	float2 *block_sums = (float2 *)key; // before there are keys: [HEADS][blocks]
	u32 *block_key = in, *best = before_in; // before pages move: [blocks]
	int n = seq[row];
	Sequence s = seqs[n];
	int pages = s.stored / COLD, size = min(pages, (int)budget), words = (pages + 31) / 32, blocks = (pages + GROUP - 1) / GROUP;
	u64 set = (u64)s.set * kv_heads + kv;
	u32 *list = chosen + set * (1 + 2 * budget), *stage = stages + (u64)row * kv_heads + kv;
	sources += ((u64)row * kv_heads + kv) * budget;
	if (thread == 0) {
		hand_over(stage, CHOICE_TO_COME);
		__threadfence(); // before attention may begin
	}
	// The list is the step's before: it needs no waiting.
	int held = list[0];
#pragma unroll 1
	for (int w = thread; w < words; w += THREADS)
		have[w] = 0;
	__syncthreads();
#pragma unroll 1
	for (int i = thread; i < budget; i += THREADS) {
		u32 p = list[1 + i];
		page[i] = p;
		place[i] = list[1 + budget + i];
		if (i < held)
			atomicOr(&have[p / 32], 1u << p % 32);
	}
#pragma unroll 1
	for (int b = thread; b < blocks; b += THREADS)
		numbers[b] = table[(u64)n * table_stride + b];
	__syncthreads();
	allow_next();
	after_previous();
	if (thread == 0)
		hand_over(stage, CHOICE_BEGUN);
	if (size < pages) {
		u64 head = (u64)row * heads + kv * group;
		top += head * max_pages, sums += head * (max_pages / GROUP);
#pragma unroll 1
		for (int h0 = 0; h0 < group; h0 += HEADS) {
			int some = min(group - h0, (int)HEADS);
			read_sums(top + h0 * max_pages, sums + h0 * (max_pages / GROUP), block_sums, some, max_pages, blocks, pages, page, by_record ? held : 0);
			normalise(block_sums, some, blocks, log_sum + h0, parts);
			// A block's key is that of its best page, as pages have keys below.
#pragma unroll 1
			for (int b = thread; b < blocks; b += THREADS) {
				float share = -INF;
				for (int h = 0; h < some; h++)
					share = fmaxf(share, block_sums[h * blocks + b].x - log_sum[h0 + h]);
				block_key[b] = h0 ? max(block_key[b], order_of(share)) : order_of(share);
			}
			__syncthreads();
		}
		// Pages of the n best blocks, of whose best ones none is below the n-th best page;
		// and what is held, whose keys are larger than their blocks say. The attention sink and
		// the last page always belong to the set.
		u32 least = size < blocks ? nth_of(block_key, nullptr, blocks, size, FEW, counts).least : 0;
		if (thread < 2)
			candidates[thread] = 0;
		__syncthreads();
#pragma unroll 1
		for (int b = thread; b < blocks; b += THREADS)
			if (block_key[b] >= least)
				best[atomicAdd(&candidates[0], 1)] = b;
		__syncthreads();
		int listed = candidates[0] * GROUP;
		// What is listed once and for all, from others' blocks.
#pragma unroll 1
		for (int i = thread; i < held + 2; i += THREADS) {
			u32 p = i < held ? page[i] : i == held ? 0 : pages - 1;
			if (block_key[p / GROUP] < least && (i < held || !has(have, p)))
				list_all[listed + atomicAdd(&candidates[1], 1)] = p;
		}
#pragma unroll 1
		for (int i = thread; i < listed; i += THREADS)
			list_all[i] = best[i / GROUP] * GROUP + i % GROUP;
		__syncthreads();
		listed += candidates[1];
		// A page's key is the order of its largest share of a query head, and times e^gain where
		// it is held. What is no number is larger than any other.
#pragma unroll 1
		for (int i0 = thread; i0 < listed; i0 += KEPT * THREADS) {
			float share[KEPT];
			int p[KEPT];
#pragma unroll
			for (int k = 0; k < KEPT; k++) {
				p[k] = i0 + k * THREADS < listed ? list_all[i0 + k * THREADS] : pages;
				share[k] = -INF;
			}
#pragma unroll 4
			for (int h = 0; h < group; h++)
#pragma unroll
				for (int k = 0; k < KEPT; k++)
					share[k] = p[k] < pages ? fmaxf(share[k], fminf(__ldcg(top + h * max_pages + p[k]), 1e38f) - log_sum[h]) : 0;
#pragma unroll
			for (int k = 0; k < KEPT; k++)
				if (i0 + k * THREADS < listed && p[k] < max_pages)
					key[p[k]] = p[k] >= pages ? 0 : p[k] == 0 || p[k] == pages - 1 ? ~0u : order_of(share[k] + (has(have, p[k]) ? gain : 0));
		}
		__syncthreads();
		choose(key, list_all, listed, size, words, want, in, before_in, counts, shared);
	} else {
#pragma unroll 1
		for (int w = thread; w < words; w += THREADS)
			want[w] = pages - w * 32 >= 32 ? ~0u : (1u << (pages - w * 32)) - 1;
		__syncthreads();
	}
#pragma unroll 1
	for (int w = thread; w < words; w += THREADS) {
		in[w] = want[w] & ~have[w];
		out[w] = have[w] & ~want[w];
	}
	int2 moving = count(in, out, before_in, before_out, words, shared);
	list_of(in, before_in, words, list_in);
	list_of(out, before_out, words, list_out);
	__syncthreads();
	int come = moving.x, leave = moving.y, most = come - leave + (int)exchange;
	if (come > most) {
		keep_best(list_in, list_out, come, leave, most, exchange, key, list_all, vacant, out, before_in, before_out, key, list_all);
		list_in = key, list_out = list_all, come = most, leave = exchange;
	}
	int now = held + come - leave, open = budget - held; // open: places that were free
#pragma unroll 1
	for (int i = thread; i < open; i += THREADS)
		vacant[i] = place[held + i];
#pragma unroll 1
	for (int i = thread; i < held; i += THREADS)
		if (has(out, page[i]))
			vacant[open + below(list_out, leave, page[i])] = place[i];
		else
			sources[place[i]] = HELD;
	__syncthreads();
#pragma unroll 1
	for (int j = thread; j < come; j += THREADS)
		sources[vacant[j]] = fetches ? HELD : numbers[list_in[j] / GROUP] * GROUP + list_in[j] % GROUP;
	__syncthreads();
	// Attention may begin with what comes, while the new list is made.
	if (thread == 0)
		hand_over(stage, CHOICE_MADE);
	// Pages that stay keep their places, others take free ones. A page's place in the list is the
	// number of those in front of it: of what was held, without what left, and of what comes.
#pragma unroll 1
	for (int i = thread; i < held; i += THREADS)
		if (!has(out, page[i])) {
			int to = i - below(list_out, leave, page[i]) + below(list_in, come, page[i]);
			list[1 + to] = page[i];
			list[1 + budget + to] = place[i];
		}
#pragma unroll 1
	for (int j = thread; j < come; j += THREADS) {
		u32 p = list_in[j];
		int to = below(page, held, p) - below(list_out, leave, p) + j;
		list[1 + to] = p;
		list[1 + budget + to] = vacant[j];
	}
#pragma unroll 1
	for (int i = now + thread; i < budget; i += THREADS)
		list[1 + budget + i] = vacant[come + i - now];
	if (thread == 0) {
		list[0] = now;
		atomicAdd(&traffic[PAGES_READ], (u64)pages);
		atomicAdd(&traffic[CHOSEN], (u64)now);
		atomicAdd(&traffic[HITS], (u64)(now - come));
		atomicAdd(&traffic[FETCHED], fetches ? (u64)come * record_bytes : 0);
		atomicAdd(&traffic[COLD_BYTES], (u64)pages * record_bytes);
	}
	if (fetches)
		fetch(list_in, vacant, come, units + (u64)kv * record_bytes, numbers, unit_bytes, (u64)kv_heads * record_bytes, sets + set * budget * record_bytes, record_bytes);
}
