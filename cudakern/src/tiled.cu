// Products of a few input rows with tiled weights (tiles.cuh), on tensor cores:
// what decode steps spend their time in.
//
// Inputs are split into a float16 and what that leaves, times 2048, which take
// two of the instruction's eight columns: 22 bits survive, and four rows cost as
// much as one. The norm in front of a product is computed by every block, while
// its first weights are under way.
#include "tiles.cuh"

#define WARPS 8
#define THREADS (WARPS * 32)

extern __shared__ u8 dynamic[];

// The block's inputs in shared memory, as the second operand:
//   x [k/32][2 rows][32] float16, column 2b and 2b+1 of row b
//   sums of 32 of them [k/256][2 rows][8] float16, likewise
struct Inputs {
	u16 *x, *sums;
	float *factor; // [rows] that products are multiplied with
	int columns;   // 2 rows
};

// Reads rows of x, normalises them where there is a w, and splits them.
static __device__ void read_inputs(Inputs in, const float *x, const float *w, float eps, int k, int span, int rows) {
	for (int b = 0; b < rows; b++) {
		const float *row = x + (u64)b * k;
		float sum = 0, top = 0;
		for (int i = threadIdx.x * 4; i < k; i += THREADS * 4) {
			float4 v = *(const float4 *)(row + i);
			if (w) {
				float4 f = *(const float4 *)(w + i);
				sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
				v = make_float4(v.x * f.x, v.y * f.y, v.z * f.z, v.w * f.w);
			}
			top = fmaxf(fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w))), top);
		}
		block_reduce(&sum, &top);
		float r = w ? rsqrtf(sum / k + eps) : 1;
		// The power of two above the largest input, so that scaling is exact.
		u32 e = __float_as_uint(top * r) >> 23;
		e = min(max(e + 1, 1u), 253u);
		float up = __uint_as_float(e << 23), down = __uint_as_float((254 - e) << 23) * r;
		if (threadIdx.x == 0)
			in.factor[b] = up;
		u16 *hi = in.x + 2 * b * 32, *lo = hi + 32;
		for (int i = threadIdx.x * 8; i < span; i += THREADS * 8) {
			u32 h[4], l[4];
			float sum8 = 0;
#pragma unroll
			for (int p = 0; p < 2; p++) {
				float4 v = make_float4(0, 0, 0, 0);
				if (i + 4 * p < k)
					v = *(const float4 *)(row + i + 4 * p);
				if (w && i + 4 * p < k) {
					float4 f = *(const float4 *)(w + i + 4 * p);
					v = make_float4(v.x * f.x, v.y * f.y, v.z * f.z, v.w * f.w);
				}
				v = make_float4(v.x * down, v.y * down, v.z * down, v.w * down);
				h[2 * p] = to_half2(v.x, v.y);
				h[2 * p + 1] = to_half2(v.z, v.w);
				l[2 * p] = to_half2((v.x - from_half((u16)h[2 * p])) * 2048, (v.y - from_half((u16)(h[2 * p] >> 16))) * 2048);
				l[2 * p + 1] = to_half2((v.z - from_half((u16)h[2 * p + 1])) * 2048, (v.w - from_half((u16)(h[2 * p + 1] >> 16))) * 2048);
				sum8 += v.x + v.y + v.z + v.w;
			}
			int at = i / 32 * in.columns * 32 + i % 32;
			*(uint4 *)(hi + at) = make_uint4(h[0], h[1], h[2], h[3]);
			*(uint4 *)(lo + at) = make_uint4(l[0], l[1], l[2], l[3]);
			sum8 += __shfl_xor_sync(__activemask(), sum8, 1);
			sum8 += __shfl_xor_sync(__activemask(), sum8, 2);
			if (i % 32 == 0) {
				int s = (i / 256 * in.columns + 2 * b) * 8 + i / 32 % 8;
				u16 top16 = to_half(sum8);
				in.sums[s] = top16;
				in.sums[s + 8] = to_half((sum8 - from_half(top16)) * 2048);
			}
		}
	}
	__syncthreads();
}

