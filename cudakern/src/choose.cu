// Dominant pages of a KV head: the choice by scores, the exchange of its working
// set (offload/set.go), and the fetch of what came in.
#include "records.cuh"

extern __shared__ __align__(16) u8 dynamic[];

#define THREADS 1024

enum {
	KEPT = 8,  // scores of a thread in registers, of each query head
	HEADS = 4, // query heads at a time
	PARTS = THREADS / 32 / HEADS,
	FEW = 128, // keys that are compared with each other
};

// Sets of pages are bitmaps, and before[w] counts the members in the words in
// front of w. Counts N sets; every thread gets the totals.
template <int N> static __device__ __forceinline__ void count(const u32 *const (&bits)[N], u32 *const (&before)[N], int words, int (&totals)[N], u32 (*shared)[32]) {
	int thread = threadIdx.x, lane = thread % 32, warp = thread / 32, each = (words + THREADS - 1) / THREADS, from = min(thread * each, words), to = min(from + each, words);
	u32 c[N], x[N];
	__syncthreads();
#pragma unroll
	for (int n = 0; n < N; n++) {
		c[n] = 0;
		for (int w = from; w < to; w++)
			c[n] += __popc(bits[n][w]);
		x[n] = c[n];
	}
#pragma unroll
	for (int i = 1; i < 32; i *= 2)
#pragma unroll
		for (int n = 0; n < N; n++) {
			u32 y = __shfl_up_sync(~0u, x[n], i);
			x[n] += lane >= i ? y : 0;
		}
#pragma unroll
	for (int n = 0; n < N; n++)
		if (lane == 31)
			shared[n][warp] = x[n];
	__syncthreads();
#pragma unroll
	for (int n = 0; n < N; n++) {
		u32 all = shared[n][lane], at = __reduce_add_sync(~0u, lane < warp ? all : 0) + x[n] - c[n];
		totals[n] = __reduce_add_sync(~0u, all);
		for (int w = from; w < to; w++) {
			before[n][w] = at;
			at += __popc(bits[n][w]);
		}
	}
	__syncthreads();
}

static __device__ __forceinline__ int rank_of(const u32 *bits, const u32 *before, int page) {
	return before[page / 32] + __popc(bits[page / 32] & (1u << page % 32) - 1);
}

// A float's order as an unsigned number.
static __device__ __forceinline__ u32 order_of(float f) {
	u32 b = __float_as_int(f);
	return b >> 31 ? ~b : b | 1u << 31;
}

// Logarithms of the sums of a KV head's query heads from h0 on, of what scan left of
// each block: PARTS warps share a head.
static __device__ __forceinline__ void normalise(const float2 *sums, int n, int blocks, u32 max_blocks, float log_sum[HEADS], float2 (*shared)[PARTS]) {
	int lane = threadIdx.x % 32, warp = threadIdx.x / 32, head = warp % HEADS, part = warp / HEADS;
	float most = -INF, sum = 0;
	auto add = [&](float m, float s) {
		float all = fmaxf(most, m);
		sum = all == -INF ? 0 : sum * __expf(most - all) + s * __expf(m - all);
		most = all;
	};
	for (int b = part * 32 + lane; b < blocks && head < n; b += PARTS * 32) {
		float2 x = __ldcg(sums + head * max_blocks + b);
		add(x.x, x.y);
	}
#pragma unroll
	for (int i = 1; i < 32; i *= 2)
		add(__shfl_xor_sync(~0u, most, i), __shfl_xor_sync(~0u, sum, i));
	__syncthreads(); // whoever still reads what a call before left
	if (lane == 0)
		shared[head][part] = make_float2(most, sum);
	__syncthreads();
	float2 x = shared[lane / PARTS][lane % PARTS];
	most = x.x, sum = x.y;
#pragma unroll
	for (int i = 1; i < PARTS; i *= 2)
		add(__shfl_xor_sync(~0u, most, i), __shfl_xor_sync(~0u, sum, i));
	sum = most + logf(sum);
#pragma unroll
	for (int h = 0; h < HEADS; h++) {
		float l = __shfl_sync(~0u, sum, h * PARTS);
		log_sum[h] = h < n ? l : INF;
	}
}

