// Products of many input rows with tiled weights, on compute capability 9.0:
// weights go from tiles to float16 operands in registers, inputs come prepared in
// the order in which the tensor cores read them from shared memory.
//
// A block makes 64 outputs with each of its two warpgroups for COLUMNS input rows,
// then the next such piece; a warp of its own brings weights and inputs. While the
// products of a step are under way, a warpgroup unpacks the weights of the next.
#include "operands.cuh"
#include "parts.cuh"
#include "wgmma.cuh"

extern __shared__ __align__(1024) u8 dynamic[];

enum { SLAB = 128, SLAB_BYTES = SLAB * STEP * 2 }; // input rows that lie together

// 16 inputs of a row from i on, times w where there is one; their squares and the largest.
static __device__ __forceinline__ void read16(const float *x, const float *w, int i, int k, float v[16], float *sum, float *top) {
#pragma unroll
	for (int e = 0; e < 16; e += 4) {
		float4 f = i + e < k ? *(const float4 *)(x + i + e) : make_float4(0, 0, 0, 0);
		*sum += f.x * f.x + f.y * f.y + f.z * f.z + f.w * f.w;
		if (w && i + e < k) {
			float4 g = *(const float4 *)(w + i + e);
			f = make_float4(f.x * g.x, f.y * g.y, f.z * g.z, f.w * g.w);
		}
		*top = fmaxf(*top, fmaxf(fmaxf(fabsf(f.x), fabsf(f.y)), fmaxf(fabsf(f.z), fabsf(f.w))));
		*(float4 *)(v + e) = f;
	}
}

// Rows of x [rows, k], times norm and over their root mean square where there is
// a norm, to float16: [rows/128][steps][128][64], zeros behind k. They are scaled
// by a power of two so that none is too large; factor[row] undoes that. A block
// takes a row, a thread 16 inputs at a time.
KERNEL(1024, 1) order_rows(const float *x, const float *norm, u8 *dst, float *factor, u32 k, u32 steps, float eps) {
	allow_next();
	after_previous();
	int row = blockIdx.x, groups = steps * 4;
	const float *src = x + (u64)row * k;
	float v[16], sum = 0, top = 0;
	for (int g = threadIdx.x; g < groups; g += blockDim.x)
		read16(src, norm, g * 16, k, v, &sum, &top);
	block_reduce(&sum, &top);
	u32 e = min(max((__float_as_uint(top) >> 23) + 1, 1u), 253u);
	float down = __uint_as_float((254 - e) << 23);
	if (threadIdx.x == 0)
		factor[row] = __uint_as_float(e << 23) * (norm ? rsqrtf(sum / k + eps) : 1);
	for (int g = threadIdx.x; g < groups; g += blockDim.x) {
		if (groups > blockDim.x)
			read16(src, norm, g * 16, k, v, &sum, &top);
		u32 even[4], odd[4];
#pragma unroll
		for (int i = 0; i < 4; i++) {
			even[i] = to_half2(v[4 * i] * down, v[4 * i + 2] * down);
			odd[i] = to_half2(v[4 * i + 1] * down, v[4 * i + 3] * down);
		}
		u8 *to = dst + ((u64)(row / SLAB) * steps + g / 4) * SLAB_BYTES + row % SLAB * 128;
		int chunk = g % 4 * 2, turn = row % 8;
		*(uint4 *)(to + (chunk ^ turn) * 16) = make_uint4(even[0], even[1], even[2], even[3]);
		*(uint4 *)(to + ((chunk + 1) ^ turn) * 16) = make_uint4(odd[0], odd[1], odd[2], odd[3]);
	}
}

