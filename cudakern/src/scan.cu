// Scores of a decode row's queries over the index of a layer: of every cold page
// the largest score of a token, with keys as the index has them, or, of those that a working set
// holds, as their records have them.
//
// The numbers are the reference's: a query times a block's deviations in 8 bits,
// by channel against the pages' means, and by rank, times a page's scales and in
// 8 bits again, against the codes of its tokens. Tensor cores multiply: the sixteen
// rows are query heads by two pages, of one block or of PAIR that a warp scores side
// by side, and the columns are tokens, or the pages' means.
#include "bulk.cuh"
#include "index.cuh"
#include "weigh.cuh"

extern __shared__ __align__(16) u8 dynamic[];

// d += a [16, 32] b [32, 8], of int8 and uint8.
static __device__ __forceinline__ void mma32_mixed(int d[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
	asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
		: "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
		: "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// The sum of four products of uint8 and int8.
static __device__ __forceinline__ int dot4_mixed(u32 a, u32 b) {
	int d;
	asm("dp4a.u32.s32 %0, %1, %2, 0;" : "=r"(d) : "r"(a), "r"(b));
	return d;
}

static __device__ __forceinline__ u32 pack4(int a, int b, int c, int d) {
	return __byte_perm(__byte_perm(a, b, 0x0040), __byte_perm(c, d, 0x0040), 0x5410);
}

static __device__ __forceinline__ u32 pack4(const float v[4]) {
	return pack4(__float_as_int(v[0]), __float_as_int(v[1]), __float_as_int(v[2]), __float_as_int(v[3]));
}

// The same of the third bytes.
static __device__ __forceinline__ u32 pack4_third(const int v[4]) {
	return __byte_perm(__byte_perm(v[0], v[1], 0x0062), __byte_perm(v[2], v[3], 0x0062), 0x5410);
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

// In each byte, as int8, 64 times what the code in its upper bits is above 3/2.
static __device__ __forceinline__ u32 centred(u32 w, u32 half) {
	u32 r;
	asm("lop3.b32 %0, %1, 0xc0c0c0c0, %2, 0x6a;" : "=r"(r) : "r"(w), "r"(half)); // (w & c) ^ half
	return r;
}

// A number that the compiler knows nothing of: shifts and masks that it would make of
// products and of constants keep one pipe busy while others have nothing to do.
static __device__ __forceinline__ u32 opaque(u32 x) {
	asm volatile("" : "+r"(x));
	return x;
}

// Added to a float of less than 2^22, it leaves the nearest integer in the low bits.
#define ROUNDER 12582912.0f

static __device__ __forceinline__ float quantized(float v, float inv) { return __fadd_rn(__fmul_rn(v, inv), ROUNDER); }

// A lane's part of the queries against one block, four channels or ranks to a
// word: those of row lane/4, in quads that begin at lane%4.
template <int V> struct Probe {
	enum { GROUPS = (6 * V + 3) / 4, ALONE = V }; // of four quads of ranks; those whose codes are of one half of a page
	u32 mean[4 * V];
	u32 ranked[GROUPS][4]; // in byte i of the i-th, and zeros
	float base, mean_unit, rank_unit;

	// query is the row's, times the scale.
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
		mean_unit = top * (1 / 127.0f / UNITS);
#pragma unroll
		for (int k = 0; k < 4 * V; k++) {
			float c[4];
#pragma unroll
			for (int j = 0; j < 4; j++)
				c[j] = quantized(y[k][j], inv);
			mean[k] = pack4(c);
		}
		float v[GROUPS][4];
		top = 0;
#pragma unroll
		for (int g = 0; g < GROUPS; g++) {
			int quad = 4 * g + t;
			u32 order = *(const u32 *)(ix + 4 * min(quad, 6 * V - 1));
#pragma unroll
			for (int j = 0; j < 4; j++) {
				int c = order >> 8 * j & 255;
				v[g][j] = __fmul_rn(__fmul_rn(query[c], from_half(((const u16 *)(ix + l.steps))[c])), CODE_STEP);
				if (6 * V % 4)
					v[g][j] = quad < 6 * V ? v[g][j] : 0;
				top = fmaxf(top, fabsf(v[g][j]));
			}
		}
		top = quad_max(top);
		inv = top > 0 ? 127 / top : 0;
		rank_unit = top * (1 / 127.0f / UNITS);
#pragma unroll
		for (int g = 0; g < GROUPS; g++)
#pragma unroll
			for (int j = 0; j < 4; j++) {
				ranked[g][j] = __byte_perm(__float_as_int(quantized(v[g][j], inv)), 0, 0x4444 & ~(0xf << 4 * j));
				asm volatile("" : "+r"(ranked[g][j])); // computed once, not for each page
			}
	}

	// The queries against the codes of the page at scales and of the one behind it, in
	// integers as the reference has them. Returns the units that one of codes is, of
	// the page of the lane's parity.
	__device__ __forceinline__ float pages(const u8 *scales, int t, u32 code[2][GROUPS]) const {
		int p[2][GROUPS][4], most[2] = {1, 1}, least[2] = {0, 0};
#pragma unroll
		for (int g = 0; g < GROUPS; g++) {
			uint2 both = *(const uint2 *)(scales + min(4 * g + t, 6 * V - 1) * PAGES * 4);
#pragma unroll
			for (int i = 0; i < 2; i++) {
#pragma unroll
				for (int j = 0; j < 4; j++)
					p[i][g][j] = dot4_mixed(i ? both.y : both.x, ranked[g][j]);
#pragma unroll
				for (int j = 0; j < 4; j += 2) {
					most[i] = max(max(p[i][g][j], p[i][g][j + 1]), most[i]);
					least[i] = min(min(p[i][g][j], p[i][g][j + 1]), least[i]);
				}
			}
		}
#pragma unroll
		for (int i = 0; i < 2; i++)
			most[i] = max(most[i], -least[i]);
		bool odd = t & 1;
		int mine = max(odd ? most[1] : most[0], __shfl_xor_sync(~0u, odd ? most[0] : most[1], 1));
		mine = max(mine, __shfl_xor_sync(~0u, mine, 2));
		// 2^15 127 by that, rounded as a division is.
		float most_of = __int_as_float(mine | 0x4b000000) - 8388608.0f, r = reciprocal(most_of), x = 4161536.0f * r;
		x = fminf(fmaf(fmaf(-x, most_of, 4161536.0f), r, x), 32767) + ROUNDER;
		int own = __float_as_int(x) * 2 + 0x69800000, other = __shfl_xor_sync(~0u, own, 1); // twice the factor
		const int factor[2] = {odd ? other : own, odd ? own : other};
#pragma unroll
		for (int i = 0; i < 2; i++)
#pragma unroll
			for (int g = 0; g < GROUPS; g++) {
				int c[4];
#pragma unroll
				for (int j = 0; j < 4; j++)
					c[j] = p[i][g][j] * factor[i] + 32768;
				code[i][g] = pack4_third(c);
			}
		return 32768.0f * reciprocal(x - ROUNDER);
	}
};

// How a warp's index blocks come to shared memory: what they begin with, and then
// their codes, some pages at a time.
enum { WARPS = 4, BESIDE = 2, TOGETHER = 4, PIECES = 1 + PAGES / TOGETHER };

template <int PAIR> struct Bringer {
	const u8 *indexes;  // of the KV head
	const u32 *numbers; // of the sequence's blocks
	const u8 *src[PAIR];
	u8 *mine;
	u32 barriers; // of the pieces
	u64 block_bytes;
	int blocks, there, lane; // there: how many of the pair there are
	u32 phase;

	// Finds the blocks from first on, of which the table has at most so many.
	__device__ __forceinline__ void name(int first, int most) {
#pragma unroll
		for (int b = 0; b < PAIR; b++)
			src[b] = indexes + (first + b < most ? numbers[first + b] : 0) * block_bytes;
	}

	// Brings a piece of the blocks that are named.
	__device__ __forceinline__ void bring(const Index &l, int piece) {
		int from = piece == 0 ? 0 : l.codes + (piece - 1) * TOGETHER * l.page(), bytes = piece == 0 ? l.codes : TOGETHER * l.page();
#if __CUDA_ARCH__ >= 900
		if (lane == 0 && there > 0) {
			barrier_expect(barriers + 8 * piece, there * bytes);
#pragma unroll
			for (int b = 0; b < PAIR; b++)
				if (b < there)
					copy_bulk(shared_address(mine) + b * l.bytes + from, src[b] + from, bytes, barriers + 8 * piece);
		}
#else
#pragma unroll
		for (int b = 0; b < PAIR; b++)
#pragma unroll 4
			for (int j = lane * 16; j < bytes && b < there; j += 512)
				copy_async(shared_address(mine) + b * l.bytes + from + j, src[b] + from + j);
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
		default: copy_wait<0>();
		}
		__syncwarp();
#endif
	}

	// Counts the blocks of the pair from first on.
	__device__ __forceinline__ void count(int first) { there = min(blocks - first, PAIR); }

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
		count(first);
		for (int i = 0; i < PIECES; i++)
			bring(l, i);
	}
};

