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

// dots_width is how many of n query vectors are treated at once.
INLINE int dots_width(const int n) { return n >= 6 ? 6 : n == 5 ? 4 : n; }

#ifdef DOTS
#include DOTS

// run_scores writes the scores [W][COLD_TOK], ld apart, of n records' tokens to score[i]. All are
// prepared before the first product, so that neither waits for the other. The keys of the
// record at next[i] are asked for beside the i-th.
INLINE void run_scores(const int W, const int dim, const record *r, const uint8_t *const *rec, int n, const float *q, float *const *score, int ld, const uint8_t *const *next) {
	digits d[DOTS_RUN];
	for (int i = 0; i < n; i++) key_digits(W, dim, rec[i], rec[i] + r->k_steps, step_mantissas, q, d + i);
	for (int i = 0; i < n; i++) key_dots(W, dim, rec[i] + r->k, d + i, score[i], ld, next[i], next[i] ? r->v_scales : 0);
}

// run_values writes acc [W][dim] for the values of n records' tokens with weights p [W][SPAN].
// Weights of the next products are asked for in its first pass over the records.
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
	static void __attribute__((noinline)) run_scores_##W(const record *r, int dim, const uint8_t *const *rec, int n, const float *q, float *const *score, int ld, const uint8_t *const *next) { \
		if (dim == 64) run_scores(W, 64, r, rec, n, q, score, ld, next); \
		else run_scores(W, 128, r, rec, n, q, score, ld, next); \
	} \
	static void __attribute__((noinline)) run_values_##W(const record *r, int dim, const uint8_t *const *rec, int n, const float *p, float *acc, const exec *e, later *next, int lines) { \
		if (dim == 64) run_values(W, 64, r, rec, n, p, acc, e, next, lines); \
		else run_values(W, 128, r, rec, n, p, acc, e, next, lines); \
	}
RUN_WIDTH(1) RUN_WIDTH(2) RUN_WIDTH(3) RUN_WIDTH(4) RUN_WIDTH(6)
#define RUN_CASES(F, ...) \
	switch (W) { \
	case 1: F##_1(__VA_ARGS__); break; \
	case 2: F##_2(__VA_ARGS__); break; \
	case 3: F##_3(__VA_ARGS__); break; \
	case 4: F##_4(__VA_ARGS__); break; \
	default: F##_6(__VA_ARGS__); \
	}
#else
#define RUN_CASES(F, ...)
#endif

static void dots_scores(const int W, const record *r, int dim, const uint8_t *const *rec, int n, const float *q, float *const *score, int ld, const uint8_t *const *next) {
	(void)W, (void)r, (void)dim, (void)rec, (void)n, (void)q, (void)score, (void)ld, (void)next; // where there are no kernels
	RUN_CASES(run_scores, r, dim, rec, n, q, score, ld, next)
}

static void dots_values(const int W, const record *r, int dim, const uint8_t *const *rec, int n, const float *p, float *acc, const exec *e, later *next, int lines) {
	(void)W, (void)r, (void)dim, (void)rec, (void)n, (void)p, (void)acc, (void)e, (void)next, (void)lines;
	RUN_CASES(run_values, r, dim, rec, n, p, acc, e, next, lines)
}
