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

// scaled_query is a query times the scale of scores, padded with 0.
typedef float scaled_query[MAX_INDEX_DIM];

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

// ranks_of writes a vector's channels by rank, times the codes' step, padded with 0 to
// n places.
INLINE void ranks_of(const uint8_t *order, int ranks, int n, const float *y, const int padded, float *ranked) {
#ifdef VF_OF
	for (int r = 0; r < n; r += 16) vf_store(ranked + r, vf_first(vf_mul(vf_of(y, order + r, padded), vf_set(CODE_STEP)), ranks - r));
#else
	(void)padded;
	for (int r = 0; r < ranks; r++) {
		int c = order[r];
		__asm__("" : "+r"(c)); // or the compiler loads a vector of them, to take it apart again
		ranked[r] = y[c] * CODE_STEP;
	}
	for (int r = ranks; r < n; r++) ranked[r] = 0;
#endif
}

// units_of rounds W vectors x [W][row], padded with 0 to whole 16s up to n, whose largest
// are in most's lanes, to at most 127 units each: their codes, sizes and sums of codes.
INLINE void units_of(const int W, const float *x, int row, int n, const vf *most, int16_t *const *code, float *unit, int32_t *sum) {
	float top[SCAN_HEADS];
	vi total[SCAN_HEADS];
	vf_tops(W, most, top);
#pragma GCC unroll 4
	for (int w = 0; w < W; w++) {
		const vf inv = vf_set(top[w] > 0 ? 127 / top[w] : 0);
		unit[w] = top[w] / 127, total[w] = vi_zero();
		for (int i = 0; i < n; i += 16) {
			const vi c = vf_int(vf_mul(vf_load(x + w * row + i), inv));
			vi_store_words(code[w] + i, c);
			total[w] = vi_add(total[w], c);
		}
	}
	vi_sums(W, total, sum);
}

// probes_of prepares W scaled queries for a block, whose references and deviations are
// given. They share what is read of it.
INLINE void probes_of(const int W, const int vectors, const int padded, probe *p, const uint8_t *order, const float *ref, const float *dev, const scaled_query *q, int dim) {
	float y[SCAN_HEADS][MAX_INDEX_DIM], ranked[SCAN_HEADS][MAX_RANKS + 16], base[SCAN_HEADS], mean_unit[SCAN_HEADS], rank_unit[SCAN_HEADS];
	vf sum[SCAN_HEADS], most[SCAN_HEADS];
	int16_t *mean[SCAN_HEADS], *rank[SCAN_HEADS];
	int32_t codes[SCAN_HEADS], unused[SCAN_HEADS];
#pragma GCC unroll 4
	for (int w = 0; w < W; w++) sum[w] = most[w] = vf_zero(), mean[w] = p[w].mean, rank[w] = p[w].ranked;
	for (int c = 0; c < padded; c += 16) {
		const vf r = vf_load(ref + c), d = vf_load(dev + c);
#pragma GCC unroll 4
		for (int w = 0; w < W; w++) {
			const vf x = vf_load(q[w] + c), v = vf_mul(x, d);
			sum[w] = vf_fma(x, r, sum[w]);
			most[w] = vf_max(vf_abs(v), most[w]);
			vf_store(y[w] + c, v);
		}
	}
	vf_sums(W, sum, base);
	units_of(W, y[0], MAX_INDEX_DIM, padded, most, mean, mean_unit, codes);
	const int ranks = RANKS * vectors < dim ? RANKS * vectors : dim, n = whole_lanes(RANKS * vectors);
#pragma GCC unroll 4
	for (int w = 0; w < W; w++) {
		ranks_of(order, ranks, n, y[w], padded, ranked[w]);
		most[w] = vf_zero();
		for (int r = 0; r < n; r += 16) most[w] = vf_max(vf_abs(vf_load(ranked[w] + r)), most[w]);
	}
	units_of(W, ranked[0], MAX_RANKS + 16, n, most, rank, rank_unit, unused);
#pragma GCC unroll 4
	for (int w = 0; w < W; w++) {
		p[w].mean_unit = mean_unit[w] / INDEX_UNITS, p[w].rank_unit = rank_unit[w] / INDEX_UNITS;
		p[w].base = base[w] - p[w].mean_unit * (float)codes[w] * 128;
	}
}

// code_dots adds n quads, from quad on, of a vector's codes, whose bits begin at
// shift, times W probes, whose first quad is at q.
INLINE void code_dots(const int W, const int n, const uint8_t *codes, int shift, const int32_t *q, int quad, vc *acc) {
	const vb x = vb_load(codes);
#pragma GCC unroll 4
	for (int i = 0; i < n; i++) {
		const vb c = vb_bits(x, shift + CODE_BITS * i, CODE_TOP);
#pragma GCC unroll 4
		for (int r = 0; r < W; r++) acc[r] = vc_dot(acc[r], c, q + r * (sizeof(page_probe) / sizeof *q) + (quad + i) * BLOCK_PAGES);
	}
}