// The working set of a row's KV head: its list, as attend reads it, and the records.
struct Set {
	const u32 *list;
	const u8 *records;
	u32 budget;
	int held; // of them

	// Those of 32 pages from first on that are held, a bit each.
	__device__ __forceinline__ u32 among(int first, int lane) const {
		u32 found = 0;
#pragma unroll 1
		for (int i = lane; i < held; i += 32) {
			u32 bit = list[1 + i] - first;
			found |= bit < 32 ? 1u << bit : 0;
		}
		return __reduce_or_sync(~0u, found);
	}

	// The i-th one's record.
	__device__ __forceinline__ const u8 *record(int i, const Record &r) const { return records + list[1 + budget + i] * (u64)r.bytes; }
};

// Grid: blocks that share a KV head's blocks and what its set holds, KV heads by tiles of query heads,
// rows. top [rows, heads, max_pages] are a sequence's pages' scores, and sums
// [rows, heads, max_blocks] its blocks' largest of them, with the sum of what
// exponentials of the others are beside its own. Nothing is scored where every
// page is attended to anyway. by_record says that records weigh what is held, which sums leave out.
// arrived [rows, kv_heads] counts the blocks that are done with a KV head.
#define SCAN_PARAMS \
	const float *q, const u8 *indexes, const u32 *table, const Sequence *seqs, const int *seq, float *top, float2 *sums, const u8 *sets, const u32 *chosen, u32 *arrived, \
		u32 table_stride, u32 heads, u32 kv_heads, u32 dim, u32 budget, u32 max_pages, u32 k_bits, u32 v_bits, u32 by_record, float scale
