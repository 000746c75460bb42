// Tokens that leave the exact tail become records, with what finds them again.
// All arithmetic is in the order and the roundings of the reference, without
// fused multiplications, so that every backend keeps the same.
#include "index.cuh"

extern __shared__ __align__(16) u8 dynamic[];

#define STORE_THREADS 256

__device__ const float mantissas[8] = {1, 1.0905077f, 1.1892071f, 1.2968396f, 1.4142135f, 1.5422108f, 1.6817929f, 1.8340081f};

// offload.StepOf and StepFor.
static __device__ __forceinline__ float step_of(int b) { return mantissas[b % 8] * __int_as_float((b / 8 - 16 + 127) << 23); }
static __device__ __forceinline__ int step_for(float x) {
	if (!(x > step_of(0)))
		return 0;
	int bits = __float_as_int(x), b = ((bits >> 23) - 127 + 16) * 8;
	float m = __int_as_float(bits & 0x7fffff | 127 << 23);
	for (int i = 0; i < 8 && mantissas[i] < m; i++)
		b++;
	return min(b, 255);
}

// A lane turns values into codes: x = zero + step*code.
struct Lane {
	float zero, inv;
	__device__ __forceinline__ u32 code(float x, int bits) const {
		float v = rintf(__fmul_rn(x - zero, inv));
		return v > 0 ? (u32)fminf(v, (float)((1 << bits) - 1)) : 0; // NaN gives 0
	}
};

// Spans [lo, hi], and writes zero and step. bad is 0, or NaN where a value was
// not finite.
static __device__ __forceinline__ Lane span(const Record &r, float lo, float hi, float bad, int bits, u16 *zero, u8 *steps, int at) {
	Lane l;
	u16 z = to_half(lo + bad);
	*zero = z;
	l.zero = from_half(z);
	float step = (hi - lo) / (float)((1 << bits) - 1);
	if (r.step_bytes == 1) {
		int b = step_for(step);
		steps[at] = b;
		step = step_of(b);
	} else {
		u16 s = to_half(step);
		((u16 *)steps)[at] = s;
		step = from_half(s);
	}
	l.inv = step > 0 ? 1 / step : 0;
	return l;
}

// The exact tokens of a granule: of every page K [dim, 32], V [32, dim].
struct Tokens {
	const u16 *at;
	int dim;
	__device__ __forceinline__ u16 key(int c, int t) const { return at[t / TOKENS * 64 * dim + c * TOKENS + t % TOKENS]; }
	__device__ __forceinline__ u16 value(int t, int c) const { return at[(t / TOKENS * 64 + 32 + t % TOKENS) * dim + c]; }
};

// Makes the record of tokens [t0, t0+group) in shared memory.
static __device__ void make_record(const Record &r, Tokens x, int t0, u8 *rec, Lane *keys, Lane *values) {
	int thread = threadIdx.x, n = min(r.group, (int)TOKENS);
	for (int i = thread * 16; i < r.bytes; i += STORE_THREADS * 16)
		*(uint4 *)(rec + i) = make_uint4(0, 0, 0, 0);
	__syncthreads();
	if (r.k_bits == 16) {
		for (int i = thread; i < r.group * r.dim; i += STORE_THREADS) {
			int run = i / n;
			((u16 *)rec)[i] = x.key(run % r.dim, t0 + run / r.dim * TOKENS + i % n);
			((u16 *)(rec + r.v))[i] = x.value(t0 + i / r.dim, i % r.dim);
		}
		__syncthreads();
		return;
	}
	for (int i = thread; i < r.dim + r.group * r.groups; i += STORE_THREADS) {
		bool key = i < r.dim;
		int j = i - r.dim, t = j / r.groups, c0 = j % r.groups * V_GROUP, count = key ? r.group : min(V_GROUP, r.dim - c0);
		float lo = INF, hi = -INF, bad = 0;
		for (int k = 0; k < count; k++) {
			float v = from_half(key ? x.key(i, t0 + k) : x.value(t0 + t, c0 + k));
			lo = fminf(lo, v);
			hi = fmaxf(hi, v);
			bad += v * 0;
		}
		if (key)
			keys[i] = span(r, lo, hi, bad, r.k_bits, (u16 *)rec + i, rec + r.k_steps, i);
		else
			values[j] = span(r, lo, hi, bad, r.v_bits, (u16 *)(rec + r.v_scales) + j, rec + r.v_steps, j);
	}
	__syncthreads();
	int runs = r.page_runs();
	auto key_code = [&](int run, int i) -> u32 {
		int c = run % runs * r.per + i / n;
		return c < r.dim ? keys[c].code(from_half(x.key(c, t0 + run / runs * TOKENS + i % n)), r.k_bits) : 0;
	};
	for (int b = thread; b < r.k_runs() * r.k_row; b += STORE_THREADS) {
		int run = b / r.k_row, j = b % r.k_row;
		u32 v = key_code(run, j);
		if (r.k_bits == 6)
			v |= (key_code(run, 48 + j % 16) >> j / 16 * 2 & 3) << 6;
		else
			for (int k = 1; k < 8 / r.k_bits; k++)
				v |= key_code(run, j + k * r.k_row) << k * r.k_bits;
		rec[r.k + b] = v;
	}
	for (int b = thread; b < r.group * r.v_row; b += STORE_THREADS) {
		int t = b / r.v_row, at = b % r.v_row, row = 4 * r.v_bits;
		u32 v = 0;
		for (int k = 0; k < 8 / r.v_bits; k++) {
			int c = at / row * 32 + at % row + k * row;
			if (c < r.dim)
				v |= values[t * r.groups + c / V_GROUP].code(from_half(x.value(t0 + t, c)), r.v_bits) << k * r.v_bits;
		}
		rec[r.v + b] = v;
	}
	__syncthreads();
}

