// The index of a block of 256 tokens of one KV head as offload.Index lays it out.
#pragma once

#include "records.cuh"

#define CODE_STEP 1.145f // offload.IndexStep

enum { PAGES = BLOCK / TOKENS, UNITS = 16, SKIP = 4, MAX_DIM = 256 };

struct Index {
	int dim, vectors, padded, ranks;
	int refs, steps, means, scales, codes, bytes; // byte offsets and the whole

	__device__ __forceinline__ Index(int dim) : dim(dim), vectors((dim + 63) / 64), padded((dim + 15) / 16 * 16), ranks(24 * vectors) {
		refs = padded;
		steps = refs + 2 * padded;
		means = steps + 2 * padded;
		scales = means + PAGES * padded;
		codes = scales + PAGES * ranks;
		bytes = (codes + PAGES * page() + 127) / 128 * 128;
	}
	// Bytes of a page's codes.
	__device__ __forceinline__ int page() const { return 3 * vectors * 64; }
};

static __device__ __forceinline__ int beside(int page, int i) { return (i / 4 * PAGES + page) * 4 + i % 4; }
