// Products of one or two input rows with tiled weights (tiles.cuh), on tensor
// cores: what decode steps spend their time in. More rows are batch.cu's.
//
// Inputs are scaled by a power of two and cut into three digits of 8 bits, or for
// float16 weights into a float16 and what that leaves: what float32 holds
// survives, and two rows cost as much as one. A warp prepares the inputs of its
// own units, without waiting for others; a norm in front of the product becomes a
// factor of its result. A block fills a multiprocessor; its warps bring units of
// weights to rings in shared memory, and begin with that before the kernel in
// front has ended.
#include "parts.cuh"

extern __shared__ __align__(16) u8 dynamic[];

#define TOP (127.0f * 65536) // the largest input as an integer of three digits

// A warp's inputs in shared memory, as the second operand, unit after unit:
//   x [SPAN/32][columns][32] int8, each lane's 8 together, or float16
//   sums of 32 or 16 of them [2 rows][256/SUMS] float16: the sum, and what that leaves times 2048
struct Inputs {
	u8 *x;
	u16 *sums, *more; // more: as the second type of weights wants them
	float *factor;    // [units][rows] that products are multiplied with
	int columns, rows;
};

template <class T> static __device__ __forceinline__ u8 *inputs_of(const Inputs &in, int unit) {
	return in.x + unit * T::SPAN * in.columns * (T::INTS ? 1 : 2);
}

static __device__ __forceinline__ u16 *sums_of(u16 *sums, int rows, int unit) { return sums + unit * 32 * rows; }

// Puts the sums that a type wants, of which this lane has that of eight inputs.
template <class T> static __device__ __forceinline__ void write_sums(u16 *sums, int rows, int unit, int b, int i, float sum) {
	if constexpr (T::SUMS > 0) {
		sum += __shfl_xor_sync(~0u, sum, 1);
		if (T::SUMS == 32)
			sum += __shfl_xor_sync(~0u, sum, 2);
		const int EACH = 256 / T::SUMS;
		if (i % T::SUMS == 0) {
			u16 *s = sums_of(sums, rows, unit) + 2 * b * EACH + i / T::SUMS, top = to_half(sum);
			s[0] = top;
			s[EACH] = to_half((sum - from_half(top)) * 2048);
		}
	}
}

// Puts eight inputs of a unit from i on, for weights of types T and U.
template <class T, class U> static __device__ __forceinline__ void split_inputs(const Inputs &in, int unit, int b, int i, const float v[8], float down) {
	if constexpr (!T::INTS) {
		u32 h[4], l[4];
#pragma unroll
		for (int p = 0; p < 4; p++) {
			float a = v[2 * p] * down, c = v[2 * p + 1] * down;
			h[p] = to_half2(a, c);
			l[p] = to_half2((a - from_half((u16)h[p])) * 2048, (c - from_half((u16)(h[p] >> 16))) * 2048);
		}
		u8 *to = inputs_of<T>(in, unit) + ((i / 32 * in.columns + 2 * b) * 32 + i % 32) * 2;
		if (i < T::SPAN) {
			*(uint4 *)to = make_uint4(h[0], h[1], h[2], h[3]);
			*(uint4 *)(to + 64) = make_uint4(l[0], l[1], l[2], l[3]);
		}
		return;
	}
	float sum = 0;
	u32 digit[3][2] = {}; // of inputs 0-3 and 4-7
#pragma unroll
	for (int e = 0; e < 8; e++) {
		float a = v[e] * down;
		sum += a;
		int x = __float2int_rn(a * TOP), low = (i8)x;
		x = (x - low) >> 8;
		int mid = (i8)x;
		x = (x - mid) >> 8;
		digit[0][e / 4] |= (u32)(u8)x << (e % 4 * 8);
		digit[1][e / 4] |= (u32)(u8)mid << (e % 4 * 8);
		digit[2][e / 4] |= (u32)(u8)low << (e % 4 * 8);
	}
	// Inputs 4t.. of the first and second 16 lie together.
	u8 *to = inputs_of<T>(in, unit) + (i / 32 * in.columns + 3 * b) * 32 + i % 16 / 4 * 8 + i % 32 / 16 * 4;
#pragma unroll
	for (int d = 0; d < 3; d++) {
		*(u32 *)(to + d * 32) = digit[d][0];
		*(u32 *)(to + d * 32 + 8) = digit[d][1];
	}
	write_sums<T>(in.sums, in.rows, unit, b, i, sum);
	if constexpr (T::SUMS != U::SUMS)
		write_sums<U>(in.more, in.rows, unit, b, i, sum);
}