template <int V, int PAIR> static __device__ void scan(SCAN_PARAMS) {
	typedef Probe<V> P;
	enum { HEADS = 8 / PAIR, G = P::GROUPS, TILES = TOKENS / 8 };
	__shared__ u64 barriers[WARPS][PIECES];
	Index l(dim);
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n = lane / 4, t = lane % 4, row = blockIdx.z;
	int group = heads / kv_heads, tiles = (group + HEADS - 1) / HEADS, kv = blockIdx.y / tiles, tile = blockIdx.y % tiles;
	int some = min(group - tile * HEADS, (int)HEADS), first_head = kv * group + tile * HEADS;
	int first = (warp * gridDim.x + blockIdx.x) * PAIR, stride = (dim + 31) / 32 * 32 + 16; // of queries in shared memory: heads half of the banks apart
	float *queries = (float *)dynamic;
	u8 *mine = dynamic + HEADS * stride * 4 + warp * PAIR * l.bytes;
	Bringer<PAIR> from{indexes + (u64)kv * l.bytes, table + (u64)seq[row] * table_stride, {}, mine, shared_address(barriers[warp]), (u64)kv_heads * l.bytes, 0, 0, lane, 0};
	from.name(first, max_pages / (BLOCK / COLD)); // beside what says how many there are
	Sequence s = seqs[seq[row]];
	int blocks = s.stored / COLD <= budget ? 0 : (s.stored + BLOCK - 1) / BLOCK, pages = s.stored / TOKENS;
	from.blocks = blocks;
	from.count(first);
#if __CUDA_ARCH__ >= 900
	if (lane == 0) {
		for (int i = 0; i < PIECES; i++)
			barrier_init(from.barriers + 8 * i, 1);
		barriers_ready();
	}
	__syncwarp();
#endif
	// What the step before left in the index and in the set needs no waiting. All warps' blocks' begins
	// come before any codes: they are worked on while those come.
	from.bring(l, 0);
	__syncthreads();
#pragma unroll
	for (int i = 1; i < PIECES; i++)
		from.bring(l, i);
	Record r(dim, COLD, k_bits, v_bits);
	u64 own = (u64)s.set * kv_heads + kv;
	Set set = {chosen + own * (1 + 2 * budget), sets + own * budget * r.bytes, budget, 0};
	set.held = by_record && blocks > 0 ? set.list[0] : 0;
	u32 held_pages = set.among(first * PAGES * 2, lane); // of the warp's pair
#pragma unroll 1
	for (int i = blockIdx.x;; i += gridDim.x) {
		Keys<2 * V> keys;
		if (i < set.held)
			keys.read(r, set.record(i, r), lane);
		if (i == blockIdx.x) {
			after_previous();
			allow_next(); // not before: what is behind would take the room that this grid needs
#pragma unroll 1
			for (int h = warp; h < some && blocks > 0; h += WARPS)
#pragma unroll 1
				for (int c = 4 * lane; c < dim; c += 128) {
					float4 x = *(const float4 *)(q + ((u64)row * heads + first_head + h) * dim + c);
					*(float4 *)(queries + h * stride + c) = make_float4(x.x * scale, x.y * scale, x.z * scale, x.w * scale);
				}
			__syncthreads();
		}
		if (i >= set.held)
			break;
#pragma unroll 1
		for (int h = warp; h < some; h += WARPS) {
			const float *query = queries + h * stride;
			float most = keys.largest(r, set.record(i, r), query, lane);
			if (lane == 0)
				top[((u64)row * heads + first_head + h) * max_pages + set.list[1 + i]] = most;
		}
	}

	// Row n is head n % HEADS of the block of number b. Tile i's column n is token i behind
	// the first of four, of one half of the page: one load brings four tiles. Where their
	// codes are, and what moves a lane's to the top of bytes, a group of quads at a time.
	int b = PAIR == 2 ? n / 4 : 0;
	u32 second = b ? ~0u : 0, move[2];
	move[0] = opaque(1u << 6 - 2 * t), move[1] = opaque(1u << 6 - 2 * (t % 2) - 4 * (n / 4));
	u32 half = opaque(0xa0a0a0a0); // 3/2 times 64, and the sign bit turned
	int at[G];
#pragma unroll
	for (int g = 0; g < G; g++)
		at[g] = (g < P::ALONE ? n / 4 * V + g : 2 * V + min(2 * (g - V) + t / 2, V - 1)) * 64 + n % 4 * 16;
	for (; first < blocks; first += WARPS * gridDim.x * PAIR) {
		from.wait(0);
		P probe;
		const u8 *ix = mine + min(b, from.there - 1) * l.bytes; // where a pair has one block, that one twice
		probe.begin(l, ix, queries + min(n % HEADS, some - 1) * stride, t);
		// Means are 128 too large, in all of which alike.
		int d[PAIR][4] = {};
#pragma unroll
		for (int k = 0; k < 2 * V; k++)
			mma32_int(d[0], probe.mean[2 * k], 0, probe.mean[2 * k + 1], 0, 0x80808080, 0x80808080);
		if (PAIR == 2)
			d[PAIR - 1][0] = d[0][0], d[PAIR - 1][1] = d[0][1];
#pragma unroll
		for (int k = 0; k < 2 * V; k++)
#pragma unroll
			for (int i = 0; i < PAIR; i++) {
				const u8 *m = mine + i * l.bytes + l.means + (k * 64 + t * 8 + n) * 4;
				mma32_mixed(d[i], probe.mean[2 * k], 0, probe.mean[2 * k + 1], 0, *(const u32 *)m, *(const u32 *)(m + 128));
			}
		// Scores of pages' means, [8 rows][PAGES], take the place of what they are from, and
		// behind them come those of tokens, [8 rows][2 * PAGES].
		float *means = (float *)mine + n * PAGES, *scores = (float *)mine + (8 + 2 * n) * PAGES;
		__syncwarp();
		*(float2 *)(means + 2 * t) = make_float2(probe.base + probe.mean_unit * (float)(b ? d[PAIR - 1][0] : d[0][0]), probe.base + probe.mean_unit * (float)(b ? d[PAIR - 1][1] : d[0][1]));
		__syncwarp();
		int block = first + b, some_pages = min(pages - first * PAGES, PAGES);
#pragma unroll 1
		for (int page = 0; page < some_pages; page += BESIDE) {
			u32 code[BESIDE][G];
			if (page % TOGETHER == 0)
				from.wait(1 + page / TOGETHER);
			float unit = probe.pages(ix + l.scales + page * 4, t, code) * probe.rank_unit * (1 / 64.0f);
			int c[TILES][4] = {};
#pragma unroll
			for (int j = 0; j < PAIR; j++) {
				u32 a[BESIDE][G], w[BESIDE][G][TILES];
#pragma unroll
				for (int p = 0; p < BESIDE; p++)
#pragma unroll
					for (int g = 0; g < G; g++) {
						a[p][g] = PAIR == 1 ? code[p][g] : code[p][g] & (j ? second : ~second);
						uint4 x = *(const uint4 *)(mine + j * l.bytes + l.codes + (page + p) * l.page() + at[g]);
						const u32 word[TILES] = {x.x, x.y, x.z, x.w};
#pragma unroll
						for (int i = 0; i < TILES; i++)
							w[p][g][i] = centred(word[i] * move[g >= P::ALONE], half);
					}
#pragma unroll
				for (int g = 0; g + 1 < G; g += 2)
#pragma unroll
					for (int i = 0; i < TILES; i++) {
						mma32_int(c[i], a[0][g], 0, a[0][g + 1], 0, w[0][g][i], w[0][g + 1][i]);
						mma32_int(c[i], 0, a[1][g], 0, a[1][g + 1], w[1][g][i], w[1][g + 1][i]);
					}
				if (G % 2) // what is left of both pages
#pragma unroll
					for (int i = 0; i < TILES; i++)
						mma32_int(c[i], a[0][G - 1], 0, 0, a[1][G - 1], w[0][G - 1][i], w[1][G - 1][i]);
			}
			// The largest of a half's 16 tokens: a lane keeps one page's.
			int best[BESIDE];
#pragma unroll
			for (int p = 0; p < BESIDE; p++) {
				best[p] = max(c[0][2 * p], c[0][2 * p + 1]);
#pragma unroll
				for (int i = 1; i < TILES; i++)
					best[p] = max(max(best[p], c[i][2 * p]), c[i][2 * p + 1]);
			}
			int own = max(t & 1 ? best[1] : best[0], __shfl_xor_sync(~0u, t & 1 ? best[0] : best[1], 1));
			scores[2 * (page + t % 2) + t / 2] = means[page + t % 2] + unit * (float)own;
		}
		// Nothing may still be coming to shared memory when the block leaves it.
		for (int i = 1 + (some_pages + TOGETHER - 1) / TOGETHER; i < PIECES; i++)
			from.wait(i);
		__syncwarp();
		// A lane's of two pages.
		bool there = n % HEADS < some && block < blocks;
		int left = 2 * pages - block * PAGES * 2 - 4 * t;
		float4 x = *(const float4 *)(scores + 4 * t);
		u64 head = (u64)row * heads + first_head + n % HEADS;
		const float v[4] = {x.x, x.y, x.z, x.w};
		float *to = top + head * max_pages + block * PAGES * 2 + 4 * t;
		u32 weighed = held_pages >> b * PAGES * 2 + 4 * t & 15;
		if (there && left > 0 && !weighed)
			*(float4 *)to = x;
		else if (there && left > 0)
			for (int i = 0; i < 4; i++)
				if (!(weighed >> i & 1))
					to[i] = v[i];
		float most = -3e38f, sum = 0, score[4];
#pragma unroll
		for (int i = 0; i < 4; i++) {
			score[i] = i < left && !(weighed >> i & 1) ? fminf(v[i], 1e38f) : -3e38f; // what is no number counts as the largest
			most = fmaxf(most, score[i]);
		}
		most = quad_max(most);
#pragma unroll
		for (int i = 0; i < 4; i++)
			sum += i < left && !(weighed >> i & 1) ? exp_fast(score[i] - most) : 0;
		sum = quad_sum(sum);
		if (there && t == 0)
			sums[head * (max_pages / (BLOCK / COLD)) + block] = make_float2(most, sum);
		int next = first + WARPS * gridDim.x * PAIR;
		from.again(l, next);
		if (next < blocks)
			held_pages = set.among(next * PAGES * 2, lane);
	}
#if __CUDA_ARCH__ >= 900
	__syncthreads();
	if (threadIdx.x == 0)
		count_in(arrived + (u64)row * kv_heads + kv);
#else
	copy_wait<0>();
#endif
}

// BLOCKS fit a multiprocessor: small ones, so that a context that is a little longer
// than what fits all of them does not take twice the time.
#define SCAN(V, PAIR, BLOCKS) \
	KERNEL(WARPS * 32, BLOCKS) scan_##V##_##PAIR(SCAN_PARAMS) { \
		scan<V, PAIR>(q, indexes, table, seqs, seq, top, sums, sets, chosen, arrived, table_stride, heads, kv_heads, dim, budget, max_pages, k_bits, v_bits, by_record, scale); \
	}

SCAN(1, 1, 5)
SCAN(1, 2, 5)
SCAN(2, 1, 5)
SCAN(2, 2, 5)
SCAN(4, 1, 2)
SCAN(4, 2, 2)