// Rows in the model file's encoding to tiles of float16, zeros behind k. dst has
// room for whole tiles. Grid: inputs by 2048, rows.
KERNEL(256, 1) unpack_to_tiles(const u8 *w, u8 *dst, u32 type, u32 k, u32 row_bytes) {
	allow_next();
	after_previous();
	int i = (blockIdx.x * 256 + threadIdx.x) * 8, row = blockIdx.y, units = (k + HalfTile::SPAN - 1) / HalfTile::SPAN;
	if (i >= units * HalfTile::SPAN)
		return;
	float x[8] = {};
	if (i < k)
		decode8(type, w + (u64)row * row_bytes, i, x);
	u8 *to = dst + ((u64)(row / 16) * units + i / HalfTile::SPAN) * HalfTile::BYTES;
	to += (i % HalfTile::SPAN / 32 * 2 + row % 16 / 8) * 512 + (row % 8 * 4 + i % 32 / 8) * 16;
	*(uint4 *)to = make_uint4(to_half2(x[0], x[1]), to_half2(x[2], x[3]), to_half2(x[4], x[5]), to_half2(x[6], x[7]));
}

// What a launch multiplies with: up to three matrices one after the other, or a
// pair of which the outputs are gated.
struct Matrices {
	const u8 *w[3];
	float *dst[3];
	const float *bias[3];
	int n[3];
	int ld[3]; // from one row of dst to the next
	int add;   // bit i: dst[i] +=
	int units; // of a tile
};

enum { WARPGROUPS = 2 };

template <class T, bool GATED, int COLUMNS> struct Shape {
	enum {
		TILES = WARPGROUPS * 4,
		OUTPUTS = TILES * 16 / (GATED ? 2 : 1),
		UNIT_STEPS = T::SPAN / STEP,
		W_BYTES = TILES * T::BYTES,
		W_STAGES = UNIT_STEPS == 1 ? 4 : 2,
		X_BYTES = COLUMNS * STEP * 2,
		X_STAGES = COLUMNS == 256 ? 4 : 6,
		BARRIERS = 2 * (W_STAGES + X_STAGES) * 8,
		BYTES = X_STAGES * X_BYTES + W_STAGES * W_BYTES + BARRIERS,
	};
};

// A ring of stages and the phase of its barriers.
template <int STAGES> struct Ring {
	int at;
	u32 phase;
	__device__ __forceinline__ void next() {
		if (++at == STAGES) {
			at = 0;
			phase ^= 1;
		}
	}
};

// The piece of the outputs with that number: which matrix, its first output, and
// the first input row.
template <int OUTPUTS, int COLUMNS> struct Piece {
	int part, output, row;
	__device__ __forceinline__ Piece(const Matrices &p, int i, int columns) {
		row = i % columns * COLUMNS;
		i /= columns;
		part = 0;
#pragma unroll
		for (int j = 0; j < 2; j++) {
			int pieces = (p.n[j] + OUTPUTS - 1) / OUTPUTS;
			if (part == j && i >= pieces) {
				i -= pieces;
				part++;
			}
		}
		output = i * OUTPUTS;
	}
};

