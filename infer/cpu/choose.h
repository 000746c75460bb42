// Dominant pages: scores of a decode row's queries over the index of a layer,
// the choice, the hot cache, and the estimate of what was not chosen.
//
// A page's weight for a query head is the sum of e^score over its tokens, with
// keys as the index has them. A KV head attends to the pages whose largest share
// of any of its query heads' weights is greatest.

enum { SCAN_HEADS = 4, SCAN_BLOCKS = 4 };

// probe is a query against one block's index, in 8 bits.
typedef struct {
	int32_t quad[14 * MAX_INDEX_DIM / 64]; // four codes each, in the order of the index's planes
	int32_t mean[MAX_INDEX_DIM / 4];       // four channels each, for the pages' means
	float unit, mean_unit;                 // score of one code
	float base;                            // score of the references, less the codes' centres
} probe;

// to_bytes rounds n floats times inv to int8 and returns their sum.
INLINE int to_bytes(const float *x, float inv, int n, int8_t *dst) {
	vi sum = vi_zero();
	for (int i = 0; i < n; i += 16) {
		vi c = vf_int(vf_mul(vf_load(x + i), vf_set(inv)));
		store_bytes((uint8_t *)dst + i, c);
		sum = vi_add(sum, c);
	}
	return vi_sum(sum);
}

INLINE float largest(const float *x, int n) {
	vf top = vf_zero();
	for (int i = 0; i < n; i += 16) top = vf_max(vf_abs(vf_load(x + i)), top);
	return vf_top(top);
}

// probe_of quantizes q times deviations, so that sums over codes are integers.
// aux holds 4 padded heads.
static void probe_of(probe *p, const index_layout *l, const uint8_t *ix, const float *q, int dim, float scale, float *aux) {
	const int n = l->padded, coded = 56 * l->vectors < dim ? 56 * l->vectors : dim;
	float *dev = aux, *ref = aux + n, *ranked = aux + 2 * n;
	halves_to(ref, ix + l->refs, n), halves_to(dev, ix + l->steps, n);
	vf base = vf_zero();
	for (int c = 0; c < n; c += 16) {
		float rest[16] = {0};
		const int left = dim - c < 16 ? dim - c : 16;
		memcpy(rest, q + c, left * sizeof *rest);
		vf x = vf_mul(vf_load(rest), vf_set(scale));
		base = vf_fma(x, vf_load(ref + c), base);
		vf_store(dev + c, vf_mul(x, vf_load(dev + c)));
	}
	const float mean_top = largest(dev, n);
	p->mean_unit = mean_top / 127;
	const int mean_sum = to_bytes(dev, mean_top > 0 ? 127 / mean_top : 0, n, (int8_t *)p->mean);
	memset(ranked, 0, 56 * l->vectors * sizeof *ranked);
	for (int i = 0, first = 0; i < 3; first += planes[i++].channels * l->vectors) {
		const int end = first + planes[i].channels * l->vectors;
		for (int r = first; r < end && r < coded; r++) ranked[r] = dev[ix[r]] * planes[i].step;
	}
	// Ranks come in vectors of 8, 16 and 32: 56 l->vectors of them are whole
	// 16s only for even numbers of vectors.
	const int all = (56 * l->vectors + 15) / 16 * 16;
	for (int r = 56 * l->vectors; r < all; r++) ranked[r] = 0;
	const float top = largest(ranked, all);
	p->unit = top / 127;
	int8_t code[14 * 4 * MAX_INDEX_DIM / 64 + 16];
	to_bytes(ranked, top > 0 ? 127 / top : 0, all, code);
	memcpy(p->quad, code, 56 * l->vectors);
	float centre = 0;
	for (int i = 0, first = 0; i < 3; first += planes[i++].channels * l->vectors) {
		int sum = 0;
		for (int r = first; r < first + planes[i].channels * l->vectors; r++) sum += code[r];
		centre += (float)sum * (float)((1 << planes[i].bits) - 1) / 2;
	}
	p->base = vf_sum(base) - p->unit * centre - p->mean_unit * (float)mean_sum * 128 / MEAN_UNITS;
}

// plane_dots adds a plane's codes times W probes.
INLINE const uint8_t *plane_dots(const int W, const int bits, int vectors, const uint8_t *codes, const probe *p, int quad, vi *acc) {
	for (int v = 0; v < vectors; v++, codes += 64) {
		const vb x = vb_load(codes);
#pragma GCC unroll 8
		for (int q = 0; q < 8 / bits; q++, quad++) {
			const vb c = vb_bits(x, bits * q, (1 << bits) - 1);
#pragma GCC unroll 4
			for (int r = 0; r < W; r++) acc[r] = vi_dot8(acc[r], c, &p[r].quad[quad]);
		}
	}
	return codes;
}

