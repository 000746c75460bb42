// prompt.cu with products of warpgroups, on compute capability 9.0: a block takes
// 128 pairs of row and query head that share a KV head; two warpgroups multiply 64
// pairs with 128 tokens at a time, one softmaxes while the other's products run.
// A third brings pages to shared memory.
//
// K is channel-major and V token-major in a page: both are second operands whose
// outputs (tokens of K, channels of V) lie side by side.
#include "pages.cuh"
#include "wgmma.cuh"

extern __shared__ __align__(1024) u8 dynamic[];

enum { GROUPS = 2, STEP_PAGES = 4, STEP_TOKENS = STEP_PAGES * PAGE, STAGES = 3 };

template <int DIM> struct Stage {
	enum { K_PAGE = DIM * PAGE * 2, V_PAGE = PAGE * DIM * 2, V = STEP_PAGES * K_PAGE, V_HALF = PAGE * 128, BYTES = V + STEP_PAGES * V_PAGE };
};

static __device__ __forceinline__ float exp2_fast(float x) {
	float y;
	asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}

// Brings a page with 128 threads. Values of tokens outside [from, to) become
// zeros: what was never written must not reach a sum, not even times zero. Of a
// page with none inside, keys are left as they are.
template <int DIM> static __device__ __forceinline__ void bring(u32 k, u32 v, const u8 *head, int from, int to, int thread) {
	bool any = from < PAGE && to > 0;
	if (any)
#pragma unroll
		for (int i = thread; i < DIM * 4; i += 128) {
			int row = i / 4, chunk = i % 4;
			copy_async(k + row * 64 + ((chunk ^ row / 2 % 4) * 16), head + i * 16);
		}
	head += DIM * PAGE * 2;
#pragma unroll
	for (int i = thread; i < PAGE * DIM / 8; i += 128) {
		int tok = i / (DIM / 8), c = i % (DIM / 8);
		bool ok = tok >= from && tok < to;
		copy_async(v + c / 8 * Stage<DIM>::V_HALF + tok * 128 + ((c % 8 ^ tok % 8) * 16), ok ? head + i * 16 : head, ok);
	}
}

