// Dominant tokens of layers that keep no index (TailorKV, arXiv:2505.19586, section
// 4.2). A KV head's query is the signed mean of its group's. The few channels in which
// it meets the largest keys are streamed for all tokens from mapped page-locked memory;
// scores over them choose tokens, whose rows are brought to exact pages, in the order of
// positions, and attended to with the exact tail.
#include "records.cuh"
#include "split.cuh"

#define SCORE_THREADS 128
#define CHOOSE_THREADS 1024
#define FETCH_THREADS 256

enum {
	MOST_DIM = 256,
	AHEAD = 8,     // runs of channels that a lane has under way
	LANE_TOKENS = 8, // 16 bytes of a channel's run
	WARPS = CHOOSE_THREADS / 32,
	BINS = 2048,
};

// A score's order as an unsigned number; what is no number or not finite comes before
// all others, so that whoever looks at the result sees it.
static __device__ __forceinline__ u32 order_of(float score) {
	score += 0.0f; // -0 is 0
	if (!(fabsf(score) < INF))
		return ~0u;
	u32 b = __float_as_int(score);
	return b >> 31 ? ~b : b | 1u << 31;
}

// Channels that a head's tokens are scored by, ascending, and the query there.
struct Critical {
	int channel[MOST_DIM];
	float query[MOST_DIM];
};

// Finds the n channels of the largest |q_c| max_t |K_tc| (eq. 10): of equal ones the
// earlier, and what is no number before all. q are the queries [group, dim] of a KV
// head, whose mean is summed in their order.
static __device__ void find_critical(const float *q, const float *peaks, int group, int dim, int n, Critical *to) {
	__shared__ float score[MOST_DIM];
	__shared__ u32 taken[MOST_DIM / 32];
	float mean[MOST_DIM / SCORE_THREADS];
	int thread = threadIdx.x;
#pragma unroll
	for (int i = 0; i < MOST_DIM / SCORE_THREADS; i++) {
		int c = i * SCORE_THREADS + thread;
		float sum = 0;
		if (c < dim) {
			for (int g = 0; g < group; g++)
				sum += q[g * dim + c];
			sum /= (float)group;
			float s = fabsf(sum) * peaks[c];
			score[c] = s >= 0 ? s : INF;
		}
		mean[i] = sum;
	}
	__syncthreads();
	bool mine[MOST_DIM / SCORE_THREADS];
#pragma unroll
	for (int i = 0; i < MOST_DIM / SCORE_THREADS; i++) {
		int c = i * SCORE_THREADS + thread, rank = 0;
		if (c < dim)
			for (int k = 0; k < dim; k++)
				rank += score[k] > score[c] || score[k] == score[c] && k < c;
		mine[i] = c < dim && rank < n;
		u32 all = __ballot_sync(~0u, mine[i]);
		if (thread % 32 == 0)
			taken[c / 32] = all;
	}
	__syncthreads();
#pragma unroll
	for (int i = 0; i < MOST_DIM / SCORE_THREADS; i++) {
		int c = i * SCORE_THREADS + thread, at = __popc(taken[c / 32] & (1u << c % 32) - 1);
		for (int w = 0; w < c / 32; w++)
			at += __popc(taken[w]);
		if (mine[i])
			to->channel[at] = c, to->query[at] = mean[i];
	}
	__syncthreads();
}

// Where a token's record begins. It is float16: pages of K [dim, 32], V [group, dim], and at
// k_rows K [group, dim] once more.
struct Records {
	const u8 *units;
	const u32 *numbers;
	u64 unit_bytes;
	int kv_heads, kv, group, record_bytes;
	__device__ __forceinline__ const u8 *of(int pos) const {
		return units + numbers[pos / BLOCK] * unit_bytes + (u64)(pos % BLOCK / group * kv_heads + kv) * record_bytes;
	}
};

