// Attention over records of 6-bit keys and 4-bit values by products of bytes, four of which
// one instruction multiplies and adds for each of 16 lanes.
//
// What codes meet, a query times a record's steps or softmax weights times a span's, is
// rounded to 16 bits of its largest, and these to two digits of 8. Sums of
// products are whole numbers and exact.

enum {
	DOTS_HEADS = 6, // query vectors whose sums fit the registers
	DOTS_DIM = 128, // the most channels
};

// digits are queries against one record: signed bytes, high and low, in fours of channels at
// FOUR_AT.
typedef struct {
	int32_t high[DOTS_HEADS][DOTS_DIM / 4], low[DOTS_HEADS][DOTS_DIM / 4];
	float base[8], unit[8]; // a score is base + unit times what the codes give
} __attribute__((aligned(64))) digits;

// FOUR_AT is where the fours of channels c to c+3 lie: packing joins lanes of 64 channels.
#define FOUR_AT(c) ((c) / 64 * 16 + (c) / 4 % 4 * 4 + (c) / 16 % 4)

// scales_from are so many units over the largest, and 0 where that is 0.
INLINE void scales_from(const float *top, float one, float *inv, float *unit) {
	const __m256 t = _mm256_loadu_ps(top), none = _mm256_setzero_ps();
	_mm256_storeu_ps(inv, _mm256_maskz_div_ps(_mm256_cmp_ps_mask(t, none, _CMP_GT_OQ), _mm256_set1_ps(one), t));
	_mm256_storeu_ps(unit, _mm256_mul_ps(t, _mm256_set1_ps(1 / one)));
}

// key_digits prepares W queries q [W][dim] for a record with zeros and steps of its keys. Of a
// query that is not finite, digits mean nothing, but base or unit are not finite either.
INLINE void key_digits(const int W, const int dim, const uint8_t *zeros, const uint8_t *steps, const float *mantissas, const float *q, digits *d) {
	vf base[DOTS_HEADS], most[DOTS_HEADS], x[DOTS_HEADS][DOTS_DIM / 16];
	float top[8] = {0}, inv[8];
#pragma GCC unroll 6
	for (int w = 0; w < W; w++) base[w] = most[w] = vf_zero();
#pragma GCC unroll 8
	for (int v = 0; v < dim / 16; v++) {
		const vf zero = vf_half(zeros + 32 * v), step = vf_steps(steps + 16 * v, mantissas);
#pragma GCC unroll 6
		for (int w = 0; w < W; w++) {
			const vf y = vf_load(q + w * dim + 16 * v);
			base[w] = vf_fma(y, zero, base[w]), x[w][v] = vf_mul(y, step);
			most[w] = vf_max(vf_abs(x[w][v]), most[w]);
		}
	}
#pragma GCC unroll 2
	for (int w = 0; w < W; w += 4) vf_sums(W - w < 4 ? W - w : 4, base + w, d->base + w), vf_tops(W - w < 4 ? W - w : 4, most + w, top + w);
	scales_from(top, 127 * 256, inv, d->unit);
	const __m512i half = _mm512_set1_epi16(128), byte = _mm512_set1_epi16(255);
#pragma GCC unroll 6
	for (int w = 0; w < W; w++)
#pragma GCC unroll 2
		for (int v = 0; v < dim / 16; v += 4) {
			vi c[4];
#pragma GCC unroll 4
			for (int i = 0; i < 4; i++) c[i] = vf_int(vf_mul(x[w][v + i], vf_set(inv[w])));
			const __m512i a = _mm512_packs_epi32(c[0], c[1]), b = _mm512_packs_epi32(c[2], c[3]);
			const __m512i high_a = _mm512_srai_epi16(_mm512_add_epi16(a, half), 8), high_b = _mm512_srai_epi16(_mm512_add_epi16(b, half), 8);
			vw_store(d->high[w] + 4 * v, _mm512_packs_epi16(high_a, high_b));
			vw_store(d->low[w] + 4 * v, _mm512_packus_epi16(_mm512_and_si512(a, byte), _mm512_and_si512(b, byte)));
		}
}

// six_bytes are the codes of four channels of 16 tokens (offload.Record), a token's side by
// side. Of what follows them 16 bytes are read too.
INLINE __m512i six_bytes(const uint8_t *run) {
	const __m512i lanes = _mm512_setr_epi32(0, 4, 8, 0, 1, 5, 9, 1, 2, 6, 10, 2, 3, 7, 11, 3);
	const __m512i bytes = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, -1, 1, 5, 9, -1, 2, 6, 10, -1, 3, 7, 11, -1));
	const __m512i x = _mm512_shuffle_epi8(_mm512_permutexvar_epi32(lanes, _mm512_loadu_si512(run)), bytes);
	const __m512i twos = _mm512_and_si512(_mm512_srli_epi16(x, 6), _mm512_set1_epi8(3));
	const __m512i fourth = _mm512_dpbusd_epi32(vi_zero(), twos, _mm512_set1_epi32(0x00100401));
	return _mm512_ternarylogic_epi32(_mm512_slli_epi32(fourth, 24), x, _mm512_set1_epi8(63), OR_OF_AND);
}

