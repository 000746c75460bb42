// Products of activations with packed weights.
//
// Weights of integer codes meet activations of 15 bits and sign, 32 of which
// share a scale: sums over a group are exact integers, whatever the order, and
// groups are added in order in float32. So one row's result does not depend on
// how many rows a step has, nor on the vector width.

INLINE int group_width(int rows) { return rows >= 12 ? 12 : rows >= 8 ? 8 : rows >= 4 ? 4 : rows >= 2 ? 2 : 1; }

// panel is one tile with its codes widened, for steps of several rows.
typedef struct {
	int16_t *code; // [k/2][16][2]
	float *scale;  // [k/group][16]
	float *min;    // [k/group][16]
	const uint8_t *ahead; // the tile that this thread widens next, as a rule
	int ahead_block;      // its bytes for a block
	int kept;             // rows wait that will be multiplied with the panel
} panel;

INLINE panel panel_in(uint8_t *scratch, int k) {
	return (panel){.code = (int16_t *)scratch, .scale = (float *)(scratch + (int64_t)k * TILE * 2), .min = (float *)(scratch + (int64_t)k * TILE * 2 + (int64_t)k / 16 * TILE * 4)};
}
INLINE panel panel_alone(panel p) {
	p.ahead_block = 0;
	return p;
}
INLINE int64_t panel_bytes(int k) { return (int64_t)k * TILE * 2 + 2 * ((int64_t)k / 16 * TILE * 4); }

INLINE void unpack(const int type, const uint8_t *tile, int k, panel p) {
	const unit_layout l = unit_of(type);
	const int per = 32 / l.group; // groups per block
	vw iq4 = is_iq4(type) ? vw_table(iq4_values) : vw_set(0);
	for (int i = 0; i < k / l.k; i++, tile += l.bytes)
		for (int b = 0; b < l.k / 32; b++) {
			const int64_t block = (int64_t)i * (l.k / 32) + b;
#pragma GCC unroll 16
			for (int j = 0; j < 16; j++) vw_store(p.code + (block * 16 + j) * 32, code_at(type, tile, b, j, iq4));
			for (int g = 0; g < per; g++) {
				vf_store(p.scale + (block * per + g) * TILE, scale_at(type, tile, b * per + g));
				if (has_min(type)) vf_store(p.min + (block * per + g) * TILE, min_at(type, tile, b * per + g));
			}
		}
}

// vector is where a group of rows' activations begin.
typedef struct {
	const pair *q;
	const float *d, *s;
	int w; // width of the group
} vector;

INLINE vector vector_at(const quant *x, int k, int row, int width) {
	return (vector){(const pair *)(x->q + (int64_t)row * k), x->d + (int64_t)row * (k / 32), x->s + 3 * (int64_t)row * (k / 32), width};
}

// block_sum is the scaled sum of row r's inputs in group g of block b.
INLINE float block_sum(vector x, int r, int64_t b, int g, const int group) {
	return x.s[(3 * b + (group == 32 ? 0 : 1 + g)) * x.w + r];
}

// panel_dots makes the sums of n products of a panel's codes and MR rows' pairs.
INLINE void panel_dots(const int MR, int n, const int16_t *code, const pair *q, int w, vi *a) {
#ifdef PANEL_DOTS
	if (MR == PANEL_DOTS) {
		vi_dots(a, n, code, q, 4 * (int64_t)w);
		return;
	}
#endif
#pragma GCC unroll 12
	for (int r = 0; r < MR; r++) a[r] = vi_zero();
#pragma GCC unroll 2
	for (int j = 0; j < n; j++, code += 32, q += w) {
		vw c = vw_load(code);
#pragma GCC unroll 12
		for (int r = 0; r < MR; r++) a[r] = vi_dot(a[r], c, q + r);
	}
}

