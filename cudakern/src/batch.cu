// Products of several input rows, up to 16, with tiled weights (tiles.cuh): codes
// become float16 operands once for all rows, whose inputs are float16 and lie in
// the order of the instruction's second operand. As in tiled.cu, a block fills a
// multiprocessor and its warps bring units to rings of their own.
#include "operands.cuh"
#include "parts.cuh"

extern __shared__ __align__(16) u8 dynamic[];

enum { WARPS = 16, BLOCK_BYTES = 512 }; // of 32 inputs of eight rows

// Rows of x [rows, k], times norm and over their root mean square where there is
// a norm, to float16 as operands [rows/8][blocks of 32 inputs][lane], zeros behind
// k, scaled by a power of two; factor[row] undoes that. A block takes a row, a
// thread four inputs and those 16 behind them.
KERNEL(1024, 1) operand_rows(const float *x, const float *norm, u8 *dst, float *factor, u32 k, u32 blocks, float eps) {
	allow_next();
	after_previous();
	int row = blockIdx.x, pieces = blocks * 4;
	const float *src = x + (u64)row * k;
	float sum = 0, top = 0;
	float4 v[2];
	auto read = [&](int piece) {
#pragma unroll
		for (int half = 0; half < 2; half++) {
			int i = piece / 4 * 32 + half * 16 + piece % 4 * 4;
			float4 f = i < k ? *(const float4 *)(src + i) : make_float4(0, 0, 0, 0);
			sum += f.x * f.x + f.y * f.y + f.z * f.z + f.w * f.w;
			if (norm && i < k) {
				float4 g = *(const float4 *)(norm + i);
				f = make_float4(f.x * g.x, f.y * g.y, f.z * g.z, f.w * g.w);
			}
			top = fmaxf(top, fmaxf(fmaxf(fabsf(f.x), fabsf(f.y)), fmaxf(fabsf(f.z), fabsf(f.w))));
			v[half] = f;
		}
	};
	for (int i = threadIdx.x; i < pieces; i += blockDim.x)
		read(i);
	float squares = sum;
	block_reduce(&squares, &top);
	u32 e = min(max((__float_as_uint(top) >> 23) + 1, 1u), 253u);
	float down = __uint_as_float((254 - e) << 23);
	if (threadIdx.x == 0)
		factor[row] = __uint_as_float(e << 23) * (norm ? rsqrtf(squares / k + eps) : 1) + 0 * squares; // what is no number stays none
	for (int i = threadIdx.x; i < pieces; i += blockDim.x) {
		if (pieces > blockDim.x)
			read(i);
		*(uint4 *)(dst + ((u64)(row / 8) * blocks + i / 4) * BLOCK_BYTES + (row % 8 * 4 + i % 4) * 16) =
			make_uint4(to_half2(v[0].x * down, v[0].z * down), to_half2(v[0].y * down, v[0].w * down), to_half2(v[1].x * down, v[1].z * down), to_half2(v[1].y * down, v[1].w * down));
	}
}

// Adds a unit's products to acc. x is the unit's inputs, group_bytes from those of
// eight rows to the next eight.
template <class T, int NT> static __device__ __forceinline__ void multiply_unit(const u8 *unit, const u8 *x, u32 group_bytes, int lane, float acc[NT][4]) {
#pragma unroll
	for (int step = 0; step < T::SPAN / STEP; step++) {
		uint4 b[NT][2];
#pragma unroll
		for (int n = 0; n < NT; n++)
#pragma unroll
			for (int i = 0; i < 2; i++)
				b[n][i] = *(const uint4 *)(x + n * group_bytes + (2 * step + i) * BLOCK_BYTES + lane * 16);
		u32 a[4][4];
		UnitRow upper = {unit, 0}, lower = {unit, 1};
		operand((const T *)0, upper, step, lane, 0, a);
		operand((const T *)0, lower, step, lane, 1, a);
#pragma unroll
		for (int n = 0; n < NT; n++)
#pragma unroll
			for (int i = 0; i < 2; i++) {
				mma16(acc[n], a[2 * i][0], a[2 * i][1], a[2 * i][2], a[2 * i][3], b[n][i].x, b[n][i].y);
				mma16(acc[n], a[2 * i + 1][0], a[2 * i + 1][1], a[2 * i + 1][2], a[2 * i + 1][3], b[n][i].z, b[n][i].w);
			}
	}
}

