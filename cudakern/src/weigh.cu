// Scores of what working sets hold: of every page the largest score of its tokens,
// with keys as its record has them, in place of what the index says of it.
#include "records.cuh"

enum { WARPS = 4, HEADS = 4 }; // HEADS: query heads at a time

// Byte b of four, exactly: below the exponent of 2^23 it is 2^23 more.
static __device__ __forceinline__ float byte_of(u32 w, int b) { return __int_as_float(__byte_perm(w, 0x4b000000, 0x7440 + b)) - 8388608.0f; }

// A lane's channels of a page's keys, every 32nd: codes of 16 tokens, or float16.
// Channels past the last are the last one again.
template <int CHANNELS, bool EXACT> struct Keys {
	u32 code[CHANNELS][EXACT ? 8 : 4];
	float zero[CHANNELS], step[CHANNELS];

	template <int BITS> __device__ __forceinline__ void codes(const Record &r, const u8 *rec, int lane) {
#pragma unroll
		for (int j = 0; j < CHANNELS; j++) {
			int c = min(j * 32 + lane, r.dim - 1);
			const u8 *run = rec + r.k + c / r.per * r.k_row;
			codes16<BITS>(run, c % r.per, code[j]);
		}
	}

	__device__ __forceinline__ void read(const Record &r, const u8 *rec, int lane) {
#pragma unroll
		for (int j = 0; j < CHANNELS; j++) {
			int c = min(j * 32 + lane, r.dim - 1);
			if (EXACT)
				copy32(rec + c * 32, (u8 *)code[j]);
			zero[j] = EXACT ? 0 : from_half(((const u16 *)rec)[c]);
			step[j] = EXACT ? 1 : exp2f(rec[r.k_steps + c] * 0.125f - 16); // not in float16: a choice sees the difference
		}
		if (EXACT)
			return;
		switch (r.k_bits) {
		case 8: codes<8>(r, rec, lane); break;
		case 6: codes<6>(r, rec, lane); break;
		case 4: codes<4>(r, rec, lane); break;
		case 2: codes<2>(r, rec, lane); break;
		default: codes<1>(r, rec, lane);
		}
	}

	__device__ __forceinline__ float token(int j, int t) const { return EXACT ? from_half((u16)(code[j][t / 2] >> t % 2 * 16)) : byte_of(code[j][t / 4], t % 4); }
};

// Adds 2 N numbers up over a warp. With each turn a lane keeps half of them: of 64,
// those at 2*lane and behind it are left.
template <int N> static __device__ __forceinline__ void sum_halves(float *v, int lane) {
	bool upper = lane & N / 2;
#pragma unroll
	for (int i = 0; i < N; i++)
		v[i] = (upper ? v[N + i] : v[i]) + __shfl_xor_sync(~0u, upper ? v[i] : v[N + i], N / 2);
	if constexpr (N > 2)
		sum_halves<N / 2>(v, lane);
}

// Grid: places of a working set, a warp for each, KV heads, rows. top [rows, heads,
// max_pages] is what scan left, of sequences that have more pages than a set holds.
// chosen and sets are as attend reads them.
template <int CHANNELS, bool EXACT> static __device__ void weigh(const float *q, const u8 *sets, const u32 *chosen, const Sequence *seqs, const int *seq, float *top,
	u32 heads, u32 kv_heads, u32 dim, u32 budget, u32 max_pages, u32 k_bits, u32 v_bits, float scale) {
	int lane = threadIdx.x % 32, i = blockIdx.x * WARPS + threadIdx.x / 32, kv = blockIdx.y, row = blockIdx.z, group = heads / kv_heads;
	Record r(dim, COLD, EXACT ? 16 : k_bits, v_bits);
	Sequence s = seqs[seq[row]];
	u64 set = (u64)s.set * kv_heads + kv;
	const u32 *list = chosen + set * (1 + 2 * budget);
	bool held = s.stored / COLD > budget && i < list[0];
	// What the step before left in the set needs no waiting.
	Keys<CHANNELS, EXACT> keys;
	u32 page = 0;
	if (held) {
		page = list[1 + i];
		keys.read(r, sets + (set * budget + list[1 + budget + i]) * r.bytes, lane);
	}
	allow_next();
	after_previous();
	if (!held)
		return;
	u64 head = (u64)row * heads + kv * group;
	for (int h0 = 0; h0 < group; h0 += HEADS) {
		float x[CHANNELS][HEADS], v[HEADS * COLD];
#pragma unroll
		for (int h = 0; h < HEADS; h++) {
			float zeros = 0;
#pragma unroll
			for (int j = 0; j < CHANNELS; j++) {
				int c = j * 32 + lane;
				x[j][h] = h0 + h < group && c < dim ? q[(head + h0 + h) * dim + c] * scale : 0;
				zeros += x[j][h] * keys.zero[j];
				x[j][h] *= keys.step[j];
			}
#pragma unroll
			for (int t = 0; t < COLD; t++)
				v[h * COLD + t] = zeros;
		}
#pragma unroll
		for (int j = 0; j < CHANNELS; j++)
#pragma unroll
			for (int t = 0; t < COLD; t++) {
				float k = keys.token(j, t);
#pragma unroll
				for (int h = 0; h < HEADS; h++)
					v[h * COLD + t] = fmaf(x[j][h], k, v[h * COLD + t]);
			}
		sum_halves<HEADS * COLD / 2>(v, lane);
		float most = fmaxf(v[0], v[1]), none = v[0] * 0 + v[1] * 0; // what is no number stays none
#pragma unroll
		for (int n = 1; n < COLD / 2; n *= 2) {
			most = fmaxf(most, __shfl_xor_sync(~0u, most, n));
			none += __shfl_xor_sync(~0u, none, n);
		}
		int h = h0 + lane / (COLD / 2);
		if (lane % (COLD / 2) == 0 && h < group)
			top[(head + h) * max_pages + page] = most + none;
	}
}

#define WEIGH(NAME, CHANNELS, EXACT) \
	KERNEL(WARPS * 32, 1) NAME(const float *q, const u8 *sets, const u32 *chosen, const Sequence *seqs, const int *seq, float *top, \
		u32 heads, u32 kv_heads, u32 dim, u32 budget, u32 max_pages, u32 k_bits, u32 v_bits, float scale) { \
		weigh<CHANNELS, EXACT>(q, sets, chosen, seqs, seq, top, heads, kv_heads, dim, budget, max_pages, k_bits, v_bits, scale); \
	}

// By 32s of channels.
WEIGH(weigh_2, 2, false)
WEIGH(weigh_3, 3, false)
WEIGH(weigh_4, 4, false)
WEIGH(weigh_8, 8, false)
WEIGH(weigh_exact_2, 2, true)
WEIGH(weigh_exact_3, 3, true)
WEIGH(weigh_exact_4, 4, true)
WEIGH(weigh_exact_8, 8, true)
