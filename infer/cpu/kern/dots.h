// Attention over many records at a time by products of bytes, where there are such products
// (dots_avx512.h).

// dots_fast says whether a record's keys and values have such kernels.
INLINE int dots_fast(const record *r, int dim) {
#ifdef DOTS
	return r->group == COLD_TOK && r->k_bits == 6 && r->v_bits == 4 && (dim == 64 || dim == 128);
#else
	(void)r, (void)dim;
	return 0;
#endif
}

enum { DOTS_RUN = 8 }; // records whose scores are computed in one go

#ifdef DOTS
#include DOTS

// run_scores writes the scores of n records' tokens for W queries, the first being the
// first-th, as dots_scores does. All are prepared before the first product, so that neither
// waits for the other.
INLINE void run_scores(const int W, const int dim, const record *r, const uint8_t *const *rec, int n, const float *q, int first, float *const *score, int ld, const uint8_t *const *next) {
	digits d[DOTS_RUN];
	for (int i = 0; i < n; i++) key_digits(W, dim, rec[i], rec[i] + r->k_steps, step_mantissas, q + first * dim, d + i);
	for (int i = 0; i < n; i++) {
		const uint8_t *soon = next && !first ? next[i] : 0; // asked for once
		key_dots(W, dim, rec[i] + r->k, d + i, score[i] + first * ld, ld, soon, soon ? r->v_scales : 0);
	}
}

// run_values does what dots_values does for W query vectors, and asks for so many lines with
// each four tokens.
INLINE void run_values(const int W, const int dim, const record *rec_of, const uint8_t *const *rec, int n, const float *p, float *acc, const exec *e, later *next, int lines) {
	const record r = cold_record(rec_of, 6, 4, dim);
	for (int g = 0; g < dim / V_GROUP; g++) {
		float x[DOTS_HEADS * SPAN], base[8], top[8] = {0}, inv[8], unit[8];
		uint8_t high[DOTS_HEADS * SPAN], low[DOTS_HEADS * SPAN];
		vf sum[DOTS_HEADS], most[DOTS_HEADS];
#pragma GCC unroll 6
		for (int w = 0; w < W; w++) sum[w] = most[w] = vf_zero();
		for (int i = 0; i < n; i++) {
			float zero[COLD_TOK], step[COLD_TOK];
			value_scales(&r, rec[i], g, 0, COLD_TOK, zero, step);
#pragma GCC unroll 6
			for (int w = 0; w < W; w++) {
				const vf y = vf_load(p + w * SPAN + i * COLD_TOK), z = vf_mul(y, vf_load(step));
				sum[w] = vf_fma(y, vf_load(zero), sum[w]), most[w] = vf_max(z, most[w]);
				vf_store(x + w * SPAN + i * COLD_TOK, z);
			}
		}
#pragma GCC unroll 2
		for (int w = 0; w < W; w += 4) vf_sums(W - w < 4 ? W - w : 4, sum + w, base + w), vf_tops(W - w < 4 ? W - w : 4, most + w, top + w);
		scales_from(top, 65535, inv, unit);
		for (int w = 0; w < W; w++)
			for (int at = w * SPAN; at < w * SPAN + n * COLD_TOK; at += 16) store_digits(vf_int(vf_mul(vf_load(x + at), vf_set(inv[w]))), high + at, low + at);
		const int at = r.v + g * V_GROUP / 2;
		float *to = acc + g * V_GROUP;
		if (W <= 3) {
			value_dots(W, 2, r.v_row, rec, n, at, 0, high, low, base, unit, to, dim, e, next, g ? 0 : lines);
			continue;
		}
		for (int run = 0; run < 2; run++) value_dots(W, 1, r.v_row, rec, n, at, run, high, low, base, unit, to + 32 * run, dim, e, next, g + run ? 0 : lines);
	}
}

#define RUN_WIDTH(W) \
	static void __attribute__((noinline)) run_scores_##W(const record *r, int dim, const uint8_t *const *rec, int n, const float *q, int first, float *const *score, int ld, const uint8_t *const *next) { \
		if (dim == 64) run_scores(W, 64, r, rec, n, q, first, score, ld, next); \
		else run_scores(W, 128, r, rec, n, q, first, score, ld, next); \
	} \
	static void __attribute__((noinline)) run_values_##W(const record *r, int dim, const uint8_t *const *rec, int n, const float *p, float *acc, const exec *e, later *next, int lines) { \
		if (dim == 64) run_values(W, 64, r, rec, n, p, acc, e, next, lines); \
		else run_values(W, 128, r, rec, n, p, acc, e, next, lines); \
	}
RUN_WIDTH(1) RUN_WIDTH(2) RUN_WIDTH(3) RUN_WIDTH(4) RUN_WIDTH(6)
// EACH_RUN calls a function for so many of W vectors, from w on, as are treated at once.
#define EACH_RUN(W, F, ...) \
	for (int w = 0, left; (left = W - w) > 0;) switch (left) { \
		case 1: F##_1(__VA_ARGS__); w += 1; break; \
		case 2: F##_2(__VA_ARGS__); w += 2; break; \
		case 3: F##_3(__VA_ARGS__); w += 3; break; \
		case 4: case 5: F##_4(__VA_ARGS__); w += 4; break; \
		default: F##_6(__VA_ARGS__); w += 6; \
		}
#else
#define EACH_RUN(W, F, ...)
#endif

// dots_scores writes the scores [W][COLD_TOK], ld apart, of n records' tokens, DOTS_RUN at
// most, to score[i]. The keys of the record at next[i] are asked for beside the i-th; next may
// be null.
static void dots_scores(int W, const record *r, int dim, const uint8_t *const *rec, int n, const float *q, float *const *score, int ld, const uint8_t *const *next) {
	(void)W, (void)r, (void)dim, (void)rec, (void)n, (void)q, (void)score, (void)ld, (void)next; // where there are no kernels
	EACH_RUN(W, run_scores, r, dim, rec, n, q, w, score, ld, next)
}

// dots_values writes acc [W][dim] for the values of a span's n records with weights p [W][SPAN].
// Weights of the next products are asked for in the first pass over them.
static void dots_values(int W, const record *r, int dim, const uint8_t *const *rec, int n, const float *p, float *acc, const exec *e, later *next) {
	(void)W, (void)r, (void)dim, (void)rec, (void)n, (void)p, (void)acc, (void)e, (void)next;
	EACH_RUN(W, run_values, r, dim, rec, n, p + w * SPAN, acc + w * dim, e, next, w ? 0 : LATER_LINES / 8)
}