// Products of all parts, as tiled() of tiled.cu.
template <class T, class U, int NT, int NW> static __device__ void batch(const Parts &p, const u8 *x, const float *factor, int blocks, int rows, int wk, int stages, int gelu) {
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, wn = WARPS / wk;
	int tiles = p.tiles[0] + p.tiles[1] + p.tiles[2], steps = (tiles + wn - 1) / wn;
	// A warp's sums: 16 for each input row, 20 floats apart, so that neither who
	// writes nor the SHARE threads that add up an output meet in a bank.
	const int COLUMN = 20, EACH = NW * NT * 8 * COLUMN + (NT == 1 ? 8 : 16);
	const bool MIXED = T::BYTES != U::BYTES;
	const int UNIT = T::BYTES > U::BYTES ? T::BYTES : U::BYTES;
	u8 *ring = dynamic + warp * stages * UNIT;
	float *reduced = (float *)(dynamic + WARPS * stages * UNIT); // [2][WARPS][EACH]

	allow_next();
	int begin = warp % wk;
	Cursor<NW> ahead = {(int)blockIdx.x, 0, begin, 0}, here = ahead;
	int put = 0, get = 0; // stages of the ring
	u32 put_at = shared_address(ring);
	auto bring = [&]() {
		int tile = ahead.step * wn + warp / wk;
		if (tile < tiles) {
			u32 to = put_at + lane * 16 + put * UNIT;
			if (MIXED && tile >= p.mixed)
				bring_unit<U>(to, tile_at<NW>(p, tile, ahead.which, U::BYTES) + ahead.unit * U::BYTES, lane);
			else
				bring_unit<T>(to, tile_at<NW>(p, tile, ahead.which, T::BYTES) + ahead.unit * T::BYTES, lane);
		}
		copy_commit();
		ahead.next(begin, wk, p.units);
		put = put + 1 == stages ? 0 : put + 1;
	};
	for (int s = 0; s + 1 < stages; s++)
		bring();
	after_previous();

	const int ROWS = NT * 8;
	int share = max(wk / (4 * NT), 1), s = threadIdx.x % share, out0 = threadIdx.x / share; // all threads for all outputs at once, if wk > 2
	float factor0 = out0 / 16 % ROWS < rows ? factor[out0 / 16 % ROWS] : 0;
	u32 group_bytes = blocks * BLOCK_BYTES;
	float total[NW][NT][4] = {};
	for (int turn = 0; here.step < steps;) {
		if (stages >= 4)
			copy_wait<2>();
		else if (stages == 3)
			copy_wait<1>();
		else
			copy_wait<0>();
		__syncwarp();
		int step = here.step, tile = step * wn + warp / wk;
		if (tile < tiles) {
			float acc[NT][4] = {};
			const u8 *unit = ring + get * UNIT, *from = x + (u32)here.unit * (T::SPAN / 32 * BLOCK_BYTES);
			if (MIXED && tile >= p.mixed)
				multiply_unit<U, NT>(unit, from, group_bytes, lane, acc);
			else
				multiply_unit<T, NT>(unit, from, group_bytes, lane, acc);
#pragma unroll
			for (int v = 0; v < NW; v++)
				if (NW == 1 || v == here.which)
#pragma unroll
					for (int i = 0; i < NT * 4; i++)
						total[v][i / 4][i % 4] += acc[i / 4][i % 4];
		}
		__syncwarp();
		bring();
		get = get + 1 == stages ? 0 : get + 1;
		if (!here.next(begin, wk, p.units))
			continue;
		float *mine = reduced + (turn * WARPS + warp) * EACH;
		int g = lane / 4, t = lane % 4;
#pragma unroll
		for (int v = 0; v < NW; v++)
#pragma unroll
			for (int n = 0; n < NT; n++)
#pragma unroll
				for (int i = 0; i < 4; i++) {
					mine[((v * NT + n) * 8 + 2 * t + i % 2) * COLUMN + g + i / 2 * 8] = total[v][n][i];
					total[v][n][i] = 0;
				}
		__syncthreads();
		for (int out = out0; out < wn * ROWS * 16; out += WARPS * 32 / share) {
			int b = out / 16 % ROWS, group = out / 16 / ROWS, r = out % 16;
			const float *from = reduced + (turn * WARPS + group * wk + s) * EACH + b * COLUMN + r;
			float y = 0, z = 0;
#pragma unroll 4
			for (int i = 0; i < wk; i += share, from += share * EACH) {
				y += from[0];
				if (NW == 2)
					z += from[ROWS * COLUMN];
			}
			for (int d = share / 2; d > 0; d /= 2) {
				y += __shfl_xor_sync(~0u, y, d);
				if (NW == 2)
					z += __shfl_xor_sync(~0u, z, d);
			}
			int out_tile = step * wn + group;
			float f = out == out0 ? factor0 : b < rows ? factor[b] : 0;
			if (s == 0 && out_tile < tiles && b < rows)
				store<NW>(p, out_tile, b, r, y * f, z * f, gelu);
		}
		turn ^= 1;
	}
	copy_wait<0>();
}

