// Attention over records of cold pages in the widths that plans choose: codes
// meet queries and weights that have taken up their steps, so that they need not
// become values first. With x = zero + step*code, q k is q zero + (q step) code,
// and p v is p zero + (p step) code.

// cold_fast says whether a record's keys and values have kernels here.
INLINE int cold_fast(const record *r) {
	return COLD_KERNELS && r->group == COLD_TOK && (r->k_bits == 8 || r->k_bits == 6) && (r->v_bits == 8 || r->v_bits == 4);
}

// cold_keys are the codes of channels c to c+3 of 16 tokens.
INLINE void cold_keys(const int bits, const uint8_t *k, int c, vf *code) {
	if (bits == 6) {
		vf_six(k + c / 4 * 48, code);
		return;
	}
#pragma GCC unroll 4
	for (int i = 0; i < 4; i++) code[i] = vf_u8(k + (c + i) * COLD_TOK);
}

// sums_of writes the sums of x [W] to out, which has room for whole fours.
INLINE void sums_of(const int W, const vf *x, float *out) {
#pragma GCC unroll 3
	for (int i = 0; i < W; i += 4) vf_sums(W - i < 4 ? W - i : 4, x + i, out + i);
}

// cold_scores writes the scores [W][SPAN] of a record's tokens. Queries q
// [W][lanes] are padded with 0; aux holds W+2 of them.
INLINE void cold_scores(const int W, const int bits, const record *r, const uint8_t *rec, int dim, const float *q, float *score, float *aux) {
	const int lanes = whole_lanes(dim);
	float *zero = aux, *step = aux + lanes, *scaled = aux + 2 * lanes;
	for (int c = dim; c < lanes; c++) zero[c] = step[c] = 0;
	halves_to(zero, rec, dim), steps_to(r, step, rec + r->k_steps, dim);
	vf base[MAX_QUERY], acc[MAX_QUERY];
	float sum[MAX_QUERY];
#pragma GCC unroll 12
	for (int i = 0; i < W; i++) {
		base[i] = vf_zero();
		for (int c = 0; c < lanes; c += 16) {
			const vf x = vf_load(q + i * lanes + c);
			base[i] = vf_fma(x, vf_load(zero + c), base[i]);
			vf_store(scaled + i * lanes + c, vf_mul(x, vf_load(step + c)));
		}
	}
	sums_of(W, base, sum);
#pragma GCC unroll 12
	for (int i = 0; i < W; i++) acc[i] = vf_set(sum[i]);
	for (int c = 0; c < dim; c += 4) {
		vf code[4];
		cold_keys(bits, rec + r->k, c, code);
#pragma GCC unroll 4
		for (int j = 0; j < 4; j++)
#pragma GCC unroll 12
			for (int i = 0; i < W; i++) acc[i] = vf_fma(code[j], vf_set(scaled[i * lanes + c + j]), acc[i]);
	}
#pragma GCC unroll 12
	for (int i = 0; i < W; i++) vf_store(score + i * SPAN, acc[i]);
}

// cold_channels adds 16 N channels from c on of a record's tokens, weighted by w
// [W][COLD_TOK], to acc [W][dim]; they lie in one run.
INLINE void cold_channels(const int W, const int N, const int bits, const record *r, const uint8_t *rec, int dim, int c, const float *w, const float *bias, float *acc, int fresh) {
	vf a[2 * MAX_QUERY]; // [W][N]
	const int whole = c + 16 * N <= dim;
#pragma GCC unroll 12
	for (int i = 0; i < W; i++)
#pragma GCC unroll 2
		for (int h = 0; h < N; h++) a[i * N + h] = vf_add(vf_set(bias[i]), fresh ? vf_zero() : vf_some(acc + i * dim + c + 16 * h, whole ? 16 : dim - c - 16 * h));
	const uint8_t *row = rec + r->v + c / 32 * 4 * bits;
	const int half = c / 16 % 2;
	for (int t = 0; t < COLD_TOK; t++, row += r->v_row) {
		vf code[2];
#pragma GCC unroll 2
		for (int h = 0; h < N; h++) code[h] = run_codes(bits, row, half + h);
#pragma GCC unroll 12
		for (int i = 0; i < W; i++) {
			const vf x = vf_set(w[i * COLD_TOK + t]);
#pragma GCC unroll 2
			for (int h = 0; h < N; h++) a[i * N + h] = vf_fma(code[h], x, a[i * N + h]);
		}
	}
#pragma GCC unroll 12
	for (int i = 0; i < W; i++)
#pragma GCC unroll 2
		for (int h = 0; h < N; h++) vf_store_some(acc + i * dim + c + 16 * h, a[i * N + h], whole ? 16 : dim - c - 16 * h);
}

