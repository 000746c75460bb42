// Products of several input rows, up to 16 a launch, with tiled weights: inputs are
// prepared by a kernel of their own, once for all blocks.
#include "columns.cuh"

extern __shared__ __align__(16) u8 dynamic[];

enum { BLOCK_BYTES = 512 }; // of 32 inputs of eight rows

// Rows of x [rows, k], times norm where there is one, to float16 as operands
// [rows/8][blocks of 32 inputs][row % 8][64 bytes], zeros behind k; what undoes the
// scaling of units in unit_factor [rows/8][units][8], the factor of the norm in
// row_factor [rows]. A block takes a row as the warps of tiled.cu do that share a
// tile: its warps are as many.
template <class T> static __device__ void operands(const float *x, const float *norm, u8 *dst, float *row_factor, float *unit_factor, int k, int blocks, int units, float eps) {
	__shared__ float squares[WARPS];
	allow_next();
	after_previous();
	int row = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32, i = lane * 8;
	x += (u64)row * k;
	float sum = 0;
#pragma unroll 4
	for (int unit = warp; unit < units; unit += warps) {
		int at = unit * T::SPAN;
		UnitInputs in = read_inputs<T>(x + at, norm ? norm + at : 0, k - at, lane);
		sum = __fadd_rn(sum, in.squares);
		if (i < T::SPAN)
			put_inputs(dst + ((u64)(row / 8) * blocks + (at + i) / BLOCK_INPUTS) * BLOCK_BYTES + row % 8 * 64, in, i);
		if (lane == 0)
			unit_factor[((u64)(row / 8) * units + unit) * 8 + row % 8] = in.factor();
	}
	if (!norm) {
		if (threadIdx.x == 0)
			row_factor[row] = 1;
		return;
	}
	sum = warp_sum(sum);
	if (lane == 0)
		squares[warp] = sum;
	__syncthreads();
	if (warp > 0)
		return;
	sum = norm_factor(squares, warps, k, eps);
	if (lane == 0)
		row_factor[row] = sum;
}

#define OPERANDS(name, T) \
	KERNEL(WARPS * 32, 1) operands_##name(const float *x, const float *norm, u8 *dst, float *row_factor, float *unit_factor, u32 k, u32 blocks, u32 units, float eps) { \
		operands<T>(x, norm, dst, row_factor, unit_factor, k, blocks, units, eps); \
	}

OPERANDS(256, KTile<0>)
OPERANDS(64, HalfTile)

// Prepared inputs.
template <int NT> struct Prepared {
	enum { COLUMNS = NT * 8 };
	const u8 *x;
	const float *row, *unit;
	int blocks, units, rows;

	template <class T> __device__ __forceinline__ void prepare(u8 *, int, int, int, int, int) const {}
	template <class T> __device__ __forceinline__ uint4 operand(int number, int, int n, int block) const {
		return *(const uint4 *)(x + ((u32)(n * blocks + number * (T::SPAN / BLOCK_INPUTS) + block)) * BLOCK_BYTES + threadIdx.x % 32 * 16);
	}
	__device__ __forceinline__ float2 factors(int number, int, int n) const { return *(const float2 *)(unit + (n * units + number) * 8 + threadIdx.x % 4 * 2); }
	__device__ __forceinline__ int columns() const { return COLUMNS; }
	__device__ __forceinline__ int column(int i) const { return i % COLUMNS; }
	__device__ __forceinline__ int tile(int i) const { return i / COLUMNS; }
	__device__ __forceinline__ void begin_results(int) const {}
	__device__ __forceinline__ float row_factor(int b) const { return b < rows ? row[b] : 0; }
};

#define BATCH(name, T, NT) \
	KERNEL(WARPS * 32, 1) batch_##name(PARTS_OF_THREE, const u8 *x, const float *row_factor, const float *unit_factor, u32 n0, u32 n1, u32 n2, u32 rows, u32 units, u32 blocks, u32 wk, u32 stages, u32 add, u32 mixed) { \
		Parts p = GATHER(0); \
		Prepared<NT> in = {x, row_factor, unit_factor, (int)blocks, (int)units, (int)rows}; \
		products<T, T, NT, 1>(p, in, dynamic, wk, stages, 0); \
	} \
	KERNEL(WARPS * 32, 1) batch_gated_##name(const u8 *gate, const u8 *up, float *dst, const u8 *x, const float *row_factor, const float *unit_factor, u32 n, u32 rows, u32 units, u32 blocks, u32 wk, u32 stages, u32 gelu) { \
		Parts p = GATHER_PAIR; \
		Prepared<NT> in = {x, row_factor, unit_factor, (int)blocks, (int)units, (int)rows}; \
		products<T, T, NT, 2>(p, in, dynamic, wk, stages, gelu); \
	}

// Parts of two types: mixed is the first part of the second.
#define MIXED(name, T, U, NT) \
	KERNEL(WARPS * 32, 1) batch_##name(PARTS_OF_THREE, const u8 *x, const float *row_factor, const float *unit_factor, u32 n0, u32 n1, u32 n2, u32 rows, u32 units, u32 blocks, u32 wk, u32 stages, u32 add, u32 mixed) { \
		Parts p = GATHER(0); \
		p.begin_mixed(mixed); \
		Prepared<NT> in = {x, row_factor, unit_factor, (int)blocks, (int)units, (int)rows}; \
		products<T, U, NT, 1>(p, in, dynamic, wk, stages, 0); \
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
