// Repacks weights from the model file's encoding to tiles (tiles.cuh), once,
// when they are loaded; and unpacks tiles to float16 rows for products with
// many input rows.
#include "tiles.cuh"

// Source of a tile's rows: nothing behind the matrix's end.
struct Source {
	const u8 *w;
	int n, k, row_bytes, block, block_bytes; // elements and bytes of a block
	// The block that holds input k of a row; null outside.
	__device__ __forceinline__ const u8 *at(int row, int input) const {
		return row < n && input < k ? w + (u64)row * row_bytes + (u64)(input / block) * block_bytes : 0;
	}
};

// A 4-bit code of Q4_K and Q5_K, and its fifth bit.
static __device__ __forceinline__ u32 k_code(const u8 *b, int head, int e) { return b[head + e / 64 * 32 + e % 32] >> (e % 64 / 32 * 4) & 15; }
static __device__ __forceinline__ u32 k_high(const u8 *b, int e) { return b[16 + e % 32] >> (e / 32) & 1; }

// The input of a block of 32 that is code i of eight of lane t.
static __device__ __forceinline__ int input_of(int t, int i) { return i / 4 * 16 + t * 4 + i % 4; }

template <int bits> static __device__ void pack_k(Source src, u8 *to, int tile, int unit, int lane) {
	typedef KTile<bits> T;
	int g = lane / 4, t = lane % 4, head = bits ? 48 : 16;
	for (int r = 0; r < 2; r++) {
		const u8 *b = src.at(tile * 16 + g + 8 * r, unit * 256);
		for (int j = 0; j < 8; j++) {
			u32 word = 0, high = 0;
			for (int i = 0; i < 8 && b; i++) {
				int e = j * 32 + input_of(t, i);
				word |= k_code(b, head, e) << (i % 4 * 8 + i / 4 * 4);
				if (bits)
					high |= k_high(b, e) << (i % 4 * 8 + j % 2 * 4 + r * 2 + i / 4);
			}
			((u32 *)(to + j / 2 * 512 + lane * 16))[j % 2 * 2 + r] = word;
			if (bits)
				((u32 *)(to + T::CODES + lane * 16))[j / 2] |= high; // cleared before
		}
	}
	const u8 *b = src.at(tile * 16 + g + t / 2 * 8, unit * 256);
	for (int i = 0; i < 8; i++) {
		int s = 0, m = 0;
		if (b)
			scale_min(b + 4, i, &s, &m);
		to[T::CODES + T::HIGH + lane * 8 + i] = t % 2 ? m : s;
	}
	if (t % 2 == 0)
		((u32 *)(to + T::CODES + T::HIGH + 256))[g + t / 2 * 8] = b ? at32(b) : 0;
}

static __device__ void pack_q6(Source src, u8 *to, int tile, int unit, int lane) {
	typedef Q6Tile T;
	int g = lane / 4, t = lane % 4;
	for (int r = 0; r < 2; r++) {
		const u8 *b = src.at(tile * 16 + g + 8 * r, unit * 256);
		for (int j = 0; j < 8; j++) {
			u32 word = 0, high = 0;
			for (int i = 0; i < 8 && b; i++) {
				int e = j * 32 + input_of(t, i), x = e % 128;
				word |= (u32)(b[e / 128 * 64 + x % 64] >> (x / 64 * 4) & 15) << (i % 4 * 8 + i / 4 * 4);
				high |= (u32)(b[128 + e / 128 * 32 + e % 32] >> (x / 32 * 2) & 3) << (i % 4 * 8 + r * 4 + i / 4 * 2);
			}
			((u32 *)(to + j / 2 * 512 + lane * 16))[j % 2 * 2 + r] = word;
			((u32 *)(to + T::CODES + j / 4 * 512 + lane * 16))[j % 4] |= high; // cleared before
		}
	}
	const u8 *b = src.at(tile * 16 + g + t / 2 * 8, unit * 256);
	for (int i = 0; i < 8; i++)
		to[T::CODES + T::HIGH + lane * 8 + i] = b ? b[192 + t % 2 * 8 + i] : 0;
	if (t % 2 == 0)
		((u32 *)(to + T::CODES + T::HIGH + 256))[g + t / 2 * 8] = b ? at16(b + 208) : 0;
}

static __device__ void pack_q8(Source src, u8 *to, int tile, int unit, int lane) {
	int g = lane / 4, t = lane % 4;
	for (int j = 0; j < 8; j++)
		for (int r = 0; r < 2; r++) {
			const u8 *b = src.at(tile * 16 + g + 8 * r, unit * 256 + j * 32);
			for (int i = 0; i < 8; i++)
				to[j * 512 + lane * 16 + r * 8 + i] = b ? b[2 + input_of(t, i)] : 0;
		}
	for (int i = 0; i < 4; i++) {
		const u8 *b = src.at(tile * 16 + g + t / 2 * 8, unit * 256 + (t % 2 * 4 + i) * 32);
		((u16 *)(to + Q8Tile::CODES + lane * 8))[i] = b ? at16(b) : 0;
	}
}