// page_weights computes one page's largest score and weight for W probes.
INLINE void page_weights(const int W, const index_layout *l, const uint8_t *ix, int page, const probe *p, float *const *top, float *const *sum, int at) {
	const uint8_t *codes = ix + l->codes + page * 2 * 3 * l->vectors * 64;
	vf score[2 * SCAN_HEADS];
	for (int half = 0; half < 2; half++) {
		vi acc[SCAN_HEADS];
#pragma GCC unroll 4
		for (int r = 0; r < W; r++) acc[r] = vi_zero();
		codes = plane_dots(W, 4, l->vectors, codes, p, 0, acc);
		codes = plane_dots(W, 2, l->vectors, codes, p, 2 * l->vectors, acc);
		codes = plane_dots(W, 1, l->vectors, codes, p, 6 * l->vectors, acc);
#pragma GCC unroll 4
		for (int r = 0; r < W; r++) score[half * SCAN_HEADS + r] = vi_float(acc[r]);
	}
	const uint8_t *mean = ix + l->means + page * l->padded;
#pragma GCC unroll 4
	for (int r = 0; r < W; r++) {
		const int m = dot_bytes(mean, (const int8_t *)p[r].mean, l->padded);
		const vf unit = vf_set(p[r].unit), base = vf_set(p[r].base + p[r].mean_unit * (float)m / MEAN_UNITS);
		vf a = vf_fma(score[r], unit, base), b = vf_fma(score[SCAN_HEADS + r], unit, base);
		const float t = vf_top(vf_max(a, b));
		top[r][at] = t;
		sum[r][at] = vf_sum(vf_add(vf_exp_rough(vf_sub(a, vf_set(t))), vf_exp_rough(vf_sub(b, vf_set(t)))));
	}
}

INLINE float *page_stat(const exec *e, float *of, int heads, int seq, int head) {
	return of + ((int64_t)seq * heads + head) * e->max_pages;
}

// scan_blocks scores blocks [b0, b1) for W query heads from head0 on.
static void scan_blocks(const int W, exec *e, const op *o, int seq, int head, int head0, int b0, int b1, float *aux) {
	const cache *c = o->kv;
	const view *v = &e->st.views[seq * e->layers + o->layer];
	const float *q = o->src->p + (int64_t)e->st.seq_row[seq] * o->src->ld;
	float *top[SCAN_HEADS], *sum[SCAN_HEADS];
	for (int r = 0; r < W; r++) top[r] = page_stat(e, e->page_max, o->heads, seq, head0 + r), sum[r] = page_stat(e, e->page_sum, o->heads, seq, head0 + r);
	const int pages = v->stored / PAGE_TOK;
	probe p[SCAN_HEADS];
	for (int b = b0; b < b1; b++) {
		const uint8_t *ix = c->index + ((int64_t)v->table[b] * c->kv_heads + head) * c->ix.bytes;
		for (int r = 0; r < W; r++) probe_of(&p[r], &c->ix, ix, q + (head0 + r) * c->dim, c->dim, o->scale, aux);
		const int n = pages - b * BLOCK_PAGES < BLOCK_PAGES ? pages - b * BLOCK_PAGES : BLOCK_PAGES;
		for (int i = 0; i < n; i++) {
			switch (W) {
			case 1: page_weights(1, &c->ix, ix, i, p, top, sum, b * BLOCK_PAGES + i); break;
			case 2: page_weights(2, &c->ix, ix, i, p, top, sum, b * BLOCK_PAGES + i); break;
			case 3: page_weights(3, &c->ix, ix, i, p, top, sum, b * BLOCK_PAGES + i); break;
			default: page_weights(4, &c->ix, ix, i, p, top, sum, b * BLOCK_PAGES + i);
			}
		}
	}
}

// op_scan hands out runs of blocks of single KV heads. Nothing is scored where
// every page is attended to anyway.
static void op_scan(exec *e, const op *o, int at, uint8_t *scratch) {
	const cache *c = o->kv;
	const int group = o->heads / c->kv_heads;
	int piece = 0, end, mine = claim(e, at, INT32_MAX, 1, &end);
	for (int s = 0; s < e->st.seqs; s++) {
		const view *v = &e->st.views[s * e->layers + o->layer];
		if (v->stage || v->stored / PAGE_TOK <= c->budget) continue;
		const int blocks = (v->stored + BLOCK_TOK - 1) / BLOCK_TOK, runs = (blocks + SCAN_BLOCKS - 1) / SCAN_BLOCKS;
		for (; mine < piece + c->kv_heads * runs; mine = claim(e, at, INT32_MAX, 1, &end)) {
			const int head = (mine - piece) / runs, b0 = (mine - piece) % runs * SCAN_BLOCKS;
			const int b1 = b0 + SCAN_BLOCKS < blocks ? b0 + SCAN_BLOCKS : blocks;
			for (int r = 0; r < group; r += SCAN_HEADS)
				scan_blocks(group - r < SCAN_HEADS ? group - r : SCAN_HEADS, e, o, s, head, head * group + r, b0, b1, (float *)scratch);
		}
		piece += c->kv_heads * runs;
	}
}

