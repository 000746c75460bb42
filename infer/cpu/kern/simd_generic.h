// Vector primitives in the compiler's vector extensions: NEON on arm64, SSE2 on
// older x86. Lanes that no vector instruction serves become loops.
#include <math.h>
#include <string.h>
#if defined(__ARM_NEON)
#include <arm_neon.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define PANEL_ROWS 4 // activation rows whose sums fit the registers
#define QUERY_ROWS 3 // query vectors that a pass over exact pages serves
#define PAGE_RUNS(W) ((W) == 1 ? 4 : 2) // runs of 16 tokens or channels that W of them treat at once: their sums fit the registers
#define SCAN_HEADS 1 // query heads that a pass over an index serves; a compiler needs minutes to unroll more of these
#define COLD_KERNELS 0 // for the same reason
#define COLD_ROWS 3 // query vectors that a pass over cold pages serves
#define LATER_LINES 0 // lines of weights that come beside two cold pages (later.h)
#define COLD_SUMS 4 // sums of values that fit the registers beside what they take up

typedef int32_t vi __attribute__((vector_size(64)));
typedef int16_t vw __attribute__((vector_size(64)));
typedef uint16_t vu __attribute__((vector_size(64)));
typedef float vf __attribute__((vector_size(64)));

INLINE vi vi_zero(void) { return (vi){0}; }
INLINE vi vi_add(vi a, vi b) { return a + b; }
INLINE vf vi_float(vi a) { return __builtin_convertvector(a, vf); }
INLINE vi vi_dot(vi acc, vw w, const pair *x) {
#if defined(__ARM_NEON)
	int16_t lo = (int16_t)*x, hi = (int16_t)(*x >> 16);
	int32x4_t r[4];
	int16x8_t v[4];
	memcpy(r, &acc, sizeof r), memcpy(v, &w, sizeof v);
	for (int i = 0; i < 4; i++) {
		int16x8_t even = vuzp1q_s16(v[i], v[i]), odd = vuzp2q_s16(v[i], v[i]);
		r[i] = vmlal_n_s16(r[i], vget_low_s16(even), lo);
		r[i] = vmlal_n_s16(r[i], vget_low_s16(odd), hi);
	}
	memcpy(&acc, r, sizeof r);
	return acc;
#elif defined(__SSE2__)
	__m128i r[4], v[4], both = _mm_set1_epi32(*x);
	memcpy(r, &acc, sizeof r), memcpy(v, &w, sizeof v);
	for (int i = 0; i < 4; i++) r[i] = _mm_add_epi32(r[i], _mm_madd_epi16(v[i], both));
	memcpy(&acc, r, sizeof r);
	return acc;
#else
	int16_t lo = (int16_t)*x, hi = (int16_t)(*x >> 16);
	for (int l = 0; l < 16; l++) acc[l] += w[2 * l] * lo + w[2 * l + 1] * hi;
	return acc;
#endif
}

INLINE vw vw_load(const void *p) { vw v; memcpy(&v, p, sizeof v); return v; }
INLINE void vw_store(void *p, vw a) { memcpy(p, &a, sizeof a); }
INLINE vw vw_set(int x) { return (vw){0} + (int16_t)x; }
INLINE vw vw_shr(vw a, int n) { return (vw)((vu)a >> n); }
INLINE vw vw_sar(vw a, int n) { return a >> n; }
INLINE vw vw_shl(vw a, int n) { return (vw)((vu)a << n); }
INLINE vw vw_and(vw a, vw b) { return a & b; }
INLINE vw vw_or(vw a, vw b) { return a | b; }
INLINE vw vw_sub(vw a, vw b) { return a - b; }
INLINE vw vw_table(const int8_t t[16]) {
	vw v = {0};
	for (int i = 0; i < 16; i++) v[i] = t[i];
	return v;
}
INLINE vw vw_pick(vw table, vw a) {
	vw v;
	for (int i = 0; i < 32; i++) v[i] = table[a[i] & 15];
	return v;
}

