// Dominant pages of a KV head: the choice by scores, and the exchange of its working
// set (offload/set.go). What comes in is fetched by attention, but where several of its
// blocks would fetch the same: by the choice.
//
// A block of threads makes a KV head's choice alone, and attention waits for it: what
// counts is how many things are done one after the other. So it looks at pages of those index
// blocks only that can have one of the best; finds the n-th best by counts of how many
// shares are how large, once; and puts what comes and what leaves in order by comparing
// each with each, since there are few of them.
#include "records.cuh"

extern __shared__ __align__(16) u8 dynamic[];

#define THREADS 512
#define LEAST -3e38f // no share, and no score either

enum {
	GROUP = BLOCK / COLD, // pages of an index block
	WARPS = THREADS / 32,
	HEADS = 4,            // query heads at a time
	PARTS = WARPS / HEADS,
	AHEAD = 4,            // loads of sums that a thread has under way
	KEPT = 4,             // keys of a thread in registers
	BINS = THREADS,
	FEW = 128,            // keys that are compared with each other
	LINES = 6,            // of 512 bytes that a warp reads at once
	MOST_HEADS = 256,     // query heads of a KV head
};

// A float's order as an unsigned number, and the float.
static __device__ __forceinline__ u32 order_of(float f) {
	u32 b = __float_as_int(f);
	return b >> 31 ? ~b : b | 1u << 31;
}

static __device__ __forceinline__ float of_order(u32 k) { return __int_as_float(k >> 31 ? k ^ 1u << 31 : ~k); }

// A set of pages is a bitmap, and before[w] counts the members in the words in front of w.

// Counts a set, once all threads have made it.
static __device__ __forceinline__ void count(const u32 *bits, u32 *before, int words) {
	__shared__ u32 shared[WARPS];
	int thread = threadIdx.x, lane = thread % 32, warp = thread / 32, each = (words + THREADS - 1) / THREADS, from = min(thread * each, words), to = min(from + each, words);
	u32 own = 0;
	__syncthreads();
#pragma unroll 1
	for (int w = from; w < to; w++)
		own += __popc(bits[w]);
	u32 x = own;
#pragma unroll 1
	for (int i = 1; i < 32; i *= 2) {
		u32 p = __shfl_up_sync(~0u, x, i);
		x += lane >= i ? p : 0;
	}
	if (lane == 31)
		shared[warp] = x;
	__syncthreads();
	x += __reduce_add_sync(~0u, lane < warp ? shared[lane] : 0) - own;
#pragma unroll 1
	for (int w = from; w < to; w++) {
		before[w] = x;
		x += __popc(bits[w]);
	}
	__syncthreads();
}

// What a working set held before the step.
struct Before {
	u32 *have, *before;        // a set
	const u32 *page, *place;   // [held], places of all the budget
	int held;

	__device__ __forceinline__ bool has(int p) const { return have[p / 32] >> p % 32 & 1; }
	__device__ __forceinline__ u32 place_of(int p) const { return place[before[p / 32] + __popc(have[p / 32] & (1u << p % 32) - 1)]; }
};

// The bin of a share: the first has the largest. Half an octave of what a share's logarithm is below 2 has 32.
static __device__ __forceinline__ int bin_of(float share) { return min((__float_as_int(fmaxf(2 - share, 0.5f)) >> 17) - (126 << 6), BINS - 1); }

// Where the n-th largest share is: its bin, how many others are there, and in those in front of it.
struct Cut {
	int bin, in, above;
};

// Finds it in counts [BINS], once all threads have counted.
static __device__ __forceinline__ Cut cut_of(const u32 *bins, int n) {
	__shared__ u32 shared[WARPS];
	__shared__ Cut cut;
	int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
	__syncthreads();
	int own = bins[thread], x = own;
#pragma unroll
	for (int i = 1; i < 32; i *= 2) {
		int p = __shfl_up_sync(~0u, x, i);
		x += lane >= i ? p : 0;
	}
	if (lane == 31)
		shared[warp] = x;
	__syncthreads();
	x += __reduce_add_sync(~0u, lane < warp ? shared[lane] : 0);
	if (x >= n && x - own < n)
		cut = {thread, own, x - own};
	__syncthreads();
	return cut;
}