// panel_mul computes MR rows from row r0 of a group with one tile. Arrays of
// fixed size under unrolled loops stay in registers.
INLINE void panel_mul(const int MR, const int group, const int mins, panel p, int k, vector x, int r0, vf *out) {
	const int per = 32 / group;
	const int w = x.w;
	vf acc[MAX_GROUP];
#pragma GCC unroll 12
	for (int r = 0; r < MR; r++) acc[r] = vf_zero();
	const int16_t *code = p.code;
	const pair *q = x.q + r0;
	// Products wait for no memory, and widening would for all of it: what it reads
	// next is brought meanwhile.
	const int lines = r0 ? 0 : p.ahead_block;
	for (int64_t b = 0; b < k / 32; b++) {
		for (int at = 0; at < lines; at += 64) __builtin_prefetch(p.ahead + b * lines + at);
		for (int g = 0; g < per; g++) {
			vi a[MAX_GROUP];
			panel_dots(MR, group / 2, code, q, w, a);
			code += group * TILE, q += group / 2 * w;
			vf d = vf_load(p.scale + (b * per + g) * TILE);
#pragma GCC unroll 12
			for (int r = 0; r < MR; r++) acc[r] = vf_fma(vi_float(a[r]), vf_mul(d, vf_set(x.d[b * w + r0 + r])), acc[r]);
			if (!mins) continue;
			vf m = vf_load(p.min + (b * per + g) * TILE);
#pragma GCC unroll 12
			for (int r = 0; r < MR; r++) acc[r] = vf_fma(m, vf_set(block_sum(x, r0 + r, b, g, group)), acc[r]);
		}
	}
#pragma GCC unroll 12
	for (int r = 0; r < MR; r++) out[r] = acc[r];
}

#define PANEL_WIDTH(MR, G, M) static void __attribute__((noinline)) panel_mul_##MR##_##G##_##M(panel p, int k, vector x, int r0, vf *out) { panel_mul(MR, G, M, p, k, x, r0, out); }
#define PANEL_KIND(G, M) PANEL_WIDTH(1, G, M) PANEL_WIDTH(2, G, M) PANEL_WIDTH(4, G, M) PANEL_WIDTH(8, G, M) PANEL_WIDTH(12, G, M)
PANEL_KIND(32, 0) PANEL_KIND(32, 1) PANEL_KIND(16, 0) PANEL_KIND(16, 1)

typedef void (*panel_fn)(panel, int, vector, int, vf *);
#define PANEL_TABLE(G, M) {panel_mul_1_##G##_##M, panel_mul_2_##G##_##M, panel_mul_4_##G##_##M, panel_mul_8_##G##_##M, panel_mul_12_##G##_##M}
static const panel_fn panel_fns[4][5] = {PANEL_TABLE(32, 0), PANEL_TABLE(32, 1), PANEL_TABLE(16, 0), PANEL_TABLE(16, 1)};

// panel_rows multiplies the rows of a group from row r0 on.
static void panel_rows(int type, panel p, int k, vector x, int r0, vf *out) {
	const panel_fn *fns = panel_fns[(unit_of(type).group == 16) * 2 + has_min(type)];
	while (r0 < x.w) {
		int left = x.w - r0, w = group_width(left < PANEL_ROWS ? left : PANEL_ROWS);
		fns[w == 12 ? 4 : w == 8 ? 3 : w == 4 ? 2 : w == 2 ? 1 : 0](p, k, x, r0, out + r0);
		r0 += w;
	}
}

// WEIGHTS_AHEAD is how many bytes ahead a decode step asks for its weights. They are
// asked for to all caches: past them ("non-temporal") an Intel processor reads them at
// two thirds of the speed, and at a third from its second-level cache.
enum { WEIGHTS_AHEAD = 2048 };

INLINE void ahead_weights(const uint8_t *p, int bytes) {
	for (int i = 0; i < bytes; i += 64) __builtin_prefetch(p + WEIGHTS_AHEAD + i, 0, 3);
}

