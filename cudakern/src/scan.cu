// Scores of a decode row's queries over the index of a layer: of every cold page
// the largest score of a token, with keys as the index has them.
//
// The numbers are the reference's: a query times a block's deviations in 8 bits,
// by channel against the pages' means, and by rank, times a page's scales and in
// 8 bits again, against the codes of its tokens. Tensor cores multiply: tokens,
// or the pages' means, are the rows, and the eight columns are query heads of
// one or of PAIR blocks that a warp scores side by side.
#include "bulk.cuh"
#include "index.cuh"

extern __shared__ __align__(16) u8 dynamic[];

// d += a [16, 32] b [32, 8], of uint8 and int8.
static __device__ __forceinline__ void mma32_mixed(int d[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
	asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
		: "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
		: "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

static __device__ __forceinline__ u32 pack4(int a, int b, int c, int d) {
	return __byte_perm(__byte_perm(a, b, 0x0040), __byte_perm(c, d, 0x0040), 0x5410);
}

static __device__ __forceinline__ u32 pack4(const float v[4]) {
	return pack4(__float_as_int(v[0]), __float_as_int(v[1]), __float_as_int(v[2]), __float_as_int(v[3]));
}

// The same of the second bytes.
static __device__ __forceinline__ u32 pack4_second(const float v[4]) {
	return __byte_perm(__byte_perm(__float_as_int(v[0]), __float_as_int(v[1]), 0x0051), __byte_perm(__float_as_int(v[2]), __float_as_int(v[3]), 0x0051), 0x5410);
}

static __device__ __forceinline__ float reciprocal(float x) {
	float y;
	asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}

// e^x of what is not above 0.
static __device__ __forceinline__ float exp_fast(float x) {
	float y;
	asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.4426950408889634f));
	return y;
}

// Added to a float of less than 2^22, it leaves the nearest integer in the low bits.
#define ROUNDER 12582912.0f

static __device__ __forceinline__ float quantized(float v, float inv) { return __fadd_rn(__fmul_rn(v, inv), ROUNDER); }

// A lane's part of the queries against one block, four channels or ranks to a
// word: those of column lane/4, in quads that begin at lane%4.
template <int V> struct Probe {
	enum { GROUPS = (6 * V + 3) / 4 }; // of four quads of ranks
	u32 mean[4 * V];
	float ranked[GROUPS][4], offset[GROUPS][4]; // offset: -2^23 ranked
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
			float c[4];
#pragma unroll
			for (int j = 0; j < 4; j++)
				c[j] = quantized(y[k][j], inv);
			mean[k] = pack4(c);
			mean_sum = __dp4a((int)mean[k], 0x01010101, mean_sum);
		}
		mean_sum = quad_sum(mean_sum);
		top = 0;
#pragma unroll
		for (int g = 0; g < GROUPS; g++) {
			int quad = 4 * g + t;
			u32 order = *(const u32 *)(ix + 4 * min(quad, 6 * V - 1));
#pragma unroll
			for (int j = 0; j < 4; j++) {
				int c = order >> 8 * j & 255;
				float v = __fmul_rn(query[c], from_half(((const u16 *)(ix + l.steps))[c])) * (quad < 2 * V ? 0.3352f : 0.9957f);
				ranked[g][j] = quad < 6 * V ? v : 0;
				top = fmaxf(top, fabsf(ranked[g][j]));
			}
		}
		top = quad_max(top);
		inv = top > 0 ? 127 / top : 0;
		rank_unit = top / 127 / UNITS;
#pragma unroll
		for (int g = 0; g < GROUPS; g++)