// cold_tops writes the largest sums over the tokens of the half-th cold page of a
// page with these codes, two in each of 8 lanes, for W probes.
INLINE void cold_tops(const int W, const int half, const int vectors, const uint8_t *codes, const page_probe *p, int slot, raw_tops *top, int cold) {
	const int32_t *q = &p->quad[0][slot];
	__asm__("" : "+r"(q)); // one address with offsets, where the compiler would keep many
	vc acc[SCAN_HEADS];
#pragma GCC unroll 4
	for (int r = 0; r < W; r++) acc[r] = vc_zero();
	for (int v = 0; v < vectors; v++) code_dots(W, 4, codes + (half * vectors + v) * 64, 0, q, 4 * v, acc);
	for (int v = 0; v < vectors; v++) code_dots(W, 2, codes + (2 * vectors + v) * 64, 4 * half, q, 4 * vectors + 2 * v, acc);
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
// scores of pages' means. next is the block that comes next, or null: the processor
// cannot foresee where it begins, and asked for all of it at once it would wait.
INLINE void scan_block(const int W, const int vectors, const int padded, const index_layout *l, const uint8_t *ix, const uint8_t *next, const scaled_query *q, int dim, int first, int n, float *const *top, float *const *mean) {
	float ref[MAX_INDEX_DIM], dev[MAX_INDEX_DIM];
	halves_to(ref, ix + l->refs, padded), halves_to(dev, ix + l->steps, padded);
	probe p[SCAN_HEADS];
	page_probe x[SCAN_HEADS];
	probes_of(W, vectors, padded, p, ix, ref, dev, q, dim);
	const int16_t *mean_of[SCAN_HEADS];
	int32_t *sums[SCAN_HEADS];
	for (int r = 0; r < W; r++) mean_of[r] = p[r].mean, sums[r] = x[r].mean;
	means_of(W, mean_of, padded / 4, ix + l->means, sums);
	for (int r = 0; r < W; r++) {
		quads_of(p[r].ranked, RANKS * vectors / 4, ix + l->scales, x[r].quad, x[r].centre, x[r].unit);
	}
	raw_tops raw[SCAN_HEADS];
	for (int i = 0; i < n; i++) {
		const uint8_t *codes = ix + l->codes + i * page_codes(l);
		const int share = l->bytes / BLOCK_PAGES;
		if (next) ahead_L2_bytes(next + i * share, share);
		cold_tops(W, 0, vectors, codes, x, PAGE_SLOT(i), raw, 2 * i);
		cold_tops(W, 1, vectors, codes, x, PAGE_SLOT(i), raw, 2 * i + 1);
	}
	for (int r = 0; r < W; r++) scores_of(raw[r], &p[r], &x[r], top[r] + 2 * first, mean[r] ? mean[r] + 2 * first : 0);
}

// scan_blocks scores blocks [b0, b1) for W query heads from head0 on.
INLINE void scan_blocks(const int W, const int vectors, const int padded, exec *e, const op *o, int seq, int head, int head0, int b0, int b1) {
	const cache *c = o->kv;
	const view *v = &e->st.views[seq * e->layers + o->layer];
	scaled_query q[SCAN_HEADS];
	float *top[SCAN_HEADS], *mean[SCAN_HEADS];
	for (int r = 0; r < W; r++) {
		const float *src = o->src->p + (int64_t)e->st.seq_row[seq] * o->src->ld + (head0 + r) * c->dim;
		for (int i = 0; i < padded; i += 16) vf_store(q[r] + i, vf_mul(vf_some(src + i, c->dim - i), vf_set(o->scale)));
		top[r] = page_stat(e, e->page_max, o->heads, seq, head0 + r);
		mean[r] = c->ix.values ? page_stat(e, e->page_mean, o->heads, seq, head0 + r) : 0;
	}
	const int pages = v->stored / PAGE_TOK, blocks = (pages + BLOCK_PAGES - 1) / BLOCK_PAGES;
	for (int b = b0; b < b1; b++) {
		const uint8_t *ix = c->index + ((int64_t)v->table[b] * c->kv_heads + head) * c->ix.bytes;
		const int first = b * BLOCK_PAGES, left = pages - first;
		const uint8_t *next = b + 1 < blocks ? c->index + ((int64_t)v->table[b + 1] * c->kv_heads + head) * c->ix.bytes : 0;
		scan_block(W, vectors, padded, &c->ix, ix, next, q, c->dim, first, left < BLOCK_PAGES ? left : BLOCK_PAGES, top, mean);
	}
}

// Sums stay in registers where the number of vectors is known.
#define SCAN_WIDTH(W) \
	static void __attribute__((noinline)) scan_blocks_##W(exec *e, const op *o, int seq, int head, int head0, int b0, int b1) { \
		switch (o->kv->ix.padded) { \
		case 64: scan_blocks(W, 1, 64, e, o, seq, head, head0, b0, b1); break; \
		case 128: scan_blocks(W, 2, 128, e, o, seq, head, head0, b0, b1); break; \
		default: scan_blocks(W, o->kv->ix.vectors, o->kv->ix.padded, e, o, seq, head, head0, b0, b1); \
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