// tile_vector multiplies one tile with one row, straight from its codes.
INLINE vf tile_vector(const int type, const uint8_t *tile, int k, vector x) {
	const unit_layout l = unit_of(type);
	const int per = 32 / l.group;
	vw iq4 = is_iq4(type) ? vw_table(iq4_values) : vw_set(0);
	vf acc = vf_zero();
	for (int i = 0; i < k / l.k; i++, tile += l.bytes)
		for (int b = 0; b < l.k / 32; b++) {
			const int64_t block = (int64_t)i * (l.k / 32) + b;
			const pair *q = x.q + block * 16;
			vf d = vf_set(x.d[block]);
			ahead_weights(tile + b * (l.bytes / (l.k / 32)), l.bytes / (l.k / 32));
#pragma GCC unroll 2
			for (int g = 0; g < per; g++) {
				vi a[2] = {vi_zero(), vi_zero()};
#pragma GCC unroll 16
				for (int j = 0; j < l.group / 2; j++) {
					int pair_at = g * l.group / 2 + j;
					a[j % 2] = vi_dot(a[j % 2], code_at(type, tile, b, pair_at, iq4), q + pair_at);
				}
				acc = vf_fma(vi_float(vi_add(a[0], a[1])), vf_mul(scale_at(type, tile, b * per + g), d), acc);
				if (has_min(type)) acc = vf_fma(min_at(type, tile, b * per + g), vf_set(block_sum(x, 0, block, g, l.group)), acc);
			}
		}
	return acc;
}

#ifdef WIDEN_ROWS
// first_dots begins W rows' sums with one product or adds it to them.
INLINE void first_dots(const int W, const int begin, vw c, const pair *q, vi *a) {
	if (W == PANEL_DOTS) {
		if (begin) vi_dots_first(a, c, q);
		else vi_dots_next(a, c, q);
		return;
	}
#pragma GCC unroll 4
	for (int r = 0; r < W; r++) a[r] = vi_dot(begin ? vi_zero() : a[r], c, q + r);
}

// tile_rows multiplies one tile with the first W rows of a group, straight from its
// codes, and keeps these widened if further rows wait.
INLINE void tile_rows(const int type, const int W, const uint8_t *tile, int k, panel p, vector x, vf *out) {
	const unit_layout l = unit_of(type);
	const int per = 32 / l.group;
	vw iq4 = is_iq4(type) ? vw_table(iq4_values) : vw_set(0);
	vf acc[WIDEN_ROWS];
#pragma GCC unroll 4
	for (int r = 0; r < W; r++) acc[r] = vf_zero();
	const pair *q = x.q;
	for (int i = 0; i < k / l.k; i++, tile += l.bytes)
		for (int b = 0; b < l.k / 32; b++) {
			const int64_t block = (int64_t)i * (l.k / 32) + b;
			for (int at = 0; at < p.ahead_block; at += 64) __builtin_prefetch(p.ahead + block * p.ahead_block + at);
#pragma GCC unroll 2
			for (int g = 0; g < per; g++) {
				vi a[WIDEN_ROWS];
#pragma GCC unroll 16
				for (int j = 0; j < l.group / 2; j++, q += x.w) {
					const int at = g * l.group / 2 + j;
					vw c = code_at(type, tile, b, at, iq4);
					if (p.kept) vw_store(p.code + (block * 16 + at) * 32, c);
					first_dots(W, j == 0, c, q, a);
				}
				const vf d = scale_at(type, tile, b * per + g);
				if (p.kept) vf_store(p.scale + (block * per + g) * TILE, d);
#pragma GCC unroll 4
				for (int r = 0; r < W; r++) acc[r] = vf_fma(vi_float(a[r]), vf_mul(d, vf_set(x.d[block * x.w + r])), acc[r]);
				if (!has_min(type)) continue;
				const vf m = min_at(type, tile, b * per + g);
				if (p.kept) vf_store(p.min + (block * per + g) * TILE, m);
#pragma GCC unroll 4
				for (int r = 0; r < W; r++) acc[r] = vf_fma(m, vf_set(block_sum(x, r, block, g, l.group)), acc[r]);
			}
		}
#pragma GCC unroll 4
	for (int r = 0; r < W; r++) out[r] = acc[r];
}
#endif

#define FOR_CODED(X) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q8_0) X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) X(IQ4_NL) X(IQ4_XS)

#define VECTOR_FN(T) static vf __attribute__((noinline)) vector_##T(const uint8_t *t, int k, vector x) { return tile_vector(T_##T, t, k, x); }
FOR_CODED(VECTOR_FN)