// settle turns a head's weights, which are relative to their page's largest
// score, into ones relative to the largest of all, which it leaves in top[0]. It
// returns their sum. Scores that are not finite count as larger than any other.
INLINE float settle(float *top, float *sum, int pages) {
	const int n = (pages + 15) / 16 * 16;
	for (int i = 0; i < pages; i++) {
		const int bad = !(top[i] < 1e38f);
		top[i] = bad ? 1e38f : top[i], sum[i] = bad ? 1 : sum[i];
	}
	for (int i = pages; i < n; i++) top[i] = -INFINITY, sum[i] = 0;
	vf m = vf_set(-INFINITY), total = vf_zero();
	for (int i = 0; i < n; i += 16) m = vf_max(m, vf_load(top + i));
	m = vf_set(vf_top(m));
	for (int i = 0; i < n; i += 16) {
		vf w = vf_mul(vf_load(sum + i), vf_exp_rough(vf_sub(vf_load(top + i), m)));
		vf_store(sum + i, w);
		total = vf_add(total, w);
	}
	float first[16];
	vf_store(first, m);
	top[0] = first[0];
	return vf_sum(total);
}

// page_shares writes every page's largest share of a query head of the group.
static void page_shares(const exec *e, const op *o, int seq, int head, int pages, float *share) {
	const int group = o->heads / o->kv->kv_heads;
	for (int r = 0; r < group; r++) {
		float *top = page_stat(e, e->page_max, o->heads, seq, head * group + r), *sum = page_stat(e, e->page_sum, o->heads, seq, head * group + r);
		const vf inv = vf_set(1 / settle(top, sum, pages));
		for (int i = 0; i < pages; i += 16) {
			vf x = vf_mul(vf_load(sum + i), inv);
			vf_store(share + i, r ? vf_max(vf_load(share + i), x) : x);
		}
	}
}

// sift restores the heap order from place i down: the least share is on top.
INLINE void sift(uint32_t *heap, int n, int i, const float *share) {
	for (int c; (c = 2 * i + 1) < n; i = c) {
		if (c + 1 < n && share[heap[c + 1]] < share[heap[c]]) c++;
		if (share[heap[i]] <= share[heap[c]]) return;
		uint32_t x = heap[i];
		heap[i] = heap[c], heap[c] = x;
	}
}

// choose_pages writes the numbers of the n pages of greatest share, ascending.
// The first page, the attention sink, and the last one always belong to them.
static void choose_pages(float *share, int pages, int n, uint32_t *out) {
	share[0] = share[pages - 1] = INFINITY;
	for (int i = 0; i < n; i++) out[i] = i;
	for (int i = n / 2 - 1; i >= 0; i--) sift(out, n, i, share);
	for (int i = n; i < pages; i++) {
		if (!(share[i] > share[out[0]])) continue;
		out[0] = i;
		sift(out, n, 0, share);
	}
	for (int i = 1; i < n; i++) { // nearly always short
		uint32_t x = out[i];
		int j = i;
		for (; j > 0 && out[j - 1] > x; j--) out[j] = out[j - 1];
		out[j] = x;
	}
}

// hot_slot is the slot that gives way to a fetched page: the one whose last use
// is longest ago, but none that this step uses; -1 where there is no such slot.
INLINE int hot_slot(const hot_cache *h, int head, uint32_t tick) {
	int best = -1;
	uint32_t age = 0;
	for (int i = 0; i < h->slots; i++) {
		const uint32_t a = tick - h->used[head * h->slots + i];
		if (a > age) age = a, best = i;
	}
	return best;
}

// bring returns where a chosen record lies in the fast tier, after fetching it
// if need be: into the hot cache, or into the sequence's own place i when this
// step uses all of that.
static const uint8_t *bring(const cache *c, const view *v, int head, uint32_t page, int i, uint32_t tick, int64_t *traffic) {
	const hot_cache *h = &c->hot;
	uint16_t *where = h->slot + (int64_t)head * h->pages + page;
	const int bytes = c->rec.bytes;
	int slot = *where;
	if (slot != NO_HOT) {
		traffic[T_HITS]++;
		h->used[head * h->slots + slot] = tick;
		return h->records + ((int64_t)head * h->slots + slot) * bytes;
	}
	traffic[T_FETCHED] += bytes;
	const uint8_t *src = c->units + page / BLOCK_PAGES * c->unit_bytes + ((int64_t)(page % BLOCK_PAGES) * c->kv_heads + head) * bytes;
	slot = hot_slot(h, head, tick);
	uint8_t *dst = v->work + ((int64_t)head * c->budget + i) * bytes;
	if (slot >= 0) {
		const uint32_t old = h->page[head * h->slots + slot];
		if (old != UINT32_MAX) h->slot[(int64_t)head * h->pages + old] = NO_HOT;
		h->page[head * h->slots + slot] = page, h->used[head * h->slots + slot] = tick;
		*where = (uint16_t)slot;
		dst = h->records + ((int64_t)head * h->slots + slot) * bytes;
	}
	memcpy(dst, src, bytes);
	return dst;
}