// Prepares a row of a unit's inputs, of which those behind left are zeros, times
// w where there is one. Returns this lane's sum of squares.
template <class T, class U> static __device__ __forceinline__ float read_unit(const Inputs &in, int unit, int b, const float *row, const float *w, int left, int lane) {
	float v[8] = {}, sum = 0, top = 0;
	int i = lane * 8;
	if (i < left && i < T::SPAN) {
		float f[8];
		*(float4 *)v = *(const float4 *)(row + i);
		*(float4 *)(v + 4) = *(const float4 *)(row + i + 4);
		if (w) {
			*(float4 *)f = *(const float4 *)(w + i);
			*(float4 *)(f + 4) = *(const float4 *)(w + i + 4);
		}
#pragma unroll
		for (int e = 0; e < 8; e++) {
			sum += v[e] * v[e];
			if (w)
				v[e] *= f[e];
			top = fmaxf(top, fabsf(v[e]));
		}
	}
	// The power of two above the largest input, so that scaling is exact.
	u32 e = min(max((__float_as_uint(warp_max(top)) >> 23) + 1, 1u), 253u);
	if (lane == 0)
		in.factor[unit * in.rows + b] = __uint_as_float(e << 23);
	split_inputs<T, U>(in, unit, b, i, v, __uint_as_float((254 - e) << 23));
	return sum;
}

static __device__ __forceinline__ float factor_of(const Inputs &in, int unit, int row) { return row < in.rows ? in.factor[unit * in.rows + row] : 0; }

// Adds a unit's products to total [rows g, g+8 of the input row of this lane's
// columns]; lanes t and t^1 have a share each.
template <class T, int NT> static __device__ __forceinline__ void multiply_codes(const u8 *unit, const Inputs &in, u16 *sums, int nth, int lane, float total[NT][2]) {
	int g = lane / 4, t = lane % 4;
	// Columns that nobody wants repeat others: no lane needs to ask.
	const u8 *inputs[NT];
#pragma unroll
	for (int c = 0; c < NT; c++)
		inputs[c] = inputs_of<T>(in, nth) + (min(c * 2 + g / 4, in.rows - 1) * 3 + min(g % 4, 2)) * 32 + t * 8;
	const int block = in.columns * 32;
	const float w0 = (t % 2 ? 1.0f : 65536.0f) / TOP, w1 = (t % 2 ? 0.0f : 256.0f) / TOP;
	T u;
	u.load(unit, lane);
	int acc[NT][4] = {};
	float sum[NT][2] = {};
#pragma unroll
	for (int j = 0; j < T::SPAN / 32; j++) {
		u32 a[2][2];
#pragma unroll
		for (int r = 0; r < 2; r++)
#pragma unroll
			for (int half = 0; half < 2; half++)
				a[r][half] = u.codes(j, r, half);
#pragma unroll
		for (int c = 0; c < NT; c++) {
			uint2 x = *(const uint2 *)(inputs[c] + j * block);
			int part[4] = {};
			if constexpr (T::SUMS == 16) { // 16 codes share a scale
				int more[4] = {};
				mma16_int(part, a[0][0], a[1][0], x.x);
				mma16_int(more, a[0][1], a[1][1], x.y);
#pragma unroll
				for (int i = 0; i < 4; i++)
					acc[c][i] += u.scale(j, i / 2, 0) * part[i] + u.scale(j, i / 2, 1) * more[i];
				continue;
			}
			mma32_int(part, a[0][0], a[1][0], a[0][1], a[1][1], x.x, x.y);
			if constexpr (T::BLOCK_SCALES) {
				sum[c][0] += u.block_scale(j, 0) * (part[0] * w0 + part[1] * w1);
				sum[c][1] += u.block_scale(j, 1) * (part[2] * w0 + part[3] * w1);
			} else {
#pragma unroll
				for (int i = 0; i < 4; i++)
					acc[c][i] += u.scale(j, i / 2, 0) * part[i];
			}
		}
	}
	if constexpr (T::BLOCK_SCALES) {
#pragma unroll
		for (int c = 0; c < NT; c++) {
			float factor = factor_of(in, nth, c * 2 + t / 2);
			total[c][0] += factor * sum[c][0];
			total[c][1] += factor * sum[c][1];
		}
		return;
	}
	u32 a[4];
	float f[2], d0 = u.step(0), d1 = u.step(1);
	u.take(lane, a, f);
	if (t % 2) // the sums' two columns stand where the digits' first two do
		f[0] = f[1] = 0;
#pragma unroll
	for (int c = 0; c < NT; c++) {
		float low[4] = {};
		const int EACH = 256 / (T::SUMS ? T::SUMS : 1);
		const u16 *s = sums_of(sums, in.rows, nth) + (2 * min(c * 2 + g / 4, in.rows - 1) + g % 2) * EACH + 2 * t;
		if (T::SUMS == 16)
			mma16(low, a[0], a[1], a[2], a[3], *(const u32 *)s, *(const u32 *)(s + 8));
		else
			mma8(low, a[0], a[1], *(const u32 *)s);
		float factor = factor_of(in, nth, c * 2 + t / 2);
		total[c][0] += factor * (d0 * (acc[c][0] * w0 + acc[c][1] * w1) - f[0] * (low[0] + low[1] * (1.0f / 2048)));
		total[c][1] += factor * (d1 * (acc[c][2] * w0 + acc[c][3] * w1) - f[1] * (low[2] + low[3] * (1.0f / 2048)));
	}
}

