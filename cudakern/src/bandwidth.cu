// Reads memory and does next to nothing with it: the ceiling of everything that
// is bound by memory.
#include "prim.cuh"

KERNEL(512, 1) read_bytes(const u8 *src, u64 bytes, u32 *out) {
	u64 at = ((u64)blockIdx.x * 512 + threadIdx.x) * 16, step = (u64)gridDim.x * 512 * 16;
	u32 x = 0;
	for (; at + 3 * step + 16 <= bytes; at += 4 * step) {
		uint4 v[4];
#pragma unroll
		for (int i = 0; i < 4; i++)
			v[i] = load_stream(src + at + i * step);
#pragma unroll
		for (int i = 0; i < 4; i++)
			x ^= v[i].x ^ v[i].y ^ v[i].z ^ v[i].w;
	}
	if (x == 0x12345678) // as good as never, which the compiler does not know
		*out = x;
}