// pick chooses for one sequence and KV head and brings what is missing. Pages
// that are already there are stamped first, so that none of them gives way.
static void pick(exec *e, const op *o, int seq, int head, int64_t *traffic, float *share) {
	const cache *c = o->kv;
	const view *v = &e->st.views[seq * e->layers + o->layer];
	const int pages = v->stored / PAGE_TOK, n = pages < c->budget ? pages : c->budget;
	uint32_t *chosen = v->chosen + head * v->chosen_len;
	const uint8_t **at = e->picked + ((int64_t)seq * e->max_kv_heads + head) * e->max_chosen;
	chosen[0] = n;
	if (n < pages) {
		page_shares(e, o, seq, head, pages, share);
		choose_pages(share, pages, n, chosen + 1);
	} else {
		for (int i = 0; i < n; i++) chosen[1 + i] = i;
	}
	traffic[T_PAGES] += pages, traffic[T_CHOSEN] += n, traffic[T_COLD] += (int64_t)pages * c->rec.bytes;
	for (int i = 1; i <= n; i++) {
		chosen[i] = v->table[chosen[i] / BLOCK_PAGES] * BLOCK_PAGES + chosen[i] % BLOCK_PAGES;
		const uint16_t slot = c->hot.slot[(int64_t)head * c->hot.pages + chosen[i]];
		if (slot != NO_HOT) c->hot.used[head * c->hot.slots + slot] = e->st.tick;
	}
	for (int i = 0; i < n; i++) at[i] = bring(c, v, head, chosen[1 + i], i, e->st.tick, traffic);
}

// op_pick hands out KV heads: sequences share a head's hot cache.
static void op_pick(exec *e, const op *o, int at, int thread, uint8_t *scratch) {
	for (int end, head; (head = claim(e, at, o->kv->kv_heads, 1, &end)) < o->kv->kv_heads;)
		for (int s = 0; s < e->st.seqs; s++)
			if (!e->st.views[s * e->layers + o->layer].stage)
				pick(e, o, s, head, e->traffic + thread * N_TRAFFIC, (float *)scratch);
}

// estimates says whether some pages of a list were not chosen and are estimated.
INLINE int estimates(const list *l) { return l->kv->ix.values && l->chosen >= 0 && l->chosen * PAGE_TOK < l->v->stored; }

// estimate stands for the pages that were not chosen: their weight as the index
// has it, and their mean values. It gives a partial softmax like a span does.
static void estimate(const exec *e, const list *l, int seq, int head, int heads, float *acc, float *m, float *sum) {
	const cache *c = l->kv;
	const float *weight = page_stat(e, e->page_sum, heads, seq, head);
	const uint32_t *chosen = l->v->chosen + l->head * l->v->chosen_len + 1;
	const int pages = l->v->stored / PAGE_TOK, dim = c->dim;
	*m = page_stat(e, e->page_max, heads, seq, head)[0], *sum = 0;
	memset(acc, 0, dim * sizeof *acc);
	for (int b = 0, next = 0; b * BLOCK_PAGES < pages; b++) {
		const uint32_t block = l->v->table[b];
		const uint8_t *ix = c->index + ((int64_t)block * c->kv_heads + l->head) * c->ix.bytes;
		uint16_t h[16] = {0};
		float step[16];
		memcpy(h, ix + c->ix.value_step, 2 * BLOCK_PAGES);
		vf_store(step, vf_half(h));
		for (int page = 0; page < BLOCK_PAGES && b * BLOCK_PAGES + page < pages; page++) {
			if (next < l->chosen && chosen[next] == block * BLOCK_PAGES + page) {
				next++;
				continue;
			}
			const float w = weight[b * BLOCK_PAGES + page], x = w * step[page];
			const uint8_t *v = ix + c->ix.values + page * c->ix.padded;
			*sum += w;
			int ch = 0;
			for (; ch + 16 <= dim; ch += 16) vf_store(acc + ch, vf_fma(vf_i8(v + ch), vf_set(x), vf_load(acc + ch)));
			for (; ch < dim; ch++) acc[ch] += (float)(int8_t)v[ch] * x;
		}
	}
}