template <int NT> static __device__ __forceinline__ void multiply_halves(const u8 *unit, const Inputs &in, int nth, int lane, float total[NT][2]) {
	int g = lane / 4, t = lane % 4;
	const u8 *inputs[NT];
#pragma unroll
	for (int c = 0; c < NT; c++)
		inputs[c] = inputs_of<HalfTile>(in, nth) + ((min(c * 2 + g / 4, in.rows - 1) * 2 + g % 2) * 32 + 8 * t) * 2;
	const int block = in.columns * 64;
	HalfTile u;
	u.load(unit, lane);
	float acc[NT][4] = {};
#pragma unroll
	for (int j = 0; j < HalfTile::SPAN / 32; j++) {
		const uint4 &a = u.w[2 * j], &b = u.w[2 * j + 1];
#pragma unroll
		for (int c = 0; c < NT; c++) {
			uint4 x = *(const uint4 *)(inputs[c] + j * block);
			mma16(acc[c], a.x, b.x, a.y, b.y, x.x, x.y);
			mma16(acc[c], a.z, b.z, a.w, b.w, x.z, x.w);
		}
	}
#pragma unroll
	for (int c = 0; c < NT; c++) {
		float factor = t % 2 ? 0 : factor_of(in, nth, c * 2 + t / 2); // columns 2 and 3 repeat 0 and 1
		total[c][0] += factor * (acc[c][0] + acc[c][1] * (1.0f / 2048));
		total[c][1] += factor * (acc[c][2] + acc[c][3] * (1.0f / 2048));
	}
}

