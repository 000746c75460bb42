// Products of a few input rows with tiled weights (tiles.cuh): codes become
// float16 operands once for all rows, which are columns of the second operand.
//
// A row's result has the same bits whatever rows stand beside it, whichever kernel
// computes it: its inputs are scaled to float16 by unit, a unit's products begin at
// zero, and sums of units, of warps and of squares have one order. Where a compiler
// could join a product and a sum in one kernel and not in another, it is told.
#pragma once

#include "operands.cuh"
#include "parts.cuh"

enum { WARPS = 16, BLOCK_INPUTS = 32 };

// A warp's inputs of a unit, 8 a lane from `i` on, times norm where there is one;
// those behind `left` are zeros.
struct UnitInputs {
	float v[8], squares; // squares: before norm
	u32 exponent;        // of a power of two above the largest of the unit
	__device__ __forceinline__ float factor() const { return __uint_as_float(exponent << 23); }
};

// What a lane reads of a unit: 8 numbers, or zeros.
struct Eight {
	float v[8];
	template <class T> __device__ __forceinline__ void read(const float *x, int left, int lane) {
		int i = lane * 8;
		bool there = i < left && i < T::SPAN;
		*(float4 *)v = there ? *(const float4 *)(x + i) : make_float4(0, 0, 0, 0);
		*(float4 *)(v + 4) = there ? *(const float4 *)(x + i + 4) : make_float4(0, 0, 0, 0);
	}
};

static __device__ __forceinline__ UnitInputs unit_inputs(const Eight &x, const Eight &norm, bool normed) {
	UnitInputs in = {};
	float top = 0;
#pragma unroll
	for (int e = 0; e < 8; e++) {
		in.squares = __fmaf_rn(x.v[e], x.v[e], in.squares);
		in.v[e] = normed ? __fmul_rn(x.v[e], norm.v[e]) : x.v[e];
		top = fmaxf(top, fabsf(in.v[e]));
	}
	in.exponent = min(max((__float_as_uint(warp_max(top)) >> 23) + 1, 1u), 253u);
	return in;
}

template <class T> static __device__ __forceinline__ UnitInputs read_inputs(const float *x, const float *norm, int left, int lane) {
	Eight own, by;
	own.read<T>(x, left, lane);
	if (norm)
		by.read<T>(norm, left, lane);
	return unit_inputs(own, by, norm);
}

// Puts a lane's inputs, scaled, as two lanes of the second operand read them: 16
// bytes for inputs 4t to 4t+3 and 16 behind those, the even ones first. `at` are the
// 64 bytes of this row's 32 inputs.
static __device__ __forceinline__ void put_inputs(u8 *at, const UnitInputs &in, int i) {
	float down = __uint_as_float((254 - in.exponent) << 23);
	u32 h[4];
#pragma unroll
	for (int p = 0; p < 4; p++)
		h[p] = to_half2(in.v[p / 2 * 4 + p % 2] * down, in.v[p / 2 * 4 + p % 2 + 2] * down);
	at += i % 16 * 4 + i % 32 / 16 * 8;
	*(uint2 *)at = make_uint2(h[0], h[1]);
	*(uint2 *)(at + 16) = make_uint2(h[2], h[3]);
}

// The factor of a row's results for the norm in front, from the squares that each of
// up to 16 warps has found. All lanes of a warp take part.
static __device__ __forceinline__ float norm_factor(const float *squares, int warps, int k, float eps) {
	int i = threadIdx.x % WARPS;
	float sum = i < warps ? squares[i] : 0;
#pragma unroll
	for (int d = WARPS / 2; d > 0; d /= 2)
		sum = __fadd_rn(sum, __shfl_xor_sync(~0u, sum, d));
	return rsqrtf(__fadd_rn(__fdividef(sum, k), eps));
}

// Adds a unit's products to acc. in gives the 16 bytes of a block of 32 inputs for
// this lane, of eight rows.
template <class T, int NT, class In> static __device__ __forceinline__ void multiply_unit(const u8 *unit, const In &in, int number, int nth, int lane, float acc[NT][2][4]) {
	UnitRow upper = {unit, 0}, lower = {unit, 1};
	UnitScales above = unit_scales((const T *)0, upper, lane), below = unit_scales((const T *)0, lower, lane);
#pragma unroll
	for (int step = 0; step < T::SPAN / STEP; step++) {
		uint4 b[NT][2];
#pragma unroll
		for (int n = 0; n < NT; n++)
#pragma unroll
			for (int i = 0; i < 2; i++)
				b[n][i] = in.template operand<T>(number, nth, n, 2 * step + i);
		u32 a[4][4];
		operand((const T *)0, upper, scales_of((const T *)0, above, step), step, lane, 0, a);
		operand((const T *)0, lower, scales_of((const T *)0, below, step), step, lane, 1, a);
#pragma unroll
		for (int n = 0; n < NT; n++)
#pragma unroll
			for (int i = 0; i < 2; i++) {
				mma16(acc[n][i], a[2 * i][0], a[2 * i][1], a[2 * i][2], a[2 * i][3], b[n][i].x, b[n][i].y);
				mma16(acc[n][i], a[2 * i + 1][0], a[2 * i + 1][1], a[2 * i + 1][2], a[2 * i + 1][3], b[n][i].z, b[n][i].w);
			}
	}
}

