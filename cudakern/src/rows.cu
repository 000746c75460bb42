// What happens to each row by itself: embedding, norms, rotation, the cache's
// append, selection, gates.
#include "weights.cuh"

#define ROW_THREADS 256

// dst[row] = table[tok[row]] * scale; table [vocab, k] as in the file.
KERNEL(ROW_THREADS, 1) embed(const u8 *table, const int *tok, float *dst, u32 type, u32 k, u32 row_bytes, float scale) {
	allow_next();
	after_previous();
	const u8 *row = table + (u64)tok[blockIdx.x] * row_bytes;
	for (int i = threadIdx.x * 8; i < k; i += ROW_THREADS * 8) {
		float x[8];
		decode8(type, row, i, x);
#pragma unroll
		for (int j = 0; j < 8; j++)
			dst[(u64)blockIdx.x * k + i + j] = x[j] * scale;
	}
}

// dst[row] = src[row] / rms(src[row]) * w, or += with add. Heads are rows here.
KERNEL(ROW_THREADS, 1) norm_rows(const float *src, const float *w, float *dst, u32 k, u32 add, float eps) {
	allow_next();
	after_previous();
	const float *x = src + (u64)blockIdx.x * k;
	float *y = dst + (u64)blockIdx.x * k;
	float sum = 0, top = 0;
	for (int i = threadIdx.x; i < k; i += ROW_THREADS)
		sum += x[i] * x[i];
	block_reduce(&sum, &top);
	float r = rsqrtf(sum / k + eps);
	for (int i = threadIdx.x; i < k; i += ROW_THREADS) {
		float v = x[i] * r * w[i];
		y[i] = add ? y[i] + v : v;
	}
}

// The rotation of a pair: its angle is computed in float64, since positions
// times frequencies exceed what float32 resolves, and reduced to one turn.
static __device__ __forceinline__ void turn(int pos, double freq, float scale, float *c, float *s) {
	double a = pos * freq, n = rint(a * 0.15915494309189535);
	float r = (float)fma(n, -2.4492935982947064e-16, fma(n, -6.283185307179586, a));
	sincosf(r, s, c);
	*c *= scale;
	*s *= scale;
}

// Rotates the leading 2*pairs channels of every head in place.
KERNEL(ROW_THREADS, 1) rope(float *x, const double *freq, const int *pos, u32 heads, u32 dim, u32 pairs, u32 interleaved, float scale) {
	allow_next();
	after_previous();
	float *row = x + (u64)blockIdx.x * heads * dim;
	for (int i = threadIdx.x; i < heads * pairs; i += ROW_THREADS) {
		int f = i % pairs;
		float *h = row + i / pairs * dim, c, s;
		turn(pos[blockIdx.x], freq[f], scale, &c, &s);
		float *a = interleaved ? h + 2 * f : h + f, *b = interleaved ? a + 1 : a + pairs;
		float u = *a, v = *b;
		*a = u * c - v * s;
		*b = u * s + v * c;
	}
}

// The pages' layout is offload.Layout's: per head K [dim, 32] and V [32, dim].
// tables [seqs, layers, stride] are page numbers; table points at the layer's.
static __device__ __forceinline__ u16 *page_of(u8 *pages, const u32 *table, u32 table_stride, u64 page_bytes, int seq, int pos) {
	return (u16 *)(pages + table[(u64)seq * table_stride + pos / 32] * page_bytes);
}

KERNEL(ROW_THREADS, 1) append(const float *k, const float *v, u8 *pages, const u32 *table, const int *pos, const int *seq, u64 page_bytes, u32 table_stride, u32 kv_heads, u32 dim) {
	allow_next();
	after_previous();
	int row = blockIdx.x, p = pos[row];
	u16 *page = page_of(pages, table, table_stride, page_bytes, seq[row], p);
	for (int i = threadIdx.x; i < kv_heads * dim; i += ROW_THREADS) {
		int h = i / dim, c = i % dim;
		u16 *at = page + (u64)h * 64 * dim;
		at[c * 32 + p % 32] = to_half(k[(u64)row * kv_heads * dim + i]);
		at[32 * dim + p % 32 * dim + c] = to_half(v[(u64)row * kv_heads * dim + i]);
	}
}

// norm_rope_append is HeadNorm of queries and keys where there are weights for
// it, then rope of both, then append. A warp takes a head: those of the query,
// of the key, of the value. blockDim is one warp for every head.
KERNEL(1024, 1) norm_rope_append(float *q, float *k, const float *v, const float *q_norm, const float *k_norm, const double *freq, u8 *pages, const u32 *table, const int *pos, const int *seq,
	u64 page_bytes, u32 table_stride, u32 heads, u32 kv_heads, u32 dim, u32 pairs, u32 interleaved, float scale, float eps) {
	allow_next();
	after_previous();
	int row = blockIdx.x, lane = threadIdx.x % 32, head = blockIdx.y * (blockDim.x / 32) + threadIdx.x / 32;
	int p = pos[row];
	if (head >= heads + 2 * kv_heads)
		return;
	bool is_q = head < heads, is_v = head >= heads + kv_heads;
	int h = is_q ? head : is_v ? head - heads - kv_heads : head - heads;
	u16 *at = page_of(pages, table, table_stride, page_bytes, seq[row], p) + (u64)h * 64 * dim;
	if (is_v) {
		const float *x = v + ((u64)row * kv_heads + h) * dim;
		for (int c = lane; c < dim; c += 32)
			at[32 * dim + p % 32 * dim + c] = to_half(x[c]);
		return;
	}
	float *x = is_q ? q + ((u64)row * heads + h) * dim : k + ((u64)row * kv_heads + h) * dim;
	const float *w = is_q ? q_norm : k_norm;
	float r = 1;
	if (w) {
		float sum = 0;
		for (int c = lane; c < dim; c += 32)
			sum += x[c] * x[c];
		r = rsqrtf(warp_sum(sum) / dim + eps);
	}
	for (int f = lane; f < dim - pairs; f += 32) {
		// pairs first, then the channels behind them by themselves
		bool single = f >= pairs;
		int a = single ? f + pairs : interleaved ? 2 * f : f, b = single ? a : interleaved ? a + 1 : f + pairs;
		float u = x[a], y = x[b];
		if (w) {
			u *= r * w[a];
			y *= r * w[b];
		}
		if (!single) {
			float c, s, t = u;
			turn(p, freq[f], scale, &c, &s);
			u = t * c - y * s;
			y = t * s + y * c;
		}
		if (is_q) {
			x[a] = u;
			if (!single)
				x[b] = y;
		} else {
			at[a * 32 + p % 32] = to_half(u);
			if (!single)
				at[b * 32 + p % 32] = to_half(y);
		}
	}
}

// dst[i] = src[out[i]].
KERNEL(ROW_THREADS, 1) select_rows(const float *src, const int *out, float *dst, u32 k) {
	allow_next();
	after_previous();
	for (int i = threadIdx.x; i < k; i += ROW_THREADS)
		dst[(u64)blockIdx.x * k + i] = src[(u64)out[blockIdx.x] * k + i];
}

// gate = act(gate) * up.
KERNEL(ROW_THREADS, 1) gate_rows(float *gate, const float *up, u64 n, u32 gelu) {
	allow_next();
	after_previous();
	u64 i = (u64)blockIdx.x * ROW_THREADS + threadIdx.x;
	if (i < n)
		gate[i] = activate(gelu, gate[i]) * up[i];
}
