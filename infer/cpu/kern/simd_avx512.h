// Vector primitives for AVX-512 with VNNI: 16 lanes of 32 bits in one register.
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#define PANEL_ROWS 12 // activation rows whose sums fit the registers
#define QUERY_ROWS 12 // query vectors that a pass over exact pages serves
#define PAGE_RUNS(W) ((W) <= 4 ? 4 : 2) // runs of 16 tokens or channels that W of them treat at once: their sums fit the registers
#define SCAN_HEADS 4 // query heads that a pass over an index serves
#define COLD_KERNELS 1 // attention over cold pages without making floats of them
#define COLD_ROWS 12 // query vectors that a pass over cold pages serves
#define LATER_LINES 32 // lines of weights that come beside two cold pages' values (later.h)
#define COLD_SUMS 24 // sums of values that fit the registers beside what they take up

typedef __m512i vi; // 16 int32
typedef __m512i vw; // 32 int16
typedef __m512 vf;  // 16 float

INLINE vi vi_zero(void) { return _mm512_setzero_si512(); }
INLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
INLINE vf vi_float(vi a) { return _mm512_cvtepi32_ps(a); }
// vi_dot adds w[2l]*x[0] + w[2l+1]*x[1] to lane l. The instruction reads and
// broadcasts x itself; the compiler would spend a load and a copy on it.
INLINE vi vi_dot(vi acc, vw w, const pair *x) {
	__asm__("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*x));
	return acc;
}

INLINE vw vw_load(const void *p) { return _mm512_loadu_si512(p); }
INLINE void vw_store(void *p, vw a) { _mm512_storeu_si512(p, a); }
INLINE vw vw_set(int x) { return _mm512_set1_epi16((short)x); }
INLINE vw vw_shr(vw a, int n) { return _mm512_srli_epi16(a, n); }
INLINE vw vw_sar(vw a, int n) { return _mm512_srai_epi16(a, n); }
INLINE vw vw_shl(vw a, int n) { return _mm512_slli_epi16(a, n); }
INLINE vw vw_and(vw a, vw b) { return _mm512_and_si512(a, b); }
INLINE vw vw_or(vw a, vw b) { return _mm512_or_si512(a, b); }
INLINE vw vw_sub(vw a, vw b) { return _mm512_sub_epi16(a, b); }
// vw_pick looks the low 4 bits of every word up among 16 values; the table
// repeats them, since the instruction reads 5 bits.
INLINE vw vw_table(const int8_t t[16]) {
	__m128i b = _mm_loadu_si128((const __m128i *)t);
	return _mm512_cvtepi8_epi16(_mm256_broadcastsi128_si256(b));
}
INLINE vw vw_pick(vw table, vw a) { return _mm512_permutexvar_epi16(a, table); }

// vb is 64 bytes: four for each lane.
typedef __m512i vb;
INLINE vb vb_load(const void *p) { return _mm512_loadu_si512(p); }
// vb_bits picks the bits of a mask from every byte, from bit at on.
INLINE vb vb_bits(vb a, int at, int mask) { return _mm512_and_si512(_mm512_srli_epi16(a, at), _mm512_set1_epi8((char)mask)); }
// vc sums codes, four to a lane, times signed bytes.
typedef vi vc;
INLINE vc vc_zero(void) { return vi_zero(); }
INLINE vc vc_dot(vc acc, vb a, const int32_t *q) {
	__asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(a), "m"(*q));
	return acc;
}
INLINE vi vc_wide(vc a) { return a; }
INLINE int vi_sum(vi a) { return _mm512_reduce_add_epi32(a); }
// vi_fold keeps the larger of lanes 8 apart.
INLINE void vi_fold(vi a, int32_t *p) { _mm256_storeu_si256((__m256i *)p, _mm256_max_epi32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1))); }

// vi_above has a bit for each of 16 numbers that is larger than y.
INLINE uint32_t vi_above(const int32_t *x, int32_t y) { return _mm512_cmpgt_epi32_mask(_mm512_loadu_si512(x), _mm512_set1_epi32(y)); }
// vi_count_from adds 1 to a lane where x is at least y.
INLINE vi vi_count_from(vi n, const int32_t *x, int32_t y) {
	return _mm512_mask_add_epi32(n, _mm512_cmpge_epi32_mask(_mm512_loadu_si512(x), _mm512_set1_epi32(y)), n, _mm512_set1_epi32(1));
}

