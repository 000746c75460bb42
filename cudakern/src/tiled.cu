// Products of one or two input rows with tiled weights: what decode steps of one
// sequence spend their time in. A warp prepares the inputs of its own units, without
// waiting for others; a norm in front of the product becomes a factor of its result.
#include "columns.cuh"

extern __shared__ __align__(16) u8 dynamic[];

// Inputs in shared memory, of each warp [rows][units of its own][blocks of 32][64
// bytes], and the factors that undo their scaling [units of its own][rows].
struct Own {
	enum { COLUMNS = 2 };
	const float *source, *norm;
	int k, rows;
	float eps;
	const u8 *x; // as this lane reads them
	float *factor, *squares; // squares [rows][WARPS]
	float of_row[COLUMNS];

	template <class T> __device__ __forceinline__ void prepare(u8 *shared, int begin, int wk, int units, int warp, int lane) {
		int own = (units + wk - 1) / wk, row = own * T::SPAN * 2, bytes = row * rows, i = lane * 8;
		u8 *to = shared + warp * bytes;
		// Columns that nobody wants repeat others: no lane needs to ask.
		x = to + min(lane / 4, rows - 1) * row + lane % 4 * 16;
		factor = (float *)(shared + WARPS * bytes) + warp * own * rows;
		squares = (float *)(shared + WARPS * bytes) + WARPS * own * rows;
		for (int b = 0; b < rows; b++) {
			float sum = 0;
			for (int unit = begin, nth = 0; unit < units; unit += wk, nth++) {
				int at = unit * T::SPAN;
				UnitInputs in = read_inputs<T>(source + (u64)b * k + at, norm ? norm + at : 0, k - at, lane);
				sum = __fadd_rn(sum, in.squares);
				if (i < T::SPAN)
					put_inputs(to + b * row + (nth * (T::SPAN / BLOCK_INPUTS) + i / BLOCK_INPUTS) * 64, in, i);
				if (lane == 0)
					factor[nth * rows + b] = in.factor();
			}
			if (norm) {
				sum = warp_sum(sum);
				if (lane == 0)
					squares[b * WARPS + warp] = sum;
			}
		}
		__syncwarp();
	}
	template <class T> __device__ __forceinline__ uint4 operand(int, int nth, int, int block) const {
		return *(const uint4 *)(x + nth * (T::SPAN * 2) + block * 64);
	}
	__device__ __forceinline__ float2 factors(int, int nth, int) const { return make_float2(factor[nth * rows], factor[nth * rows + rows - 1]); }
	__device__ __forceinline__ int columns() const { return rows; }
	__device__ __forceinline__ int column(int i) const { return i & (rows - 1); } // one or two
	__device__ __forceinline__ int tile(int i) const { return i >> (rows - 1); }
	__device__ __forceinline__ void begin_results(int wk) {
		of_row[0] = of_row[1] = 1;
		if (norm) {
			of_row[0] = norm_factor(squares, wk, k, eps);
			if (rows > 1)
				of_row[1] = norm_factor(squares + WARPS, wk, k, eps);
		}
	}
	__device__ __forceinline__ float row_factor(int b) const { return b ? of_row[1] : of_row[0]; }
};

#define TILED(name, T) \
	KERNEL(WARPS * 32, 1) tiled_##name(PARTS_OF_THREE, const float *x, const float *norm, u32 n0, u32 n1, u32 n2, u32 k, u32 rows, u32 units, u32 wk, u32 stages, u32 add, u32 mixed, float eps) { \
		Parts p = GATHER(0); \
		Own in = {x, norm, (int)k, (int)rows, eps}; \
		products<T, T, 1, 1>(p, in, dynamic, wk, stages, 0); \
	} \
	KERNEL(WARPS * 32, 1) tiled_gated_##name(const u8 *gate, const u8 *up, float *dst, const float *x, const float *norm, u32 n, u32 k, u32 rows, u32 units, u32 wk, u32 stages, u32 gelu, float eps) { \
		Parts p = GATHER_PAIR; \
		Own in = {x, norm, (int)k, (int)rows, eps}; \
		products<T, T, 1, 2>(p, in, dynamic, wk, stages, gelu); \
	}

// Parts of two types, as attention's are in many files: mixed is the first part
// of the second.
#define MIXED(name, T, U) \
	KERNEL(WARPS * 32, 1) tiled_##name(PARTS_OF_THREE, const float *x, const float *norm, u32 n0, u32 n1, u32 n2, u32 k, u32 rows, u32 units, u32 wk, u32 stages, u32 add, u32 mixed, float eps) { \
		Parts p = GATHER(0); \
		p.begin_mixed(mixed); \
		Own in = {x, norm, (int)k, (int)rows, eps}; \
		products<T, U, 1, 1>(p, in, dynamic, wk, stages, 0); \
	}

TILED(q4k_2, KTile<0>)
TILED(q5k_2, KTile<1>)
TILED(q6k_2, Q6Tile)
TILED(q8_2, Q8Tile)
TILED(f16_2, HalfTile)
MIXED(q4k_q6k_2, KTile<0>, Q6Tile)
MIXED(q5k_q6k_2, KTile<1>, Q6Tile)