// What is known of the n-th largest of keys: so many are no less than least, so many more than it.
struct Nth {
	u32 least;
	int found, above;
};

// Finds it among all, two bits at a time: for those of whom more than a few are alike.
static __device__ __noinline__ Nth nth_of(const u32 *key, int keys, int n, u32 (*counts)[WARPS][2]) {
	int thread = threadIdx.x, lane = thread % 32, turn = 0, from[3];
	Nth r = {0, keys, 0};
	__syncthreads();
#pragma unroll 1
	for (int bit = 30; bit >= 0 && r.found != n; bit -= 2) {
		u32 step = 1u << bit, x = 0, y = 0;
#pragma unroll 1
		for (int i = thread; i < keys; i += THREADS) {
			u32 k = key[i];
			x += (k >= (r.least | step)) + (k >= (r.least | 2 * step) ? 1 << 16 : 0), y += k >= (r.least | 3 * step);
		}
		x = __reduce_add_sync(~0u, x), y = __reduce_add_sync(~0u, y);
		if (lane == 0)
			counts[turn][thread / 32][0] = x, counts[turn][thread / 32][1] = y;
		__syncthreads();
		x = lane < WARPS ? counts[turn][lane][0] : 0, y = lane < WARPS ? counts[turn][lane][1] : 0;
		turn ^= 1;
		x = __reduce_add_sync(~0u, x), y = __reduce_add_sync(~0u, y);
		from[0] = x & 0xffff, from[1] = x >> 16, from[2] = y;
		int m = from[2] >= n ? 3 : from[1] >= n ? 2 : from[0] >= n ? 1 : 0;
		r.above = m == 0 ? from[0] : m == 1 ? from[1] : m == 2 ? from[2] : r.above;
		r.found = m == 1 ? from[0] : m == 2 ? from[1] : m == 3 ? from[2] : r.found;
		r.least |= (u32)m * step;
	}
	__syncthreads(); // counts are read
	return r;
}

static __device__ __forceinline__ float warp_most(float v) { return of_order(__reduce_max_sync(~0u, order_of(v))); }

// Logarithms of the sums of so many query heads' exponentials: of what scan left of blocks
// [heads][blocks], and of what is held besides. PARTS warps share a head. tops [HEADS][blocks] keep the
// blocks' largest scores.
static __device__ __forceinline__ void add_up(const float *top, const float2 *sums, float *tops, float *log_sum, int heads, u32 max_pages, int blocks, const u32 *page, int held, float2 (*parts)[PARTS]) {
	int thread = threadIdx.x, lane = thread % 32, warp = thread / 32, head = warp / PARTS, mine = thread % (PARTS * 32);
	float most = LEAST, sum = 0;
	if (head < heads) {
		top += head * max_pages, sums += head * (max_pages / GROUP), tops += head * blocks;
#pragma unroll 1
		for (int i0 = 0; i0 < max(blocks, held); i0 += AHEAD * PARTS * 32) {
			float2 of[AHEAD];
			float own[AHEAD], now = most;
#pragma unroll
			for (int k = 0; k < AHEAD; k++) {
				int i = i0 + k * PARTS * 32 + mine;
				of[k] = i < blocks ? __ldcg(sums + i) : make_float2(LEAST, 0);
				own[k] = i < held ? fminf(__ldcg(top + page[i]), 1e38f) : LEAST;
			}
#pragma unroll
			for (int k = 0; k < AHEAD; k++) {
				int i = i0 + k * PARTS * 32 + mine;
				if (i < blocks)
					tops[i] = of[k].x;
				now = fmaxf(fmaxf(of[k].x, own[k]), now);
			}
			sum *= __expf(most - now);
#pragma unroll
			for (int k = 0; k < AHEAD; k++)
				sum += of[k].y * __expf(of[k].x - now) + (i0 + k * PARTS * 32 + mine < held ? __expf(own[k] - now) : 0);
			most = now;
		}
		float all = warp_most(most);
		sum = warp_sum(sum * __expf(most - all));
		if (lane == 0)
			parts[head][warp % PARTS] = make_float2(all, sum);
	}
	__syncthreads();
	if (thread < heads) {
		float all = LEAST, added = 0;
#pragma unroll
		for (int i = 0; i < PARTS; i++)
			all = fmaxf(all, parts[thread][i].x);
#pragma unroll
		for (int i = 0; i < PARTS; i++)
			added += parts[thread][i].y * __expf(parts[thread][i].x - all);
		log_sum[thread] = all + logf(added);
	}
	__syncthreads();
}