// Writes the keys of tokens [t0, t0+tokens) token by token.
static __device__ void rows_of_keys(Tokens x, int t0, int tokens, u8 *to) {
	int wide = x.dim / 8;
	for (int i = threadIdx.x; i < tokens * wide; i += STORE_THREADS) {
		u32 v[4];
		for (int j = 0; j < 4; j++)
			v[j] = x.key(i % wide * 8 + 2 * j, t0 + i / wide) | x.key(i % wide * 8 + 2 * j + 1, t0 + i / wide) << 16;
		*(uint4 *)(to + i * 16) = make_uint4(v[0], v[1], v[2], v[3]);
	}
}

static __device__ __forceinline__ float clamped(float v, float lo, float hi) { return v >= lo ? fminf(v, hi) : lo; } // NaN gives lo

// References, deviations and the order of channels, of a block's first page.
static __device__ void index_stats(const Index &l, Tokens x, int skip, const float *query, u8 *ix, u32 *share) {
	int c = threadIdx.x;
	if (c < l.dim) {
		float sum = 0, square = 0, n = TOKENS - skip;
		for (int t = skip; t < TOKENS; t++)
			sum += from_half(x.key(c, t));
		float mean = sum / n;
		for (int t = skip; t < TOKENS; t++) {
			float d = from_half(x.key(c, t)) - mean;
			square = __fadd_rn(square, __fmul_rn(d, d));
		}
		u16 dev = to_half(sqrtf(square / n));
		((u16 *)(ix + l.refs))[c] = to_half(mean);
		((u16 *)(ix + l.steps))[c] = dev;
		share[c] = __float_as_int(from_half(dev) * query[c]); // neither is negative
	}
	__syncthreads();
	if (c < l.dim) {
		int rank = 0;
		for (int i = 0; i < l.dim; i++)
			rank += share[i] > share[c] || share[i] == share[c] && i < c;
		ix[rank] = c;
	}
	__syncthreads();
}

// Means, scales and codes of one page of a block.
static __device__ void index_keys(const Index &l, Tokens x, int page, u8 *ix, u32 *codes) {
	int rank = threadIdx.x, words = l.page() / 4;
	for (int i = rank; i < words; i += STORE_THREADS)
		codes[i] = 0;
	__syncthreads();
	if (rank < l.dim) {
		int c = ix[rank];
		float ref = from_half(((u16 *)(ix + l.refs))[c]), dev = from_half(((u16 *)(ix + l.steps))[c]), inv = dev > 0 ? 1 / dev : 0, sum = 0;
		for (int t = 0; t < TOKENS; t++)
			sum = __fadd_rn(sum, __fmul_rn(from_half(x.key(c, t)) - ref, inv));
		float mean = rintf(clamped(sum / TOKENS * UNITS, -128, 127));
		ix[l.means + beside(page, c)] = (int)mean + 128;
		if (rank < l.ranks) {
			float square = 0;
			for (int t = 0; t < TOKENS; t++) {
				float d = __fadd_rn(__fmul_rn(from_half(x.key(c, t)) - ref, inv), -mean / UNITS);
				square = __fadd_rn(square, __fmul_rn(d, d));
			}
			float scale = rintf(clamped(sqrtf(square / TOKENS) * UNITS, 1, 255));
			ix[l.scales + beside(page, rank)] = (int)scale;
			// Of both halves of the page in one vector, or in one each.
			bool both = rank >= 16 * l.vectors;
			int at = rank - (both ? 16 * l.vectors : 0), channels = both ? 8 : 16, byte = at % 4 * 8, bits = at % channels / 4 * 2;
			float unit = UNITS / __fmul_rn(scale, CODE_STEP);
			for (int t = 0; t < TOKENS; t++) {
				float d = __fadd_rn(__fmul_rn(from_half(x.key(c, t)) - ref, inv), -mean / UNITS);
				u32 code = (u32)rintf(clamped(__fadd_rn(__fmul_rn(d, unit), 1.5f), 0, 3));
				int half = t / COLD, vector = (both ? 2 * l.vectors : half * l.vectors) + at / channels;
				atomicOr(&codes[vector * COLD + t % COLD], code << byte + bits + (both ? 4 * half : 0));
			}
		}
	}
	__syncthreads();
	u32 *dst = (u32 *)(ix + l.codes) + page * words;
	for (int i = rank; i < words; i += STORE_THREADS)
		dst[i] = codes[i];
}

