// Scores of a decode row's queries over the index of a layer (offload.Index).
//
// A block's pages lie side by side in its means and scales, so that what the
// query makes of them is computed for all of its pages at once: their means'
// scores, and the query in 8 bits against each page's codes. Of a cold page's
// tokens the largest score alone is kept.

enum { SCAN_BLOCKS = 4, MAX_RANKS = RANKS * MAX_INDEX_DIM / 64 };

// probe is a query against one block's index, in units of 8 bits.
typedef struct {
	int16_t mean[MAX_INDEX_DIM]; // by channel
	int16_t ranked[MAX_RANKS + 16]; // by rank, times the codes' step
	float mean_unit;             // score of one unit of mean
	float rank_unit;             // score of one unit of ranked and of scale
	float base;                  // score of the references, less the means' offset
} probe;

// raw_tops are what cold_tops finds of a block's cold pages.
typedef int32_t raw_tops[BLOCK_COLD][8];

// page_probe is a probe against the pages of a block, at their PAGE_SLOT: four
// ranks to an int32, in 8 bits.
typedef struct {
	int32_t quad[MAX_RANKS / 4][BLOCK_PAGES];
	int32_t mean[BLOCK_PAGES];   // sum of mean times the page's means
	int32_t centre[BLOCK_PAGES]; // sum of quad times the largest codes, which is twice the middle ones
	float unit[BLOCK_PAGES];     // units of ranked and scale that one of quad stands for
} page_probe;

// units_of rounds x [n], padded with 0 to whole 16s, to at most 127 units, and
// returns their size.
INLINE float units_of(const float *x, int n, int16_t *code, int *sum) {
	vf most = vf_zero();
	for (int i = 0; i < n; i += 16) most = vf_max(vf_abs(vf_load(x + i)), most);
	const float top = vf_top(most);
	const vf inv = vf_set(top > 0 ? 127 / top : 0);
	vi total = vi_zero();
	for (int i = 0; i < n; i += 16) {
		const vi c = vf_int(vf_mul(vf_load(x + i), inv));
		vi_store_words(code + i, c);
		total = vi_add(total, c);
	}
	*sum = vi_sum(total);
	return top / 127;
}

// probe_of prepares q for a block, whose references and deviations are given.
static void probe_of(probe *p, const index_layout *l, const uint8_t *order, const float *ref, const float *dev, const float *q, int dim, float scale) {
	float y[MAX_INDEX_DIM], ranked[MAX_RANKS + 16];
	vf base = vf_zero();
	for (int c = 0; c < l->padded; c += 16) {
		const vf x = vf_mul(vf_some(q + c, dim - c), vf_set(scale));
		base = vf_fma(x, vf_load(ref + c), base);
		vf_store(y + c, vf_mul(x, vf_load(dev + c)));
	}
	int sum, unused;
	p->mean_unit = units_of(y, l->padded, p->mean, &sum) / INDEX_UNITS;
	p->base = vf_sum(base) - p->mean_unit * (float)sum * 128;
	const int ranks = l->ranks < dim ? l->ranks : dim;
	for (int r = 0; r < ranks; r++) ranked[r] = y[order[r]] * CODE_STEP;
	const int n = whole_lanes(l->ranks);
	for (int r = ranks; r < n; r++) ranked[r] = 0;
	p->rank_unit = units_of(ranked, n, p->ranked, &unused) / INDEX_UNITS;
}

// code_dots adds n quads, from quad on, of a vector's codes, whose bits begin at
// shift, times W probes.
INLINE void code_dots(const int W, const int n, const uint8_t *codes, int shift, const page_probe *p, int quad, int slot, vc *acc) {
	const vb x = vb_load(codes);
#pragma GCC unroll 4
	for (int i = 0; i < n; i++) {
		const vb c = vb_bits(x, shift + CODE_BITS * i, CODE_TOP);
#pragma GCC unroll 4
		for (int r = 0; r < W; r++) acc[r] = vc_dot(acc[r], c, &p[r].quad[quad + i][slot]);
	}
}

// cold_tops writes the largest sums over the tokens of the half-th cold page of a
// page with these codes, two in each of 8 lanes, for W probes.
INLINE void cold_tops(const int W, const int half, const int vectors, const uint8_t *codes, const page_probe *p, int slot, raw_tops *top, int cold) {
	vc acc[SCAN_HEADS];
#pragma GCC unroll 4
	for (int r = 0; r < W; r++) acc[r] = vc_zero();
	for (int v = 0; v < vectors; v++) code_dots(W, 4, codes + (half * vectors + v) * 64, 0, p, 4 * v, slot, acc);
	for (int v = 0; v < vectors; v++) code_dots(W, 2, codes + (2 * vectors + v) * 64, 4 * half, p, 4 * vectors + 2 * v, slot, acc);
#pragma GCC unroll 4
	for (int r = 0; r < W; r++) vi_fold(vc_wide(acc[r]), top[r][cold]);
}

INLINE float *page_stat(const exec *e, float *of, int heads, int seq, int head) {
	return of + ((int64_t)seq * heads + head) * e->max_pages;
}

