// Sums and maxima over the lanes of up to four vectors at once, and of eight cold pages.

// The halves of a vector, as 8 floats whatever they are.
#ifdef __AVX512F__
#define VF_LOW(x) _mm512_castps512_ps256(x)
#define VF_HIGH(x) _mm512_extractf32x8_ps(x, 1)
#define VI_LOW(x) VF_LOW(_mm512_castsi512_ps(x))
#define VI_HIGH(x) VF_HIGH(_mm512_castsi512_ps(x))
#else
#define VF_LOW(x) (x).a
#define VF_HIGH(x) (x).b
#define VI_LOW(x) _mm256_castsi256_ps((x).a)
#define VI_HIGH(x) _mm256_castsi256_ps((x).b)
#endif

// Sums of int32 in registers that count as floats.
INLINE __m256 add_words(__m256 a, __m256 b) { return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b))); }
INLINE __m128 add_words4(__m128 a, __m128 b) { return _mm_castsi128_ps(_mm_add_epi32(_mm_castps_si128(a), _mm_castps_si128(b))); }

// ACROSS defines a function that joins the lanes of each of x [W], up to four, by f (f4 for
// half as many) and writes the results to out [4]: neighbours meet, then pairs, then halves.
#define ACROSS(NAME, VECTOR, NUMBER, LOW, HIGH, f, f4) \
	INLINE void NAME(const int W, const VECTOR *x, NUMBER *out) { \
		__m256 y[4]; \
		_Pragma("GCC unroll 4") for (int w = 0; w < 4; w++) y[w] = w < W ? f(LOW(x[w]), HIGH(x[w])) : y[0]; \
		const __m256 s = f(_mm256_unpacklo_ps(y[0], y[1]), _mm256_unpackhi_ps(y[0], y[1])), t = f(_mm256_unpacklo_ps(y[2], y[3]), _mm256_unpackhi_ps(y[2], y[3])); \
		const __m256d a = _mm256_castps_pd(s), b = _mm256_castps_pd(t); \
		const __m256 u = f(_mm256_castpd_ps(_mm256_unpacklo_pd(a, b)), _mm256_castpd_ps(_mm256_unpackhi_pd(a, b))); \
		_mm_storeu_si128((__m128i *)out, _mm_castps_si128(f4(_mm256_castps256_ps128(u), _mm256_extractf128_ps(u, 1)))); \
	}

// vf_tops writes the largest lanes, vf_sums and vi_sums the sums.
ACROSS(vf_tops, vf, float, VF_LOW, VF_HIGH, _mm256_max_ps, _mm_max_ps)
ACROSS(vf_sums, vf, float, VF_LOW, VF_HIGH, _mm256_add_ps, _mm_add_ps)
ACROSS(vi_sums, vi, int32_t, VI_LOW, VI_HIGH, add_words, add_words4)

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