#pragma unroll
			for (int j = 0; j < 4; j++) {
				ranked[g][j] = quantized(ranked[g][j], inv) - ROUNDER;
				offset[g][j] = -8388608.0f * ranked[g][j];
				asm volatile("" : "+f"(ranked[g][j]), "+f"(offset[g][j])); // computed once, not for each page
			}
	}

	// The queries against a page's codes: returns the units that one of codes is,
	// and the sum of codes times the largest codes of tokens. All numbers are
	// integers that floats hold: a byte below the exponent of 2^23 is 2^23 more, and
	// what is rounded down to 256ths of a number near 3*2^14 has its integer's low
	// byte second.
	__device__ __forceinline__ float page(const Index &l, const u8 *ix, int page, int t, u32 code[GROUPS], int *centre) const {
		float most = 0, p[GROUPS][4];
#pragma unroll
		for (int g = 0; g < GROUPS; g++) {
			u32 scale = *(const u32 *)(ix + l.scales + (min(4 * g + t, 6 * V - 1) * PAGES + page) * 4);
#pragma unroll
			for (int j = 0; j < 4; j++) {
				p[g][j] = fmaf(ranked[g][j], __int_as_float(__byte_perm(scale, 0x4b000000, 0x7440 + j)), offset[g][j]);
				most = fmaxf(most, fabsf(p[g][j]));
			}
		}
		most = quad_max(most);
		float factor = fminf(fmaxf(__fadd_rn(__fmul_rn(4161536.0f, reciprocal(most)), ROUNDER) - ROUNDER, 1), 32767), part = factor / 32768;
		int sum = 0;
#pragma unroll
		for (int g = 0; g < GROUPS; g++) {
			float c[4];
#pragma unroll
			for (int j = 0; j < 4; j++)
				c[j] = __fmaf_rd(p[g][j], part, 49152.5f);
			code[g] = pack4_second(c);
			sum = __dp4a((int)code[g], 4 * g + t < 2 * V ? 0x0f0f0f0f : 0x03030303, sum);
		}
		*centre = quad_sum(sum);
		return 32768.0f * reciprocal(factor);
	}
};

// How a warp's index blocks come to shared memory: what they begin with, and then
// their codes, some pages at a time.
enum { WARPS = 4, BESIDE = 2, TOGETHER = 2, PIECES = 1 + PAGES / TOGETHER };

template <int PAIR> struct Bringer {
	const u8 *indexes;
	const u32 *numbers; // of the sequence's blocks
	u32 ids[PAIR];      // of those that come
	u8 *mine;
	u32 barriers; // of the pieces
	int kv, kv_heads, blocks, lane;
	u32 phase;

	// Reads the numbers of blocks from first on, of which the table has at most so many.
	__device__ __forceinline__ void name(int first, int most) {
#pragma unroll
		for (int b = 0; b < PAIR; b++)
			ids[b] = first + b < most ? numbers[first + b] : 0;
	}

	// Brings a piece of the blocks that are named.
	__device__ __forceinline__ void bring(const Index &l, int first, int piece) {
		int from = piece == 0 ? 0 : l.codes + (piece - 1) * TOGETHER * 2 * l.half(), bytes = piece == 0 ? l.codes : TOGETHER * 2 * l.half();
#if __CUDA_ARCH__ >= 900
		int n = min(blocks - first, PAIR);
		if (lane == 0 && n > 0) {
			barrier_expect(barriers + 8 * piece, n * bytes);
#pragma unroll
			for (int b = 0; b < PAIR; b++)
				if (b < n)
					copy_bulk(shared_address(mine + b * l.bytes + from), indexes + ((u64)ids[b] * kv_heads + kv) * l.bytes + from, bytes, barriers + 8 * piece);
		}
#else
#pragma unroll
		for (int b = 0; b < PAIR; b++) {
			if (first + b >= blocks)
				break;
			const u8 *src = indexes + ((u64)ids[b] * kv_heads + kv) * l.bytes + from;
			u32 dst = shared_address(mine + b * l.bytes + from);
#pragma unroll 4
			for (int j = lane * 16; j < bytes; j += 512)
				copy_async(dst + j, src + j);
		}
		copy_commit();
#endif
	}

	// Waits for a piece.
	__device__ __forceinline__ void wait(int piece) {
#if __CUDA_ARCH__ >= 900
		barrier_wait(barriers + 8 * piece, phase);
#else
		switch (piece) {
		case 0: copy_wait<PIECES - 1>(); break;
		case 1: copy_wait<PIECES - 2>(); break;
		case 2: copy_wait<PIECES - 3>(); break;
		case 3: copy_wait<PIECES - 4>(); break;
		default: copy_wait<0>();
		}
		__syncwarp();
#endif
	}

	// The same for other blocks, once all threads have read those that came.
	__device__ __forceinline__ void again(const Index &l, int first) {
		if (first >= blocks)
			return;
#if __CUDA_ARCH__ >= 900
		phase ^= 1;
		show_to_tensor_cores();
#endif
		__syncwarp();
		name(first, blocks);
		for (int i = 0; i < PIECES; i++)
			bring(l, first, i);
	}
};

