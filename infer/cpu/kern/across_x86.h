// Sums and maxima over the lanes of up to four vectors at once, and of eight cold pages.

#ifdef __AVX512F__
#define VF_LOW(x) _mm512_castps512_ps256(x)
#define VF_HIGH(x) _mm512_extractf32x8_ps(x, 1)
#define VI_LOW(x) _mm512_castsi512_si256(x)
#define VI_HIGH(x) _mm512_extracti64x4_epi64(x, 1)
#else
#define VF_LOW(x) (x).a
#define VF_HIGH(x) (x).b
#define VI_LOW(x) (x).a
#define VI_HIGH(x) (x).b
#endif

// FOUR_AT_ONCE joins y [W] of 8 floats each by f to the four lanes of r.
#define FOUR_AT_ONCE(W, f, f4, y, r) \
	do { \
		const __m256 y1 = W > 1 ? y[1] : y[0], y2 = W > 2 ? y[2] : y[0], y3 = W > 3 ? y[3] : y1; \
		const __m256 s = f(_mm256_unpacklo_ps(y[0], y1), _mm256_unpackhi_ps(y[0], y1)), t = f(_mm256_unpacklo_ps(y2, y3), _mm256_unpackhi_ps(y2, y3)); \
		const __m256 u = f(_mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(s), _mm256_castps_pd(t))), _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(s), _mm256_castps_pd(t)))); \
		r = f4(_mm256_castps256_ps128(u), _mm256_extractf128_ps(u, 1)); \
	} while (0)

// vf_tops writes the largest lanes, vf_sums and vi_sums the sums, of x [W], to out [4].
INLINE void vf_tops(const int W, const vf *x, float *out) {
	__m256 y[4];
#pragma GCC unroll 4
	for (int w = 0; w < W; w++) y[w] = _mm256_max_ps(VF_LOW(x[w]), VF_HIGH(x[w]));
	__m128 r;
	FOUR_AT_ONCE(W, _mm256_max_ps, _mm_max_ps, y, r);
	_mm_storeu_ps(out, r);
}
INLINE void vf_sums(const int W, const vf *x, float *out) {
	__m256 y[4];
#pragma GCC unroll 4
	for (int w = 0; w < W; w++) y[w] = _mm256_add_ps(VF_LOW(x[w]), VF_HIGH(x[w]));
	__m128 r;
	FOUR_AT_ONCE(W, _mm256_add_ps, _mm_add_ps, y, r);
	_mm_storeu_ps(out, r);
}
INLINE __m256 add_words(__m256 a, __m256 b) { return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b))); }
INLINE __m128 add_words4(__m128 a, __m128 b) { return _mm_castsi128_ps(_mm_add_epi32(_mm_castps_si128(a), _mm_castps_si128(b))); }
INLINE void vi_sums(const int W, const vi *x, int32_t *out) {
	__m256 y[4];
#pragma GCC unroll 4
	for (int w = 0; w < W; w++) y[w] = _mm256_castsi256_ps(_mm256_add_epi32(VI_LOW(x[w]), VI_HIGH(x[w])));
	__m128 r;
	FOUR_AT_ONCE(W, add_words, add_words4, y, r);
	_mm_storeu_si128((__m128i *)out, _mm_castps_si128(r));
}

// eight_tops joins the 8 lanes of each of eight cold pages: neighbours meet, whose
// lanes alternate, then pairs, then the halves of registers.
INLINE __m256i join_lanes(__m256i a, __m256i b) { return _mm256_max_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b)); }
INLINE __m256i join_pairs(__m256i a, __m256i b) { return _mm256_max_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b)); }
INLINE __m256i eight_tops(const int32_t (*raw)[8]) {
	__m256i x[8];
#pragma GCC unroll 8
	for (int i = 0; i < 8; i++) x[i] = _mm256_loadu_si256((const __m256i *)raw[i]);
	const __m256i a = join_pairs(join_lanes(x[0], x[1]), join_lanes(x[2], x[3])), b = join_pairs(join_lanes(x[4], x[5]), join_lanes(x[6], x[7]));
	return _mm256_max_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}
