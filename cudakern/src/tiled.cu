// Products of up to eight input rows with tiled weights: what decode steps spend their time
// in. A warp prepares the inputs of its own units, without waiting for others; a norm in
// front of the product becomes a factor of its result. Kernels for one or two rows have
// smaller sums, and leave more of a multiprocessor to what comes next.
#include "columns.cuh"

extern __shared__ __align__(16) u8 dynamic[];

// Inputs in shared memory, of each warp, a block of 32 of a row in 64 bytes: of up to two
// rows [rows][units of its own][blocks], of up to N [units of its own][blocks][N]; the
// factors that undo their scaling [units of its own][rows, or N]; and of each row the sums
// of squares [rows, or N][WARPS] and, of N, the factor of its results.
template <int N> struct Own {
	enum { COLUMNS = N, BLOCK_PITCH = N > 2 ? N * 64 : 64, AT_ONCE = N > 2 ? 4 : 1 };
	const float *source, *norm;
	int k, rows;
	float eps;
	const u8 *x; // as this lane reads them
	float *factor, *squares;
	float of_row[2];

	// Rows that there is room for.
	__device__ __forceinline__ int room() const { return N > 2 ? N : rows; }

	template <class T> __device__ __forceinline__ void prepare(u8 *shared, int begin, int wk, int units, int warp, int lane) {
		int own = (units + wk - 1) / wk, row = N > 2 ? 64 : own * T::SPAN * 2, bytes = own * T::SPAN * 2 * room();
		u8 *to = shared + warp * bytes;
		// Columns that nobody wants repeat others: no lane needs to ask.
		x = to + min(lane / 4, rows - 1) * row + lane % 4 * 16;
		factor = (float *)(shared + WARPS * bytes) + warp * own * room();
		squares = (float *)(shared + WARPS * bytes) + WARPS * own * room();
#pragma unroll
		for (int b0 = 0; b0 < N; b0 += AT_ONCE)
			if (b0 < rows)
				prepare_rows<T>(to, row, b0, begin, wk, units, warp, lane);
		__syncwarp();
	}
	// The same of rows from b0 on, whose loads are under way at once.
	template <class T> __device__ __forceinline__ void prepare_rows(u8 *to, int row, int b0, int begin, int wk, int units, int warp, int lane) {
		float sum[AT_ONCE] = {};
		int i = lane * 8;
		for (int unit = begin, nth = 0; unit < units; unit += wk, nth++) {
			int at = unit * T::SPAN;
			Eight by, in[AT_ONCE];
			if (norm)
				by.template read<T>(norm + at, k - at, lane);
#pragma unroll
			for (int b = 0; b < AT_ONCE; b++)
				in[b].template read<T>(source + (u64)min(b0 + b, rows - 1) * k + at, k - at, lane);
#pragma unroll
			for (int b = 0; b < AT_ONCE; b++) {
				UnitInputs of = unit_inputs(in[b], by, norm);
				sum[b] = __fadd_rn(sum[b], of.squares);
				if (i < T::SPAN)
					put_inputs(to + (b0 + b) * row + (nth * (T::SPAN / BLOCK_INPUTS) + i / BLOCK_INPUTS) * BLOCK_PITCH, of, i);
				if (lane == 0)
					factor[nth * room() + b0 + b] = of.factor();
			}
		}
		if (!norm)
			return;
#pragma unroll
		for (int b = 0; b < AT_ONCE; b++) {
			sum[b] = warp_sum(sum[b]);
			if (lane == 0)
				squares[(b0 + b) * WARPS + warp] = sum[b];
		}
	}
	template <class T> __device__ __forceinline__ uint4 operand(int, int nth, int, int block) const {
		return *(const uint4 *)(x + (nth * (T::SPAN / BLOCK_INPUTS) + block) * BLOCK_PITCH);
	}
	__device__ __forceinline__ float2 factors(int, int nth, int) const {
		if (N > 2)
			return *(const float2 *)(factor + nth * N + threadIdx.x % 4 * 2);
		return make_float2(factor[nth * rows], factor[nth * rows + rows - 1]);
	}
	__device__ __forceinline__ int columns() const { return N > 2 ? N : rows; }
	__device__ __forceinline__ int column(int i) const { return N > 2 ? i % N : i & (rows - 1); } // one or two
	__device__ __forceinline__ int tile(int i) const { return N > 2 ? i / N : i >> (rows - 1); }
	__device__ __forceinline__ void begin_results(int wk) {
		of_row[0] = of_row[1] = 1;
		if (!norm)
			return;
		if (N > 2) {
			int warp = threadIdx.x / 32;
			float f = norm_factor(squares + min(warp, rows - 1) * WARPS, wk, k, eps);
			if (warp < rows && threadIdx.x % 32 == 0)
				squares[N * WARPS + warp] = f;
			__syncthreads();
			return;
		}
		of_row[0] = norm_factor(squares, wk, k, eps);
		if (rows > 1)
			of_row[1] = norm_factor(squares + WARPS, wk, k, eps);
	}
	__device__ __forceinline__ float row_factor(int b) const {
		if (N > 2)
			return norm && b < rows ? squares[N * WARPS + b] : 1;
		return b ? of_row[1] : of_row[0];
	}
};

#define TILED(name, T, N) \
	KERNEL(WARPS * 32, 1) tiled_##name(PARTS_OF_THREE, const float *x, const float *norm, u32 n0, u32 n1, u32 n2, u32 k, u32 rows, u32 units, u32 wk, u32 stages, u32 add, u32 mixed, float eps) { \
		Parts p = GATHER(0); \
		Own<N> in = {x, norm, (int)k, (int)rows, eps}; \
		products<T, T, 1, 1>(p, in, dynamic, wk, stages, 0); \
	} \
	KERNEL(WARPS * 32, 1) tiled_gated_##name(const u8 *gate, const u8 *up, float *dst, const float *x, const float *norm, u32 n, u32 k, u32 rows, u32 units, u32 wk, u32 stages, u32 gelu, float eps) { \
		Parts p = GATHER_PAIR; \
		Own<N> in = {x, norm, (int)k, (int)rows, eps}; \
		products<T, T, 1, 2>(p, in, dynamic, wk, stages, gelu); \
	}

// Parts of two types, as attention's are in many files: mixed is the first part
// of the second.
#define MIXED(name, T, U, N) \
	KERNEL(WARPS * 32, 1) tiled_##name(PARTS_OF_THREE, const float *x, const float *norm, u32 n0, u32 n1, u32 n2, u32 k, u32 rows, u32 units, u32 wk, u32 stages, u32 add, u32 mixed, float eps) { \
		Parts p = GATHER(0); \
		p.begin_mixed(mixed); \
		Own<N> in = {x, norm, (int)k, (int)rows, eps}; \
		products<T, U, 1, 1>(p, in, dynamic, wk, stages, 0); \
	}

#define BOTH(name, T) TILED(name##_2, T, 2) TILED(name##_8, T, 8)

BOTH(q4k, KTile<0>)
BOTH(q5k, KTile<1>)
BOTH(q6k, Q6Tile)
BOTH(q8, Q8Tile)
BOTH(f16, HalfTile)
MIXED(q4k_q6k_2, KTile<0>, Q6Tile, 2)
MIXED(q4k_q6k_8, KTile<0>, Q6Tile, 8)
MIXED(q5k_q6k_2, KTile<1>, Q6Tile, 2)
MIXED(q5k_q6k_8, KTile<1>, Q6Tile, 8)
