// What a query makes of a block's pages, side by side in 256 bits. 16-bit lanes
// hold pages 0-3 in one register and 4-7 in another; narrowing joins their
// quarters.

#define QUAD_ONE 32768.0f // 1 as a factor of 16-bit products
#define PAGE_SLOT(page) (((page) & 1) | ((page) >> 1 & 2) | ((page) << 1 & 4)) // 0 1 4 5 2 3 6 7

typedef struct { __m256i a, b; } pages16; // pages 0-3 and 4-7, four channels each

INLINE pages16 pages_load(const uint8_t *p) {
	const __m128i *x = (const __m128i *)p;
	return (pages16){_mm256_cvtepu8_epi16(_mm_loadu_si128(x)), _mm256_cvtepu8_epi16(_mm_loadu_si128(x + 1))};
}
INLINE __m256i four_words(const int16_t *p) {
	int64_t x;
	memcpy(&x, p, sizeof x);
	return _mm256_set1_epi64x(x);
}

// means_of sums W probes times the pages' means.
INLINE void means_of(const int W, const int16_t *const *probe, int quads, const uint8_t *means, int32_t *const *out) {
	__m256i a[4], b[4];
#pragma GCC unroll 4
	for (int w = 0; w < W; w++) a[w] = b[w] = _mm256_setzero_si256();
	for (int k = 0; k < quads; k++) {
		const pages16 x = pages_load(means + 32 * k);
#pragma GCC unroll 4
		for (int w = 0; w < W; w++) {
			const __m256i y = four_words(probe[w] + 4 * k);
			a[w] = _mm256_add_epi32(a[w], _mm256_madd_epi16(x.a, y)), b[w] = _mm256_add_epi32(b[w], _mm256_madd_epi16(x.b, y));
		}
	}
#pragma GCC unroll 4
	for (int w = 0; w < W; w++) _mm256_storeu_si256((__m256i *)out[w], _mm256_hadd_epi32(a[w], b[w]));
}

// across spreads the largest of each four words.
INLINE __m256i across(__m256i x) {
	x = _mm256_max_epi16(x, _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(x, 0xb1), 0xb1));
	return _mm256_max_epi16(x, _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(x, 0x4e), 0x4e));
}

INLINE void quads_of(const int16_t *probe, int quads, const uint8_t *scales, int32_t (*quad)[8], int32_t *centre, float *unit) {
	pages16 x[MAX_QUADS];
	__m256i ma = _mm256_setzero_si256(), mb = ma, sum = ma;
	for (int k = 0; k < quads; k++) {
		const pages16 s = pages_load(scales + 32 * k);
		const __m256i y = four_words(probe + 4 * k);
		x[k] = (pages16){_mm256_mullo_epi16(s.a, y), _mm256_mullo_epi16(s.b, y)};
		ma = _mm256_max_epi16(ma, _mm256_abs_epi16(x[k].a)), mb = _mm256_max_epi16(mb, _mm256_abs_epi16(x[k].b));
	}
	const __m256 both = _mm256_shuffle_ps(_mm256_castsi256_ps(across(ma)), _mm256_castsi256_ps(across(mb)), 0x88);
	const __m256i most = _mm256_and_si256(_mm256_castps_si256(both), _mm256_set1_epi32(0xffff));
	const __m256 f = _mm256_min_ps(_mm256_div_ps(_mm256_set1_ps(QUAD_ONE * 127), _mm256_cvtepi32_ps(most)), _mm256_set1_ps(QUAD_ONE - 1));
	const __m256i factor = _mm256_cvtps_epi32(f), words = _mm256_or_si256(factor, _mm256_slli_epi32(factor, 16));
	_mm256_storeu_ps(unit, _mm256_div_ps(_mm256_set1_ps(QUAD_ONE), _mm256_cvtepi32_ps(factor)));
	const __m256i fa = _mm256_unpacklo_epi32(words, words), fb = _mm256_unpackhi_epi32(words, words), one = _mm256_set1_epi16(1);
	for (int k = 0; k < quads; k++) {
		const __m256i q = _mm256_packs_epi16(_mm256_mulhrs_epi16(x[k].a, fa), _mm256_mulhrs_epi16(x[k].b, fb));
		_mm256_storeu_si256((__m256i *)quad[k], q);
		sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(CODE_TOP), q), one));
	}
	_mm256_storeu_si256((__m256i *)centre, sum);
}

INLINE vi tops_of(const int32_t (*raw)[8]) { return (vi){eight_tops(raw), eight_tops(raw + 8)}; }

// by_cold gives each of a block's cold pages what its page, at its slot, has.
INLINE vf by_cold(const float *x) {
	const __m256 v = _mm256_loadu_ps(x);
	return (vf){_mm256_permutevar8x32_ps(v, _mm256_setr_epi32(0, 0, 1, 1, 4, 4, 5, 5)), _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(2, 2, 3, 3, 6, 6, 7, 7))};
}