template <class T, bool GATED, int COLUMNS> static __device__ void multiply(const Matrices &p, const u8 *x, const float *factor, int m, int slab_steps, int gelu) {
	typedef Shape<T, GATED, COLUMNS> S;
	typedef Piece<S::OUTPUTS, COLUMNS> Place;
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
	u32 base = shared_address(dynamic), w_at = base + S::X_STAGES * S::X_BYTES, barriers = w_at + S::W_STAGES * S::W_BYTES;
	const u8 *w_shared = dynamic + S::X_STAGES * S::X_BYTES;
	u32 x_full = barriers, x_empty = x_full + 8 * S::X_STAGES, w_full = x_empty + 8 * S::X_STAGES, w_empty = w_full + 8 * S::W_STAGES;
	int columns = (m + COLUMNS - 1) / COLUMNS, pieces = 0;
#pragma unroll
	for (int j = 0; j < 3; j++)
		pieces += (p.n[j] + S::OUTPUTS - 1) / S::OUTPUTS;
	pieces *= columns;
	if (threadIdx.x == 0) {
		for (int i = 0; i < S::X_STAGES; i++) {
			barrier_init(x_full + 8 * i, 1);
			barrier_init(x_empty + 8 * i, S::TILES);
		}
		for (int i = 0; i < S::W_STAGES; i++) {
			barrier_init(w_full + 8 * i, 1);
			barrier_init(w_empty + 8 * i, S::TILES * 32);
		}
		barriers_ready();
	}
	__syncthreads();
	allow_next();
	Ring<S::X_STAGES> xr = {0, 0};
	Ring<S::W_STAGES> wr = {0, 0};
	// Steps come in pairs: behind an odd last one, weights are multiplied with zeros.
	const int units = S::UNIT_STEPS == 1 ? (p.units + 1) / 2 * 2 : p.units, steps = units * S::UNIT_STEPS;

	if (warp >= S::TILES) { // one warp brings
		give_registers<24>(); // of 168
		if (warp > S::TILES)
			return;
		bool waited = false;
		for (int i = blockIdx.x; i < pieces; i += gridDim.x) {
			Place at(p, i, columns);
			// Lane l brings the units of tile l.
			int which = GATED ? lane / 2 % 2 : at.part, tile = at.output / 16 + (GATED ? lane / 4 * 2 + lane % 2 : lane);
			int tiles = (pick(p.n, at.part) + 15) / 16;
			bool mine = lane < S::TILES && tile < tiles;
			const u8 *from = pick(p.w, which) + (u64)tile * p.units * T::BYTES;
			u32 bytes = __popc(__ballot_sync(~0u, mine)) * T::BYTES;
			const u8 *rows = x + (u64)(at.row / SLAB) * slab_steps * SLAB_BYTES;
			for (int unit = 0; unit < units; unit++) {
				barrier_wait(w_empty + 8 * wr.at, wr.phase ^ 1);
				if (lane == 0)
					barrier_expect(w_full + 8 * wr.at, bytes);
				__syncwarp();
				if (mine)
					copy_bulk(w_at + wr.at * S::W_BYTES + lane * T::BYTES, from + (u64)(unit < p.units ? unit : 0) * T::BYTES, T::BYTES, w_full + 8 * wr.at);
				wr.next();
				if (!waited) {
					after_previous(); // weights are there before inputs are
					waited = true;
				}
				for (int s = 0; s < S::UNIT_STEPS; s++) {
					barrier_wait(x_empty + 8 * xr.at, xr.phase ^ 1);
					if (lane == 0) {
						barrier_expect(x_full + 8 * xr.at, S::X_BYTES);
#pragma unroll
						for (int j = 0; j < COLUMNS / SLAB; j++)
							copy_bulk(base + xr.at * S::X_BYTES + j * SLAB_BYTES, rows + ((u64)j * slab_steps + unit * S::UNIT_STEPS + s) * SLAB_BYTES, SLAB_BYTES, x_full + 8 * xr.at);
					}
					xr.next();
				}
			}
		}
		return;
	}

	take_registers<240>();
	after_previous(); // factors, and results that are added to
	int step_of_unit = 0;
	// Of a gated pair, four warps take two tiles each of both: the upper or lower
	// eight rows of one, so that a thread has a gate and what it opens.
	int tile0 = GATED ? warp / 4 * 4 + warp % 4 / 2 : warp, tile1 = GATED ? tile0 + 2 : warp;
	UnitRow row0 = {w_shared + tile0 * T::BYTES, GATED ? warp % 2 : 0}, row1 = {w_shared + tile1 * T::BYTES, GATED ? warp % 2 : 1};
	auto unpack = [&](u32 a[4][4]) {
		if (step_of_unit == 0)
			barrier_wait(w_full + 8 * wr.at, wr.phase);
		UnitRow r0 = row0, r1 = row1;
		r0.unit += wr.at * S::W_BYTES;
		r1.unit += wr.at * S::W_BYTES;
		operand((const T *)0, r0, step_scales((const T *)0, r0, step_of_unit, lane), step_of_unit, lane, 0, a);
		operand((const T *)0, r1, step_scales((const T *)0, r1, step_of_unit, lane), step_of_unit, lane, 1, a);
		if (++step_of_unit == S::UNIT_STEPS) {
			step_of_unit = 0;
			barrier_arrive(w_empty + 8 * wr.at); // every lane, for what it has read itself
			wr.next();
		}
	};
	float acc[COLUMNS / 2];
	auto begin = [&](u32 a[4][4]) {
		barrier_wait(x_full + 8 * xr.at, xr.phase);
		u64 b = operand_at(base + xr.at * S::X_BYTES);
#pragma unroll
		for (int i = 0; i < 16; i++) // complete before the first product reads some
			asm volatile("" : "+r"(a[i / 4][i % 4]));
		wgmma_begin();
#pragma unroll
		for (int i = 0; i < 4; i++)
			wgmma(acc, a[i], b + 2 * i);
		wgmma_commit();
	};
	auto end = [&]() {
		wgmma_wait<0>();
		if (lane == 0)
			barrier_arrive(x_empty + 8 * xr.at);
		xr.next();
	};
	for (int i = blockIdx.x; i < pieces; i += gridDim.x) {
		Place at(p, i, columns);
		u32 a[4][4], b[4][4];
#pragma unroll
		for (int j = 0; j < COLUMNS / 2; j++)
			acc[j] = 0;
		unpack(a);
		for (int s = 0; s < steps / 2; s++) {
			begin(a);
			unpack(b);
			end();
			begin(b);
			if (2 * s + 2 < steps)
				unpack(a);
			end();
		}
		int n = pick(p.n, at.part), ld = pick(p.ld, at.part);
		float *dst = pick(p.dst, at.part);
		const float *bias = pick(p.bias, at.part);
		bool add = p.add >> at.part & 1;
		int t = lane % 4, out = at.output + (GATED ? (warp / 4 * 2 + warp % 4 / 2) * 16 + warp % 2 * 8 : warp * 16) + lane / 4;
		float more[2] = {};
		if (bias)
#pragma unroll
			for (int r = 0; r < 2; r++)
				more[r] = out + 8 * r < n ? bias[out + 8 * r] : 0;
#pragma unroll
		for (int j = 0; j < COLUMNS / 8; j++)
#pragma unroll
			for (int c = 0; c < 2; c++) {
				int row = at.row + j * 8 + t * 2 + c;
				if (row >= m)
					continue;
				float f = factor[row], *to = dst + (u64)row * ld + out;
				if (GATED) {
					if (out < n)
						*to = activate(gelu, acc[4 * j + c] * f) * (acc[4 * j + 2 + c] * f);
				} else {
#pragma unroll
					for (int r = 0; r < 2; r++)
						if (out + 8 * r < n) {
							float v = acc[4 * j + 2 * r + c] * f + more[r];
							to[8 * r] = add ? to[8 * r] + v : v;
						}
				}
			}
	}
}

