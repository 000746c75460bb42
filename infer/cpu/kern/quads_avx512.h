// What a query makes of a block's pages, side by side in 512 bits: four words of each.

#define QUAD_ONE 32768.0f // 1 as a factor of 16-bit products
#define PAGE_SLOT(page) (page)

INLINE __m512i pages_load(const uint8_t *p) { return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)p)); }
INLINE __m512i four_words(const int16_t *p) {
	int64_t x;
	memcpy(&x, p, sizeof x);
	return _mm512_set1_epi64(x);
}

// means_of sums W probes times the pages' means.
INLINE void means_of(const int W, const int16_t *const *probe, int quads, const uint8_t *means, int32_t *const *out) {
	__m512i a[4];
#pragma GCC unroll 4
	for (int w = 0; w < W; w++) a[w] = _mm512_setzero_si512();
	for (int k = 0; k < quads; k++) {
		const __m512i x = pages_load(means + 32 * k);
#pragma GCC unroll 4
		for (int w = 0; w < W; w++) a[w] = _mm512_dpwssd_epi32(a[w], x, four_words(probe[w] + 4 * k));
	}
#pragma GCC unroll 4
	for (int w = 0; w < W; w++) _mm256_storeu_si256((__m256i *)out[w], _mm512_cvtepi64_epi32(_mm512_add_epi32(a[w], _mm512_srli_epi64(a[w], 32))));
}

// across spreads the largest of each four words.
INLINE __m512i across(__m512i x) {
	x = _mm512_max_epi16(x, _mm512_shufflehi_epi16(_mm512_shufflelo_epi16(x, 0xb1), 0xb1));
	return _mm512_max_epi16(x, _mm512_shufflehi_epi16(_mm512_shufflelo_epi16(x, 0x4e), 0x4e));
}

INLINE void quads_of(const int16_t *probe, int quads, const uint8_t *scales, int32_t (*quad)[8], int32_t *centre, float *unit) {
	__m512i x[MAX_QUADS], top = _mm512_setzero_si512();
#pragma GCC unroll 12
	for (int k = 0; k < quads; k++) {
		x[k] = _mm512_mullo_epi16(pages_load(scales + 32 * k), four_words(probe + 4 * k));
		top = _mm512_max_epi16(top, _mm512_abs_epi16(x[k]));
	}
	const __m256i most = _mm256_and_si256(_mm512_cvtepi64_epi32(across(top)), _mm256_set1_epi32(0xffff));
	const __m256 f = _mm256_min_ps(_mm256_div_ps(_mm256_set1_ps(QUAD_ONE * 127), _mm256_cvtepi32_ps(most)), _mm256_set1_ps(QUAD_ONE - 1));
	const __m256i factor = _mm256_cvtps_epi32(f);
	_mm256_storeu_ps(unit, _mm256_div_ps(_mm256_set1_ps(QUAD_ONE), _mm256_cvtepi32_ps(factor)));
	const __m512i words = _mm512_shufflehi_epi16(_mm512_shufflelo_epi16(_mm512_cvtepu32_epi64(factor), 0), 0);
	__m256i sum = _mm256_setzero_si256();
#pragma GCC unroll 12
	for (int k = 0; k < quads; k++) {
		const __m256i q = _mm512_cvtsepi16_epi8(_mm512_mulhrs_epi16(x[k], words));
		_mm256_storeu_si256((__m256i *)quad[k], q);
		sum = _mm256_dpbusd_epi32(sum, _mm256_set1_epi8(CODE_TOP), q);
	}
	_mm256_storeu_si256((__m256i *)centre, sum);
}

INLINE vi tops_of(const int32_t (*raw)[8]) { return _mm512_inserti64x4(_mm512_castsi256_si512(eight_tops(raw)), eight_tops(raw + 8), 1); }

// by_cold gives each of a block's cold pages what its page has.
INLINE vf by_cold(const float *x) {
	return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), _mm512_castps256_ps512(_mm256_loadu_ps(x)));
}