// Makes the sums of blocks anew that have pages of the set, whose scores are no longer
// what scan added up: four lanes for each.
static __device__ void sum_again(const float *top, float2 *sums, int group, u32 max_pages, int pages, const u32 *page, int held) {
	int thread = threadIdx.x, lane = thread % 32, all = group * held;
	for (int i0 = (thread - lane) / 4; i0 < all; i0 += THREADS / 4) {
		int i = min(i0 + lane / 4, all - 1), h = i / held, j = i % held, block = page[j] / (BLOCK / COLD), p = block * (BLOCK / COLD) + lane % 4 * 4;
		float4 x = __ldcg((const float4 *)(top + h * max_pages + p));
		float v[4] = {x.x, x.y, x.z, x.w}, most = -3e38f, sum = 0;
#pragma unroll
		for (int k = 0; k < 4; k++) {
			v[k] = p + k < pages ? fminf(v[k], 1e38f) : -INF;
			most = fmaxf(most, v[k]);
		}
		most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
		most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
#pragma unroll
		for (int k = 0; k < 4; k++)
			sum += __expf(v[k] - most);
		sum += __shfl_xor_sync(~0u, sum, 1);
		sum += __shfl_xor_sync(~0u, sum, 2);
		// The first of a block's pages, of which there may be many.
		if (lane % 4 == 0 && i0 + lane / 4 < all && (j == 0 || page[j - 1] / (BLOCK / COLD) != block))
			sums[h * (max_pages / (BLOCK / COLD)) + block] = make_float2(most, sum);
	}
	__syncthreads();
}

// Writes the order of every page's largest share of a query head, of pages that are
// held times e^gain. What is no number is larger than any other.
static __device__ void shares(const float *top, const float2 *sums, int group, u32 max_pages, int pages, const u32 *have, float gain, u32 *key, float2 (*shared)[PARTS]) {
	int thread = threadIdx.x, blocks = (pages + BLOCK / COLD - 1) / (BLOCK / COLD);
	u32 max_blocks = max_pages / (BLOCK / COLD);
	for (int h0 = 0; h0 < group; h0 += HEADS, top += HEADS * max_pages, sums += HEADS * max_blocks) {
		int n = min(group - h0, (int)HEADS);
		float v[HEADS][KEPT], log_sum[HEADS];
		auto read = [&](int h, int p) { return h < n && p < pages ? fminf(__ldcg(top + h * max_pages + p), 1e38f) : -INF; };
#pragma unroll
		for (int h = 0; h < HEADS; h++)
#pragma unroll
			for (int i = 0; i < KEPT; i++)
				v[h][i] = read(h, i * THREADS + thread);
		normalise(sums, n, blocks, max_blocks, log_sum, shared);
		auto put = [&](int p, float share) {
			u32 k = order_of(share + (have[p / 32] >> p % 32 & 1 ? gain : 0));
			// The attention sink and the last page always belong to the set.
			k = p == 0 || p == pages - 1 ? ~0u : k;
			key[p] = h0 ? max(key[p], k) : k;
		};
#pragma unroll
		for (int i = 0; i < KEPT; i++) {
			float share = v[0][i] - log_sum[0];
#pragma unroll
			for (int h = 1; h < HEADS; h++)
				share = fmaxf(share, v[h][i] - log_sum[h]);
			if (i * THREADS + thread < pages)
				put(i * THREADS + thread, share);
		}
		for (int p = KEPT * THREADS + thread; p < pages; p += THREADS) {
			float share = -INF;
			for (int h = 0; h < n; h++)
				share = fmaxf(share, read(h, p) - log_sum[h]);
			put(p, share);
		}
	}
}