INLINE vf vf_zero(void) { return _mm512_setzero_ps(); }
INLINE vf vf_set(float x) { return _mm512_set1_ps(x); }
INLINE vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void vf_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
INLINE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
INLINE vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
INLINE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
INLINE vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
INLINE vf vf_abs(vf a) { return _mm512_abs_ps(a); }
INLINE vf vf_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vi vf_int(vf a) { return _mm512_cvtps_epi32(a); }
// vf_pow2 multiplies a by 2^n, n whole.
INLINE vf vf_pow2(vf a, vf n) { return _mm512_scalef_ps(a, n); }
INLINE float vf_sum(vf a) { return _mm512_reduce_add_ps(a); }
INLINE float vf_top(vf a) { return _mm512_reduce_max_ps(a); }
// vf_finite says that all are finite numbers: what is not is no number less itself.
INLINE int vf_finite(vf a) {
	const vf d = _mm512_sub_ps(a, a);
	return !_mm512_cmp_ps_mask(d, d, _CMP_UNORD_Q);
}

INLINE vf vf_half(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
INLINE void vf_store_half(void *p, vf a) { _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)); }
INLINE vf vf_bf16(const void *p) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16)); }
INLINE vf vf_u8(const uint8_t *p) { return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p))); }
INLINE vf vf_i8(const uint8_t *p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p))); }
// A code of 4 bits is looked up: the instruction reads no other bits of a lane.
INLINE vf four_bits(__m512i a) { return _mm512_permutexvar_ps(a, _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)); }
INLINE vf vf_u4_low(const uint8_t *p) { return four_bits(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p))); }
INLINE vf vf_u4_high(const uint8_t *p) { return four_bits(_mm512_srli_epi32(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)), 4)); }
enum { OR_OF_AND = 0xf8 }; // of a ternary operation: a | b & c
// vf_six are the 64 codes of a run in 6 bits (offload.Record).
INLINE void vf_six(const uint8_t *run, vf *code) {
	const __m128i *p = (const __m128i *)run;
	const __m512i m = _mm512_set1_epi32(63);
	const __m512i a = _mm512_cvtepu8_epi32(_mm_loadu_si128(p)), b = _mm512_cvtepu8_epi32(_mm_loadu_si128(p + 1)), c = _mm512_cvtepu8_epi32(_mm_loadu_si128(p + 2));
	code[0] = _mm512_cvtepi32_ps(_mm512_and_si512(a, m)), code[1] = _mm512_cvtepi32_ps(_mm512_and_si512(b, m)), code[2] = _mm512_cvtepi32_ps(_mm512_and_si512(c, m));
	const __m512i low = _mm512_ternarylogic_epi32(_mm512_srli_epi32(a, 6), _mm512_srli_epi32(b, 4), _mm512_set1_epi32(12), OR_OF_AND);
	code[3] = _mm512_cvtepi32_ps(_mm512_ternarylogic_epi32(low, _mm512_srli_epi32(c, 2), _mm512_set1_epi32(48), OR_OF_AND));
}
// vf_steps are steps that are bytes, of so many eighths of a power of two.
INLINE vf vf_steps(const uint8_t *p, const float *mantissas) {
	const __m512i b = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)), m = _mm512_castps_si512(_mm512_broadcast_f32x8(_mm256_loadu_ps(mantissas)));
	const __m512i exponent = _mm512_slli_epi32(_mm512_sub_epi32(_mm512_srli_epi32(b, 3), _mm512_set1_epi32(16)), 23);
	return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_permutexvar_epi32(_mm512_and_si512(b, _mm512_set1_epi32(7)), m), exponent));
}
// vf_of takes lanes of x [n], in the order that bytes say.
#define VF_OF
INLINE vf vf_of(const float *x, const uint8_t *at, const int n) {
	const __m512i i = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)at));
	if (n != 64) return _mm512_i32gather_ps(i, x, 4);
	const __m512 low = _mm512_permutex2var_ps(vf_load(x), i, vf_load(x + 16)), high = _mm512_permutex2var_ps(vf_load(x + 32), i, vf_load(x + 48));
	return _mm512_mask_mov_ps(low, _mm512_test_epi32_mask(i, _mm512_set1_epi32(32)), high);
}
// vf_first are the first n lanes, the others 0; none where n is negative.
INLINE vf vf_first(vf a, int n) { return _mm512_maskz_mov_ps((__mmask16)(n >= 16 ? 0xffff : n > 0 ? (1u << n) - 1 : 0), a); }
// vi_store_bytes keeps the low byte of every lane.
INLINE void vi_store_bytes(uint8_t *p, vi a) { _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(a)); }
INLINE void vi_store_words(int16_t *p, vi a) { _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(a)); }
