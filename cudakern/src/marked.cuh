// Results of splits that say by themselves that they are there.
//
// A result goes to device memory in pieces of 16 bytes, each of which is written and read as one:
// three numbers and the launch's mark, which nothing else in that memory has: it holds pieces alone, and no two launches of steps
// have one mark (a step that is timed again and again has: what it reads may be the run's before). Whoever
// merges a row looks at its pieces until all have the mark. So nobody waits until what was written is
// seen, nor for a ticket: of each three or four ways to memory and back one is left.
#pragma once

#include "split.cuh"

struct Piece {
	float v[3];
	u32 mark;
};

static __device__ __forceinline__ void put_piece(float *to, const Piece &p) {
	asm volatile(
		"{\n\t.reg .b64 lo, hi;\n\t.reg .b128 t;\n\tmov.b64 lo, {%1, %2};\n\tmov.b64 hi, {%3, %4};\n\tmov.b128 t, {lo, hi};\n\tst.relaxed.gpu.global.b128 [%0], t;\n\t}"
		::"l"(to), "f"(p.v[0]), "f"(p.v[1]), "f"(p.v[2]), "r"(p.mark) : "memory");
}

static __device__ __forceinline__ Piece get_piece(const float *at) {
	Piece p;
	asm volatile(
		"{\n\t.reg .b64 lo, hi;\n\t.reg .b128 t;\n\tld.relaxed.gpu.global.b128 t, [%4];\n\tmov.b128 {lo, hi}, t;\n\tmov.b64 {%0, %1}, lo;\n\tmov.b64 {%2, %3}, hi;\n\t}"
		: "=f"(p.v[0]), "=f"(p.v[1]), "=f"(p.v[2]), "=r"(p.mark) : "l"(at) : "memory");
	return p;
}

// A result in pieces: of channels, and a last one of the largest score and the sum of weights.
template <int DIM> struct Marked {
	enum { LAST = (DIM + 2) / 3, FLOATS = 4 * (LAST + 1) };
	float *at;    // [heads, most splits] results
	int most, head; // the first head
	u32 mark;

	__device__ __forceinline__ float *piece(int h, int split, int i) const { return at + ((u64)(head + h) * most + split) * FLOATS + 4 * i; }

	// Merges what so many warps of a block found of a split: part(h, w) is that of warp w for head h, in shared
	// memory.
	template <class Part> __device__ __forceinline__ void put(int split, int some, int warps, const Part &part) const {
#pragma unroll 1
		for (int task = threadIdx.x; task < some * (LAST + 1); task += blockDim.x) {
			int h = task / (LAST + 1), i = task % (LAST + 1);
			float top = -INF;
#pragma unroll 1
			for (int w = 0; w < warps; w++)
				top = fmaxf(top, part(h, w)[DIM]);
			Piece p = {{0, 0, 0}, mark};
#pragma unroll 1
			for (int w = 0; w < warps; w++) {
				const float *from = part(h, w);
				float f = rescale(from[DIM], top);
#pragma unroll
				for (int j = 0; j < 3; j++) {
					int c = i < LAST ? 3 * i + j : DIM + 1;
					p.v[j] += c < DIM + 2 ? from[c] * f : 0;
				}
			}
			if (i == LAST)
				p.v[0] = top;
			put_piece(piece(h, split, i), p);
		}
	}

	// Merges what blocks put of n splits into dst [heads, DIM], each as soon as it is there.
	__device__ __forceinline__ void merge(int n, int some, float *dst) const {
		enum { AT_ONCE = 6, PATIENCE = 1 << 22 };
		int looks = 0;
#pragma unroll 1
		for (int task = threadIdx.x; task < some * LAST; task += blockDim.x) {
			int h = task / LAST, i = task % LAST;
			float top = -INF, sum = 0, acc[3] = {};
#pragma unroll 1
			for (int s = 0; s < n; s += AT_ONCE) {
				Piece v[AT_ONCE], of[AT_ONCE];
				bool there;
				do {
					there = true;
#pragma unroll
					for (int k = 0; k < AT_ONCE; k++) {
						v[k] = get_piece(piece(h, min(s + k, n - 1), i));
						of[k] = get_piece(piece(h, min(s + k, n - 1), LAST));
					}
#pragma unroll
					for (int k = 0; k < AT_ONCE; k++)
						there &= v[k].mark == mark && of[k].mark == mark;
					if (++looks == PATIENCE)
						asm volatile("trap;"); // seconds: another block is lost
				} while (!there);
				float before = top;
#pragma unroll
				for (int k = 0; k < AT_ONCE; k++)
					top = s + k < n ? fmaxf(top, of[k].v[0]) : top;
				float f = rescale(before, top);
				sum *= f;
#pragma unroll
				for (int j = 0; j < 3; j++)
					acc[j] *= f;
#pragma unroll
				for (int k = 0; k < AT_ONCE; k++) {
					float w = s + k < n ? rescale(of[k].v[0], top) : 0;
					sum += of[k].v[1] * w;
#pragma unroll
					for (int j = 0; j < 3; j++)
						acc[j] += v[k].v[j] * w;
				}
			}
#pragma unroll
			for (int j = 0; j < 3; j++)
				if (3 * i + j < DIM)
					dst[h * DIM + 3 * i + j] = acc[j] * (1 / sum);
		}
	}
};