// An item of a list: what it is compared by, and its page, an earlier one being more.
static __device__ __forceinline__ u64 item(u32 key, u32 page) { return (u64)key << 32 | (u32)~page; }
static __device__ __forceinline__ u32 page_of(u32 item) { return ~item; }

// Lists that threads add to.
struct Lists {
	u64 *come, *leave;
	u32 *n; // how long they are

	__device__ __forceinline__ void comes(u32 key, u32 page) const { come[atomicAdd(&n[0], 1)] = item(key, page); }
	__device__ __forceinline__ void leaves(u32 key, u32 page) const { leave[atomicAdd(&n[1], 1)] = item(~key, page); }
};

// How many of n items are more than one, with four lanes that share it.
template <class T, int APART = 1> static __device__ __forceinline__ int above(const T *items, int n, T one) {
	int found = 0;
#pragma unroll 4
	for (int i = threadIdx.x % 4; i < n; i += 4)
		found += items[i * APART] > one;
	return quad_sum(found);
}

// Calls f with each of n items' numbers, with those of so many threads that share one, all lanes of a
// warp alike: past the last item with a number that is too large.
template <class F> static __device__ __forceinline__ void each_of(int n, int thread, int threads, F f) {
#pragma unroll 1
	for (int j0 = 0; j0 < n; j0 += threads / 4)
		f(j0 + thread / 4);
}

// The pages that come and those that leave, in ascending order.
struct Exchanged {
	u32 *in, *out;
	int come, leave;
};

