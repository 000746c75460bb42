// Narrowing rows of logits down to what choosing a token needs. Every number is
// rounded as infer/sample rounds it, so that equal logits give equal tokens.
#include "prim.cuh"

#define KEYS 128        // sample.MaxKeys
#define SUM_LOGITS 512  // sample.SumBlock
#define MOST_SUMS 1024  // blocks of a row
#define TOP_BLOCKS 64   // of sample_tops for a row
#define TOP_THREADS 256
#define GROUP 16        // threads that share a top
#define TOPS (TOP_BLOCKS * TOP_THREADS / GROUP)
#define STRIDE (TOP_BLOCKS * TOP_THREADS)
#define PICK_THREADS TOPS
#define MOST_PICKED 2048
#define NO_TOP 0xffffffffu
#define NO_KEY 0xffffffffffffffffull
#define MOST_FLOAT 3.40282346638528859811704183484516925440e+38

// What is asked of a row; narrow.go writes it.
struct Ask {
	double scale, u;
	u32 edits[3], flags;
};
#define NARROWED 1
#define MASKED 2
#define TOTAL 4

// What a row is narrowed down to; narrow.go reads it.
struct Narrow {
	double total;
	int drawn;
	float logit;
	u64 keys[KEYS];
};

struct Edit {
	int id;
	float value;
};

// work = logits, with minus infinity where a mask has no bit.
KERNEL(256, 1) sample_mask(const float *logits, const Ask *asks, const u32 *masks, float *work, u32 vocab, u32 mask_words) {
	allow_next();
	after_previous();
	u32 i = blockIdx.x * 256 + threadIdx.x, row = blockIdx.y, flags = asks[row].flags;
	if (i >= vocab || !(flags & NARROWED))
		return;
	float l = logits[(u64)row * vocab + i];
	if (flags & MASKED && !(masks[(u64)row * mask_words + i / 32] >> i % 32 & 1))
		l = -INF;
	work[(u64)row * vocab + i] = l;
}

// Penalties and biases, kind after kind; a kind names a token at most once.
KERNEL(256, 1) sample_edit(const Ask *asks, const Edit *edits, float *work, u32 vocab, u32 most) {
	allow_next();
	after_previous();
	u32 row = blockIdx.x;
	if (!(asks[row].flags & NARROWED))
		return;
	float *w = work + (u64)row * vocab;
	const Edit *e = edits + (u64)row * most;
	for (u32 kind = 0; kind < 3; kind++) {
		u32 n = asks[row].edits[kind];
		for (u32 i = threadIdx.x; i < n; i += 256) {
			float l = w[e[i].id], v = e[i].value;
			if (kind == 0)
				l = l > 0 ? __fdiv_rn(l, v) : __fmul_rn(l, v);
			else if (kind == 1)
				l = __fsub_rn(l, v);
			else
				l = __fadd_rn(l, v);
			w[e[i].id] = l;
		}
		e += n;
		__syncthreads();
	}
}

// A logit as sample.NewKey orders it: the smaller, the better.
static __device__ __forceinline__ u32 top_of(float l) {
	if (!(l > -INF))
		return NO_TOP;
	u32 b = l == 0 ? 0 : __float_as_uint(l);
	return b >> 31 ? b : ~b & 0x7fffffff;
}

static __device__ __forceinline__ u64 key_of(u32 top, u32 id) {
	return top == NO_TOP ? NO_KEY : (u64)top << 32 | id;
}

// tops [rows, TOPS]: the best logit of each group. A group is GROUP adjacent
// tokens of every STRIDE, so that similar tokens, which are adjacent, fall into
// different ones.
KERNEL(TOP_THREADS, 4) sample_tops(const float *logits, const Ask *asks, u32 *tops, u32 vocab) {
	allow_next();
	after_previous();
	u32 row = blockIdx.y;
	if (!(asks[row].flags & NARROWED))
		return;
	logits += (u64)row * vocab;
	u32 best = NO_TOP;
#pragma unroll 8
	for (u32 i = blockIdx.x * TOP_THREADS + threadIdx.x; i < vocab; i += STRIDE)
		best = min(best, top_of(logits[i]));
	for (u32 d = GROUP / 2; d > 0; d /= 2)
		best = min(best, __shfl_xor_sync(~0u, best, d));
	if (threadIdx.x % GROUP == 0)
		tops[row * TOPS + (blockIdx.x * TOP_THREADS + threadIdx.x) / GROUP] = best;
}

