// Scores of a decode row's queries over the index of a layer (offload.Index).
//
// A block's pages lie side by side in its means and scales, so that what the
// query makes of them is computed for all of its pages at once: their means'
// scores, and the query in 8 bits against each page's codes. Of a cold page's
// tokens the largest score alone is kept.

enum { SCAN_HEADS = 4, SCAN_BLOCKS = 4, MAX_RANKS = RANKS * MAX_INDEX_DIM / 64 };

// probe is a query against one block's index, in units of 8 bits.
typedef struct {
	int16_t mean[MAX_INDEX_DIM]; // by channel
	int16_t ranked[MAX_RANKS];   // by rank, times the planes' steps
	float mean_unit;             // score of one unit of mean
	float rank_unit;             // score of one unit of ranked and of scale
	float base;                  // score of the references, less the means' offset
} probe;

// page_probe is a probe against the pages of a block, at their PAGE_SLOT: four
// ranks to an int32, in 8 bits.
typedef struct {
	int32_t quad[MAX_RANKS / 4][BLOCK_PAGES];
	int32_t mean[BLOCK_PAGES];   // sum of mean times the page's means
	int32_t centre[BLOCK_PAGES]; // sum of quad times the largest codes, which is twice the middle ones
	float unit[BLOCK_PAGES];     // units of ranked and scale that one of quad stands for
} page_probe;

// units_of rounds x [n], padded with 0 to whole 16s, to at most 127 units.
INLINE float units_of(const float *x, int n, int16_t *code) {
	vf most = vf_zero();
	for (int i = 0; i < n; i += 16) most = vf_max(vf_abs(vf_load(x + i)), most);
	const float top = vf_top(most);
	const vf inv = vf_set(top > 0 ? 127 / top : 0);
	for (int i = 0; i < n; i += 16) vi_store_words(code + i, vf_int(vf_mul(vf_load(x + i), inv)));
	return top / 127;
}

// probe_of prepares q for a block, whose references and deviations are given.
static void probe_of(probe *p, const index_layout *l, const uint8_t *order, const float *ref, const float *dev, const float *q, int dim, float scale) {
	float y[MAX_INDEX_DIM], ranked[MAX_RANKS + 16];
	vf base = vf_zero();
	for (int c = 0; c < l->padded; c += 16) {
		float rest[16] = {0};
		const int left = dim - c < 16 ? dim - c : 16;
		memcpy(rest, q + c, left * sizeof *rest);
		const vf x = vf_mul(vf_load(rest), vf_set(scale));
		base = vf_fma(x, vf_load(ref + c), base);
		vf_store(y + c, vf_mul(x, vf_load(dev + c)));
	}
	p->mean_unit = units_of(y, l->padded, p->mean) / INDEX_UNITS;
	int sum = 0;
	for (int c = 0; c < l->padded; c++) sum += p->mean[c];
	p->base = vf_sum(base) - p->mean_unit * (float)sum * 128;
	for (int i = 0, r = 0, end = 0; i < PLANES; i++) {
		end += planes[i].channels * l->vectors;
		for (; r < end && r < dim; r++) ranked[r] = y[order[r]] * planes[i].step;
	}
	const int n = (l->ranks + 15) / 16 * 16;
	for (int r = dim < l->ranks ? dim : l->ranks; r < n; r++) ranked[r] = 0;
	int16_t code[MAX_RANKS + 16];
	p->rank_unit = units_of(ranked, n, code) / INDEX_UNITS;
	memcpy(p->ranked, code, l->ranks * sizeof *code);
}

// plane_dots adds one vector of a plane's codes times W probes.
INLINE void plane_dots(const int W, const int bits, const uint8_t *codes, const page_probe *p, int quad, int slot, vc *acc) {
	const vb x = vb_load(codes);
#pragma GCC unroll 4
	for (int i = 0; i < 8 / bits; i++) {
		const vb c = vb_bits(x, bits * i, (1 << bits) - 1);
#pragma GCC unroll 4
		for (int r = 0; r < W; r++) acc[r] = vc_dot(acc[r], c, &p[r].quad[quad + i][slot]);
	}
}

// cold_tops finds the largest sum over a cold page's tokens for W probes. Sums of
// two vectors of each plane fit 16 bits.
INLINE void cold_tops(const int W, const int vectors, const uint8_t *codes, const page_probe *p, int slot, int *top) {
	vi sum[SCAN_HEADS];
#pragma GCC unroll 4
	for (int r = 0; r < W; r++) sum[r] = vi_zero();
	for (int v = 0; v < vectors; v += 2) {
		vc acc[SCAN_HEADS];
#pragma GCC unroll 4
		for (int r = 0; r < W; r++) acc[r] = vc_zero();
#pragma GCC unroll 2
		for (int i = v; i < (v + 2 < vectors ? v + 2 : vectors); i++) {
			plane_dots(W, 4, codes + i * 64, p, 2 * i, slot, acc);
			plane_dots(W, 2, codes + (vectors + i) * 64, p, 2 * vectors + 4 * i, slot, acc);
		}
#pragma GCC unroll 4
		for (int r = 0; r < W; r++) sum[r] = vi_add(sum[r], vc_wide(acc[r]));
	}
#pragma GCC unroll 4
	for (int r = 0; r < W; r++) top[r] = vi_top(sum[r]);
}