// Grid: any number of blocks, KV heads, rows. keys [rows, kvHeads, max_tokens] become the
// orders of all stored tokens' scores, relative to each other alone: scale and softmax
// change no order. Nothing is streamed where every token is attended to anyway.
KERNEL(SCORE_THREADS, 6) score_tokens(const float *q, const float *peaks, const u8 *units, const u32 *table, const Sequence *seqs, const int *seq, u32 *keys, u64 *traffic,
	u64 unit_bytes, u32 table_stride, u32 heads, u32 kv_heads, u32 dim, u32 record_bytes, u32 tokens, u32 budget, u32 channels, u32 sink, u32 max_tokens) {
	__shared__ Critical critical;
	allow_next();
	int kv = blockIdx.y, row = blockIdx.z, group = heads / kv_heads, lane = threadIdx.x % 32;
	int n = seq[row];
	Sequence s = seqs[n];
	after_previous();
	if (s.stored <= budget)
		return;
	find_critical(q + ((u64)row * heads + kv * group) * dim, peaks + ((u64)s.slot * kv_heads + kv) * dim, group, dim, channels, &critical);
	Records records = {units, table + (u64)n * table_stride, unit_bytes, (int)kv_heads, kv, (int)tokens, (int)record_bytes};
	u32 *own = keys + ((u64)row * kv_heads + kv) * max_tokens;
	u32 bytes = 0;
	for (int i = blockIdx.x * SCORE_THREADS + threadIdx.x; i < s.stored / LANE_TOKENS; i += gridDim.x * SCORE_THREADS) {
		int pos = i * LANE_TOKENS;
		const u8 *from = records.of(pos) + pos % tokens / TOKENS * dim * TOKENS * 2 + pos % TOKENS * 2;
		float sum[LANE_TOKENS] = {};
		for (int c0 = 0; c0 < channels; c0 += AHEAD) {
			uint4 v[AHEAD];
#pragma unroll
			for (int c = 0; c < AHEAD; c++)
				if (c0 + c < channels)
					v[c] = load_stream(from + critical.channel[c0 + c] * TOKENS * 2);
#pragma unroll
			for (int c = 0; c < AHEAD; c++) {
				if (c0 + c >= channels)
					continue;
				float x = critical.query[c0 + c];
				u32 w[4] = {v[c].x, v[c].y, v[c].z, v[c].w};
#pragma unroll
				for (int k = 0; k < LANE_TOKENS; k++)
					sum[k] += x * from_half((u16)(w[k / 2] >> k % 2 * 16));
			}
		}
		u32 to[LANE_TOKENS];
#pragma unroll
		for (int k = 0; k < LANE_TOKENS; k++)
			to[k] = i * LANE_TOKENS + k < sink ? ~0u : order_of(sum[k]);
		((uint4 *)(own + i * LANE_TOKENS))[0] = make_uint4(to[0], to[1], to[2], to[3]);
		((uint4 *)(own + i * LANE_TOKENS))[1] = make_uint4(to[4], to[5], to[6], to[7]);
		bytes += channels * LANE_TOKENS * 2;
	}
	bytes = __reduce_add_sync(~0u, bytes);
	if (lane == 0 && bytes)
		atomicAdd(&traffic[STREAMED], (u64)bytes);
}

// The digit of keys that the n-th largest of those with the found prefix has, and how many are
// beyond that digit. counts holds that many of each; it is read from the top.
static __device__ __forceinline__ void find_digit(const u32 *counts, int n, u32 *sums, int *digit, int *beyond) {
	int thread = threadIdx.x, lane = thread % 32, warp = thread / 32, top = BINS - 1 - 2 * thread;
	u32 a = counts[top], b = counts[top - 1], x = a + b;
	for (int i = 1; i < 32; i *= 2) {
		u32 y = __shfl_up_sync(~0u, x, i);
		if (lane >= i)
			x += y;
	}
	if (lane == 31)
		sums[warp] = x;
	__syncthreads();
	int before = __reduce_add_sync(~0u, lane < warp ? sums[lane] : 0) + x - a - b;
	if (before < n && n <= before + (int)a)
		*digit = top, *beyond = before;
	else if (before + (int)a < n && n <= before + (int)(a + b))
		*digit = top - 1, *beyond = before + a;
	__syncthreads();
}