static vf coded_vector(int type, const uint8_t *t, int k, vector x) {
#define CASE(T) case T_##T: return vector_##T(t, k, x);
	switch (type) { FOR_CODED(CASE) }
#undef CASE
	return vf_zero();
}

#ifdef WIDEN_ROWS
#define ROWS_FN(T) \
	static void __attribute__((noinline)) two_##T(const uint8_t *t, int k, panel p, vector x, vf *out) { tile_rows(T_##T, 2, t, k, p, x, out); } \
	static void __attribute__((noinline)) widen_##T(const uint8_t *t, int k, panel p, vector x, vf *out) { tile_rows(T_##T, WIDEN_ROWS, t, k, p, x, out); }
FOR_CODED(ROWS_FN)

// coded_rows multiplies a tile with the first rows of a group and returns how many.
static int coded_rows(int type, const uint8_t *t, int k, panel p, vector x, vf *out) {
#define CASE(T) case T_##T: if (x.w == 2) two_##T(t, k, p, x, out); else widen_##T(t, k, p, x, out); break;
	switch (type) { FOR_CODED(CASE) }
#undef CASE
	return x.w == 2 ? 2 : WIDEN_ROWS;
}
#else
#define UNPACK_FN(T) static void __attribute__((noinline)) unpack_##T(const uint8_t *t, int k, panel p) { unpack(T_##T, t, k, p); }
FOR_CODED(UNPACK_FN)

static void coded_unpack(int type, const uint8_t *t, int k, panel p) {
#define CASE(T) case T_##T: unpack_##T(t, k, p); break;
	switch (type) { FOR_CODED(CASE) }
#undef CASE
}
#endif

// float_rows multiplies a tile of float weights with w <= 4 rows, ld apart.
INLINE void float_rows_of(const int type, const int W, const uint8_t *tile, int k, const float *x, int64_t ld, vf *out) {
	const int size = type == T_F32 ? 4 : 2;
	vf acc[4];
	for (int r = 0; r < W; r++) acc[r] = vf_zero();
	for (int i = 0; i < k; i++) {
		vf w = float_at(type, tile + (int64_t)i * TILE * size);
		for (int r = 0; r < W; r++) acc[r] = vf_fma(w, vf_set(x[r * ld + i]), acc[r]);
	}
	for (int r = 0; r < W; r++) out[r] = acc[r];
}

static void float_rows(int type, const uint8_t *tile, int k, const float *x, int64_t ld, int w, vf *out) {
#define WIDTHS(T) \
	for (; w >= 4; w -= 4, x += 4 * ld, out += 4) float_rows_of(T, 4, tile, k, x, ld, out); \
	for (; w > 0; w--, x += ld, out++) float_rows_of(T, 1, tile, k, x, ld, out);
	if (type == T_F32) { WIDTHS(T_F32) }
	else if (type == T_F16) { WIDTHS(T_F16) }
	else { WIDTHS(T_BF16) }
#undef WIDTHS
}

// product is one weight's tile being multiplied row group by row group.
typedef struct {
	const weight *w;
	const uint8_t *tile;
	panel p;
} product;

// product_at prepares a tile; rows is the step's row count.
INLINE product product_at(const weight *w, int t, int rows, uint8_t *scratch) {
	product m = {w, w->data + t * w->tile_bytes, panel_in(scratch, w->k)};
	if (rows == 1 || is_float(w->type)) return m;
#ifdef WIDEN_ROWS
	m.p.kept = rows > WIDEN_ROWS;
#else
	coded_unpack(w->type, m.tile, w->k, m.p);
#endif
	if (t + 1 < w->tiles) m.p.ahead = m.tile + w->tile_bytes, m.p.ahead_block = (int)(w->tile_bytes / (w->k / 32));
	return m;
}

INLINE void product_rows(const product *m, const buffer *src, int row, int width, int rows, vf *out) {
	const weight *w = m->w;
	if (is_float(w->type)) {
		float_rows(w->type, m->tile, w->k, src->p + (int64_t)row * src->ld, src->ld, width, out);
		return;
	}
	vector x = vector_at(&src->q, w->k, row, width);
	int done = 0;
#ifdef WIDEN_ROWS
	if (width == 1 && rows <= WIDEN_ROWS) out[0] = coded_vector(w->type, m->tile, w->k, x), done = 1;
	else if (!row) done = coded_rows(w->type, m->tile, w->k, m->p, x, out);
	panel_rows(w->type, panel_alone(m->p), w->k, x, done, out);
#else
	if (rows == 1) out[0] = coded_vector(w->type, m->tile, w->k, x), done = 1;
	panel_rows(w->type, row ? panel_alone(m->p) : m->p, w->k, x, done, out);
#endif
}