// Products of all parts: a block fills a multiprocessor, its warps bring units of
// weights to rings in shared memory, wk of them share a tile, and WARPS/wk tiles are
// at work at a time. NW is 2 when tiles come in pairs. U is the type of parts from
// tile mixed on, or T. In holds the inputs; its rows are at most NT*8.
template <class T, class U, int NT, int NW, class In> static __device__ void products(const Parts &p, In &in, u8 *shared, int wk, int stages, int gelu) {
	// wk is a power of two.
	int shift = 31 - __clz(wk), warp = threadIdx.x / 32, lane = threadIdx.x % 32, wn = WARPS >> shift, group = warp >> shift;
	int tiles = p.tiles[0] + p.tiles[1] + p.tiles[2], steps = (tiles + wn - 1) / wn;
	// A warp's sums: 16 for each input row, 20 floats apart, so that neither who
	// writes nor the threads that add up an output meet in a bank.
	const int COLUMN = 20, COLUMNS = In::COLUMNS, EACH = NW * COLUMNS * COLUMN + 8;
	const bool MIXED = T::BYTES != U::BYTES;
	const int UNIT = T::BYTES > U::BYTES ? T::BYTES : U::BYTES;
	u8 *ring = shared + warp * stages * UNIT;
	float *reduced = (float *)(shared + WARPS * stages * UNIT); // [2][WARPS][EACH]

	allow_next();
	int begin = warp & (wk - 1);
	Cursor<NW> ahead = {(int)blockIdx.x, 0, begin, 0}, here = ahead;
	int put = 0, get = 0; // stages of the ring
	u32 put_at = shared_address(ring);
	auto bring = [&]() {
		int tile = ahead.step * wn + group;
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
	in.template prepare<T>((u8 *)(reduced + 2 * WARPS * EACH), begin, wk, p.units, warp, lane);

	// The outputs of a tile for a row are 16 of a block's; `share` threads add up one.
	int shared_by = max(shift - 2, 0), share = 1 << shared_by, s = threadIdx.x & (share - 1), out0 = threadIdx.x >> shared_by, outs = WARPS * 32 >> shared_by;
	int all = wn * in.columns() * 16;
	float total[NW][NT][4] = {};
	bool first = true;
	for (int turn = 0; here.step < steps;) {
		if (stages >= 4)
			copy_wait<2>();
		else if (stages == 3)
			copy_wait<1>();
		else
			copy_wait<0>();
		__syncwarp();
		int step = here.step, tile = step * wn + group;
		if (tile < tiles) {
			float acc[NT][2][4] = {};
			const u8 *unit = ring + get * UNIT;
			float2 f[NT];
#pragma unroll
			for (int n = 0; n < NT; n++)
				f[n] = in.factors(here.unit, here.nth, n);
			if (MIXED && tile >= p.mixed)
				multiply_unit<U, NT>(unit, in, here.unit, here.nth, lane, acc);
			else
				multiply_unit<T, NT>(unit, in, here.unit, here.nth, lane, acc);
#pragma unroll
			for (int v = 0; v < NW; v++)
				if (NW == 1 || v == here.which)
#pragma unroll
					for (int i = 0; i < NT * 4; i++)
						total[v][i / 4][i % 4] = __fmaf_rn(i % 2 ? f[i / 4].y : f[i / 4].x, __fadd_rn(acc[i / 4][0][i % 4], acc[i / 4][1][i % 4]), total[v][i / 4][i % 4]);
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
					if (COLUMNS == NT * 8 || t == 0)
						mine[(v * COLUMNS + n * 8 + 2 * t + i % 2) * COLUMN + g + i / 2 * 8] = total[v][n][i];
					total[v][n][i] = 0;
				}
		__syncthreads();
		if (first)
			in.begin_results(wk);
		first = false;
		for (int out = out0; out < all; out += outs) {
			int b = in.column(out / 16), of = in.tile(out / 16), r = out % 16;
			const float *from = reduced + (turn * WARPS + (of << shift) + s) * EACH + b * COLUMN + r;
			float y = 0, z = 0;
#pragma unroll 4
			for (int i = 0; i < wk; i += share, from += share * EACH) {
				y += from[0];
				if (NW == 2)
					z += from[COLUMNS * COLUMN];
			}
			u32 active = __activemask(); // whole groups of share
			for (int d = share / 2; d > 0; d /= 2) {
				y += __shfl_xor_sync(active, y, d);
				if (NW == 2)
					z += __shfl_xor_sync(active, z, d);
			}
			int out_tile = step * wn + of;
			float f = in.row_factor(b);
			if (s == 0 && out_tile < tiles && b < in.rows)
				store<NW>(p, out_tile, b, r, __fmul_rn(y, f), __fmul_rn(z, f), gelu);
		}
		turn ^= 1;
	}
	copy_wait<0>();
}

// Parameters of products, and what they say.
#define PARTS_OF_THREE \
	const u8 *w0, const u8 *w1, const u8 *w2, float *dst0, float *dst1, float *dst2, const float *bias0, const float *bias1, const float *bias2
#define GATHER(mixed) \
	{{w0, w1, w2}, {dst0, dst1, dst2}, {bias0, bias1, bias2}, {((int)n0 + 15) / 16, ((int)n1 + 15) / 16, ((int)n2 + 15) / 16}, {(int)n0, (int)n1, (int)n2}, (int)add, (int)units, mixed}
#define GATHER_PAIR \
	{{gate, up, 0}, {dst, 0, 0}, {0, 0, 0}, {((int)n + 15) / 16, 0, 0}, {(int)n, 0, 0}, 0, (int)units, 0}