// The n-th largest of so many keys, a multiple of 4, 11 bits at a time; room is how many of those
// that equal it are among the n.
static __device__ __forceinline__ u32 nth_of(const u32 *keys, int count, int n, int *room) {
	__shared__ u32 counts[BINS], sums[WARPS];
	__shared__ int digit, beyond;
	u32 found = 0, known = 0;
	for (int shift = 21; shift >= 0; shift = shift == 21 ? 10 : shift - 10) {
		u32 digits = shift == 0 ? 1023 : 2047;
		for (int i = threadIdx.x; i < BINS; i += CHOOSE_THREADS)
			counts[i] = 0;
		__syncthreads();
		auto add = [&](u32 k) {
			if ((k & known) == found)
				atomicAdd(&counts[k >> shift & digits], 1);
		};
#pragma unroll 4
		for (int i = threadIdx.x * 4; i < count; i += CHOOSE_THREADS * 4) {
			uint4 k = __ldcg((const uint4 *)(keys + i));
			add(k.x), add(k.y), add(k.z), add(k.w);
		}
		__syncthreads();
		find_digit(counts, n, sums, &digit, &beyond);
		n -= beyond;
		found |= (u32)digit << shift;
		known |= digits << shift;
		__syncthreads(); // whoever still reads the digit
	}
	*room = n;
	return found;
}

// Lists the positions of keys that are larger than least, and of the first room ones that
// equal it, ascending. A warp takes a run of them.
static __device__ __forceinline__ void list_best(const u32 *keys, int count, u32 least, int room, u32 *list) {
	__shared__ u32 more[WARPS], same[WARPS];
	int lane = threadIdx.x % 32, warp = threadIdx.x / 32, each = (count + WARPS * 128 - 1) / (WARPS * 128) * 128, from = warp * each, to = min(from + each, count);
	u32 a = 0, b = 0;
	auto add = [&](u32 k) { a += k > least, b += k == least; };
#pragma unroll 4
	for (int i = from + lane * 4; i < to; i += 128) {
		uint4 k = __ldcg((const uint4 *)(keys + i));
		add(k.x), add(k.y), add(k.z), add(k.w);
	}
	a = __reduce_add_sync(~0u, a), b = __reduce_add_sync(~0u, b);
	if (lane == 0)
		more[warp] = a, same[warp] = b;
	__syncthreads();
	int above = __reduce_add_sync(~0u, lane < warp ? more[lane] : 0), equal = __reduce_add_sync(~0u, lane < warp ? same[lane] : 0);
	for (int i0 = from; i0 < to; i0 += 128) {
		int i = i0 + lane * 4;
		uint4 x = i < to ? __ldcg((const uint4 *)(keys + i)) : make_uint4(0, 0, 0, 0);
		u32 k[4] = {x.x, x.y, x.z, x.w}, own = 0; // above in the lower half, equal in the upper
#pragma unroll
		for (int j = 0; j < 4; j++)
			own += i >= to ? 0 : k[j] > least ? 1 : k[j] == least ? 1 << 16 : 0;
		if (!__any_sync(~0u, own))
			continue;
		u32 sum = own;
		for (int d = 1; d < 32; d *= 2) {
			u32 y = __shfl_up_sync(~0u, sum, d);
			if (lane >= d)
				sum += y;
		}
		u32 before = sum - own, all = __shfl_sync(~0u, sum, 31);
		int g = above + (before & 0xffff), e = equal + (before >> 16);
#pragma unroll
		for (int j = 0; j < 4; j++) {
			bool is_more = i < to && k[j] > least, is_same = i < to && k[j] == least;
			if (is_more || is_same && e < room)
				list[g + min(e, room)] = i + j;
			g += is_more, e += is_same;
		}
		above += all & 0xffff, equal += all >> 16;
	}
}