// Products of all parts. wk warps share a tile's inputs; WARPS/wk tiles are at
// work at a time. NW is 2 when tiles come in pairs. U is the type of parts from
// tile mixed on, or T.
template <class T, class U, int NT, int NW, int WARPS> static __device__ void tiled(const Parts &p, const float *x, const float *norm, float eps, int k, int rows, int ld, int wk, int stages, int gelu) {
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, wn = WARPS / wk;
	int units = (k + T::SPAN - 1) / T::SPAN, own = (units + wk - 1) / wk;
	int tiles = p.tiles[0] + p.tiles[1] + p.tiles[2], steps = (tiles + wn - 1) / wn;
	const int EACH = NW * 2 * NT * 16 + 1; // padded: the warps' sums are read side by side
	const bool MIXED = T::BYTES != U::BYTES;
	const int UNIT = T::BYTES > U::BYTES ? T::BYTES : U::BYTES, SUMS = T::SUMS != U::SUMS ? 2 : 1;
	u8 *ring = dynamic + warp * stages * UNIT;
	Inputs in;
	in.rows = rows;
	in.columns = T::DIGITS * rows;
	int x_bytes = own * T::SPAN * in.columns * (T::INTS ? 1 : 2);
	in.x = dynamic + WARPS * stages * UNIT + warp * x_bytes;
	u16 *sums = (u16 *)(dynamic + WARPS * (stages * UNIT + x_bytes));
	in.sums = sums + warp * SUMS * own * 32 * rows;
	in.more = in.sums + own * 32 * rows;
	float *factors = (float *)(sums + WARPS * SUMS * own * 32 * rows);
	in.factor = factors + warp * own * rows;
	float *squares = factors + WARPS * own * rows; // [rows][WARPS]
	float *reduced = squares + rows * WARPS;       // [2][WARPS][EACH]

	allow_next();
	int begin = warp % wk;
	Cursor<NW> ahead = {(int)blockIdx.x, 0, begin, 0}, here = ahead;
	int put = 0, get = 0; // stages of the ring
	u32 put_at = shared_address(ring) + lane * 16;
	auto bring = [&]() {
		int tile = ahead.step * wn + warp / wk;
		if (tile < tiles) {
			u32 to = put_at + put * UNIT;
			if (MIXED && tile >= p.mixed)
				bring_unit<U>(to, tile_at<NW>(p, tile, ahead.which, U::BYTES) + ahead.unit * U::BYTES, lane);
			else
				bring_unit<T>(to, tile_at<NW>(p, tile, ahead.which, T::BYTES) + ahead.unit * T::BYTES, lane);
		}
		copy_commit();
		ahead.next(begin, wk, units);
		put = put + 1 == stages ? 0 : put + 1;
	};
	for (int s = 0; s + 1 < stages; s++)
		bring();
	after_previous();
	for (int b = 0; b < rows; b++) {
		float sum = 0;
		for (int unit = begin, nth = 0; unit < units; unit += wk, nth++)
			sum += read_unit<T, U>(in, nth, b, x + (u64)b * ld + unit * T::SPAN, norm ? norm + unit * T::SPAN : 0, k - unit * T::SPAN, lane);
		sum = warp_sum(sum);
		if (lane == 0)
			squares[b * WARPS + warp] = sum;
	}
	__syncwarp();

	// wk lanes add up an output: these do the first of the warp's, most often all.
	int outs = 32 / wk, s = lane % wk, all = wn * rows * 16, i0 = warp * outs + lane / wk;
	int b0 = i0 / 16 % rows, group0 = i0 / 16 / rows;
	float factor0 = 0;
	float total[NW][NT][2] = {};
	for (int turn = 0, tile_count = 0; here.step < steps;) {
		if (stages >= 4)
			copy_wait<2>();
		else if (stages == 3)
			copy_wait<1>();
		else
			copy_wait<0>();
		__syncwarp();
		int step = here.step;
		int mine_tile = step * wn + warp / wk;
		if (mine_tile < tiles) {
			float(*to)[2] = NW == 2 && here.which ? total[NW - 1] : total[0];
			const u8 *unit = ring + get * UNIT;
			if constexpr (!T::INTS)
				multiply_halves<NT>(unit, in, here.nth, lane, to);
			else if (MIXED && mine_tile >= p.mixed)
				multiply_codes<U, NT>(unit, in, in.more, here.nth, lane, to);
			else
				multiply_codes<T, NT>(unit, in, in.sums, here.nth, lane, to);
		}
		__syncwarp();
		bring();
		get = get + 1 == stages ? 0 : get + 1;
		if (!here.next(begin, wk, units))
			continue;
		float *mine = reduced + (turn * WARPS + warp) * EACH;
		int g = lane / 4, t = lane % 4;
#pragma unroll
		for (int v = 0; v < NW; v++)
#pragma unroll
			for (int c = 0; c < NT; c++)
#pragma unroll
				for (int r = 0; r < 2; r++) {
					float y = total[v][c][r];
					y += __shfl_xor_sync(~0u, y, 1);
					if (t % 2 == 0)
						mine[(v * 2 * NT + 2 * c + t / 2) * 16 + g + 8 * r] = y;
					total[v][c][r] = 0;
				}
		__syncthreads();
		for (int i = i0, b = b0, group = group0; i < all;) {
			const float *from = reduced + (turn * WARPS + group * wk + s) * EACH + b * 16 + i % 16;
			float y = from[0], z = NW == 2 ? from[2 * NT * 16] : 0, factor = factor0;
			u32 active = __activemask(); // whole groups of wk
			for (int d = wk / 2; d > 0; d /= 2) {
				y += __shfl_xor_sync(active, y, d);
				if (NW == 2)
					z += __shfl_xor_sync(active, z, d);
			}
			if (i != i0 || tile_count == 0) {
				// Digits do not show what is no number; the squares do.
				float square = squares[b * WARPS + group * wk + s];
				for (int d = wk / 2; d > 0; d /= 2)
					square += __shfl_xor_sync(active, square, d);
				factor = (norm ? rsqrtf(square / k + eps) : 1) + 0 * square;
				if (i == i0)
					factor0 = factor;
			}
			int tile = step * wn + group;
			if (s == 0 && tile < tiles)
				store<NW>(p, tile, b, i % 16, y * factor, z * factor, gelu);
			i += WARPS * outs;
			b = i / 16 % rows;
			group = i / 16 / rows;
		}
		tile_count = 1;
		turn ^= 1;
	}
	copy_wait<0>();
}