#define PARTS \
	const u8 *w0, const u8 *w1, const u8 *w2, float *dst0, float *dst1, float *dst2, const float *bias0, const float *bias1, const float *bias2, \
		const u8 *x, const float *factor, u32 n0, u32 n1, u32 n2, u32 rows, u32 units, u32 blocks, u32 wk, u32 stages, u32 add, u32 mixed
#define GATHER \
	{{w0, w1, w2}, {dst0, dst1, dst2}, {bias0, bias1, bias2}, {((int)n0 + 15) / 16, ((int)n1 + 15) / 16, ((int)n2 + 15) / 16}, {(int)n0, (int)n1, (int)n2}, (int)add, (int)units, 0, 0}

#define BATCH(name, T, NT) \
	KERNEL(WARPS * 32, 1) batch_##name(PARTS) { \
		Parts p = GATHER; \
		batch<T, T, NT, 1>(p, x, factor, blocks, rows, wk, stages, 0); \
	} \
	KERNEL(WARPS * 32, 1) batch_gated_##name(const u8 *gate, const u8 *up, float *dst, const u8 *x, const float *factor, u32 n, u32 rows, u32 units, u32 blocks, u32 wk, u32 stages, u32 gelu) { \
		Parts p = {{gate, up, 0}, {dst, 0, 0}, {0, 0, 0}, {((int)n + 15) / 16, 0, 0}, {(int)n, 0, 0}, 0, (int)units, 0, 0}; \
		batch<T, T, NT, 2>(p, x, factor, blocks, rows, wk, stages, gelu); \
	}

// Parts of two types: mixed is the first part of the second.
#define MIXED(name, T, U, NT) \
	KERNEL(WARPS * 32, 1) batch_##name(PARTS) { \
		Parts p = GATHER; \
		for (int i = 0; i < 3; i++) \
			p.mixed += i < mixed ? p.tiles[i] : 0; \
		batch<T, U, NT, 1>(p, x, factor, blocks, rows, wk, stages, 0); \
	}

#define BOTH(name, T) BATCH(name##_8, T, 1) BATCH(name##_16, T, 2)

BOTH(q4k, KTile<0>)
BOTH(q5k, KTile<1>)
BOTH(q6k, Q6Tile)
BOTH(q8, Q8Tile)
BOTH(f16, HalfTile)
MIXED(q4k_q6k_8, KTile<0>, Q6Tile, 1)
MIXED(q4k_q6k_16, KTile<0>, Q6Tile, 2)
MIXED(q5k_q6k_8, KTile<1>, Q6Tile, 1)
MIXED(q5k_q6k_16, KTile<1>, Q6Tile, 2)