// Grid: KV heads, rows. Lists [slots, kvHeads, list_words] hold how many tokens are chosen and
// their positions, ascending: the sink, and those of the largest scores, of equal ones the
// earlier.
KERNEL(CHOOSE_THREADS, 1) choose_tokens(const u32 *keys, u32 *chosen, const Sequence *seqs, const int *seq, u64 *traffic,
	u32 kv_heads, u32 dim, u32 budget, u32 max_tokens, u32 list_words) {
	allow_next();
	int kv = blockIdx.x, row = blockIdx.y;
	Sequence s = seqs[seq[row]];
	after_previous();
	u32 *list = chosen + ((u64)s.slot * kv_heads + kv) * list_words;
	int n = min(s.stored, (int)budget);
	if (n < s.stored) {
		const u32 *own = keys + ((u64)row * kv_heads + kv) * max_tokens;
		int room;
		u32 least = nth_of(own, s.stored, n, &room);
		list_best(own, s.stored, least, room, list + 1);
	} else {
		for (int i = threadIdx.x; i < n; i += CHOOSE_THREADS)
			list[1 + i] = i;
	}
	if (threadIdx.x == 0) {
		list[0] = n;
		atomicAdd(&traffic[PAGES_READ], (u64)(s.stored / TOKENS));
		atomicAdd(&traffic[CHOSEN], (u64)((n + TOKENS - 1) / TOKENS));
		atomicAdd(&traffic[COLD_BYTES], (u64)s.stored * dim * 4);
	}
}

// Grid: pages of the budget, KV heads, rows. Brings the rows of chosen tokens to pages of
// float16 [slots][pages][kvHeads] {K [dim, 32], V [32, dim]}. All rows of a page are under way
// at once.
KERNEL(FETCH_THREADS, 2) fetch_tokens(const u8 *units, const u32 *table, const u32 *chosen, const Sequence *seqs, const int *seq, u8 *work, u64 *traffic,
	u64 unit_bytes, u64 page_bytes, u64 work_bytes, u32 table_stride, u32 kv_heads, u32 dim, u32 record_bytes, u32 k_rows, u32 tokens, u32 list_words) {
	__shared__ u32 keys[TOKENS * (MOST_DIM / 2 + 1)]; // [32][dim/2+1], so that columns lie in different banks
	allow_next();
	int page = blockIdx.x, kv = blockIdx.y, row = blockIdx.z, thread = threadIdx.x;
	int n = seq[row];
	Sequence s = seqs[n];
	after_previous();
	const u32 *list = chosen + ((u64)s.slot * kv_heads + kv) * list_words;
	int some = min((int)list[0] - page * TOKENS, (int)TOKENS);
	if (some <= 0)
		return;
	list += 1 + page * TOKENS;
	Records records = {units, table + (u64)n * table_stride, unit_bytes, (int)kv_heads, kv, (int)tokens, (int)record_bytes};
	u8 *to = work + s.slot * work_bytes + page * page_bytes + (u64)kv * dim * TOKENS * 4;
	constexpr int EACH = TOKENS * MOST_DIM / 8 / FETCH_THREADS; // pieces of 16 bytes of K, and of V
	int wide = dim / 8, row_words = dim / 2 + 1;
	u32 values = tokens * dim * 2;
	uint4 k[EACH], v[EACH];
#pragma unroll
	for (int j = 0; j < EACH; j++) {
		int i = j * FETCH_THREADS + thread;
		if (i >= some * wide)
			break;
		int pos = list[i / wide];
		const u8 *from = records.of(pos) + pos % tokens * dim * 2 + i % wide * 16;
		k[j] = *(const uint4 *)(from + k_rows);
		v[j] = *(const uint4 *)(from + values);
	}
#pragma unroll
	for (int j = 0; j < EACH; j++) {
		int i = j * FETCH_THREADS + thread;
		if (i >= some * wide)
			break;
		*(uint4 *)(to + dim * TOKENS * 2 + i * 16) = v[j];
		u32 *at = keys + i / wide * row_words + i % wide * 4;
		at[0] = k[j].x, at[1] = k[j].y, at[2] = k[j].z, at[3] = k[j].w;
	}
	__syncthreads();
	// A thread turns two channels of two tokens.
	for (int i = thread; i < dim / 2 * (TOKENS / 2); i += FETCH_THREADS) {
		int t = i % (TOKENS / 2) * 2, c = i / (TOKENS / 2);
		u32 a = keys[t * row_words + c], b = keys[(t + 1) * row_words + c];
		u32 *at = (u32 *)to + c * TOKENS + t / 2;
		at[0] = __byte_perm(a, b, 0x5410);
		at[TOKENS / 2] = __byte_perm(a, b, 0x7632);
	}
	if (thread == 0)
		atomicAdd(&traffic[FETCHED], (u64)some * dim * 4);
}