// Marks the first n of so many listed pages, by key and then by place, bit by bit.
static __device__ void keep_first(const u32 *key, const u32 *list, int found, int n, u32 *want, u32 *counts) {
	auto order = [&](int j) { return (u64)key[list[j]] << 32 | ~list[j]; };
	if (threadIdx.x < 64)
		counts[threadIdx.x] = 0;
	__syncthreads();
	u64 least = 0;
	for (int bit = 63; bit >= 0; bit--) {
		u64 mark = least | 1ull << bit;
		u32 c = 0;
		for (int j = threadIdx.x; j < found; j += THREADS)
			c += order(j) >= mark;
		c = __reduce_add_sync(~0u, c);
		if (threadIdx.x % 32 == 0 && c)
			atomicAdd(&counts[bit], c);
		__syncthreads();
		if (counts[bit] >= n)
			least = mark;
	}
	for (int j = threadIdx.x; j < found; j += THREADS)
		if (order(j) >= least)
			atomicOr(&want[list[j] / 32], 1u << list[j] % 32);
	__syncthreads();
}

// Marks the n pages of the largest keys, earlier ones among equals. Two bits of
// the least of them are found at a time, until few keys are left that begin with
// what is found: those are compared with each other.
static __device__ void choose(const u32 *key, int pages, int n, u32 *want, u32 *left, u32 (*counts)[32], u32 *listed) {
	int thread = threadIdx.x, lane = thread % 32, words = (pages + 31) / 32;
	u32 mine[KEPT];
#pragma unroll
	for (int i = 0; i < KEPT; i++)
		mine[i] = i * THREADS + thread < pages ? key[i * THREADS + thread] : 0; // a thread's own
	if (thread == 0)
		*listed = 0;
	// How many keys are no less than each of three: a warp's counts, of at most 2^10,
	// share a word.
	int turn = 0;
	u32 at[3];
	auto compare = [&](u32 a, u32 b, u32 c) {
		u32 x = 0;
		auto add = [&](u32 k) { x += (k >= a) + (k >= b ? 1 << 10 : 0) + (k >= c ? 1 << 20 : 0); };
#pragma unroll
		for (int i = 0; i < KEPT; i++)
			add(mine[i]);
		for (int p = KEPT * THREADS + thread; p < pages; p += THREADS)
			add(key[p]);
		x = __reduce_add_sync(~0u, x);
		if (lane == 0)
			counts[turn][thread / 32] = x;
		__syncthreads();
		x = counts[turn][lane];
		turn ^= 1;
		u32 low = __reduce_add_sync(~0u, (x & 1023) | (x >> 10 & 1023) << 16);
		at[0] = low & 0xffff, at[1] = low >> 16, at[2] = __reduce_add_sync(~0u, x >> 20);
	};
	// So many keys are least or more, and so many are beyond those that begin so.
	u32 least = 0, found = pages, above = 0;
	int bit = 32;
	// The least of n is mostly a share between e^-16 and e^-4: those begin with 9 bits of
	// one of two kinds.
	const u32 wide = order_of(-16) + 1, near = order_of(-8) + 1;
	compare(wide, near, order_of(-4) + 1);
	if (at[0] >= n && at[2] < n) {
		bool is_near = at[1] >= n;
		least = is_near ? near : wide, bit = 23;
		found = is_near ? at[1] : at[0], above = is_near ? at[2] : at[1];
	}
	while (bit > 0 && found != n && found - above > FEW) {
		bit = max(bit - 2, 0); // a last one comes with one that is known
		u32 step = 1u << bit;
		compare(least | step, least | 2 * step, least | 3 * step);
		int m = at[2] >= n ? 3 : at[1] >= n ? 2 : at[0] >= n ? 1 : 0;
		above = m == 0 ? at[0] : m == 1 ? at[1] : m == 2 ? at[2] : above;
		found = m == 1 ? at[0] : m == 2 ? at[1] : m == 3 ? at[2] : found;
		least |= (u32)m * step;
	}
	u32 last = bit < 32 ? least | ((1u << bit) - 1) : ~0u; // the largest key that begins so
	bool all = found == n;
	for (int p0 = thread - lane; p0 < words * 32; p0 += THREADS) {
		int p = p0 + lane;
		u32 k = p < pages ? key[p] : 0;
		u32 bits = __ballot_sync(~0u, p < pages && (all ? k >= least : k > last));
		if (lane == 0)
			want[p0 / 32] = bits;
		if (!all && p < pages && k >= least && k <= last)
			left[atomicAdd(listed, 1)] = p;
	}
	__syncthreads();
	if (all)
		return;
	int some = found - above, room = n - above;
	if (some > THREADS) { // as where all keys are alike: a text that repeats one token
		keep_first(key, left, some, room, want, counts[0]);
		return;
	}
	// A warp compares one of them with 32 others at a time.
	for (int j = thread / 32; j < some; j += THREADS / 32) {
		u32 p = left[j], k = key[p];
		int better = 0;
		for (int i0 = 0; i0 < some; i0 += 32) {
			u32 q = left[min(i0 + lane, some - 1)], other = key[q];
			better += __popc(__ballot_sync(~0u, i0 + lane < some && (other > k || other == k && q < p)));
		}
		if (lane == 0 && better < room)
			atomicOr(&want[p / 32], 1u << p % 32);
	}
	__syncthreads();
}