// Adds a unit's products to total [row g, g+8 of column 2t and 2t+1].
template <class T, int NT> static __device__ __forceinline__ void multiply(T &u, const Inputs &in, int first, int lane, float total[NT][4]) {
	int g = lane / 4, t = lane % 4;
	float acc[NT][4] = {};
	u.prepare(lane);
#pragma unroll
	for (int j = 0; j < T::SPAN / 32; j++) {
		u32 a[4], b[4];
		u.pairs(lane, j, 0, a);
		u.pairs(lane, j, 1, b);
#pragma unroll
		for (int c = 0; c < NT; c++) {
			uint4 x = make_uint4(0, 0, 0, 0);
			if (c * 8 + g < in.columns)
				x = *(const uint4 *)(in.x + ((first / 32 + j) * in.columns + c * 8 + g) * 32 + 8 * t);
			if (T::BLOCK_SCALES) {
				float part[4] = {};
				mma16(part, a[0], b[0], a[1], b[1], x.x, x.y);
				mma16(part, a[2], b[2], a[3], b[3], x.z, x.w);
				float s0 = u.block_scale(j, 0), s1 = u.block_scale(j, 1);
				acc[c][0] += s0 * part[0];
				acc[c][1] += s0 * part[1];
				acc[c][2] += s1 * part[2];
				acc[c][3] += s1 * part[3];
			} else {
				mma16(acc[c], a[0], b[0], a[1], b[1], x.x, x.y);
				mma16(acc[c], a[2], b[2], a[3], b[3], x.z, x.w);
			}
		}
	}
	float d0 = u.scale(lane, 0), d1 = u.scale(lane, 1), m0 = 0, m1 = 0;
	u32 a0 = 0, a1 = 0;
	if (T::MINS) {
		m0 = u.low(lane, 0);
		m1 = u.low(lane, 1);
		a0 = u.minima(lane, 0);
		a1 = u.minima(lane, 1);
	}
#pragma unroll
	for (int c = 0; c < NT; c++) {
		float low[4] = {};
		if (T::MINS) {
			u32 s = 0;
			if (c * 8 + g < in.columns)
				s = *(const u32 *)(in.sums + (first / 256 * in.columns + c * 8 + g) * 8 + 2 * t);
			mma8(low, a0, a1, s);
		}
		total[c][0] += d0 * acc[c][0] - m0 * low[0];
		total[c][1] += d0 * acc[c][1] - m0 * low[1];
		total[c][2] += d1 * acc[c][2] - m1 * low[2];
		total[c][3] += d1 * acc[c][3] - m1 * low[3];
	}
}

// What a launch multiplies with: up to three matrices one after the other, or
// with gated a pair whose tiles alternate.
struct Parts {
	const u8 *w[3];
	float *dst[3];
	const float *bias[3];
	int tiles[3]; // of each
	int n[3];
	int add; // bit i: dst[i] +=
};