// cold_values adds a record's tokens, with weights p [W][SPAN], to acc [W][dim].
INLINE void cold_values(const int W, const int bits, const record *r, const uint8_t *rec, int dim, const float *p, float *acc, int fresh) {
	for (int g = 0; g < r->v_groups; g++) {
		float z[COLD_TOK], s[COLD_TOK], w[MAX_QUERY * COLD_TOK], bias[MAX_QUERY];
		vf zeros[MAX_QUERY];
		value_scales(r, rec, g, 0, COLD_TOK, z, s);
#pragma GCC unroll 12
		for (int i = 0; i < W; i++) {
			const vf x = vf_load(p + i * SPAN);
			vf_store(w + i * COLD_TOK, vf_mul(x, vf_load(s)));
			zeros[i] = vf_mul(x, vf_load(z));
		}
		sums_of(W, zeros, bias);
		const int end = (g + 1) * V_GROUP < dim ? (g + 1) * V_GROUP : dim;
		for (int c = g * V_GROUP; c < end; c += 32) {
			if (2 * W <= COLD_SUMS) {
				cold_channels(W, 2, bits, r, rec, dim, c, w, bias, acc, fresh);
				continue;
			}
			cold_channels(W, 1, bits, r, rec, dim, c, w, bias, acc, fresh);
			if (c + 16 < end) cold_channels(W, 1, bits, r, rec, dim, c + 16, w, bias, acc, fresh);
		}
	}
}

// cold_record tells the compiler what follows from a record's widths, where these are constants.
INLINE record cold_record(const record *r, const int k_bits, const int v_bits, const int dim) {
	record x = *r;
	x.group = COLD_TOK, x.k_bits = k_bits, x.v_bits = v_bits;
	if (dim % V_GROUP == 0) x.v_groups = dim / V_GROUP, x.v_row = dim / 8 * v_bits;
	return x;
}

// Functions of W query vectors, which know widths that are common: of 6 and 4 bits, and of
// heads of 64 and 128 channels.
#define COLD_WIDTH(W) \
	static void __attribute__((noinline)) cold_scores_##W(const record *r, const uint8_t *rec, int dim, const float *q, float *score, float *aux) { \
		const record six = cold_record(r, 6, r->v_bits, dim); \
		if (r->k_bits == 8) cold_scores(W, 8, r, rec, dim, q, score, aux); \
		else if (dim == 64) cold_scores(W, 6, &six, rec, 64, q, score, aux); \
		else if (dim == 128) cold_scores(W, 6, &six, rec, 128, q, score, aux); \
		else cold_scores(W, 6, &six, rec, dim, q, score, aux); \
	} \
	static void __attribute__((noinline)) cold_values_##W(const record *r, const uint8_t *rec, int dim, const float *p, float *acc, int fresh) { \
		if (r->v_bits == 8) { \
			cold_values(W, 8, r, rec, dim, p, acc, fresh); \
		} else if (dim == 64) { \
			const record x = cold_record(r, r->k_bits, 4, 64); \
			cold_values(W, 4, &x, rec, 64, p, acc, fresh); \
		} else if (dim == 128) { \
			const record x = cold_record(r, r->k_bits, 4, 128); \
			cold_values(W, 4, &x, rec, 128, p, acc, fresh); \
		} else { \
			cold_values(W, 4, r, rec, dim, p, acc, fresh); \
		} \
	}
#if COLD_KERNELS
COLD_WIDTH(1) COLD_WIDTH(2) COLD_WIDTH(3)
#define COLD_CASES(F, ...) case 1: F##_1(__VA_ARGS__); break; case 2: F##_2(__VA_ARGS__); break; case 3: F##_3(__VA_ARGS__); break;
#if COLD_ROWS > 3
COLD_WIDTH(4) COLD_WIDTH(6) COLD_WIDTH(8) COLD_WIDTH(12)
#define COLD_MORE(F, ...) case 4: F##_4(__VA_ARGS__); break; case 6: F##_6(__VA_ARGS__); break; case 8: F##_8(__VA_ARGS__); break; case 12: F##_12(__VA_ARGS__); break;
#else
#define COLD_MORE(F, ...)
#endif
#else
#define COLD_CASES(F, ...)
#define COLD_MORE(F, ...)
#endif

// scores_of_cold and values_of_cold treat a record's tokens with W query vectors, so many of
// them at once as COLD_ROWS says.
INLINE void scores_of_cold(const int W, const record *r, const uint8_t *rec, int dim, const float *q, float *score, float *aux) {
	const int n = W <= COLD_ROWS ? W : W / 2;
	(void)r, (void)rec, (void)aux; // where there are no kernels
	for (int w = 0; w < W; w += n, q += n * whole_lanes(dim), score += n * SPAN)
		switch (n) { COLD_CASES(cold_scores, r, rec, dim, q, score, aux) COLD_MORE(cold_scores, r, rec, dim, q, score, aux) }
}

INLINE void values_of_cold(const int W, const record *r, const uint8_t *rec, int dim, const float *p, float *acc, int fresh) {
	const int n = W <= COLD_ROWS ? W : W / 2;
	(void)r, (void)rec, (void)fresh; // where there are no kernels
	for (int w = 0; w < W; w += n, p += n * SPAN, acc += n * dim)
		switch (n) { COLD_CASES(cold_values, r, rec, dim, p, acc, fresh) COLD_MORE(cold_values, r, rec, dim, p, acc, fresh) }
}

// ahead_bytes asks for bytes [from, to) of a record.
INLINE void ahead_bytes(const uint8_t *rec, int from, int to) {
	for (int i = from; i < to; i += 64) ahead(rec + i);
}
INLINE void ahead_keys(const record *r, const uint8_t *rec) { ahead_bytes(rec, 0, r->v_scales); }

// ahead_record asks for what attention reads of a record: without its keys where
// their scores are known.
INLINE void ahead_record(const record *r, const uint8_t *rec, const float *known) { ahead_bytes(rec, known ? r->v_scales : 0, r->bytes); }