// vb is 64 bytes: four for each lane.
typedef uint8_t vb __attribute__((vector_size(64)));
INLINE vb vb_load(const void *p) { vb v; memcpy(&v, p, sizeof v); return v; }
// vb_bits picks the bits of a mask from every byte, from bit at on.
INLINE vb vb_bits(vb a, int at, int mask) { return (a >> at) & (uint8_t)mask; }
// vc sums codes, four to a lane, times signed bytes.
typedef vi vc;
INLINE vc vc_zero(void) { return vi_zero(); }
INLINE vc vc_dot(vc acc, vb a, const int32_t *q) {
	int8_t y[4];
	memcpy(y, q, sizeof y);
	for (int l = 0; l < 16; l++)
		for (int j = 0; j < 4; j++) acc[l] += (int)a[4 * l + j] * y[j];
	return acc;
}
INLINE vi vc_wide(vc a) { return a; }
INLINE int vi_sum(vi a) {
	int s = 0;
	for (int i = 0; i < 16; i++) s += a[i];
	return s;
}
// vi_fold keeps the larger of lanes 8 apart.
INLINE void vi_fold(vi a, int32_t *p) { for (int i = 0; i < 8; i++) p[i] = a[i] > a[i + 8] ? a[i] : a[i + 8]; }

// vi_above has a bit for each of 16 numbers that is larger than y.
INLINE uint32_t vi_above(const int32_t *x, int32_t y) {
	uint32_t m = 0;
	for (int i = 0; i < 16; i++) m |= (uint32_t)(x[i] > y) << i;
	return m;
}
// vi_count_from adds 1 to a lane where x is at least y.
INLINE vi vi_count_from(vi n, const int32_t *x, int32_t y) {
	for (int i = 0; i < 16; i++) n[i] += x[i] >= y;
	return n;
}