INLINE float *page_stat(const exec *e, float *of, int heads, int seq, int head) {
	return of + ((int64_t)seq * heads + head) * e->max_pages;
}

// scan_block scores n pages of a block, from page first of the sequence on, for
// W query heads. mean is null where nobody wants the scores of pages' means.
INLINE void scan_block(const int W, const int vectors, const index_layout *l, const uint8_t *ix, const float *const *q, int dim, float scale, int first, int n, float *const *top, float *const *mean) {
	float ref[MAX_INDEX_DIM], dev[MAX_INDEX_DIM];
	halves_to(ref, ix + l->refs, l->padded), halves_to(dev, ix + l->steps, l->padded);
	probe p[SCAN_HEADS];
	page_probe x[SCAN_HEADS];
	for (int r = 0; r < W; r++) {
		probe_of(&p[r], l, ix, ref, dev, q[r], dim, scale);
		means_of(p[r].mean, l->padded / 4, ix + l->means, x[r].mean);
		quads_of(p[r].ranked, l->ranks / 4, 2 * vectors, ix + l->scales, x[r].quad, x[r].centre, x[r].unit);
	}
	for (int i = 0; i < n; i++) {
		const int slot = PAGE_SLOT(i);
		int best[PAGE_TOK / COLD_TOK][SCAN_HEADS];
		for (int half = 0; half < PAGE_TOK / COLD_TOK; half++)
			cold_tops(W, vectors, ix + l->codes + (2 * i + half) * index_half(l), x, slot, best[half]);
		for (int r = 0; r < W; r++) {
			const float base = p[r].base + p[r].mean_unit * (float)x[r].mean[slot], unit = p[r].rank_unit * x[r].unit[slot] / 2;
			for (int half = 0; half < PAGE_TOK / COLD_TOK; half++) {
				top[r][2 * (first + i) + half] = base + unit * (float)(2 * best[half][r] - x[r].centre[slot]);
				if (mean[r]) mean[r][2 * (first + i) + half] = base;
			}
		}
	}
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

// Sums stay in registers where the number of vectors is known, at most 4
// (MAX_INDEX_DIM).
#define SCAN_WIDTH(W) \
	static void __attribute__((noinline)) scan_blocks_##W(exec *e, const op *o, int seq, int head, int head0, int b0, int b1) { \
		switch (o->kv->ix.vectors) { \
		case 1: scan_blocks(W, 1, e, o, seq, head, head0, b0, b1); break; \
		case 2: scan_blocks(W, 2, e, o, seq, head, head0, b0, b1); break; \
		case 3: scan_blocks(W, 3, e, o, seq, head, head0, b0, b1); break; \
		default: scan_blocks(W, 4, e, o, seq, head, head0, b0, b1); \
		} \
	}
SCAN_WIDTH(1) SCAN_WIDTH(2) SCAN_WIDTH(3) SCAN_WIDTH(4)

// scan_group scores blocks [b0, b1) for the query heads of one KV head.
static void scan_group(exec *e, const op *o, int seq, int head, int b0, int b1) {
	const int group = o->heads / o->kv->kv_heads;
	for (int r = 0; r < group; r += SCAN_HEADS) {
		const int head0 = head * group + r;
		switch (group - r) {
		case 1: scan_blocks_1(e, o, seq, head, head0, b0, b1); break;
		case 2: scan_blocks_2(e, o, seq, head, head0, b0, b1); break;
		case 3: scan_blocks_3(e, o, seq, head, head0, b0, b1); break;
		default: scan_blocks_4(e, o, seq, head, head0, b0, b1);
		}
	}
}

// op_scan hands out runs of blocks of single KV heads. Nothing is scored where
// every page is attended to anyway.
static void op_scan(exec *e, const op *o, int at) {
	const cache *c = o->kv;
	int piece = 0, end, mine = claim(e, at, INT32_MAX, 1, &end);
	for (int s = 0; s < e->st.seqs; s++) {
		const view *v = &e->st.views[s * e->layers + o->layer];
		if (v->stage || v->stored / COLD_TOK <= c->budget) continue;
		const int blocks = (v->stored + BLOCK_TOK - 1) / BLOCK_TOK, runs = (blocks + SCAN_BLOCKS - 1) / SCAN_BLOCKS;
		for (; mine < piece + c->kv_heads * runs; mine = claim(e, at, INT32_MAX, 1, &end)) {
			const int head = (mine - piece) / runs, b0 = (mine - piece) % runs * SCAN_BLOCKS;
			scan_group(e, o, s, head, b0, b0 + SCAN_BLOCKS < blocks ? b0 + SCAN_BLOCKS : blocks);
		}
		piece += c->kv_heads * runs;
	}
}
