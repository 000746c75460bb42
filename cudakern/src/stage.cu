// What a prompt needs beside its layers: records made exact again, and bytes
// moved.
#include "records.cuh"

extern __shared__ __align__(16) u8 dynamic[];

// Makes pages of float16 [ids][kvHeads] {K [dim, 32], V [32, dim]} of the records
// of one sequence, page by page, which stand so many bytes apart. Grid: pages, KV heads.
// A record crosses the bus once, in whole lines.
KERNEL(128, 1) unpack_records(const u8 *units, const u32 *table, u8 *pages, u64 unit_bytes, u64 page_bytes, u32 kv_heads, u32 dim, u32 record_bytes, u32 tokens, u32 k_bits, u32 v_bits) {
	allow_next();
	after_previous();
	Record r(dim, tokens, k_bits, v_bits);
	int page = blockIdx.x, kv = blockIdx.y, at = page * TOKENS % BLOCK;
	const u8 *a = units + table[page * TOKENS / BLOCK] * unit_bytes + (u64)(at / r.group * kv_heads + kv) * record_bytes;
	u64 next = (u64)kv_heads * record_bytes;
	for (int i = threadIdx.x * 16; i < r.bytes; i += 128 * 16) {
		*(uint4 *)(dynamic + i) = *(const uint4 *)(a + i);
		if (r.cold())
			*(uint4 *)(dynamic + r.bytes + i) = *(const uint4 *)(a + next + i);
	}
	__syncthreads();
	u8 *dst = pages + page * page_bytes + (u64)kv * dim * TOKENS * 4;
	expand(r, Expansion{dynamic, dynamic + r.bytes, at % r.group / TOKENS, dst, TOKENS * 2, dst + dim * TOKENS * 2, (int)dim * 2, (int)threadIdx.x, 128});
}

// Copies bytes, a multiple of 16, from or to any memory.
KERNEL(256, 1) move_bytes(const u8 *src, u8 *dst, u64 bytes) {
	allow_next();
	after_previous();
	for (u64 i = ((u64)blockIdx.x * 256 + threadIdx.x) * 16; i < bytes; i += (u64)gridDim.x * 256 * 16)
		*(uint4 *)(dst + i) = *(const uint4 *)(src + i);
}