// key_dots writes the scores [W][16], ld apart, of a record whose keys' codes are given. Of the record
// at next the first bytes are asked for meanwhile.
INLINE void key_dots(const int W, const int dim, const uint8_t *codes, const digits *d, float *score, int ld, const uint8_t *next, int bytes) {
	vi high[DOTS_HEADS], low[DOTS_HEADS];
#pragma GCC unroll 6
	for (int w = 0; w < W; w++) high[w] = low[w] = vi_zero();
#pragma GCC unroll 32
	for (int c = 0; c < dim; c += 4) {
		if (32 * c < bytes) ahead_L2(next + 32 * c), ahead_L2(next + 32 * c + 64);
		const __m512i x = six_bytes(codes + 12 * c);
#pragma GCC unroll 6
		for (int w = 0; w < W; w++) high[w] = vc_dot(high[w], x, d->high[w] + FOUR_AT(c)), low[w] = vc_dot(low[w], x, d->low[w] + FOUR_AT(c));
	}
#pragma GCC unroll 6
	for (int w = 0; w < W; w++) {
		const vf sum = vi_float(vi_add(_mm512_slli_epi32(high[w], 8), low[w]));
		vf_store(score + w * ld, vf_fma(sum, vf_set(d->unit[w]), vf_set(d->base[w])));
	}
}

// four_tokens are 32 channels in 4 bits of four tokens (offload.Record), a channel's side by
// side, from a and b that hold the codes of 64 channels of two tokens each.
INLINE void four_tokens(__m512i a, __m512i b, const int run, __m512i *codes) {
	const __m512i first = _mm512_setr_epi32(0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27);
	const __m512i bytes = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
	const __m512i lanes = run ? _mm512_add_epi32(first, _mm512_set1_epi32(4)) : first, low = _mm512_set1_epi8(15);
	const __m512i x = _mm512_shuffle_epi8(_mm512_permutex2var_epi32(a, lanes, b), bytes);
	codes[0] = _mm512_and_si512(x, low), codes[1] = _mm512_and_si512(_mm512_srli_epi16(x, 4), low);
}

// two_rows are 32 bytes each of two rows.
INLINE __m512i two_rows(const uint8_t *p, const int row) {
	if (row == 32) return _mm512_loadu_si512(p);
	return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)p)), _mm256_loadu_si256((const __m256i *)(p + row)), 1);
}

// value_dots writes acc [W][dim] of 32 N channels, the first being in the run-th run of their
// 64, of n records, whose rows of codes begin at byte at: base + unit times the sums of
// codes times weights' digits high and low [W][SPAN]. With each four tokens so many lines
// of the next products' weights are asked for.
INLINE void value_dots(const int W, const int N, const int row, const uint8_t *const *rec, int n, int at, int run, const uint8_t *high, const uint8_t *low, const float *base, const float *unit, float *acc, int dim, const exec *e, later *next, int lines) {
	vi h[DOTS_HEADS * 2], l[DOTS_HEADS * 2]; // [W][2N]
#pragma GCC unroll 12
	for (int i = 0; i < W * 2 * N; i++) h[i] = l[i] = vi_zero();
	for (int i = 0; i < n; i++, high += COLD_TOK, low += COLD_TOK) {
		const uint8_t *p = rec[i] + at;
#pragma GCC unroll 4
		for (int t = 0; t < COLD_TOK; t += 4) {
			later_lines(e, next, lines);
			const __m512i a = two_rows(p + t * row, row), b = two_rows(p + (t + 2) * row, row);
			__m512i code[4];
			if (N == 2) four_tokens(a, b, 0, code), four_tokens(a, b, 1, code + 2);
			else four_tokens(a, b, run, code);
#pragma GCC unroll 6
			for (int w = 0; w < W; w++) {
				int32_t four[2];
				memcpy(four, high + w * SPAN + t, 4), memcpy(four + 1, low + w * SPAN + t, 4);
				const __m512i x = _mm512_set1_epi32(four[0]), y = _mm512_set1_epi32(four[1]);
#pragma GCC unroll 4
				for (int c = 0; c < 2 * N; c++) h[w * 2 * N + c] = _mm512_dpbusd_epi32(h[w * 2 * N + c], x, code[c]), l[w * 2 * N + c] = _mm512_dpbusd_epi32(l[w * 2 * N + c], y, code[c]);
			}
		}
	}
#pragma GCC unroll 6
	for (int w = 0; w < W; w++)
#pragma GCC unroll 4
		for (int c = 0; c < 2 * N; c++) {
			const vf sum = vi_float(vi_add(_mm512_slli_epi32(h[w * 2 * N + c], 8), l[w * 2 * N + c]));
			vf_store(acc + w * dim + 16 * c, vf_fma(sum, vf_set(unit[w]), vf_set(base[w])));
		}
}

// store_digits writes the two digits of 16 numbers below 2^16.
INLINE void store_digits(vi x, uint8_t *high, uint8_t *low) { vi_store_bytes(high, _mm512_srli_epi32(x, 8)), vi_store_bytes(low, x); }
