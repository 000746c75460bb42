// Vector primitives for AVX2, FMA and F16C: 16 lanes of 32 bits in two registers.
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#define PANEL_ROWS 4 // activation rows whose sums fit the registers
#define QUERY_ROWS 6 // query vectors that a pass over exact pages serves
#define PAGE_RUNS(W) ((W) == 1 ? 4 : (W) == 2 ? 2 : 1) // runs of 16 tokens or channels that W of them treat at once: their sums fit the registers
#define SCAN_HEADS 4 // query heads that a pass over an index serves
#define COLD_KERNELS 1 // attention over cold pages without making floats of them
#define COLD_ROWS 3 // query vectors that a pass over cold pages serves
#define LATER_LINES 0 // lines of weights that come beside two cold pages (later.h)
#define COLD_SUMS 4 // sums of values that fit the registers beside what they take up

typedef struct { __m256i a, b; } vi;
typedef struct { __m256i a, b; } vw;
typedef struct { __m256 a, b; } vf;

INLINE vi vi_zero(void) { return (vi){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
INLINE vi vi_add(vi x, vi y) { return (vi){_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
INLINE vf vi_float(vi x) { return (vf){_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
INLINE vi vi_dot(vi acc, vw w, const pair *x) {
	__m256i v = _mm256_set1_epi32(*x);
	return (vi){_mm256_add_epi32(acc.a, _mm256_madd_epi16(w.a, v)), _mm256_add_epi32(acc.b, _mm256_madd_epi16(w.b, v))};
}

// Sums of four rows' products of codes and pairs of inputs. Left to itself, the
// compiler runs out of registers and keeps sums in memory: every addition waits for
// the one before to be stored. A sum begins with its first product.
#define DOT_CODES(AT) "vmovdqu " AT "(%[w]), %[wa]\n\tvmovdqu 32+" AT "(%[w]), %[wb]\n\t"
#define DOT_FIRST_ROW(AT, A, B) "vpbroadcastd " AT "(%[x]), %[" B "]\n\tvpmaddwd %[" B "], %[wa], %[" A "]\n\tvpmaddwd %[" B "], %[wb], %[" B "]\n\t"
#define DOT_FIRST DOT_FIRST_ROW("0", "a0", "b0") DOT_FIRST_ROW("4", "a1", "b1") DOT_FIRST_ROW("8", "a2", "b2") DOT_FIRST_ROW("12", "a3", "b3")
#define DOT_ROW(AT, A, B) \
	"vpbroadcastd " AT "(%[x]), %[v]\n\tvpmaddwd %[v], %[wa], %[u]\n\tvpmaddwd %[v], %[wb], %[v]\n\t" \
	"vpaddd %[u], %[" A "], %[" A "]\n\tvpaddd %[v], %[" B "], %[" B "]\n\t"
#define DOT_NEXT DOT_ROW("0", "a0", "b0") DOT_ROW("4", "a1", "b1") DOT_ROW("8", "a2", "b2") DOT_ROW("12", "a3", "b3")
#define DOT_SUMS(USE) [a0] USE(a[0].a), [b0] USE(a[0].b), [a1] USE(a[1].a), [b1] USE(a[1].b), [a2] USE(a[2].a), [b2] USE(a[2].b), [a3] USE(a[3].a), [b3] USE(a[3].b)
#define DOT_PRODUCTS [u] "=&x"(u), [v] "=&x"(v)

// vi_dots_first begins the sums with one product, vi_dots_next adds one.
INLINE void vi_dots_first(vi a[4], vw w, const pair *x) {
	__asm__ volatile(DOT_FIRST : DOT_SUMS("=&x") : [wa] "x"(w.a), [wb] "x"(w.b), [x] "r"(x) : "memory");
}
INLINE void vi_dots_next(vi a[4], vw w, const pair *x) {
	__m256i u, v;
	__asm__ volatile(DOT_NEXT : DOT_SUMS("+x"), DOT_PRODUCTS : [wa] "x"(w.a), [wb] "x"(w.b), [x] "r"(x) : "memory");
}
// vi_dots makes the sums of n products, an even number from 4 on; the pairs of a
// product are step bytes behind those of the one before.
INLINE void vi_dots(vi a[4], int n, const int16_t *w, const pair *x, int64_t step) {
	__m256i wa, wb, u, v;
	__asm__ volatile(DOT_CODES("0") DOT_FIRST "add %[step], %[x]\n\t" DOT_CODES("64") DOT_NEXT "sub $2, %[n]\n"
		"1:\n\tadd %[step], %[x]\n\tadd $128, %[w]\n\t" DOT_CODES("0") DOT_NEXT "add %[step], %[x]\n\t" DOT_CODES("64") DOT_NEXT "sub $2, %[n]\n\tjnz 1b"
		: DOT_SUMS("=&x"), DOT_PRODUCTS, [wa] "=&x"(wa), [wb] "=&x"(wb), [n] "+r"(n), [w] "+r"(w), [x] "+r"(x)
		: [step] "r"(step)
		: "memory", "cc");
}
#define PANEL_DOTS 4 // rows of vi_dots
#define WIDEN_ROWS 4 // rows that are multiplied while a tile is widened

INLINE vw vw_load(const void *p) { return (vw){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)p + 1)}; }
INLINE void vw_store(void *p, vw x) { _mm256_storeu_si256((__m256i *)p, x.a), _mm256_storeu_si256((__m256i *)p + 1, x.b); }
INLINE vw vw_set(int x) { return (vw){_mm256_set1_epi16((short)x), _mm256_set1_epi16((short)x)}; }
INLINE vw vw_shr(vw x, int n) { return (vw){_mm256_srli_epi16(x.a, n), _mm256_srli_epi16(x.b, n)}; }
INLINE vw vw_sar(vw x, int n) { return (vw){_mm256_srai_epi16(x.a, n), _mm256_srai_epi16(x.b, n)}; }
INLINE vw vw_shl(vw x, int n) { return (vw){_mm256_slli_epi16(x.a, n), _mm256_slli_epi16(x.b, n)}; }
INLINE vw vw_and(vw x, vw y) { return (vw){_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)}; }
INLINE vw vw_or(vw x, vw y) { return (vw){_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
INLINE vw vw_sub(vw x, vw y) { return (vw){_mm256_sub_epi16(x.a, y.a), _mm256_sub_epi16(x.b, y.b)}; }
INLINE vw vw_table(const int8_t t[16]) {
	__m256i b = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)t));
	return (vw){b, b};
}
// The high byte of every word gets bit 7, for which the byte shuffle yields 0;
// shifting left and back extends the sign of the low one.
INLINE __m256i pick_half(__m256i table, __m256i x) {
	__m256i i = _mm256_or_si256(_mm256_and_si256(x, _mm256_set1_epi16(15)), _mm256_set1_epi16((short)0x8000));
	return _mm256_srai_epi16(_mm256_slli_epi16(_mm256_shuffle_epi8(table, i), 8), 8);
}
INLINE vw vw_pick(vw t, vw x) { return (vw){pick_half(t.a, x.a), pick_half(t.b, x.b)}; }

// vb is 64 bytes: four for each lane.
typedef struct { __m256i a, b; } vb;
INLINE vb vb_load(const void *p) { return (vb){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)p + 1)}; }
// vb_bits picks the bits of a mask from every byte, from bit at on.
INLINE vb vb_bits(vb x, int at, int mask) {
	const __m256i m = _mm256_set1_epi8((char)mask);
	return (vb){_mm256_and_si256(_mm256_srli_epi16(x.a, at), m), _mm256_and_si256(_mm256_srli_epi16(x.b, at), m)};
}
// vc sums codes of two bits, four to a lane, times signed bytes: pairs of them in 16
// bits, which hold 43 products of each.
typedef struct { __m256i a, b; } vc;
INLINE vc vc_zero(void) { return (vc){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
INLINE vc vc_dot(vc acc, vb x, const int32_t *q) {
	// The compiler would keep what it has once spread, in memory for lack of registers.
	__m256i y;
	__asm__ volatile("vpbroadcastd %1, %0" : "=x"(y) : "m"(*q));
	return (vc){_mm256_add_epi16(acc.a, _mm256_maddubs_epi16(x.a, y)), _mm256_add_epi16(acc.b, _mm256_maddubs_epi16(x.b, y))};
}
INLINE vi vc_wide(vc x) {
	const __m256i one = _mm256_set1_epi16(1);
	return (vi){_mm256_madd_epi16(x.a, one), _mm256_madd_epi16(x.b, one)};
}
INLINE int vi_sum(vi x) {
	__m256i s = _mm256_add_epi32(x.a, x.b);
	__m128i q = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
	q = _mm_add_epi32(q, _mm_shuffle_epi32(q, 0x4e));
	return _mm_cvtsi128_si32(_mm_add_epi32(q, _mm_shuffle_epi32(q, 0xb1)));
}
// vi_fold keeps the larger of lanes 8 apart.
INLINE void vi_fold(vi x, int32_t *p) { _mm256_storeu_si256((__m256i *)p, _mm256_max_epi32(x.a, x.b)); }

// vi_above has a bit for each of 16 numbers that is larger than y.
INLINE uint32_t vi_above(const int32_t *x, int32_t y) {
	const __m256i a = _mm256_cmpgt_epi32(_mm256_loadu_si256((const __m256i *)x), _mm256_set1_epi32(y)), b = _mm256_cmpgt_epi32(_mm256_loadu_si256((const __m256i *)(x + 8)), _mm256_set1_epi32(y));
	return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(a)) | (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(b)) << 8;
}
// vi_count_from adds 1 to a lane where x is at least y.
INLINE vi vi_count_from(vi n, const int32_t *x, int32_t y) {
	const __m256i *p = (const __m256i *)x, below = _mm256_set1_epi32(y), one = _mm256_set1_epi32(1);
	return (vi){_mm256_add_epi32(n.a, _mm256_add_epi32(one, _mm256_cmpgt_epi32(below, _mm256_loadu_si256(p)))),
		_mm256_add_epi32(n.b, _mm256_add_epi32(one, _mm256_cmpgt_epi32(below, _mm256_loadu_si256(p + 1))))};
}

INLINE vf vf_zero(void) { return (vf){_mm256_setzero_ps(), _mm256_setzero_ps()}; }
INLINE vf vf_set(float x) { return (vf){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INLINE vf vf_load(const float *p) { return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE void vf_store(float *p, vf x) { _mm256_storeu_ps(p, x.a), _mm256_storeu_ps(p + 8, x.b); }
INLINE vf vf_add(vf x, vf y) { return (vf){_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
INLINE vf vf_sub(vf x, vf y) { return (vf){_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
INLINE vf vf_mul(vf x, vf y) { return (vf){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
INLINE vf vf_div(vf x, vf y) { return (vf){_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
INLINE vf vf_fma(vf x, vf y, vf z) { return (vf){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
INLINE vf vf_max(vf x, vf y) { return (vf){_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
INLINE vf vf_min(vf x, vf y) { return (vf){_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
INLINE vf vf_abs(vf x) {
	__m256 m = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
	return (vf){_mm256_and_ps(x.a, m), _mm256_and_ps(x.b, m)};
}
INLINE vf vf_round(vf x) {
	return (vf){_mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
INLINE vi vf_int(vf x) { return (vi){_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
INLINE __m256 pow2_half(__m256 x, __m256 n) {
	// Two factors: 2^-149 is not reachable by one exponent field.
	__m256i e = _mm256_cvtps_epi32(n), h = _mm256_srai_epi32(e, 1);
	__m256i f = _mm256_slli_epi32(_mm256_add_epi32(h, _mm256_set1_epi32(127)), 23);
	__m256i g = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(e, h), _mm256_set1_epi32(127)), 23);
	return _mm256_mul_ps(_mm256_mul_ps(x, _mm256_castsi256_ps(f)), _mm256_castsi256_ps(g));
}
INLINE vf vf_pow2(vf x, vf n) { return (vf){pow2_half(x.a, n.a), pow2_half(x.b, n.b)}; }
INLINE float vf_sum(vf x) {
	__m256 s = _mm256_add_ps(x.a, x.b);
	__m128 q = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
	q = _mm_add_ps(q, _mm_movehl_ps(q, q));
	return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
INLINE float vf_top(vf x) {
	__m256 s = _mm256_max_ps(x.a, x.b);
	__m128 q = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
	q = _mm_max_ps(q, _mm_movehl_ps(q, q));
	return _mm_cvtss_f32(_mm_max_ss(q, _mm_shuffle_ps(q, q, 1)));
}
// vf_finite says that all are finite numbers: what is not is no number less itself.
INLINE int vf_finite(vf x) { return !_mm256_movemask_ps(_mm256_cmp_ps(_mm256_sub_ps(x.a, x.a), _mm256_sub_ps(x.b, x.b), _CMP_UNORD_Q)); }
INLINE vf vf_half(const void *p) {
	const __m128i *h = p;
	return (vf){_mm256_cvtph_ps(_mm_loadu_si128(h)), _mm256_cvtph_ps(_mm_loadu_si128(h + 1))};
}
INLINE void vf_store_half(void *p, vf x) {
	__m128i *h = p;
	_mm_storeu_si128(h, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
	_mm_storeu_si128(h + 1, _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
INLINE vf vf_bf16(const void *p) {
	const __m128i *h = p;
	return (vf){_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(h)), 16)),
		_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(h + 1)), 16))};
}
INLINE vi bytes_u(const uint8_t *p) {
	return (vi){_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)), _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(p + 8)))};
}
INLINE vf vf_u8(const uint8_t *p) { return vi_float(bytes_u(p)); }
INLINE vf vf_i8(const uint8_t *p) {
	return vi_float((vi){_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)), _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(p + 8)))});
}
INLINE vf vf_u4_low(const uint8_t *p) {
	vi b = bytes_u(p);
	return vi_float((vi){_mm256_and_si256(b.a, _mm256_set1_epi32(15)), _mm256_and_si256(b.b, _mm256_set1_epi32(15))});
}
INLINE vf vf_u4_high(const uint8_t *p) {
	vi b = bytes_u(p);
	return vi_float((vi){_mm256_srli_epi32(b.a, 4), _mm256_srli_epi32(b.b, 4)});
}
INLINE vf bytes_float(__m128i x) {
	return vi_float((vi){_mm256_cvtepu8_epi32(x), _mm256_cvtepu8_epi32(_mm_srli_si128(x, 8))});
}
// vf_steps are steps that are bytes, of so many eighths of a power of two.
INLINE vf vf_steps(const uint8_t *p, const float *mantissas) {
	const vi b = bytes_u(p);
	const __m256i m = _mm256_castps_si256(_mm256_loadu_ps(mantissas)), low = _mm256_set1_epi32(16);
#define STEPS(x) _mm256_castsi256_ps(_mm256_add_epi32(_mm256_permutevar8x32_epi32(m, x), _mm256_slli_epi32(_mm256_sub_epi32(_mm256_srli_epi32(x, 3), low), 23)))
	return (vf){STEPS(b.a), STEPS(b.b)};
#undef STEPS
}
// vi_store_bytes keeps the low byte of every lane.
INLINE void vi_store_bytes(uint8_t *p, vi x) {
	const __m256i m = _mm256_set1_epi32(255);
	const __m256i w = _mm256_permute4x64_epi64(_mm256_packus_epi32(_mm256_and_si256(x.a, m), _mm256_and_si256(x.b, m)), 0xd8);
	_mm_storeu_si128((__m128i *)p, _mm_packus_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1)));
}
INLINE void vi_store_words(int16_t *p, vi x) {
	__m256i w = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8);
	_mm256_storeu_si256((__m256i *)p, w);
}
// vf_six are the 64 codes of a run in 6 bits (offload.Record).
INLINE void vf_six(const uint8_t *run, vf *code) {
	const __m128i *p = (const __m128i *)run, m = _mm_set1_epi8(63);
	const __m128i a = _mm_loadu_si128(p), b = _mm_loadu_si128(p + 1), c = _mm_loadu_si128(p + 2);
	const __m128i low = _mm_and_si128(_mm_srli_epi16(a, 6), _mm_set1_epi8(3)), mid = _mm_and_si128(_mm_srli_epi16(b, 4), _mm_set1_epi8(12));
	const __m128i high = _mm_and_si128(_mm_srli_epi16(c, 2), _mm_set1_epi8(48));
	code[0] = bytes_float(_mm_and_si128(a, m)), code[1] = bytes_float(_mm_and_si128(b, m)), code[2] = bytes_float(_mm_and_si128(c, m));
	code[3] = bytes_float(_mm_or_si128(_mm_or_si128(low, mid), high));
}
