// Scores of a decode row's queries over the index of a layer: of every cold page
// the largest score of a token, with keys as the index has them.
//
// The numbers are the reference's: a query times a block's deviations in 8 bits,
// by channel against the pages' means, and by rank, times a page's scales and in
// 8 bits again, against the codes of its tokens. Tensor cores multiply: tokens,
// or the pages' means, are the rows, and the eight columns are query heads of
// one or of PAIR blocks that a warp scores side by side.
#include "index.cuh"

extern __shared__ __align__(16) u8 dynamic[];

// d += a [16, 32] b [32, 8], of uint8 and int8.
static __device__ __forceinline__ void mma32_mixed(int d[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
	asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
		: "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
		: "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

static __device__ __forceinline__ float quad_max(float v) {
	v = fmaxf(v, __shfl_xor_sync(~0u, v, 1));
	return fmaxf(v, __shfl_xor_sync(~0u, v, 2));
}
static __device__ __forceinline__ float quad_sum(float v) {
	v += __shfl_xor_sync(~0u, v, 1);
	return v + __shfl_xor_sync(~0u, v, 2);
}
static __device__ __forceinline__ int quad_max(int v) {
	v = max(v, __shfl_xor_sync(~0u, v, 1));
	return max(v, __shfl_xor_sync(~0u, v, 2));
}
static __device__ __forceinline__ int quad_sum(int v) {
	v += __shfl_xor_sync(~0u, v, 1);
	return v + __shfl_xor_sync(~0u, v, 2);
}

static __device__ __forceinline__ u32 pack4(int a, int b, int c, int d) {
	return __byte_perm(__byte_perm(a, b, 0x0040), __byte_perm(c, d, 0x0040), 0x5410);
}

// The same of the third bytes.
static __device__ __forceinline__ u32 pack4_high(int a, int b, int c, int d) {
	return __byte_perm(__byte_perm(a, b, 0x0062), __byte_perm(c, d, 0x0062), 0x5410);
}

static __device__ __forceinline__ int sum4(u32 v) { return __dp4a((int)v, 0x01010101, 0); }

// A lane's part of the queries against one block, four channels or ranks to a
// word: those of column lane/4, in quads that begin at lane%4.
template <int V> struct Probe {
	enum { GROUPS = (6 * V + 3) / 4 }; // of four quads of ranks
	u32 mean[4 * V];
	int ranked[GROUPS][4];
	float base, mean_unit, rank_unit;
	int mean_sum;

	// query is the column's, times the scale.
	__device__ __forceinline__ void begin(const Index &l, const u8 *ix, const float *query, int t) {
		float y[4 * V][4], top = 0;
		base = 0;
#pragma unroll
		for (int k = 0; k < 4 * V; k++) {
			int quad = 4 * k + t;
			bool ok = 4 * quad < l.dim;
			float4 s = ok ? *(const float4 *)(query + 4 * quad) : make_float4(0, 0, 0, 0);
			uint2 ref = ok ? *(const uint2 *)(ix + l.refs + 8 * quad) : make_uint2(0, 0), dev = ok ? *(const uint2 *)(ix + l.steps + 8 * quad) : make_uint2(0, 0);
			const float x[4] = {s.x, s.y, s.z, s.w};
#pragma unroll
			for (int j = 0; j < 4; j++) {
				u32 r = j < 2 ? ref.x : ref.y, d = j < 2 ? dev.x : dev.y;
				base += x[j] * from_half((u16)(r >> j % 2 * 16));
				y[k][j] = x[j] * from_half((u16)(d >> j % 2 * 16));
				top = fmaxf(top, fabsf(y[k][j]));
			}
		}
		base = quad_sum(base);
		top = quad_max(top);
		float inv = top > 0 ? 127 / top : 0;
		mean_unit = top / 127 / UNITS;
		mean_sum = 0;
#pragma unroll
		for (int k = 0; k < 4 * V; k++) {
			int c[4];
#pragma unroll
			for (int j = 0; j < 4; j++)
				c[j] = min(__float2int_rn(y[k][j] * inv), 127);
			mean[k] = pack4(c[0], c[1], c[2], c[3]);
			mean_sum += sum4(mean[k]);
		}
		mean_sum = quad_sum(mean_sum);
		float z[GROUPS][4];
		top = 0;
#pragma unroll
		for (int g = 0; g < GROUPS; g++) {
			int quad = 4 * g + t;
			u32 order = *(const u32 *)(ix + 4 * min(quad, 6 * V - 1));
#pragma unroll
			for (int j = 0; j < 4; j++) {
				int c = order >> 8 * j & 255;
				float v = __fmul_rn(query[c], from_half(((const u16 *)(ix + l.steps))[c])) * (quad < 2 * V ? 0.3352f : 0.9957f);
				z[g][j] = quad < 6 * V ? v : 0;
				top = fmaxf(top, fabsf(z[g][j]));
			}
		}
		top = quad_max(top);
		inv = top > 0 ? 127 / top : 0;
		rank_unit = top / 127 / UNITS;
#pragma unroll
		for (int g = 0; g < GROUPS; g++)
#pragma unroll
			for (int j = 0; j < 4; j++)
				ranked[g][j] = min(__float2int_rn(z[g][j] * inv), 127);
	}

	// The queries against a page's codes: returns the units that one of codes is,
	// and the sum of codes times the largest codes of tokens.
	__device__ __forceinline__ float page(const Index &l, const u8 *ix, int page, int t, u32 code[GROUPS], int *centre) const {
		int most = 0, p[GROUPS][4];
#pragma unroll
		for (int g = 0; g < GROUPS; g++) {
			u32 scale = *(const u32 *)(ix + l.scales + (min(4 * g + t, 6 * V - 1) * PAGES + page) * 4);
#pragma unroll
			for (int j = 0; j < 4; j++) {
				p[g][j] = ranked[g][j] * (int)(scale >> 8 * j & 255);
				most = max(most, abs(p[g][j]));
			}
		}
		most = quad_max(most);
		int factor = most > 0 ? min(32767, max(__float2int_rn(__fdividef(4161536.0f, (float)most)), 1)) : 32767, sum = 0;
#pragma unroll
		for (int g = 0; g < GROUPS; g++) {
			int c[4];
#pragma unroll
			for (int j = 0; j < 4; j++)
				c[j] = p[g][j] * (2 * factor) + 32768; // (p factor + 2^14) / 2^15, 16 bits up
			code[g] = pack4_high(c[0], c[1], c[2], c[3]);
			sum += sum4(code[g]) * (4 * g + t < 2 * V ? 15 : 3);
		}
		*centre = quad_sum(sum);
		return __fdividef(32768.0f, (float)factor);
	}
};

// Pages whose codes are brought together, and the wait for those from one on.
enum { TOGETHER = 4 };
static __device__ __forceinline__ void wait_pages(int page) {
	if (page == 0)
		copy_wait<1>();
	else
		copy_wait<0>();
}

// Grid: blocks that share a KV head's blocks, KV heads by tiles of query heads,
// rows. top [rows, heads, max_pages]. Nothing is scored where every page is
// attended to anyway.
template <int V, int PAIR, int WARPS> static __device__ void scan(const float *q, const u8 *indexes, const u32 *table, const Sequence *seqs, const int *seq, float *top,
	u32 table_stride, u32 heads, u32 kv_heads, u32 dim, u32 budget, u32 max_pages, float scale) {
	typedef Probe<V> P;
	enum { HEADS = 8 / PAIR, G = P::GROUPS };
	Index l(dim);
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n = lane / 4, t = lane % 4, row = blockIdx.z;
	int group = heads / kv_heads, tiles = (group + HEADS - 1) / HEADS, kv = blockIdx.y / tiles, tile = blockIdx.y % tiles;
	int some = min(group - tile * HEADS, (int)HEADS), first_head = kv * group + tile * HEADS;
	Sequence s = seqs[seq[row]];
	int blocks = s.stored / COLD <= budget ? 0 : (s.stored + BLOCK - 1) / BLOCK, pages = s.stored / TOKENS;
	int stride = (dim + 8) & ~3; // of queries in shared memory
	float *queries = (float *)dynamic;
	u8 *mine = dynamic + HEADS * stride * 4 + warp * PAIR * l.bytes;
	const u32 *numbers = table + (u64)seq[row] * table_stride;
	auto bring = [&](int first, int from, int to) {
		for (int b = 0; b < PAIR && first + b < blocks; b++) {
			const u8 *src = indexes + ((u64)numbers[first + b] * kv_heads + kv) * l.bytes;
			u32 dst = shared_address(mine + b * l.bytes);
#pragma unroll 4
			for (int i = from + lane * 16; i < to; i += 512)
				copy_async(dst + i, src + i);
		}
		copy_commit();
	};
	// What a block begins with comes first, and then its codes, some pages at a time.
	auto bring_all = [&](int first) {
		bring(first, 0, l.codes);
#pragma unroll
		for (int p = 0; p < PAGES; p += TOGETHER)
			bring(first, l.codes + p * 2 * l.half(), l.codes + (p + TOGETHER) * 2 * l.half());
	};
	int first = (warp * gridDim.x + blockIdx.x) * PAIR;
	// What the step before left in the index needs no waiting.
	bring_all(first);
	allow_next();
	after_previous();
	for (int h = warp; h < some && blocks > 0; h += WARPS)
		for (int c = lane; c < dim; c += 32)
			queries[h * stride + c] = q[((u64)row * heads + first_head + h) * dim + c] * scale;
	__syncthreads();

	int column_block = PAIR == 2 ? n / 4 : 0, column_head = min(n % HEADS, some - 1);
	int at[G], shift[G];
	u32 mask[G];
#pragma unroll
	for (int g = 0; g < G; g++) {
		int quad = min(4 * g + t, 6 * V - 1), low = quad - 2 * V;
		at[g] = (low < 0 ? quad / 2 : V + low / 4) * 64 + n * 4;
		shift[g] = low < 0 ? quad % 2 * 4 : low % 4 * 2;
		mask[g] = low < 0 ? 0x0f0f0f0f : 0x03030303;
	}
	for (; first < blocks; first += WARPS * gridDim.x * PAIR) {
		copy_wait<PAGES / TOGETHER>();
		__syncwarp();
		const u8 *ix = mine + column_block * l.bytes;
		P probe;
		probe.begin(l, ix, queries + column_head * stride, t);
		int d[4] = {};
#pragma unroll
		for (int k = 0; k < 2 * V; k++) {
			const u8 *a = mine + l.means + (k * 64 + lane % 4 * 8 + n) * 4;
			u32 a1 = 0, a3 = 0;
			if (PAIR == 2) {
				a1 = *(const u32 *)(a + l.bytes);
				a3 = *(const u32 *)(a + l.bytes + 128);
			}
			mma32_mixed(d, *(const u32 *)a, a1, *(const u32 *)(a + 128), a3, probe.mean[2 * k], probe.mean[2 * k + 1]);
		}
		// From here on a lane has results of columns 2t and 2t+1.
		bool second = PAIR == 2 && t >= 2;
		int means[2] = {second ? d[2] : d[0], second ? d[3] : d[1]};
		float base[2], mean_unit[2], rank_unit[2];
		int mean_sum[2];
#pragma unroll
		for (int x = 0; x < 2; x++) {
			int from = (2 * t + x) * 4;
			base[x] = __shfl_sync(~0u, probe.base, from);
			mean_unit[x] = __shfl_sync(~0u, probe.mean_unit, from);
			rank_unit[x] = __shfl_sync(~0u, probe.rank_unit, from);
			mean_sum[x] = __shfl_sync(~0u, probe.mean_sum, from);
		}
		int some_pages = min(pages - first * PAGES, PAGES);
#pragma unroll 1
		for (int page = 0; page < some_pages; page++) {
			if (page % TOGETHER == 0) {
				wait_pages(page);
				__syncwarp();
			}
			u32 code[G];
			int centre;
			float unit = probe.page(l, ix, page, t, code, &centre), u[2], low[2];
#pragma unroll
			for (int x = 0; x < 2; x++) {
				int from = (2 * t + x) * 4, m = __shfl_sync(~0u, means[x], page * 4 + t) - 128 * mean_sum[x];
				u[x] = rank_unit[x] * __shfl_sync(~0u, unit, from);
				low[x] = base[x] + mean_unit[x] * (float)m - u[x] / 2 * (float)__shfl_sync(~0u, centre, from);
			}
			int best[2] = {};
#pragma unroll
			for (int half = 0; half < 2; half++) {
				int c[PAIR][4];
#pragma unroll
				for (int b = 0; b < PAIR; b++) {
					const u8 *w = mine + b * l.bytes + l.codes + (2 * page + half) * l.half();
					u32 a[G][2];
#pragma unroll
					for (int g = 0; g < G; g++)
#pragma unroll
						for (int h = 0; h < 2; h++)
							a[g][h] = *(const u32 *)(w + at[g] + h * 32) >> shift[g] & mask[g];
					c[b][0] = c[b][1] = c[b][2] = c[b][3] = 0;
#pragma unroll
					for (int g = 0; g + 1 < G; g += 2)
						mma32_int(c[b], a[g][0], a[g][1], a[g + 1][0], a[g + 1][1], code[g], code[g + 1]);
					if (G % 2)
						mma16_int(c[b], a[G - 1][0], a[G - 1][1], code[G - 1]);
				}
#pragma unroll
				for (int x = 0; x < 2; x++) {
					int v = max(second ? c[PAIR - 1][x] : c[0][x], second ? c[PAIR - 1][x + 2] : c[0][x + 2]);
					v = max(v, __shfl_xor_sync(~0u, v, 4));
					v = max(v, __shfl_xor_sync(~0u, v, 8));
					v = max(v, __shfl_xor_sync(~0u, v, 16));
					if (n == half)
						best[x] = v;
				}
			}
#pragma unroll
			for (int x = 0; x < 2; x++) {
				int column = 2 * t + x, block = first + (PAIR == 2 ? column / 4 : 0), head = column % HEADS;
				if (n < 2 && head < some && block * PAGES + page < pages)
					top[((u64)row * heads + first_head + head) * max_pages + (block * PAGES + page) * 2 + n] = low[x] + u[x] * (float)best[x];
			}
		}
		copy_wait<0>();
		__syncwarp();
		bring_all(first + WARPS * gridDim.x * PAIR);
	}
	copy_wait<0>();
}

#define SCAN(V, PAIR, WARPS) \
	KERNEL(WARPS * 32, 1) scan_##V##_##PAIR(const float *q, const u8 *indexes, const u32 *table, const Sequence *seqs, const int *seq, float *top, \
		u32 table_stride, u32 heads, u32 kv_heads, u32 dim, u32 budget, u32 max_pages, float scale) { \
		scan<V, PAIR, WARPS>(q, indexes, table, seqs, seq, top, table_stride, heads, kv_heads, dim, budget, max_pages, scale); \
	}

SCAN(1, 1, 16)
SCAN(1, 2, 16)
SCAN(2, 1, 16)
SCAN(2, 2, 16)
SCAN(4, 1, 8)
SCAN(4, 2, 8)