// Products of all parts. wk warps share a tile's inputs; WARPS/wk tiles are at
// work at a time. NW is 2 when tiles come in pairs.
template <class T, int NT, int NW> static __device__ void tiled(Parts p, const float *x, const float *norm, float eps, int k, int rows, int wk, int gelu) {
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, wn = WARPS / wk;
	int units = (k + T::SPAN - 1) / T::SPAN, span = (k + 255) / 256 * 256;
	int tiles = p.tiles[0] + p.tiles[1] + p.tiles[2], steps = (tiles + wn - 1) / wn;
	Inputs in;
	in.columns = 2 * rows;
	in.x = (u16 *)dynamic;
	in.sums = in.x + span * in.columns;
	in.factor = (float *)(in.sums + span / 32 * in.columns);
	float *reduced = in.factor + 8; // [2][WARPS][NW][4*NT][16]
	const int each = NW * 4 * NT * 16;

	allow_next();
	// A warp's work is one sequence of units, of which the next is always under way.
	int step = blockIdx.x, unit = warp % wk, which = 0;
	auto address = [&](int step, int unit, int which) -> const u8 * {
		int tile = step * wn + warp / wk;
		if (step >= steps || tile >= tiles || unit >= units)
			return 0;
		const u8 *base = p.w[0];
		if (NW == 2)
			base = which ? p.w[1] : p.w[0];
		else if (tile >= p.tiles[0]) {
			tile -= p.tiles[0];
			base = p.w[1];
			if (tile >= p.tiles[1]) {
				tile -= p.tiles[1];
				base = p.w[2];
			}
		}
		return base + ((u64)tile * units + unit) * T::BYTES;
	};
	T now, next;
	const u8 *here = address(step, unit, 0);
	if (here)
		now.load(here, lane);
	after_previous();
	read_inputs(in, x, norm, eps, k, span, rows);

	float total[NW][NT][4] = {};
	for (int turn = 0; step < steps;) {
		int step2 = step, unit2 = unit + wk, which2 = which;
		bool end = false;
		if (unit2 >= units) {
			unit2 = warp % wk;
			if (++which2 == NW) {
				which2 = 0;
				step2 = step + gridDim.x;
				end = true;
			}
		}
		const u8 *there = address(step2, unit2, which2);
		if (there)
			next.load(there, lane);
		if (here)
			multiply<T, NT>(now, in, unit * T::SPAN, lane, NW == 2 && which ? total[NW - 1] : total[0]);
		if (end) {
			float *mine = reduced + (turn * WARPS + warp) * each;
			int g = lane / 4, t = lane % 4;
#pragma unroll
			for (int v = 0; v < NW; v++)
#pragma unroll
				for (int c = 0; c < NT; c++) {
					float *at = mine + (v * 4 * NT + 4 * c + t) * 16;
					at[g] = total[v][c][0] + total[v][c][1] * (1.0f / 2048);
					at[g + 8] = total[v][c][2] + total[v][c][3] * (1.0f / 2048);
					total[v][c][0] = total[v][c][1] = total[v][c][2] = total[v][c][3] = 0;
				}
			__syncthreads();
			for (int i = threadIdx.x; i < wn * rows * 16; i += THREADS) {
				int r = i % 16, b = i / 16 % rows, tile = step * wn + i / 16 / rows;
				if (tile >= tiles)
					continue;
				float y[NW];
#pragma unroll
				for (int v = 0; v < NW; v++) {
					y[v] = 0;
					for (int s = 0; s < wk; s++)
						y[v] += reduced[(turn * WARPS + i / 16 / rows * wk + s) * each + (v * 4 * NT + b) * 16 + r];
					y[v] *= in.factor[b];
				}
				int part = 0;
				if (NW == 1)
					while (part < 2 && tile >= p.tiles[part])
						tile -= p.tiles[part++];
				int out = tile * 16 + r;
				if (out >= p.n[part])
					continue;
				float *to = p.dst[part] + (u64)b * p.n[part] + out;
				if (NW == 2) {
					*to = activate(gelu, y[0]) * y[NW - 1];
				} else {
					if (p.bias[part])
						y[0] += p.bias[part][out];
					*to = p.add >> part & 1 ? *to + y[0] : y[0];
				}
			}
			turn ^= 1;
		}
		here = there;
		now = next;
		step = step2;
		unit = unit2;
		which = which2;
	}
}

#define TILED(name, T, NT) \
	KERNEL(THREADS, 2) tiled_##name(const u8 *w0, const u8 *w1, const u8 *w2, float *dst0, float *dst1, float *dst2, const float *bias0, const float *bias1, const float *bias2, \
		const float *x, const float *norm, u32 n0, u32 n1, u32 n2, u32 k, u32 rows, u32 wk, u32 add, float eps) { \
		Parts p = {{w0, w1, w2}, {dst0, dst1, dst2}, {bias0, bias1, bias2}, {((int)n0 + 15) / 16, ((int)n1 + 15) / 16, ((int)n2 + 15) / 16}, {(int)n0, (int)n1, (int)n2}, (int)add}; \
		tiled<T, NT, 1>(p, x, norm, eps, k, rows, wk, 0); \
	} \
	KERNEL(THREADS, 2) tiled_gated_##name(const u8 *gate, const u8 *up, float *dst, const float *x, const float *norm, u32 n, u32 k, u32 rows, u32 wk, u32 gelu, float eps) { \
		Parts p = {{gate, up, 0}, {dst, 0, 0}, {0, 0, 0}, {((int)n + 15) / 16, 0, 0}, {(int)n, 0, 0}, 0}; \
		tiled<T, NT, 2>(p, x, norm, eps, k, rows, wk, gelu); \
	}

TILED(q4k_4, KTile<0>, 1)
TILED(q5k_4, KTile<1>, 1)
TILED(q6k_4, Q6Tile, 1)
TILED(q8_4, Q8Tile, 1)
TILED(f16_4, HalfTile, 1)
TILED(q4k_8, KTile<0>, 2)
TILED(q5k_8, KTile<1>, 2)
TILED(q6k_8, Q6Tile, 2)
TILED(q8_8, Q8Tile, 2)
TILED(f16_8, HalfTile, 2)