// Lists the members of a set in ascending order.
static __device__ void list_of(const u32 *bits, const u32 *before, int words, u32 *list) {
	for (int w = threadIdx.x; w < words; w += THREADS) {
		int at = before[w];
		for (u32 b = bits[w]; b; b &= b - 1)
			list[at++] = w * 32 + __ffs(b) - 1;
	}
}

// Drops all but k of the n listed pages from a set: those of the largest keys, or
// of the smallest where flip is ~0; earlier ones among equals stay.
static __device__ void keep_best(const u32 *list, int n, int k, const u32 *key, u32 flip, u32 *bits) {
	int lane = threadIdx.x % 32;
	for (int j = threadIdx.x / 32; j < n; j += THREADS / 32) {
		u32 mine = key[list[j]] ^ flip;
		int better = 0;
		for (int i0 = 0; i0 < n; i0 += 32) {
			int i = i0 + lane;
			u32 other = key[list[min(i, n - 1)]] ^ flip;
			better += __popc(__ballot_sync(~0u, i < n && (other > mine || other == mine && i < j)));
		}
		if (lane == 0 && better >= k)
			atomicAnd(&bits[list[j] / 32], ~(1u << list[j] % 32));
	}
}

enum { PAGES_READ, CHOSEN, HITS, FETCHED, COLD_BYTES };