// The keys of a row up to limit, where they are more than MOST_PICKED: the KEYS-th
// smallest key, bit after bit.
static __device__ u64 exact_limit(const float *logits, u32 vocab, u32 *count) {
	u64 limit = 0;
	for (int bit = 63; bit >= 0; bit--) {
		u64 mid = limit | ((1ull << bit) - 1);
		u32 n = 0;
		for (u32 i = threadIdx.x; i < vocab; i += PICK_THREADS)
			n += key_of(top_of(logits[i]), i) <= mid;
		if (threadIdx.x == 0)
			*count = 0;
		__syncthreads();
		atomicAdd(count, n);
		__syncthreads();
		if (*count < KEYS)
			limit |= 1ull << bit;
		__syncthreads();
	}
	return limit;
}

// The KEYS best tokens of a row in order. As many groups as there are KEYS have a
// top of at least the KEYS-th best, so no token below that is among the best, and
// only the groups that reach it are looked at.
KERNEL(PICK_THREADS, 1) sample_pick(const float *logits, const u32 *tops, const Ask *asks, Narrow *out, u32 vocab) {
	__shared__ u64 keys[MOST_PICKED];
	__shared__ u32 groups[TOPS], n_groups, n, count;
	allow_next();
	after_previous();
	u32 row = blockIdx.x, t = threadIdx.x;
	if (!(asks[row].flags & NARROWED))
		return;
	logits += (u64)row * vocab;
	out += row;
	u32 top = tops[row * TOPS + t], limit = 0;
	if (t == 0)
		n_groups = n = 0;
	for (int bit = 31; bit >= 0; bit--) {
		u32 mid = limit | ((1u << bit) - 1);
		if (__syncthreads_count(top <= mid) < KEYS)
			limit |= 1u << bit;
	}
	if (top <= limit && top != NO_TOP)
		groups[atomicAdd(&n_groups, 1)] = t;
	__syncthreads();
	for (u32 g = t / GROUP; g < n_groups; g += PICK_THREADS / GROUP) {
		for (u32 first = groups[g] * GROUP + t % GROUP; first < vocab; first += 8 * STRIDE) {
			float l[8];
#pragma unroll
			for (u32 k = 0; k < 8; k++)
				l[k] = first + k * STRIDE < vocab ? logits[first + k * STRIDE] : -INF;
#pragma unroll
			for (u32 k = 0; k < 8; k++) {
				u32 b = top_of(l[k]);
				if (b <= limit && b != NO_TOP) {
					u32 at = atomicAdd(&n, 1);
					if (at < MOST_PICKED)
						keys[at] = key_of(b, first + k * STRIDE);
				}
			}
		}
	}
	__syncthreads();
	if (n > MOST_PICKED) { // of so many equal logits the lowest ids count
		u64 last = exact_limit(logits, vocab, &count);
		if (t == 0)
			n = 0;
		__syncthreads();
		for (u32 i = t; i < vocab; i += PICK_THREADS) {
			u64 key = key_of(top_of(logits[i]), i);
			if (key <= last)
				keys[atomicAdd(&n, 1)] = key;
		}
		__syncthreads();
	}
	u32 found = n;
	for (u32 c = t; c < found; c += PICK_THREADS) {
		u64 key = keys[c];
		u32 rank = 0;
		for (u32 k = 0; k < found; k++)
			rank += keys[k] < key;
		if (rank < KEYS)
			out->keys[rank] = key;
	}
	if (t >= found && t < KEYS)
		out->keys[t] = NO_KEY;
	if (t == 0) {
		out->total = 0;
		out->drawn = -1;
		out->logit = 0;
	}
}

// e^x for -707 <= x <= 0 as infer/sample computes it; steps[i] is 2^(i/256).
static __device__ __forceinline__ double exp_neg(double x, const double *steps) {
	const double shift = 6755399441055744.0; // 3 << 51
	double t = __dadd_rn(__dmul_rn(x, 0x1.71547652b82fep+8), shift);
	double k = __dadd_rn(t, -shift);
	double r = __dadd_rn(__dadd_rn(x, -__dmul_rn(k, 0x1.62e42fep-1 / 256)), -__dmul_rn(k, 0x1.f473de6af278fp-38));
	double e = __dadd_rn(1.0 / 2, __dmul_rn(r, 1.0 / 6));
	e = __dadd_rn(1, __dmul_rn(r, e));
	e = __dadd_rn(1, __dmul_rn(r, e));
	u64 n = __double_as_longlong(t);
	u64 scale = __double_as_longlong(steps[n % 256]) + (n >> 8 << 52);
	return __dmul_rn(e, __longlong_as_double(scale));
}

// A token's weight; 0 for one that cannot be drawn.
static __device__ __forceinline__ double weight_of(float l, double top, double scale, const double *steps) {
	double x = __dmul_rn(__dadd_rn((double)l, -top), scale);
	return x >= -707 ? exp_neg(x < 0 ? x : 0, steps) : 0;
}

