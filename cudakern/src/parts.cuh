// How a launch of a few input rows walks its weights: which unit of which tile of
// which matrix, the ring that units are brought to, and where results go.
#pragma once

#include "tiles.cuh"

// What a launch multiplies with: up to three matrices one after the other, or a
// pair whose tiles alternate.
struct Parts {
	const u8 *w[3];
	float *dst[3];
	const float *bias[3];
	int tiles[3], n[3];
	int add;   // bit i: dst[i] +=
	int units; // of a tile
	int mixed; // tiles from here on are of the second type

	__device__ __forceinline__ void begin_mixed(int part) {
		mixed = 0;
		for (int i = 0; i < 3; i++)
			mixed += i < part ? tiles[i] : 0;
	}
};

// Which unit of which tile a warp is at: its work is one sequence of them.
template <int NW> struct Cursor {
	int step, which, unit;
	int nth; // of the warp's units of a tile
	// Goes on; true when that ended a tile.
	__device__ __forceinline__ bool next(int begin, int wk, int units) {
		unit += wk;
		nth++;
		if (unit < units)
			return false;
		unit = begin;
		nth = 0;
		if (NW > 1 && ++which < NW)
			return false;
		which = 0;
		step += gridDim.x;
		return true;
	}
};

// Where a tile's units begin.
template <int NW> static __device__ __forceinline__ const u8 *tile_at(const Parts &p, int tile, int which, u32 bytes) {
	const u8 *base = p.w[0];
	if (NW == 2) {
		base = which ? p.w[1] : base;
	} else if (tile >= p.tiles[0]) {
		tile -= p.tiles[0];
		base = p.w[1];
		if (tile >= p.tiles[1]) {
			tile -= p.tiles[1];
			base = p.w[2];
		}
	}
	return base + (u64)(u32)(tile * p.units) * bytes;
}

template <class T> static __device__ __forceinline__ void bring_unit(u32 to, const u8 *from, int lane) {
	from += lane * 16;
#pragma unroll
	for (int i = 0; i + 32 <= T::BYTES / 16; i += 32)
		copy_async(to + i * 16, from + i * 16);
	if (T::BYTES / 16 % 32 && lane < T::BYTES / 16 % 32)
		copy_async(to + T::BYTES / 512 * 512, from + T::BYTES / 512 * 512);
}

// One of three by its number, without a stack to index.
template <class V> static __device__ __forceinline__ V pick(const V v[3], int i) { return i == 0 ? v[0] : i == 1 ? v[1] : v[2]; }

// Writes output r of a tile for input row b.
template <int NW> static __device__ __forceinline__ void store(const Parts &p, int tile, int b, int r, float y, float z, int gelu) {
	int part = 0;
	if (NW == 1 && tile >= p.tiles[0]) {
		part = 1;
		tile -= p.tiles[0];
		if (tile >= p.tiles[1]) {
			part = 2;
			tile -= p.tiles[1];
		}
	}
	int out = tile * 16 + r, n = pick(p.n, part);
	if (out >= n)
		return;
	float *to = pick(p.dst, part) + (u64)b * n + out;
	if (NW == 2) {
		*to = activate(gelu, y) * z;
		return;
	}
	const float *bias = pick(p.bias, part);
	if (bias)
		y += bias[out];
	*to = p.add >> part & 1 ? *to + y : y;
}