// Grid: blocks that share a row's splits, KV heads by tiles of 8 query heads, rows. Attends to
// the pages that fetch_tokens has filled and to the exact tail behind all records, pages by
// exact [seqs, exact_stride].
template <int DIM, int WARPS> static __device__ void attend_gathered(const float *q, float *dst, const u8 *work, const u8 *tails, const u32 *exact, const Sequence *seqs, const int *pos, const int *seq, float *partial, u32 *tickets,
	u64 page_bytes, u64 work_bytes, u32 exact_stride, u32 heads, u32 kv_heads, u32 budget, u32 most, float scale) {
	typedef Page<DIM> P;
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = blockIdx.z;
	int group = heads / kv_heads, tiles = (group + 7) / 8, kv = blockIdx.y / tiles, tile = blockIdx.y % tiles;
	int some = min(group - tile * 8, 8), first_head = kv * group + tile * 8;
	int n = seq[row], end = pos[row] + 1;
	Sequence s = seqs[n];
	allow_next();
	after_previous();
	int chosen = min(s.stored, (int)budget), gathered = (chosen + PAGE - 1) / PAGE, count = gathered + (end - s.stored + PAGE - 1) / PAGE;
	Splits splits(count, most, WARPS / 2);
	if (blockIdx.x >= splits.n)
		return;
	u32 mine = shared_address(dynamic + warp * P::BYTES);
	u64 head_at = (u64)kv * DIM * PAGE * 4;
	Split<DIM> found;
	Found all = {dst, partial, tickets, row, (int)heads, first_head, some, (int)most};
	for (int split = blockIdx.x; split < splits.n; split += gridDim.x) {
		int from = split * splits.each, to = min(from + splits.each, count);
		if (split != blockIdx.x)
			__syncthreads();
		found.begin(q + ((u64)row * heads + first_head + lane / 4) * DIM, lane / 4 < some, lane);
		for (int i = from + warp; i < to; i += WARPS) {
			int page = s.stored / PAGE + i - gathered, there = i < gathered ? chosen - i * PAGE : end - page * PAGE;
			const u8 *src = i < gathered ? work + s.slot * work_bytes + i * page_bytes : tails + exact[(u64)n * exact_stride + page] * page_bytes;
			bring_page<DIM>(mine, src + head_at, 0, there, lane, 32);
			copy_wait<0>();
			__syncwarp();
			found.page(mine, 0, there, scale * 1.4426950408889634f, lane);
			__syncwarp();
		}
		__syncthreads();
		float *results = (float *)dynamic; // [8 heads][WARPS], over the pages
		found.store(results + (lane / 4 * WARPS + warp) * Result<DIM>::FLOATS, lane);
		finish_split<DIM, WARPS>(all, splits, split, [&](int h, int w) { return results + (h * WARPS + w) * Result<DIM>::FLOATS; });
	}
	finish_row<DIM>(all, splits);
}

#define ATTEND_GATHERED(DIM, WARPS) \
	KERNEL(WARPS * 32, 1) attend_gathered_##DIM(const float *q, float *dst, const u8 *work, const u8 *tails, const u32 *exact, const Sequence *seqs, const int *pos, const int *seq, float *partial, u32 *tickets, \
		u64 page_bytes, u64 work_bytes, u32 exact_stride, u32 heads, u32 kv_heads, u32 budget, u32 most, float scale) { \
		attend_gathered<DIM, WARPS>(q, dst, work, tails, exact, seqs, pos, seq, partial, tickets, page_bytes, work_bytes, exact_stride, heads, kv_heads, budget, most, scale); \
	}

ATTEND_GATHERED(64, 4)
ATTEND_GATHERED(80, 4)
ATTEND_GATHERED(96, 4)
ATTEND_GATHERED(128, 4)
ATTEND_GATHERED(256, 2)
