// vf_six are the 64 codes of a run in 6 bits (offload.Record).
INLINE void vf_six(const uint8_t *run, vf *code) {
	const __m128i *p = (const __m128i *)run, m = _mm_set1_epi8(63);
	const __m128i a = _mm_loadu_si128(p), b = _mm_loadu_si128(p + 1), c = _mm_loadu_si128(p + 2);
	const __m128i low = _mm_and_si128(_mm_srli_epi16(a, 6), _mm_set1_epi8(3)), mid = _mm_and_si128(_mm_srli_epi16(b, 4), _mm_set1_epi8(12));
	const __m128i high = _mm_and_si128(_mm_srli_epi16(c, 2), _mm_set1_epi8(48));
	code[0] = bytes_float(_mm_and_si128(a, m)), code[1] = bytes_float(_mm_and_si128(b, m)), code[2] = bytes_float(_mm_and_si128(c, m));
	code[3] = bytes_float(_mm_or_si128(_mm_or_si128(low, mid), high));
}