// The largest logit of a row, made finite.
static __device__ __forceinline__ double largest(const Narrow *n) {
	u32 b = n->keys[0] >> 32;
	double top = __uint_as_float(b >> 31 ? b : ~b & 0x7fffffff);
	return top < MOST_FLOAT ? top : MOST_FLOAT;
}

// sums [rows, 2, blocks]: of the weights of SUM_LOGITS logits each, added in order,
// for the total and for the draw.
KERNEL(SUM_LOGITS, 2) sample_sums(const float *logits, const Ask *asks, const Narrow *out, const double *steps, double *sums, u32 vocab) {
	__shared__ double w[2][SUM_LOGITS];
	allow_next();
	after_previous();
	u32 row = blockIdx.y, t = threadIdx.x, i = blockIdx.x * SUM_LOGITS + t;
	bool total = asks[row].flags & TOTAL;
	double scale = asks[row].scale;
	out += row;
	if (!total && scale == 0 || out->keys[0] == NO_KEY)
		return;
	double top = largest(out);
	float l = i < vocab ? logits[(u64)row * vocab + i] : -INF;
	if (total)
		w[0][t] = weight_of(l, top, 1, steps);
	if (scale != 0)
		w[1][t] = weight_of(l, top, scale, steps);
	__syncthreads();
	u32 which = t / 32;
	if (t % 32 != 0 || which > 1 || !(which == 0 ? total : scale != 0))
		return;
	double sum = 0;
#pragma unroll 16
	for (int k = 0; k < SUM_LOGITS; k++)
		sum = __dadd_rn(sum, w[which][k]);
	sums[((u64)row * 2 + which) * gridDim.x + blockIdx.x] = sum;
}

// The running sums of n weights, in order. One thread.
static __device__ __forceinline__ double accumulate(const double *w, double *passed, u32 n) {
	double sum = 0;
#pragma unroll 16
	for (u32 i = 0; i < n; i++) {
		sum = __dadd_rn(sum, w[i]);
		passed[i] = sum;
	}
	return sum;
}

// The item at which running sums pass target, the last one with a weight where
// none does; *found and *last are 0xffffffff and 0 before. All threads.
static __device__ __forceinline__ u32 passing(const double *w, const double *passed, u32 n, double target, u32 *found, u32 *last) {
	for (u32 i = threadIdx.x; i < n; i += SUM_LOGITS) {
		if (passed[i] > target)
			atomicMin(found, i);
		if (w[i] > 0)
			atomicMax(last, i);
	}
	__syncthreads();
	return *found == 0xffffffff ? *last : *found;
}

// The total of a row, and the token at its quantile u.
KERNEL(SUM_LOGITS, 1) sample_draw(const float *logits, const Ask *asks, const double *steps, const double *sums, Narrow *out, u32 vocab, u32 blocks) {
	__shared__ double w[MOST_SUMS], passed[MOST_SUMS], all[MOST_SUMS];
	__shared__ u32 found[2], last[2];
	allow_next();
	after_previous();
	u32 row = blockIdx.x, t = threadIdx.x;
	bool total = asks[row].flags & TOTAL;
	double scale = asks[row].scale;
	out += row;
	if (!total && scale == 0 || out->keys[0] == NO_KEY)
		return;
	sums += (u64)row * 2 * blocks;
	for (u32 i = t; i < blocks; i += SUM_LOGITS) {
		if (total)
			all[i] = sums[i];
		if (scale != 0)
			w[i] = sums[blocks + i];
	}
	if (t < 2) {
		found[t] = 0xffffffff;
		last[t] = 0;
	}
	__syncthreads();
	if (t == 0 && total)
		out->total = accumulate(all, all, blocks);
	if (t == 32 && scale != 0)
		accumulate(w, passed, blocks);
	__syncthreads();
	if (scale == 0)
		return;
	double target = __dmul_rn(asks[row].u, passed[blocks - 1]);
	u32 block = passing(w, passed, blocks, target, &found[0], &last[0]);
	target = __dadd_rn(target, -(block > 0 ? passed[block - 1] : 0));
	__syncthreads();
	u32 i = block * SUM_LOGITS + t;
	float l = i < vocab ? logits[(u64)row * vocab + i] : -INF;
	w[t] = weight_of(l, largest(out), scale, steps);
	__syncthreads();
	if (t == 0)
		accumulate(w, passed, SUM_LOGITS);
	__syncthreads();
	u32 at = passing(w, passed, SUM_LOGITS, target, &found[1], &last[1]);
	if (t == at) {
		out->drawn = i;
		out->logit = l;
	}
}