template <int DIM> static __device__ void prompt(const float *q, float *dst, const u8 *pages, const u32 *table, const int *pos, const int *tiles,
	u64 page_bytes, u32 table_stride, u32 heads, u32 kv_heads, u32 window, float scale) {
	typedef Stage<DIM> S;
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, kv = blockIdx.y;
	u32 shared = shared_address(dynamic), queries = shared + STAGES * S::BYTES, full = queries + GROUPS * DIM * 128, empty = full + 8 * STAGES;
	if (threadIdx.x == 0) {
		for (int i = 0; i < STAGES; i++) {
			barrier_init(full + 8 * i, 128);
			barrier_init(empty + 8 * i, GROUPS * 4);
		}
		barriers_ready();
	}
	__syncthreads();
	allow_next();
	after_previous();
	// Later rows see more tokens: they begin first.
	const int *tile = tiles + 3 * (gridDim.x - 1 - blockIdx.x);
	int row0 = tile[0], rows = tile[1], group = heads / kv_heads, pairs = rows * group;
	int see = pos[row0] + 1, last = pos[row0 + rows - 1] + 1;
	int least = window && see > window ? see - window : 0, first = least / PAGE, steps = (last - first * PAGE + STEP_TOKENS - 1) / STEP_TOKENS;

	if (warp >= GROUPS * 4) {
		give_registers<40>(); // of 168
		const u32 *numbers = table + (u64)tile[2] * table_stride;
		const u8 *base = pages + (u64)kv * DIM * PAGE * 4;
		int thread = threadIdx.x - GROUPS * 128;
		for (int i = 0; i <= steps; i++) {
			if (i < steps) {
				int stage = i % STAGES;
				barrier_wait(empty + 8 * stage, i / STAGES % 2 ^ 1);
				u32 at = shared + stage * S::BYTES;
#pragma unroll 1
				for (int j = 0; j < STEP_PAGES; j++) {
					int page = first + i * STEP_PAGES + j, begin = page * PAGE;
					const u8 *head = base + (begin < last ? numbers[page] * page_bytes : 0);
					bring<DIM>(at + j * S::K_PAGE, at + S::V + j * S::V_PAGE, head, least - begin, last - begin, thread);
				}
			}
			copy_commit();
			if (i > 0) {
				copy_wait<1>();
				show_to_tensor_cores();
				barrier_arrive(full + 8 * ((i - 1) % STAGES));
			}
		}
		copy_wait<0>();
		return;
	}
	take_registers<232>();

	// This lane's two pairs.
	int end[2], begin[2];
	const float *src[2];
	float *to[2];
#pragma unroll
	for (int r = 0; r < 2; r++) {
		int i = warp * 16 + g + 8 * r, row = row0 + min(i, pairs - 1) / group;
		end[r] = i < pairs ? pos[row] + 1 : 0;
		begin[r] = window && end[r] > window ? end[r] - window : 0;
		u64 at = ((u64)row * heads + kv * group + i % group) * DIM;
		src[r] = q + at;
		to[r] = dst + at;
	}
	// Queries of a warpgroup: [DIM/64][64 pairs][64] float16, swizzled.
	u32 query = queries + warp / 4 * DIM * 128;
#pragma unroll
	for (int k = 0; k < DIM / 8; k++)
#pragma unroll
		for (int r = 0; r < 2; r++) {
			float2 v = end[r] ? *(const float2 *)(src[r] + k * 8 + t * 2) : make_float2(0, 0);
			write_shared(query + k / 8 * 8192 + (warp % 4 * 16 + g + 8 * r) * 128 + ((k % 8 ^ g) * 16) + t * 4, to_half2(v.x, v.y));
		}
	show_to_tensor_cores();
	warpgroup_sync(warp / 4);
	u64 operand = operand_at(query);
	float o[DIM / 2], s[STEP_TOKENS / 2], top[2] = {-INF, -INF}, sum[2] = {};
#pragma unroll
	for (int i = 0; i < DIM / 2; i++)
		o[i] = 0;
	scale *= 1.4426950408889634f;

	for (int i = 0; i < steps; i++) {
		int stage = i % STAGES;
		u32 at = shared + stage * S::BYTES;
		barrier_wait(full + 8 * stage, i / STAGES % 2);
		u64 k = turned_operand_at(at, false, S::K_PAGE, 512), v = turned_operand_at(at + S::V, true, S::V_HALF, 1024);
		wgmma_begin();
#pragma unroll
		for (int j = 0; j < DIM / 16; j++)
			wgmma_turned(s, operand + (j / 4 * 8192 + j % 4 * 32 >> 4), k + j * (1024 >> 4), j);
		wgmma_commit();
		wgmma_wait<0>();
		int tok0 = first * PAGE + i * STEP_TOKENS;
		bool whole = true; // no looking at single tokens
#pragma unroll
		for (int r = 0; r < 2; r++)
			whole = whole && tok0 >= begin[r] && tok0 + STEP_TOKENS <= end[r];
		if (!__all_sync(~0u, whole))
#pragma unroll
			for (int j = 0; j < STEP_TOKENS / 2; j++) {
				int tok = tok0 + j / 4 * 8 + t * 2 + j % 2, r = j % 4 / 2;
				s[j] = tok >= begin[r] && tok < end[r] ? s[j] : -INF;
			}
#pragma unroll
		for (int r = 0; r < 2; r++) {
			float most = top[r];
#pragma unroll
			for (int j = 0; j < STEP_TOKENS / 8; j++)
				most = fmaxf(most, fmaxf(s[4 * j + 2 * r], s[4 * j + 2 * r + 1]));
			most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
			most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
			float base = most == -INF ? 0 : most * scale, f = exp2_fast(top[r] * scale - base);
			top[r] = most;
			sum[r] *= f;
#pragma unroll
			for (int j = 0; j < DIM / 8; j++) {
				o[4 * j + 2 * r] *= f;
				o[4 * j + 2 * r + 1] *= f;
			}
#pragma unroll
			for (int j = 0; j < STEP_TOKENS / 8; j++)
#pragma unroll
				for (int c = 0; c < 2; c++) {
					float p = exp2_fast(fmaf(s[4 * j + 2 * r + c], scale, -base));
					s[4 * j + 2 * r + c] = p;
					sum[r] += p;
				}
		}
		u32 p[STEP_TOKENS / 16][4];
#pragma unroll
		for (int j = 0; j < STEP_TOKENS / 16; j++)
#pragma unroll
			for (int x = 0; x < 4; x++) {
				p[j][x] = to_half2(s[8 * j + 2 * x], s[8 * j + 2 * x + 1]);
				asm volatile("" : "+r"(p[j][x])); // complete before the first product reads some
			}
		wgmma_begin();
#pragma unroll
		for (int j = 0; j < STEP_TOKENS / 16; j++)
			wgmma_turned(o, p[j], v + (j / 2 * S::V_PAGE + j % 2 * 2048 >> 4), 1);
		wgmma_commit();
		wgmma_wait<0>(); // not behind the next scores, which was slower
		if (lane == 0)
			barrier_arrive(empty + 8 * stage);
	}
#pragma unroll
	for (int r = 0; r < 2; r++) {
		sum[r] += __shfl_xor_sync(~0u, sum[r], 1);
		sum[r] += __shfl_xor_sync(~0u, sum[r], 2);
		if (!end[r])
			continue;
		float f = 1 / sum[r];
#pragma unroll
		for (int n = 0; n < DIM / 8; n++)
			*(float2 *)(to[r] + n * 8 + t * 2) = make_float2(o[4 * n + 2 * r] * f, o[4 * n + 2 * r + 1] * f);
	}
}

#define PROMPT(DIM) \
	KERNEL(GROUPS * 128 + 128, 1) prompt_wgmma_##DIM(const float *q, float *dst, const u8 *pages, const u32 *table, const int *pos, const int *tiles, \
		u64 page_bytes, u32 table_stride, u32 heads, u32 kv_heads, u32 window, float scale) { \
		prompt<DIM>(q, dst, pages, table, pos, tiles, page_bytes, table_stride, heads, kv_heads, window, scale); \
	}

PROMPT(64)
PROMPT(128)