// scores_of writes the largest scores of a block's cold pages, and what their
// pages' mean keys score.
INLINE void scores_of(raw_tops raw, const probe *p, const page_probe *x, float *top, float *mean) {
	float base[BLOCK_PAGES], unit[BLOCK_PAGES], at[BLOCK_PAGES];
	for (int i = 0; i < BLOCK_PAGES; i++) {
		at[i] = p->base + p->mean_unit * (float)x->mean[i];
		unit[i] = p->rank_unit * x->unit[i];
		base[i] = at[i] - unit[i] / 2 * (float)x->centre[i];
	}
	vf_store(top, vf_fma(vi_float(tops_of(raw)), by_cold(unit), by_cold(base)));
	if (mean) vf_store(mean, by_cold(at));
}

// scan_block scores n pages of a block, from page first of the sequence on, and
// places behind them, for W query heads. mean is null where nobody wants the
// scores of pages' means.
INLINE void scan_block(const int W, const int vectors, const index_layout *l, const uint8_t *ix, const float *const *q, int dim, float scale, int first, int n, float *const *top, float *const *mean) {
	float ref[MAX_INDEX_DIM], dev[MAX_INDEX_DIM];
	halves_to(ref, ix + l->refs, l->padded), halves_to(dev, ix + l->steps, l->padded);
	probe p[SCAN_HEADS];
	page_probe x[SCAN_HEADS];
	for (int r = 0; r < W; r++) {
		probe_of(&p[r], l, ix, ref, dev, q[r], dim, scale);
		means_of(p[r].mean, l->padded / 4, ix + l->means, x[r].mean);
		quads_of(p[r].ranked, l->ranks / 4, ix + l->scales, x[r].quad, x[r].centre, x[r].unit);
	}
	raw_tops raw[SCAN_HEADS];
	for (int i = 0; i < n; i++) {
		const uint8_t *codes = ix + l->codes + i * page_codes(l);
		cold_tops(W, 0, vectors, codes, x, PAGE_SLOT(i), raw, 2 * i);
		cold_tops(W, 1, vectors, codes, x, PAGE_SLOT(i), raw, 2 * i + 1);
	}
	for (int r = 0; r < W; r++) scores_of(raw[r], &p[r], &x[r], top[r] + 2 * first, mean[r] ? mean[r] + 2 * first : 0);
}

// scan_blocks scores blocks [b0, b1) for W query heads from head0 on.
INLINE void scan_blocks(const int W, const int vectors, exec *e, const op *o, int seq, int head, int head0, int b0, int b1) {
	const cache *c = o->kv;
	const view *v = &e->st.views[seq * e->layers + o->layer];
	const float *q[SCAN_HEADS];
	float *top[SCAN_HEADS], *mean[SCAN_HEADS];
	for (int r = 0; r < W; r++) {
		q[r] = o->src->p + (int64_t)e->st.seq_row[seq] * o->src->ld + (head0 + r) * c->dim;
		top[r] = page_stat(e, e->page_max, o->heads, seq, head0 + r);
		mean[r] = c->ix.values ? page_stat(e, e->page_mean, o->heads, seq, head0 + r) : 0;
	}
	const int pages = v->stored / PAGE_TOK;
	for (int b = b0; b < b1; b++) {
		const uint8_t *ix = c->index + ((int64_t)v->table[b] * c->kv_heads + head) * c->ix.bytes;
		const int first = b * BLOCK_PAGES, left = pages - first;
		if (b + 1 < b1) // the processor cannot foresee where the next one begins
			for (int i = 0; i < c->ix.bytes; i += 64) ahead(c->index + ((int64_t)v->table[b + 1] * c->kv_heads + head) * c->ix.bytes + i);
		scan_block(W, vectors, &c->ix, ix, q, c->dim, o->scale, first, left < BLOCK_PAGES ? left : BLOCK_PAGES, top, mean);
	}
}

// Sums stay in registers where the number of vectors is known.
#define SCAN_WIDTH(W) \
	static void __attribute__((noinline)) scan_blocks_##W(exec *e, const op *o, int seq, int head, int head0, int b0, int b1) { \
		switch (o->kv->ix.vectors) { \
		case 1: scan_blocks(W, 1, e, o, seq, head, head0, b0, b1); break; \
		case 2: scan_blocks(W, 2, e, o, seq, head, head0, b0, b1); break; \
		default: scan_blocks(W, o->kv->ix.vectors, e, o, seq, head, head0, b0, b1); \
		} \
	}
SCAN_WIDTH(1)
#if SCAN_HEADS > 1
SCAN_WIDTH(2) SCAN_WIDTH(3) SCAN_WIDTH(4)
#endif

// scan_group scores blocks [b0, b1) for the query heads of one KV head.
static void scan_group(exec *e, const op *o, int seq, int head, int b0, int b1) {
	const int group = o->heads / o->kv->kv_heads;
	for (int r = 0; r < group; r += SCAN_HEADS) {
		const int head0 = head * group + r;
		switch (group - r < SCAN_HEADS ? group - r : SCAN_HEADS) {
		case 1: scan_blocks_1(e, o, seq, head, head0, b0, b1); break;
#if SCAN_HEADS > 1
		case 2: scan_blocks_2(e, o, seq, head, head0, b0, b1); break;
		case 3: scan_blocks_3(e, o, seq, head, head0, b0, b1); break;
		default: scan_blocks_4(e, o, seq, head, head0, b0, b1);
#endif
		}
	}
}
