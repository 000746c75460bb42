// Scores of what working sets hold: of every page the largest score of its tokens,
// with keys as its record has them, where the index would say something else of it.
#pragma once

#include "records.cuh"

// Byte b of four, exactly: below the exponent of 2^23 it is 2^23 more.
static __device__ __forceinline__ float byte_of(u32 w, int b) { return __int_as_float(__byte_perm(w, 0x4b000000, 0x7440 + b)) - 8388608.0f; }

// Adds numbers up over the lanes of a warp. With each turn a lane keeps half of them: that of the number that
// the lane's upper bits say is left.
template <int N, int APART = 16> static __device__ __forceinline__ void sum_halves(float *v, int lane) {
	if constexpr (N > 1) {
		bool upper = lane & APART;
#pragma unroll
		for (int i = 0; i < N / 2; i++)
			v[i] = (upper ? v[N / 2 + i] : v[i]) + __shfl_xor_sync(~0u, upper ? v[i] : v[N / 2 + i], APART);
	} else {
		v[0] += __shfl_xor_sync(~0u, v[0], APART);
	}
	if constexpr (APART > 1)
		sum_halves<(N > 1 ? N / 2 : 1), APART / 2>(v, lane);
}

// A lane's channels of a page's keys, every 32nd: codes of 16 tokens. Channels past the last are
// the last one again.
template <int CHANNELS> struct Keys {
	u32 code[CHANNELS][4];
	float zero[CHANNELS], step[CHANNELS];

	template <int BITS> __device__ __forceinline__ void codes(const Record &r, const u8 *rec, int lane) {
#pragma unroll
		for (int j = 0; j < CHANNELS; j++) {
			int c = min(j * 32 + lane, r.dim - 1);
			codes16<BITS>(rec + r.k + c / r.per * r.k_row, c % r.per, code[j]);
		}
	}

	// Where keys are float16, nothing: they are read where they are used.
	__device__ __forceinline__ void read(const Record &r, const u8 *rec, int lane) {
		if (r.k_bits == 16)
			return;
#pragma unroll
		for (int j = 0; j < CHANNELS; j++) {
			int c = min(j * 32 + lane, r.dim - 1);
			zero[j] = from_half(((const u16 *)rec)[c]);
			step[j] = exp2f(rec[r.k_steps + c] * 0.125f - 16); // not in float16: a choice sees the difference
		}
		switch (r.k_bits) {
		case 8: codes<8>(r, rec, lane); break;
		case 6: codes<6>(r, rec, lane); break;
		case 4: codes<4>(r, rec, lane); break;
		case 2: codes<2>(r, rec, lane); break;
		default: codes<1>(r, rec, lane);
		}
	}

	// The warp's largest score of a token. query is in shared memory, times the scale. What is no
	// number counts as a very large one.
	__device__ __forceinline__ float largest(const Record &r, const u8 *rec, const float *query, int lane) const {
		float v[COLD] = {};
		if (r.k_bits == 16) {
#pragma unroll 1
			for (int c = lane; c < r.dim; c += 32) {
				u32 k[8];
				copy32(rec + c * 32, (u8 *)k);
#pragma unroll
				for (int t = 0; t < COLD; t++)
					v[t] = fmaf(query[c], from_half((u16)(k[t / 2] >> t % 2 * 16)), v[t]);
			}
		} else {
			float zeros = 0;
#pragma unroll
			for (int j = 0; j < CHANNELS; j++) {
				int c = j * 32 + lane;
				float x = c < r.dim ? query[c] : 0;
				zeros += x * zero[j];
				x *= step[j];
#pragma unroll
				for (int t = 0; t < COLD; t++)
					v[t] = fmaf(x, byte_of(code[j][t / 4], t % 4), v[t]);
			}
#pragma unroll
			for (int t = 0; t < COLD; t++)
				v[t] += zeros;
		}
		sum_halves<COLD>(v, lane);
		return warp_max(fabsf(v[0]) < 1e38f ? v[0] : 1e38f);
	}
};