#define TILED(name, T, NT, WARPS) \
	KERNEL(WARPS * 32, 1) tiled_##name(const u8 *w0, const u8 *w1, const u8 *w2, float *dst0, float *dst1, float *dst2, const float *bias0, const float *bias1, const float *bias2, \
		const float *x, const float *norm, u32 n0, u32 n1, u32 n2, u32 k, u32 rows, u32 ld, u32 units, u32 first, u32 wk, u32 stages, u32 add, float eps) { \
		Parts p = {{w0, w1, w2}, {dst0, dst1, dst2}, {bias0, bias1, bias2}, {((int)n0 + 15) / 16, ((int)n1 + 15) / 16, ((int)n2 + 15) / 16}, {(int)n0, (int)n1, (int)n2}, (int)add, (int)units, (int)first, 1 << 30}; \
		tiled<T, T, NT, 1, WARPS>(p, x, norm, eps, k, rows, ld, wk, stages, 0); \
	} \
	KERNEL(WARPS * 32, 1) tiled_gated_##name(const u8 *gate, const u8 *up, float *dst, const float *x, const float *norm, u32 n, u32 k, u32 rows, u32 wk, u32 stages, u32 gelu, float eps) { \
		Parts p = {{gate, up, 0}, {dst, 0, 0}, {0, 0, 0}, {((int)n + 15) / 16, 0, 0}, {(int)n, 0, 0}, 0, ((int)k + T::SPAN - 1) / T::SPAN, 0, 1 << 30}; \
		tiled<T, T, NT, 2, WARPS>(p, x, norm, eps, k, rows, k, wk, stages, gelu); \
	}

TILED(q4k_2, KTile<0>, 1, 16)
TILED(q5k_2, KTile<1>, 1, 16)
TILED(q6k_2, Q6Tile, 1, 16)
TILED(q8_2, Q8Tile, 1, 16)
TILED(f16_2, HalfTile, 1, 16)

// Parts of two types, as attention's are in many files: mixed is the first part
// of the second.
#define MIXED(name, T, U) \
	KERNEL(512, 1) tiled_##name##_2(const u8 *w0, const u8 *w1, const u8 *w2, float *dst0, float *dst1, float *dst2, const float *bias0, const float *bias1, const float *bias2, \
		const float *x, const float *norm, u32 n0, u32 n1, u32 n2, u32 k, u32 rows, u32 ld, u32 units, u32 first, u32 wk, u32 stages, u32 add, u32 mixed, float eps) { \
		Parts p = {{w0, w1, w2}, {dst0, dst1, dst2}, {bias0, bias1, bias2}, {((int)n0 + 15) / 16, ((int)n1 + 15) / 16, ((int)n2 + 15) / 16}, {(int)n0, (int)n1, (int)n2}, (int)add, (int)units, (int)first, 0}; \
		for (int i = 0; i < 3; i++) \
			p.mixed += i < mixed ? p.tiles[i] : 0; \
		tiled<T, U, 1, 1, 16>(p, x, norm, eps, k, rows, ld, wk, stages, 0); \
	}

MIXED(q4k_q6k, KTile<0>, Q6Tile)
MIXED(q5k_q6k, KTile<1>, Q6Tile)