// Drops all but the best, if that is more than so many may leave: of those that come as many of the largest
// keys as then find room, of those that leave of the smallest; earlier ones among equals stay in the lists.
// spare [2 budget] is for them, or for the order.
static __device__ __forceinline__ Exchanged exchanged(const Lists &l, int exchange, u32 *spare, int budget) {
	bool comes = threadIdx.x < THREADS / 2, limited = (int)l.n[1] > exchange;
	int thread = threadIdx.x % (THREADS / 2), n = l.n[!comes];
	Exchanged x = {spare, spare + budget, (int)l.n[0], (int)l.n[1]};
	const u64 *items = comes ? l.come : l.leave;
	if (!limited) {
		each_of(n, thread, THREADS / 2, [&](int j) {
			u32 one = (u32)items[min(j, n - 1)];
			int at = above<u32, 2>((const u32 *)items, n, one);
			if (j < n && thread % 4 == 0)
				(comes ? x.in : x.out)[at] = page_of(one);
		});
		return x;
	}
	int most = comes ? x.come - x.leave + exchange : exchange;
	u32 *left = comes ? spare : spare + budget, *to = (u32 *)(comes ? l.come : l.leave);
	each_of(n, thread, THREADS / 2, [&](int j) {
		u64 one = items[min(j, n - 1)];
		bool stays = above(items, n, one) < most;
		if (j < n && thread % 4 == 0)
			left[j] = stays ? (u32)one : 0;
	});
	__syncthreads();
	each_of(n, thread, THREADS / 2, [&](int j) {
		u32 one = left[min(j, n - 1)];
		int at = above(left, n, one);
		if (j < n && one && thread % 4 == 0)
			to[at] = page_of(one);
	});
	return {(u32 *)l.come, (u32 *)l.leave, x.come - x.leave + exchange, exchange};
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

// Brings the records of so many pages to places of a set, a warp each. A unit's records of one KV
// head lie so far apart.
template <class F> static __device__ __forceinline__ void fetch(const u32 *pages, F place, int n, const u8 *units, const u32 *numbers, u64 unit_bytes, u64 apart, u8 *set, u32 bytes) {
	int lane = threadIdx.x % 32;
#pragma unroll 1
	for (int j = threadIdx.x / 32; j < n; j += WARPS) {
		const u8 *src = units + numbers[pages[j] / GROUP] * unit_bytes + pages[j] % GROUP * apart;
		u8 *dst = set + (u64)place(j) * bytes;
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

// Waits for scan, of whose blocks so many have to come, or for its end if that takes longer.
static __device__ __forceinline__ void wait_for_scan(const u32 *arrived, u32 scanned) {
#if __CUDA_ARCH__ >= 900
	int looks = scanned ? 0 : MOST_LOOKS;
	if (threadIdx.x == 0)
		while (looks < MOST_LOOKS && acquire(arrived) < scanned)
			looks++;
	if (looks == MOST_LOOKS)
		after_previous();
	__syncthreads();
#endif
}

// Grid: KV heads, rows. top [rows, heads, max_pages] is what scan left, max_pages
// a multiple of 32; by_record says that scan scored what is held by records, which sums then leave out.
// sources [rows, kv_heads, budget] say of each place of the set which unit's which page has yet to come
// there, HELD of other places, and of all where the choice fetches; TO_COME until that is known.
// arrived [rows, kv_heads] become scanned when scan is done with a KV head; 0 scanned if that is to be waited
// for by its end.
// Shared memory: max_pages numbers, 8 for each 32 of them, 9 for each of the budget and 2.
KERNEL(THREADS, 1) choose_pages(const float *top, const float2 *sums, u32 *chosen, u32 *sources, u32 *arrived, u8 *sets, const u8 *units, const u32 *table, const Sequence *seqs, const int *seq, u64 *traffic,
	u64 unit_bytes, u32 table_stride, u32 heads, u32 kv_heads, u32 budget, u32 exchange, u32 max_pages, u32 record_bytes, u32 by_record, u32 fetches, u32 scanned, float gain) {
	__shared__ float2 parts[HEADS][PARTS];
	__shared__ u32 counts[2][WARPS][2], bins[2][BINS], lengths[2], listed_blocks, listed_others, fews;
	__shared__ u64 few[FEW];
	__shared__ float log_sum[MOST_HEADS];
	int kv = blockIdx.x, row = blockIdx.y, thread = threadIdx.x, group = heads / kv_heads, most_words = max_pages / 32;
	Lists lists = {(u64 *)dynamic, (u64 *)dynamic + budget, lengths};
	u32 *spare = (u32 *)(lists.leave + budget), *page = spare + 2 * budget, *place = page + budget, *others = place + budget;
	u32 *have = others + budget + 2, *before = have + most_words;
	u32 *numbers = before + most_words, *best = numbers + 2 * most_words, *block_key = best + 2 * most_words, *key = block_key + 2 * most_words; // of blocks, and of listed pages
	float *tops = (float *)key;                         // before there are keys
	u32 *alike = block_key, *before_alike = alike + most_words; // when blocks are listed
	int n = seq[row];
	Sequence s = seqs[n];
	int pages = s.stored / COLD, size = min(pages, (int)budget), words = (pages + 31) / 32, blocks = (pages + GROUP - 1) / GROUP;
	u64 set = (u64)s.set * kv_heads + kv;
	u32 *list = chosen + set * (1 + 2 * budget);
	arrived += (u64)row * kv_heads + kv;
	sources += ((u64)row * kv_heads + kv) * budget;
	if (thread == 0)
		lengths[0] = lengths[1] = listed_blocks = listed_others = fews = 0;
	// The list is the step's before: it needs no waiting.
	Before held = {have, before, page, place, (int)list[0]};
	bins[0][thread] = bins[1][thread] = 0;
#pragma unroll 1
	for (int w = thread; w < words; w += THREADS)
		have[w] = 0;
	__syncthreads();
#pragma unroll 1
	for (int i = thread; i < budget; i += THREADS) {
		u32 p = list[1 + i];
		page[i] = p;
		place[i] = list[1 + budget + i];
		sources[i] = TO_COME;
		if (i < held.held)
			atomicOr(&have[p / 32], 1u << p % 32);
	}
#pragma unroll 1
	for (int b = thread; b < blocks; b += THREADS)
		numbers[b] = table[(u64)n * table_stride + b];
	__threadfence(); // attention sees that sources are to come
	count(have, before, words);
	allow_next();
	wait_for_scan(arrived, scanned);
	if (size < pages) {
		u64 head = (u64)row * heads + kv * group;
		top += head * max_pages, sums += head * (max_pages / GROUP);
#pragma unroll 1
		for (int h0 = 0; h0 < group; h0 += HEADS) {
			int some = min(group - h0, (int)HEADS);
			if (h0)
				__syncthreads(); // whoever still reads the heads' before
			add_up(top + h0 * max_pages, sums + h0 * (max_pages / GROUP), tops, log_sum + h0, some, max_pages, blocks, page, by_record ? held.held : 0, parts);
			// A block's key is that of its best page, as pages have keys below.
#pragma unroll 1
			for (int b = thread; b < blocks; b += THREADS) {
				float share = h0 ? of_order(block_key[b]) : -INF;
#pragma unroll
				for (int h = 0; h < HEADS; h++)
					share = h < some ? fmaxf(share, tops[h * blocks + b] - log_sum[h0 + h]) : share;
				block_key[b] = order_of(share);
				if (h0 + HEADS >= group)
					atomicAdd(&bins[0][bin_of(share)], 1);
			}
		}
		// Pages of at least the n best blocks, of whose best ones none is below the n-th best page;
		// and what is held, whose keys are larger than their blocks say. The attention sink and
		// the last page always belong to the set.
		u32 least = 0;
		int last = BINS;
		if (size < blocks) {
			Cut cut = cut_of(bins[0], size);
			if (cut.above + cut.in <= size + FEW)
				last = cut.bin;
			else
				least = nth_of(block_key, blocks, size, counts).least;
		}
		auto good = [&](u32 k) { return k >= least && bin_of(of_order(k)) <= last; };
#pragma unroll 1
		for (int b = thread; b < blocks; b += THREADS)
			if (good(block_key[b]))
				best[atomicAdd(&listed_blocks, 1)] = b;
		// What is listed once and for all, from others' blocks.
#pragma unroll 1
		for (int i = thread; i < held.held + 2 && size < blocks; i += THREADS) {
			u32 p = i < held.held ? page[i] : i == held.held ? 0 : pages - 1;
			if (!good(block_key[p / GROUP]) && (i < held.held || !held.has(p)))
				others[atomicAdd(&listed_others, 1)] = p;
		}
		__syncthreads();
		int of_blocks = listed_blocks * GROUP, listed = of_blocks + listed_others;
		auto page_at = [&](int i) { return i < of_blocks ? (int)best[i / GROUP] * GROUP + i % GROUP : (int)others[i - of_blocks]; };
		// A page's key is the order of its largest share of a query head, and times e^gain where
		// it is held. What is no number is larger than any other.
#pragma unroll 1
		for (int i0 = thread; i0 < listed; i0 += KEPT * THREADS) {
			float share[KEPT];
			int p[KEPT];
#pragma unroll
			for (int k = 0; k < KEPT; k++) {
				p[k] = i0 + k * THREADS < listed ? page_at(i0 + k * THREADS) : pages;
				share[k] = -INF;
			}
#pragma unroll 4
			for (int h = 0; h < group; h++)
#pragma unroll
				for (int k = 0; k < KEPT; k++)
					share[k] = p[k] < pages ? fmaxf(share[k], fminf(__ldcg(top + h * max_pages + p[k]), 1e38f) - log_sum[h]) : 0;
#pragma unroll
			for (int k = 0; k < KEPT; k++)
				if (i0 + k * THREADS < listed) {
					bool there = p[k] < pages, always = p[k] == 0 || p[k] == pages - 1;
					share[k] = always ? 1e38f : share[k] + (there && held.has(p[k]) ? gain : 0);
					key[i0 + k * THREADS] = !there ? 0 : always ? ~0u : order_of(share[k]);
					if (there)
						atomicAdd(&bins[1][bin_of(share[k])], 1);
				}
		}
		Cut c = cut_of(bins[1], size);
		bool alone = c.above + c.in == size; // nothing of the cut's bin is left out
		auto put = [&](u32 k, int p, bool chosen) {
			if (chosen && !held.has(p))
				lists.comes(k, p);
			else if (!chosen && held.has(p))
				lists.leaves(k, p);
		};
		if (alone || c.in <= FEW) {
#pragma unroll 1
			for (int i = thread; i < listed; i += THREADS) {
				int p = page_at(i);
				u32 k = key[i];
				int bin = bin_of(of_order(k));
				if (p < pages && bin == c.bin && !alone)
					few[atomicAdd(&fews, 1)] = item(k, p);
				else if (p < pages)
					put(k, p, bin <= c.bin);
			}
			__syncthreads();
			int left = fews;
			each_of(left, thread, THREADS, [&](int j) {
				u64 one = few[min(j, left - 1)];
				int better = above(few, left, one);
				if (j < left && thread % 4 == 0)
					put(one >> 32, page_of((u32)one), better < size - c.above);
			});
		} else { // many alike: a text that repeats one token
			Nth r = nth_of(key, listed, size, counts);
#pragma unroll 1
			for (int w = thread; w < words; w += THREADS)
				alike[w] = 0;
			__syncthreads();
#pragma unroll 1
			for (int i = thread; i < listed; i += THREADS)
				if (key[i] == r.least && r.found > size)
					atomicOr(&alike[page_at(i) / 32], 1u << page_at(i) % 32);
			count(alike, before_alike, words);
#pragma unroll 1
			for (int i = thread; i < listed; i += THREADS) {
				int p = page_at(i);
				u32 k = key[i];
				bool equal = r.found > size && k == r.least;
				if (p < pages)
					put(k, p, equal ? (int)before_alike[p / 32] + __popc(alike[p / 32] & (1u << p % 32) - 1) < size - r.above : k >= r.least);
			}
		}
	} else {
#pragma unroll 1
		for (int p = thread; p < pages; p += THREADS)
			if (!held.has(p))
				lists.comes(0, p);
	}
	__syncthreads();
	Exchanged x = exchanged(lists, exchange, spare, budget);
	__syncthreads();
	int now = held.held + x.come - x.leave, open = budget - held.held; // open: places that were free
	auto vacant = [&](int j) { return j < open ? place[held.held + j] : held.place_of(x.out[j - open]); };
	u32 *source = others; // of all places
#pragma unroll 1
	for (int i = thread; i < budget; i += THREADS)
		source[i] = HELD;
	__syncthreads();
#pragma unroll 1
	for (int j = thread; j < x.come && !fetches; j += THREADS)
		source[vacant(j)] = numbers[x.in[j] / GROUP] * GROUP + x.in[j] % GROUP;
	__syncthreads();
	// Attention begins with what comes, while the new list is made.
#pragma unroll 1
	for (int i = thread; i < budget; i += THREADS)
		sources[i] = source[i];
	// Pages that stay keep their places, others take free ones. A page's place in the list is the
	// number of those in front of it: of what was held, without what left, and of what comes.
#pragma unroll 1
	for (int i = thread; i < held.held; i += THREADS) {
		u32 p = page[i];
		int out = below(x.out, x.leave, p), to = i - out + below(x.in, x.come, p);
		if (out == x.leave || x.out[out] != p) {
			list[1 + to] = p;
			list[1 + budget + to] = place[i];
		}
	}
#pragma unroll 1
	for (int j = thread; j < x.come; j += THREADS) {
		u32 p = x.in[j];
		int to = below(page, held.held, p) - below(x.out, x.leave, p) + j;
		list[1 + to] = p;
		list[1 + budget + to] = vacant(j);
	}
#pragma unroll 1
	for (int i = now + thread; i < budget; i += THREADS)
		list[1 + budget + i] = vacant(x.come + i - now);
	if (thread == 0) {
		list[0] = now;
		atomicAdd(&traffic[PAGES_READ], (u64)pages);
		atomicAdd(&traffic[CHOSEN], (u64)now);
		atomicAdd(&traffic[HITS], (u64)(now - x.come));
		atomicAdd(&traffic[FETCHED], fetches ? (u64)x.come * record_bytes : 0);
		atomicAdd(&traffic[COLD_BYTES], (u64)pages * record_bytes);
	}
	if (fetches)
		fetch(x.in, vacant, x.come, units + (u64)kv * record_bytes, numbers, unit_bytes, (u64)kv_heads * record_bytes, sets + set * budget * record_bytes, record_bytes);
	after_previous(); // nobody counts any more
	if (thread == 0)
		*arrived = 0;
}