// claim takes the next piece of an op for this thread.
INLINE int claim(exec *e, int op_at) { return __atomic_fetch_add(&e->next[op_at], 1, __ATOMIC_RELAXED); }

// portion is what a thread has of an op's tiles: its own range first, in one piece, so that
// memory is read in order and can be asked for before the op begins, and then what
// others have left of theirs. A decode step takes several at a time, so that counters are
// not contended.
typedef struct { int op_at, tiles, chunk, thread, victim; } portion;

INLINE portion portion_of(const exec *e, int op_at, int tiles, int rows, int thread) {
	const int chunk = rows > 1 ? 1 : tiles / (e->threads * 8);
	return (portion){op_at, tiles, chunk < 1 ? 1 : chunk, thread, 0};
}

// range_of is where a thread's range of n tiles or rows begins.
INLINE int range_of(const exec *e, int n, int thread) { return (int)((int64_t)n * thread / e->threads); }

// claim_tiles takes tiles [*from, *end) and returns whether there were any.
INLINE int claim_tiles(exec *e, portion *s, int *from, int *end) {
	for (; s->victim < e->threads; s->victim++) {
		const int v = (s->thread + s->victim) % e->threads, first = range_of(e, s->tiles, v), stop = range_of(e, s->tiles, v + 1);
		int32_t *next = &e->next[v * e->op_counters + s->op_at];
		if (s->victim && first + __atomic_load_n(next, __ATOMIC_RELAXED) >= stop) continue; // at the end all look at all
		*from = first + __atomic_fetch_add(next, s->chunk, __ATOMIC_RELAXED);
		*end = *from + s->chunk < stop ? *from + s->chunk : stop;
		if (*from < stop) return 1;
	}
	return 0;
}

static void op_linear(exec *e, const op *o, int at, int rows, int thread, uint8_t *scratch) {
	const weight *w = o->w;
	portion s = portion_of(e, at, w->tiles, rows, thread);
	for (int end, t; claim_tiles(e, &s, &t, &end);)
		for (; t < end; t++) {
			product m = product_at(w, t, rows, scratch);
			vf bias = w->bias ? vf_load(w->bias + t * TILE) : vf_zero();
			for (int row = 0, width; row < rows; row += width) {
				vf out[MAX_GROUP];
				width = group_width(rows - row);
				product_rows(&m, o->src, row, width, rows, out);
				for (int r = 0; r < width; r++) {
					float *dst = o->dst->p + (int64_t)(row + r) * o->dst->ld + t * TILE;
					vf v = vf_add(out[r], bias);
					vf_store(dst, o->add ? vf_add(vf_load(dst), v) : v);
				}
			}
		}
}

static void op_gated(exec *e, const op *o, int at, int rows, int thread, uint8_t *scratch) {
	const weight *g = o->w, *u = o->w2;
	portion s = portion_of(e, at, g->tiles, rows, thread);
	for (int end, t; claim_tiles(e, &s, &t, &end);)
		for (; t < end; t++) {
			product mg = product_at(g, t, rows, scratch);
			product mu = product_at(u, t, rows, scratch + panel_bytes(g->k));
			for (int row = 0, width; row < rows; row += width) {
				vf gate[MAX_GROUP], up[MAX_GROUP];
				width = group_width(rows - row);
				product_rows(&mg, o->src, row, width, rows, gate);
				product_rows(&mu, o->src, row, width, rows, up);
				for (int r = 0; r < width; r++)
					vf_store(o->dst->p + (int64_t)(row + r) * o->dst->ld + t * TILE, vf_mul(o->gelu ? vf_gelu(gate[r]) : vf_silu(gate[r]), up[r]));
			}
		}
}