#define WGMMA(name, T, COLUMNS) \
	KERNEL(WARPGROUPS * 128 + 128, 1) wgmma_##name(const u8 *w0, const u8 *w1, const u8 *w2, float *dst0, float *dst1, float *dst2, const float *bias0, const float *bias1, const float *bias2, \
		const u8 *x, const float *factor, u32 n0, u32 n1, u32 n2, u32 ld0, u32 ld1, u32 ld2, u32 m, u32 units, u32 slab_steps, u32 add) { \
		Matrices p = {{w0, w1, w2}, {dst0, dst1, dst2}, {bias0, bias1, bias2}, {(int)n0, (int)n1, (int)n2}, {(int)ld0, (int)ld1, (int)ld2}, (int)add, (int)units}; \
		multiply<T, false, COLUMNS>(p, x, factor, m, slab_steps, 0); \
	} \
	KERNEL(WARPGROUPS * 128 + 128, 1) wgmma_gated_##name(const u8 *gate, const u8 *up, float *dst, const u8 *x, const float *factor, u32 n, u32 ld, u32 m, u32 units, u32 slab_steps, u32 gelu) { \
		Matrices p = {{gate, up, 0}, {dst, 0, 0}, {0, 0, 0}, {(int)n, 0, 0}, {(int)ld, 0, 0}, 0, (int)units}; \
		multiply<T, true, COLUMNS>(p, x, factor, m, slab_steps, gelu); \
	}

// Few input rows, or few outputs, fill the device with the narrow pieces only.
#define BOTH(name, T) WGMMA(name##_128, T, 128) WGMMA(name##_256, T, 256)

BOTH(q4k, KTile<0>)
BOTH(q5k, KTile<1>)
BOTH(q6k, Q6Tile)
BOTH(q8, Q8Tile)
BOTH(f16, HalfTile)