// Raises a head's peaks [dim] to the largest |K| of so many tokens, whatever other blocks do
// at the same time. What is no number counts as infinite, so that its channel is always
// streamed. Numbers that are not negative are ordered as their bits.
static __device__ __forceinline__ void raise_peaks(Tokens x, int tokens, float *peaks) {
	int c = threadIdx.x;
	if (c >= x.dim)
		return;
	float top = 0, bad = 0;
	for (int t = 0; t < tokens; t++) {
		float k = fabsf(from_half(x.key(c, t)));
		top = fmaxf(top, k);
		bad += k * 0;
	}
	atomicMax((int *)peaks + c, __float_as_int(bad == 0 ? top : INF));
}

// Grid: KV heads, blocks of 256 tokens from the first that changes on, sequences.
// Exact tokens are pages by exact [seqs, exact_stride]; indexes is null without, and so is
// peaks [slots, kvHeads, dim]. Records stand record_bytes apart, and have keys a second time at
// k_rows, where that is not 0.
KERNEL(STORE_THREADS, 1) store_records(const u8 *pages, const u32 *exact, u8 *units, const u32 *table, u8 *indexes, const float *queries, float *peaks, const Sequence *seqs,
	u64 page_bytes, u64 unit_bytes, u32 exact_stride, u32 table_stride, u32 kv_heads, u32 dim, u32 record_bytes, u32 k_rows, u32 tokens, u32 k_bits, u32 v_bits) {
	allow_next();
	after_previous();
	Record r(dim, tokens, k_bits, v_bits);
	Index l(dim);
	int head = blockIdx.x, seq = blockIdx.z, thread = threadIdx.x, n = max((int)tokens / TOKENS, 1);
	Sequence s = seqs[seq];
	int block = s.from / BLOCK + blockIdx.y, from = max(s.from, block * BLOCK), to = min(s.stored, block * BLOCK + BLOCK);
	if (from >= to)
		return;
	u64 id = table[(u64)seq * table_stride + block];
	u8 *ix = indexes + (id * kv_heads + head) * l.bytes;
	int bytes = dim * TOKENS * 4; // a head's page
	u8 *rec = dynamic + n * bytes;
	u32 *words = (u32 *)(rec + r.bytes); // [MAX_DIM]
	Lane *keys = (Lane *)(words + MAX_DIM), *values = keys + dim;
	Tokens x{(const u16 *)dynamic, (int)dim};
	for (int pos = from; pos < to; pos += n * TOKENS) {
		__syncthreads();
		for (int p = 0; p < n; p++) {
			const u8 *src = pages + exact[(u64)seq * exact_stride + pos / TOKENS + p] * page_bytes + (u64)head * bytes;
			for (int i = thread * 16; i < bytes; i += STORE_THREADS * 16)
				*(uint4 *)(dynamic + p * bytes + i) = *(const uint4 *)(src + i);
		}
		__syncthreads();
		if (peaks)
			raise_peaks(x, n * TOKENS, peaks + ((u64)s.slot * kv_heads + head) * dim);
		for (int t = 0; t < n * TOKENS; t += tokens) {
			make_record(r, x, t, rec, keys, values);
			u8 *dst = units + id * unit_bytes + (u64)((pos + t) % BLOCK / r.group * kv_heads + head) * record_bytes;
			for (int i = thread * 16; i < r.bytes; i += STORE_THREADS * 16)
				*(uint4 *)(dst + i) = *(uint4 *)(rec + i);
			if (k_rows)
				rows_of_keys(x, t, tokens, dst + k_rows);
			__syncthreads();
		}
		if (!indexes)
			continue;
		int page = pos % BLOCK / TOKENS;
		if (page == 0)
			index_stats(l, x, pos == 0 ? SKIP : 0, queries + head * dim, ix, words);
		index_keys(l, x, page, ix, words);
		bool bad = false; // whoever scores the block must see it
		for (int i = thread; i < bytes / 2; i += STORE_THREADS)
			bad = bad || (((u16 *)dynamic)[i] & 0x7c00) == 0x7c00;
		if (__syncthreads_or(bad) && thread == 0)
			*(u16 *)(ix + l.refs) = 0x7e00;
	}
}