INLINE vf vf_zero(void) { return (vf){0}; }
INLINE vf vf_set(float x) { return (vf){0} + x; }
INLINE vf vf_load(const float *p) { vf v; memcpy(&v, p, sizeof v); return v; }
INLINE void vf_store(float *p, vf a) { memcpy(p, &a, sizeof a); }
INLINE vf vf_add(vf a, vf b) { return a + b; }
INLINE vf vf_sub(vf a, vf b) { return a - b; }
INLINE vf vf_mul(vf a, vf b) { return a * b; }
INLINE vf vf_div(vf a, vf b) { return a / b; }
// Without the instruction, a fused sum would be a library call per lane.
INLINE vf vf_fma(vf a, vf b, vf c) {
#if defined(__ARM_FEATURE_FMA)
	vf r;
	for (int i = 0; i < 16; i++) r[i] = __builtin_fmaf(a[i], b[i], c[i]);
	return r;
#else
	return a * b + c;
#endif
}
INLINE vf choose(vi mask, vf a, vf b) { return (vf)(((vi)a & mask) | ((vi)b & ~mask)); }
INLINE vf vf_max(vf a, vf b) { return choose(a > b, a, b); }
INLINE vf vf_min(vf a, vf b) { return choose(a < b, a, b); }
INLINE vf vf_abs(vf a) { return (vf)((vi)a & 0x7fffffff); }
// vf_round is right below 2^22, which its users stay far below: adding 1.5 * 2^23
// leaves no bits for a fraction.
INLINE vf vf_round(vf a) { return a + 0x1.8p23f - 0x1.8p23f; }
INLINE vi vf_int(vf a) { return __builtin_convertvector(vf_round(a), vi); }
INLINE vf vf_pow2(vf a, vf n) {
	vi e = vf_int(n), h = e >> 1;
	return a * (vf)((h + 127) << 23) * (vf)((e - h + 127) << 23);
}
// Sums pair lanes 8, 4, 2, 1 apart.
INLINE float vf_sum(vf a) {
	float s[16];
	memcpy(s, &a, sizeof s);
	for (int n = 8; n > 0; n /= 2)
		for (int i = 0; i < n; i++) s[i] += s[i + n];
	return s[0];
}
INLINE float vf_top(vf a) {
	float m = a[0];
	for (int i = 1; i < 16; i++) m = a[i] > m ? a[i] : m;
	return m;
}
// vf_finite says that all are finite numbers: what is not is no number less itself.
INLINE int vf_finite(vf a) {
	int finite = 1;
	for (int i = 0; i < 16; i++) finite &= a[i] - a[i] == 0;
	return finite;
}
INLINE float half_float(uint16_t h) {
#if defined(__ARM_NEON)
	__fp16 x;
	memcpy(&x, &h, 2);
	return x;
#else
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, man = h & 1023, bits;
	if (exp == 0) {
		float f = (float)man * 0x1p-24f;
		memcpy(&bits, &f, 4);
	} else {
		bits = (exp == 31 ? 255u : exp + 112) << 23 | man << 13;
	}
	bits |= sign;
	float f;
	memcpy(&f, &bits, 4);
	return f;
#endif
}
INLINE uint16_t float_half(float f) {
#if defined(__ARM_NEON)
	__fp16 x = (__fp16)f;
	uint16_t h;
	memcpy(&h, &x, 2);
	return h;
#else
	uint32_t bits;
	memcpy(&bits, &f, 4);
	uint16_t sign = bits >> 16 & 0x8000;
	bits &= 0x7fffffff;
	if (bits > 0x7f800000) return sign | 0x7e00 | (bits >> 13 & 0x3ff);
	if (bits >= 0x477ff000) return sign | 0x7c00; // rounds past the largest half
	if (bits < 0x38800000) { // subnormal: adding 0.5 aligns and rounds the mantissa
		float a;
		memcpy(&a, &bits, 4);
		a += 0.5f;
		memcpy(&bits, &a, 4);
		return sign | (uint16_t)(bits - 0x3f000000);
	}
	return sign | (uint16_t)((bits - 0x38000000 + 0xfff + (bits >> 13 & 1)) >> 13);
#endif
}
INLINE vf vf_half(const void *p) {
	vf v;
	uint16_t h[16];
	memcpy(h, p, sizeof h);
	for (int i = 0; i < 16; i++) v[i] = half_float(h[i]);
	return v;
}
INLINE void vf_store_half(void *p, vf a) {
	uint16_t h[16];
	for (int i = 0; i < 16; i++) h[i] = float_half(a[i]);
	memcpy(p, h, sizeof h);
}
INLINE vf vf_bf16(const void *p) {
	uint16_t h[16];
	vi v;
	memcpy(h, p, sizeof h);
	for (int i = 0; i < 16; i++) v[i] = (int32_t)((uint32_t)h[i] << 16);
	return (vf)v;
}
INLINE vf vf_u8(const uint8_t *p) { vf v; for (int i = 0; i < 16; i++) v[i] = p[i]; return v; }
INLINE vf vf_i8(const uint8_t *p) { vf v; for (int i = 0; i < 16; i++) v[i] = (int8_t)p[i]; return v; }
INLINE vf vf_u4_low(const uint8_t *p) { vf v; for (int i = 0; i < 16; i++) v[i] = p[i] & 15; return v; }
INLINE vf vf_u4_high(const uint8_t *p) { vf v; for (int i = 0; i < 16; i++) v[i] = p[i] >> 4; return v; }
// vf_six are the 64 codes of a run in 6 bits (offload.Record).
INLINE void vf_six(const uint8_t *run, vf *code) {
	for (int i = 0; i < 16; i++) {
		const uint8_t a = run[i], b = run[16 + i], c = run[32 + i];
		code[0][i] = a & 63, code[1][i] = b & 63, code[2][i] = c & 63, code[3][i] = a >> 6 | b >> 6 << 2 | c >> 6 << 4;
	}
}
// vf_steps are steps that are bytes, of so many eighths of a power of two.
INLINE vf vf_steps(const uint8_t *p, const float *mantissas) {
	vf v;
	for (int i = 0; i < 16; i++) v[i] = mantissas[p[i] % 8];
	vi bits = (vi)v;
	for (int i = 0; i < 16; i++) bits[i] += (p[i] / 8 - 16) * (1 << 23);
	return (vf)bits;
}
// vi_store_bytes keeps the low byte of every lane.
INLINE void vi_store_bytes(uint8_t *p, vi a) { for (int i = 0; i < 16; i++) p[i] = (uint8_t)a[i]; }
INLINE void vi_store_words(int16_t *p, vi a) { for (int i = 0; i < 16; i++) p[i] = (int16_t)a[i]; }
// vf_tops writes the largest lanes, vf_sums and vi_sums the sums, of x [W], to out [4].
INLINE void vf_tops(const int W, const vf *x, float *out) { for (int w = 0; w < W; w++) out[w] = vf_top(x[w]); }
INLINE void vf_sums(const int W, const vf *x, float *out) { for (int w = 0; w < W; w++) out[w] = vf_sum(x[w]); }
INLINE void vi_sums(const int W, const vi *x, int32_t *out) { for (int w = 0; w < W; w++) out[w] = vi_sum(x[w]); }
