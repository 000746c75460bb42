// prompt.cu with products of warpgroups, on compute capability 9.0: a block takes
// 128 pairs of row and query head that share a KV head; two warpgroups multiply 64
// pairs with 128 tokens at a time, and softmax scores while values are added up for
// those before them. A third brings pages to shared memory.
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
	asm volatile("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}

// A write that waits of products are not moved above: the assembler would put them
// in front of what should run beside the products.
static __device__ __forceinline__ void hold(u32 at, float after) { asm volatile("st.volatile.shared.f32 [%0], %1;" ::"r"(at), "f"(after) : "memory"); }

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

// The third warpgroup: brings a block's pages, a step after the other. A step is
// shown to the others as soon as it has come, and the next one under way by then if
// there is room for it.
template <int DIM> static __device__ __forceinline__ void bring_steps(u32 shared, u32 full, u32 empty, const u8 *base, const u32 *numbers, u64 page_bytes, int first, int steps, int least, int last, int thread) {
	typedef Stage<DIM> S;
	enum { V_LINES = 128 / (DIM / 8) }; // tokens whose values the threads copy at once
	int row = thread / 4, tok = thread / (DIM / 8), c = thread % (DIM / 8);
	u32 to_k = shared + row * 64 + (thread % 4 ^ row / 2 % 4) * 16, to_v = shared + S::V + c / 8 * S::V_HALF + tok * 128 + (c % 8 ^ tok % 8) * 16;
	base += thread * 16;
	int shown = 0; // steps
	auto show = [&]() {
		show_to_tensor_cores();
		barrier_arrive(full + 8 * (shown % STAGES));
		shown++;
	};
	for (int i = 0; i < steps; i++) {
		int stage = i % STAGES, page = first + i * STEP_PAGES, begin = page * PAGE;
		u32 id[STEP_PAGES];
#pragma unroll
		for (int j = 0; j < STEP_PAGES; j++)
			id[j] = begin + j * PAGE < last ? numbers[page + j] : 0;
		if (!__all_sync(~0u, barrier_over(empty + 8 * stage, i / STAGES % 2 ^ 1))) {
			if (shown < i) {
				copy_wait<0>();
				show();
			}
			barrier_wait(empty + 8 * stage, i / STAGES % 2 ^ 1);
		}
		u32 at = stage * S::BYTES;
		if (begin >= least && begin + STEP_TOKENS <= last) {
#pragma unroll
			for (int j = 0; j < STEP_PAGES; j++) {
				const u8 *src = base + id[j] * page_bytes;
#pragma unroll
				for (int x = 0; x < DIM / 32; x++)
					copy_async(to_k + at + j * S::K_PAGE + x * 2048, src + x * 2048);
#pragma unroll
				for (int x = 0; x < DIM / 32; x++)
					copy_async(to_v + at + j * S::V_PAGE + x * V_LINES * 128, src + DIM * 64 + x * 2048);
			}
		} else {
#pragma unroll 1
			for (int j = 0; j < STEP_PAGES; j++) {
				u32 n = j == 0 ? id[0] : j == 1 ? id[1] : j == 2 ? id[2] : id[3];
				bring<DIM>(shared + at + j * S::K_PAGE, shared + at + S::V + j * S::V_PAGE, base - thread * 16 + n * page_bytes, least - begin - j * PAGE, last - begin - j * PAGE, thread);
			}
		}
		copy_commit();
		if (shown < i) {
			copy_wait<1>();
			show();
		}
	}
	copy_wait<0>();
	show();
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
	// Steps begin at multiples of their size, so that a row's sums do not depend on
	// which rows its tile has.
	int least = window && see > window ? see - window : 0, first = least / STEP_TOKENS * STEP_PAGES, steps = (last - first * PAGE + STEP_TOKENS - 1) / STEP_TOKENS;

	if (warp >= GROUPS * 4) {
		give_registers<56>(); // of 168
		bring_steps<DIM>(shared, full, empty, pages + (u64)kv * DIM * PAGE * 4, table + (u64)tile[2] * table_stride, page_bytes, first, steps, least, last, threadIdx.x - GROUPS * 128);
		return;
	}
	take_registers<224>();

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

	u32 p[STEP_TOKENS / 16][4];
	float f[2];
	auto score = [&](int i) {
		u64 k = turned_operand_at(shared + i % STAGES * S::BYTES, false, S::K_PAGE, 512);
#pragma unroll
		for (int j = 0; j < DIM / 16; j++)
			wgmma_turned(s, operand + (j / 4 * 8192 + j % 4 * 32 >> 4), k + j * (1024 >> 4), j);
		wgmma_commit();
	};
	auto add = [&](int i) {
		u64 v = turned_operand_at(shared + i % STAGES * S::BYTES + S::V, true, S::V_HALF, 1024);
#pragma unroll
		for (int j = 0; j < STEP_TOKENS / 16; j++)
			wgmma_turned(o, p[j], v + (j / 2 * S::V_PAGE + j % 2 * 2048 >> 4), 1);
		wgmma_commit();
	};
	// Scores become weights; f is what earlier ones shrink by.
	auto soften = [&](int i, bool whole) {
		int tok0 = first * PAGE + i * STEP_TOKENS;
		if (!whole)
#pragma unroll
			for (int j = 0; j < STEP_TOKENS / 2; j++) {
				int tok = tok0 + j / 4 * 8 + t * 2 + j % 2, r = j % 4 / 2;
				s[j] = tok >= begin[r] && tok < end[r] ? s[j] : -INF;
			}
#pragma unroll
		for (int r = 0; r < 2; r++) {
			float most[4] = {top[r], -INF, -INF, -INF};
#pragma unroll
			for (int j = 0; j < STEP_TOKENS / 8; j++)
				most[j % 4] = fmaxf(most[j % 4], fmaxf(s[4 * j + 2 * r], s[4 * j + 2 * r + 1]));
			most[0] = fmaxf(fmaxf(most[0], most[1]), fmaxf(most[2], most[3]));
			most[0] = fmaxf(most[0], __shfl_xor_sync(~0u, most[0], 1));
			most[0] = fmaxf(most[0], __shfl_xor_sync(~0u, most[0], 2));
			float base = most[0] == -INF ? 0 : __fmul_rn(most[0], scale);
			// Joined, the product and the difference would not leave one where nothing is
			// new, and sums would depend on how far other rows of the tile see.
			f[r] = exp2_fast(__fsub_rn(__fmul_rn(top[r], scale), base));
			top[r] = most[0];
			float all[4] = {sum[r] * f[r], 0, 0, 0};
#pragma unroll
			for (int j = 0; j < STEP_TOKENS / 8; j++)
#pragma unroll
				for (int c = 0; c < 2; c++) {
					float w = exp2_fast(fmaf(s[4 * j + 2 * r + c], scale, -base));
					s[4 * j + 2 * r + c] = w;
					all[j % 2 * 2 + c] += w;
				}
			sum[r] = all[0] + all[1] + (all[2] + all[3]);
		}
		hold(empty + 8 * STAGES + threadIdx.x * 4, sum[0] + sum[1]);
	};
	auto round = [&]() {
#pragma unroll
		for (int j = 0; j < STEP_TOKENS / 16; j++)
#pragma unroll
			for (int x = 0; x < 4; x++) {
				p[j][x] = to_half2(s[8 * j + 2 * x], s[8 * j + 2 * x + 1]);
				asm volatile("" : "+r"(p[j][x])); // complete before the first product reads some
			}
	};
	// Whether all pairs see all tokens of a step.
	int late = window && last > window ? last - window : 0;
	auto all_seen = [&](int i) {
		int tok0 = first * PAGE + i * STEP_TOKENS;
		return tok0 >= late && tok0 + STEP_TOKENS <= see;
	};
	auto leave = [&](int i) {
		if (lane == 0)
			barrier_arrive(empty + 8 * (i % STAGES));
	};
	auto wait_for = [&](int i) { barrier_wait(full + 8 * (i % STAGES), i / STAGES % 2); };

	wait_for(0);
	wgmma_begin();
	score(0);
	wgmma_wait<0>();
	soften(0, false);
	round();
	// Nothing may branch while products are under way: the assembler would wait.
	auto step = [&](int i, bool whole) {
		wgmma_begin();
		score(i);
		add(i - 1);
		wgmma_wait<1>();
		soften(i, whole);
		wgmma_wait<0>();
		leave(i - 1);
#pragma unroll
		for (int j = 0; j < DIM / 2; j++)
			o[j] *= f[j % 4 / 2];
		round();
	};
	for (int i = 1; i < steps; i++) {
		wait_for(i);
		if (all_seen(i))
			step(i, true);
		else
			step(i, false);
	}
	wgmma_begin();
	add(steps - 1);
	wgmma_wait<0>();
	leave(steps - 1);
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