// Grid: blocks that share a KV head's blocks, KV heads by tiles of query heads,
// rows. top [rows, heads, max_pages] are a sequence's pages' scores, and sums
// [rows, heads, max_blocks] its blocks' largest of them, with the sum of what
// exponentials of the others are beside its own. Nothing is scored where every
// page is attended to anyway.
template <int V, int PAIR> static __device__ void scan(const float *q, const u8 *indexes, const u32 *table, const Sequence *seqs, const int *seq, float *top, float2 *sums,
	u32 table_stride, u32 heads, u32 kv_heads, u32 dim, u32 budget, u32 max_pages, float scale) {
	typedef Probe<V> P;
	enum { HEADS = 8 / PAIR, G = P::GROUPS };
	__shared__ u64 barriers[WARPS][PIECES];
	Index l(dim);
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n = lane / 4, t = lane % 4, row = blockIdx.z;
	int group = heads / kv_heads, tiles = (group + HEADS - 1) / HEADS, kv = blockIdx.y / tiles, tile = blockIdx.y % tiles;
	int some = min(group - tile * HEADS, (int)HEADS), first_head = kv * group + tile * HEADS;
	int first = (warp * gridDim.x + blockIdx.x) * PAIR, stride = (dim + 8) & ~3; // of queries in shared memory
	float *queries = (float *)dynamic;
	u8 *mine = dynamic + HEADS * stride * 4 + warp * PAIR * l.bytes;
	Bringer<PAIR> from{indexes, table + (u64)seq[row] * table_stride, {}, mine, shared_address(barriers[warp]), kv, (int)kv_heads, 0, lane, 0};
	from.name(first, max_pages / (BLOCK / COLD)); // beside what says how many there are
	Sequence s = seqs[seq[row]];
	int blocks = s.stored / COLD <= budget ? 0 : (s.stored + BLOCK - 1) / BLOCK, pages = s.stored / TOKENS;
	from.blocks = blocks;
#if __CUDA_ARCH__ >= 900
	if (lane == 0) {
		for (int i = 0; i < PIECES; i++)
			barrier_init(from.barriers + 8 * i, 1);
		barriers_ready();
	}
	__syncwarp();
#endif
	// What the step before left in the index needs no waiting. All warps' blocks' begins
	// come before any codes: they are worked on while those come.
#pragma unroll
	for (int i = 0; i < PIECES; i++) {
		from.bring(l, first, i);
		__syncthreads();
	}
	allow_next();
	after_previous();
	for (int h = warp; h < some && blocks > 0; h += WARPS)
		for (int c = lane; c < dim; c += 32)
			queries[h * stride + c] = q[((u64)row * heads + first_head + h) * dim + c] * scale;
	__syncthreads();

	int at[G], shift[G];
	u32 mask[G];
#pragma unroll
	for (int g = 0; g < G; g++) {
		int quad = min(4 * g + t, 6 * V - 1), low = quad - 2 * V;
		at[g] = (low < 0 ? quad / 2 : V + low / 4) * 64 + n * 8;
		shift[g] = low < 0 ? quad % 2 * 4 : low % 4 * 2;
		mask[g] = low < 0 ? 0x0f0f0f0f : 0x03030303;
	}
	// Which of the results this lane will have: those of a column, of one half of
	// each page.
	int half = n % 2, x = n / 2 % 2, column = 2 * t + x, head = column % HEADS, b = PAIR == 2 ? column / 4 : 0;
	bool second = PAIR == 2 && t >= 2;
	for (; first < blocks; first += WARPS * gridDim.x * PAIR) {
		from.wait(0);
		P probe;
		probe.begin(l, mine + (PAIR == 2 ? n / 4 : 0) * l.bytes, queries + min(n % HEADS, some - 1) * stride, t);
		int d[4] = {};
#pragma unroll
		for (int k = 0; k < 2 * V; k++) {
			const u8 *a = mine + l.means + (k * 64 + t * 8 + n) * 4;
			u32 a1 = 0, a3 = 0;
			if (PAIR == 2) {
				a1 = *(const u32 *)(a + l.bytes);
				a3 = *(const u32 *)(a + l.bytes + 128);
			}
			mma32_mixed(d, *(const u32 *)a, a1, *(const u32 *)(a + 128), a3, probe.mean[2 * k], probe.mean[2 * k + 1]);
		}
		// Scores of pages' means take their place: [PAGES][8 columns].
		float *means = (float *)(mine + l.means);
		__syncwarp();
#pragma unroll
		for (int i = 0; i < 2; i++) {
			int lane_of = (2 * t + i) * 4, m = (second ? d[2 + i] : d[i]) - 128 * __shfl_sync(~0u, probe.mean_sum, lane_of);
			means[n * 8 + 2 * t + i] = __shfl_sync(~0u, probe.base, lane_of) + __shfl_sync(~0u, probe.mean_unit, lane_of) * (float)m;
		}
		__syncwarp();
		int block = first + b, some_pages = min(pages - first * PAGES, PAGES);
		bool mine_too = head < some && n < 4;
		float *to = top + ((u64)row * heads + first_head + head) * max_pages + block * PAGES * 2 + half;
		float most = -3e38f, sum = 0;
		// Pages go side by side, so that a warp has always something to do.
#pragma unroll 1
		for (int page0 = 0; page0 < some_pages; page0 += BESIDE) {
			if (page0 % TOGETHER == 0)
				from.wait(1 + page0 / TOGETHER);
			u32 code[BESIDE][G];
			int centre[BESIDE];
			float low[BESIDE], unit[BESIDE], score[BESIDE];
#pragma unroll
			for (int p = 0; p < BESIDE; p++)
				unit[p] = probe.page(l, mine + (PAIR == 2 ? n / 4 : 0) * l.bytes, page0 + p, t, code[p], &centre[p]) * probe.rank_unit;
#pragma unroll
			for (int p = 0; p < BESIDE; p++) {
				low[p] = means[(page0 + p) * 8 + column] - __shfl_sync(~0u, unit[p] / 2 * (float)centre[p], column * 4);
				unit[p] = __shfl_sync(~0u, unit[p], column * 4);
			}
			int v[BESIDE][2][2]; // [halves] of columns 2t and 2t+1
#pragma unroll
			for (int p = 0; p < BESIDE; p++)
#pragma unroll
				for (int h = 0; h < 2; h++) {
					int c[PAIR][4];
#pragma unroll
					for (int b = 0; b < PAIR; b++) {
						// Any order of tokens will do: a row and the eighth after it are neighbours.
						const u8 *w = mine + b * l.bytes + l.codes + (2 * (page0 + p) + h) * l.half();
						u32 a[G][2];
#pragma unroll
						for (int g = 0; g < G; g++) {
							uint2 x = *(const uint2 *)(w + at[g]);
							a[g][0] = x.x >> shift[g] & mask[g];
							a[g][1] = x.y >> shift[g] & mask[g];
						}
						c[b][0] = c[b][1] = c[b][2] = c[b][3] = 0;
#pragma unroll
						for (int g = 0; g + 1 < G; g += 2)
							mma32_int(c[b], a[g][0], a[g][1], a[g + 1][0], a[g + 1][1], code[p][g], code[p][g + 1]);
						if (G % 2)
							mma16_int(c[b], a[G - 1][0], a[G - 1][1], code[p][G - 1]);
					}
#pragma unroll
					for (int i = 0; i < 2; i++)
						v[p][h][i] = second ? max(c[PAIR - 1][i], c[PAIR - 1][i + 2]) : max(c[0][i], c[0][i + 2]);
				}
			// The largest of eight lanes; with each turn a lane keeps half of the results.
			int w[BESIDE][2], best[BESIDE];
#pragma unroll
			for (int p = 0; p < BESIDE; p++)
#pragma unroll
				for (int i = 0; i < 2; i++)
					w[p][i] = max(half ? v[p][1][i] : v[p][0][i], __shfl_xor_sync(~0u, half ? v[p][0][i] : v[p][1][i], 4));
#pragma unroll
			for (int p = 0; p < BESIDE; p++)
				best[p] = max(x ? w[p][1] : w[p][0], __shfl_xor_sync(~0u, x ? w[p][0] : w[p][1], 8));
#pragma unroll
			for (int p = 0; p < BESIDE; p++) {
				best[p] = max(best[p], __shfl_xor_sync(~0u, best[p], 16));
				score[p] = low[p] + unit[p] * (float)best[p];
			}
			float all = most;
#pragma unroll
			for (int p = 0; p < BESIDE; p++) {
				bool there = block * PAGES + page0 + p < pages;
				if (there && mine_too)
					to[(page0 + p) * 2] = score[p];
				score[p] = there ? fminf(score[p], 1e38f) : -3e38f; // what is no number counts as the largest
				all = fmaxf(all, score[p]);
			}
			sum *= exp_fast(most - all);
#pragma unroll
			for (int p = 0; p < BESIDE; p++)
				sum += exp_fast(score[p] - all);
			most = all;
		}
		// Nothing may still be coming to shared memory when the block leaves it.
		for (int i = 1 + (some_pages + TOGETHER - 1) / TOGETHER; i < PIECES; i++)
			from.wait(i);
		float other = __shfl_xor_sync(~0u, most, 4), all = fmaxf(most, other);
		sum = sum * exp_fast(most - all);
		sum += __shfl_xor_sync(~0u, sum, 4);
		if (mine_too && half == 0 && block < blocks)
			sums[((u64)row * heads + first_head + head) * (max_pages / (BLOCK / COLD)) + block] = make_float2(all, sum);
		from.again(l, first + WARPS * gridDim.x * PAIR);
	}
#if __CUDA_ARCH__ < 900
	copy_wait<0>();
#endif
}

// BLOCKS fit a multiprocessor: small ones, so that a context that is a little longer
// than what fits all of them does not take twice the time.
#define SCAN(V, PAIR, BLOCKS) \
	KERNEL(WARPS * 32, BLOCKS) scan_##V##_##PAIR(const float *q, const u8 *indexes, const u32 *table, const Sequence *seqs, const int *seq, float *top, float2 *sums, \
		u32 table_stride, u32 heads, u32 kv_heads, u32 dim, u32 budget, u32 max_pages, float scale) { \
		scan<V, PAIR>(q, indexes, table, seqs, seq, top, sums, table_stride, heads, kv_heads, dim, budget, max_pages, scale); \
	}

SCAN(1, 1, 4)
SCAN(1, 2, 4)
SCAN(2, 1, 4)
SCAN(2, 2, 4)
SCAN(4, 1, 2)
SCAN(4, 2, 2)