// Grid: KV heads, rows. top [rows, heads, max_pages] is what scan left, max_pages
// a multiple of 32; by_record says that weigh has changed the scores of what is held.
// Shared memory: 2 max_pages numbers, 7 for each 32 of them, and 5 for each of the
// budget.
KERNEL(THREADS, 1) choose_pages(const float *top, float2 *sums, u32 *chosen, u8 *sets, const u8 *units, const u32 *table, const Sequence *seqs, const int *seq, u64 *traffic,
	u64 unit_bytes, u32 table_stride, u32 heads, u32 kv_heads, u32 budget, u32 exchange, u32 max_pages, u32 record_bytes, u32 by_record, float gain) {
	__shared__ float2 parts[HEADS][PARTS];
	__shared__ u32 counts[2][32], shared[2][32], listed;
	int kv = blockIdx.x, row = blockIdx.y, thread = threadIdx.x, lane = thread % 32, warp = thread / 32, most_words = max_pages / 32;
	u32 *key = (u32 *)dynamic, *want = key + max_pages, *have = want + most_words, *in = have + most_words, *out = in + most_words;
	u32 *before_in = out + most_words, *before_out = before_in + most_words, *before_new = before_out + most_words, *cut = before_new + most_words; // [max_pages]
	u32 *page = cut + max_pages, *place = page + budget, *list_in = place + budget, *list_out = list_in + budget, *vacant = list_out + budget;
	int n = seq[row];
	Sequence s = seqs[n];
	int pages = s.stored / COLD, size = min(pages, (int)budget), words = (pages + 31) / 32;
	u64 set = (u64)s.set * kv_heads + kv;
	u32 *list = chosen + set * (1 + 2 * budget);
	// The list is the step's before: it needs no waiting.
	int held = list[0];
	for (int w = thread; w < words; w += THREADS)
		have[w] = 0;
	__syncthreads();
	for (int i = thread; i < budget; i += THREADS) {
		u32 p = list[1 + i];
		page[i] = p;
		place[i] = list[1 + budget + i];
		if (i < held)
			atomicOr(&have[p / 32], 1u << p % 32);
	}
	__syncthreads();
	allow_next();
	after_previous();
	if (size < pages) {
		u64 head = (u64)row * heads + kv * (heads / kv_heads);
		top += head * max_pages, sums += head * (max_pages / (BLOCK / COLD));
		if (by_record && held)
			sum_again(top, sums, heads / kv_heads, max_pages, pages, page, held);
		shares(top, sums, heads / kv_heads, max_pages, pages, have, gain, key, parts);
		choose(key, pages, size, want, cut, counts, &listed);
	} else {
		for (int w = thread; w < words; w += THREADS)
			want[w] = pages - w * 32 >= 32 ? ~0u : (1u << (pages - w * 32)) - 1;
		__syncthreads();
	}
	for (int w = thread; w < words; w += THREADS) {
		in[w] = want[w] & ~have[w];
		out[w] = have[w] & ~want[w];
	}
	const u32 *const moves[2] = {in, out};
	u32 *const before_moves[2] = {before_in, before_out};
	int moving[2];
	count(moves, before_moves, words, moving, shared);
	int come = moving[0], leave = moving[1], most = come - leave + (int)exchange;
	list_of(in, before_in, words, list_in);
	list_of(out, before_out, words, list_out);
	__syncthreads();
	if (come > most) {
		keep_best(list_in, come, most, key, 0, in);
		keep_best(list_out, leave, exchange, key, ~0u, out);
		count(moves, before_moves, words, moving, shared);
		come = moving[0], leave = moving[1];
		list_of(in, before_in, words, list_in);
		list_of(out, before_out, words, list_out);
	}
	for (int w = thread; w < words; w += THREADS)
		want[w] = have[w] & ~out[w] | in[w];
	const u32 *const members[1] = {want};
	u32 *const before_members[1] = {before_new};
	int all[1];
	count(members, before_members, words, all, shared);
	int open = budget - held; // places that were free
	for (int i = thread; i < open; i += THREADS)
		vacant[i] = place[held + i];
	for (int i = thread; i < held; i += THREADS)
		if (out[page[i] / 32] >> page[i] % 32 & 1)
			vacant[open + rank_of(out, before_out, page[i])] = place[i];
	__syncthreads();
	// The new list: pages that stay keep their places, others take free ones.
	int now = held + come - leave;
	for (int i = thread; i < held; i += THREADS)
		if (want[page[i] / 32] >> page[i] % 32 & 1) {
			int to = rank_of(want, before_new, page[i]);
			list[1 + to] = page[i];
			list[1 + budget + to] = place[i];
		}
	for (int j = thread; j < come; j += THREADS) {
		int to = rank_of(want, before_new, list_in[j]);
		list[1 + to] = list_in[j];
		list[1 + budget + to] = vacant[j];
	}
	for (int i = now + thread; i < budget; i += THREADS)
		list[1 + budget + i] = vacant[come + i - now];
	if (thread == 0) {
		list[0] = now;
		atomicAdd(&traffic[PAGES_READ], (u64)pages);
		atomicAdd(&traffic[CHOSEN], (u64)now);
		atomicAdd(&traffic[HITS], (u64)(now - come));
		atomicAdd(&traffic[FETCHED], (u64)come * record_bytes);
		atomicAdd(&traffic[COLD_BYTES], (u64)pages * record_bytes);
	}
	const u32 *numbers = table + (u64)n * table_stride;
	for (int j = warp; j < come; j += THREADS / 32) {
		int p = list_in[j];
		const u8 *src = units + numbers[p / (BLOCK / COLD)] * unit_bytes + (u64)(p % (BLOCK / COLD) * kv_heads + kv) * record_bytes;
		u8 *dst = sets + (set * budget + vacant[j]) * record_bytes;
		for (int i = lane * 16; i < record_bytes; i += 6 * 512) {
			uint4 v[6];
#pragma unroll
			for (int k = 0; k < 6; k++)
				if (i + k * 512 < record_bytes)
					v[k] = *(const uint4 *)(src + i + k * 512);
#pragma unroll
			for (int k = 0; k < 6; k++)
				if (i + k * 512 < record_bytes)
					*(uint4 *)(dst + i + k * 512) = v[k];
		}
	}
}