static __device__ void pack_half(Source src, u8 *to, int tile, int unit, int lane) {
	int g = lane / 4, t = lane % 4;
	for (int i = 0; i < 4; i++)
		for (int x = 0; x < 8; x++) {
			const u8 *b = src.at(tile * 16 + g + i % 2 * 8, unit * 64 + i / 2 * 32 + t * 8 + x);
			((u16 *)(to + i * 512 + lane * 16))[x] = b ? *(const u16 *)b : 0;
		}
}

// Rows [16*first, ...) of a weight to its tiles [.., units]: a warp makes one
// unit. dst is zero. Grid: units, tiles.
KERNEL(32, 1) pack_tiles(const u8 *w, u8 *dst, u32 type, u32 n, u32 k, u32 row_bytes, u32 block, u32 block_bytes, u32 unit_bytes) {
	Source src = {w, (int)n, (int)k, (int)row_bytes, (int)block, (int)block_bytes};
	u8 *to = dst + ((u64)blockIdx.y * gridDim.x + blockIdx.x) * unit_bytes;
	int tile = blockIdx.y, unit = blockIdx.x, lane = threadIdx.x;
	switch (type) {
	case Q4_K: pack_k<0>(src, to, tile, unit, lane); break;
	case Q5_K: pack_k<1>(src, to, tile, unit, lane); break;
	case Q6_K: pack_q6(src, to, tile, unit, lane); break;
	case Q8_0: pack_q8(src, to, tile, unit, lane); break;
	case F16: pack_half(src, to, tile, unit, lane); break;
	}
}

// One unit of codes to float16 rows [.., k].
template <class T> static __device__ void unpack(const u8 *unit, u16 *dst, int n, int k, int tile, int first, int lane) {
	T u;
	u.load(unit, lane);
#pragma unroll
	for (int r = 0; r < 2; r++) {
		int row = tile * 16 + lane / 4 + 8 * r;
#pragma unroll
		for (int j = 0; j < T::SPAN / 32; j++)
#pragma unroll
			for (int half = 0; half < 2; half++) {
				int at = first + j * 32 + half * 16 + lane % 4 * 4;
				u32 c = u.codes(j, r, half);
				float x[4];
#pragma unroll
				for (int i = 0; i < 4; i++)
					x[i] = u.value(j, r, half, byte_of(c, i));
				if (row < n && at < k)
					*(uint2 *)(dst + (u64)row * k + at) = make_uint2(to_half2(x[0], x[1]), to_half2(x[2], x[3]));
			}
	}
}

static __device__ void unpack_half(const u8 *unit, u16 *dst, int n, int k, int tile, int first, int lane) {
	for (int i = 0; i < 4; i++) {
		int row = tile * 16 + lane / 4 + i % 2 * 8, at = first + i / 2 * 32 + lane % 4 * 8;
		if (row < n && at < k)
			*(uint4 *)(dst + (u64)row * k + at) = *(const uint4 *)(unit + i * 512 + lane * 16);
	}
}

// Tiles to rows [n, k] of float16. Grid: units, tiles by 4.
KERNEL(128, 1) unpack_tiles(const u8 *tiles, u16 *dst, u32 type, u32 n, u32 k) {
	allow_next();
	after_previous();
	int tile = blockIdx.y * 4 + threadIdx.x / 32, unit = blockIdx.x, lane = threadIdx.x % 32;
	if (tile * 16 >= n)
		return;
	u64 at = (u64)tile * gridDim.x + unit;
	switch (type) {
	case Q4_K: unpack<KTile<0>>(tiles + at * KTile<0>::BYTES, dst, n, k, tile, unit * 256, lane); break;
	case Q5_K: unpack<KTile<1>>(tiles + at * KTile<1>::BYTES, dst, n, k, tile, unit * 256, lane); break;
	case Q6_K: unpack<Q6Tile>(tiles + at * Q6Tile::BYTES, dst, n, k, tile, unit * 256, lane); break;
	case Q8_0: unpack<Q8Tile>(tiles + at * Q8Tile::BYTES, dst, n, k, tile, unit * 256, lane); break;
	case F16: unpack_half(tiles + at * HalfTile::BYTES, dst, n, k, tile, unit * 64, lane); break;
	}
}

// Rows in the model file's encoding to float16 [n, k]. Grid: inputs by 2048, rows.
KERNEL(256, 1) unpack_rows(const u8 *w, u16 *dst, u32 type, u32 k, u32 row_bytes) {
	allow_next();
	after_previous();
	int i = (blockIdx.x * 256 + threadIdx.x) * 8;
	if (i >= k)
		return;
	float x[8];
	decode8(type, w + (u64)blockIdx.y * row_bytes, i, x);
	uint4 v = {to_half2(x[0], x[1]), to_half2(x[2], x[3]), to_half2(x[4], x[5]), to_half2(x[6], x[7])};
	*(uint4 *)(dst + (u64)blockIdx.y * k + i) = v;
}
