// Dominant pages: scores of a decode row's queries over the index of a layer,
// the choice, the exchange of working sets, and the estimate of what is not in
// them.
//
// A cold page's weight for a query head is the sum of e^score over its tokens,
// with keys as the index has them. A KV head wants the pages whose largest share
// of any of its query heads' weights is greatest.

enum { SCAN_HEADS = 4, SCAN_BLOCKS = 4, MAX_RANKS = RANKS * MAX_INDEX_DIM / 64 };

// probe is a query against one block's index: in 8 bits for the means, and as
// floats for the codes, whose scales are those of single pages.
typedef struct {
	int32_t mean[MAX_INDEX_DIM / 4]; // four channels each
	float mean_unit;                 // score of one unit of mean
	float base;                      // score of the references, less the means' offset
	float ranked[MAX_RANKS + 16];    // by rank, times the planes' steps
	float top;                       // the largest |ranked|
} probe;

INLINE float largest(const float *x, int n) {
	vf top = vf_zero();
	for (int i = 0; i < n; i += 16) top = vf_max(vf_abs(vf_load(x + i)), top);
	return vf_top(top);
}

// probe_of prepares q for a block. aux holds 2 padded heads.
static void probe_of(probe *p, const index_layout *l, const uint8_t *ix, const float *q, int dim, float scale, float *aux) {
	const int n = l->padded;
	float *dev = aux, *ref = aux + n;
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
	const float top = largest(dev, n);
	p->mean_unit = top / 127;
	const vf inv = vf_set(top > 0 ? 127 / top : 0);
	vi sum = vi_zero();
	for (int c = 0; c < n; c += 16) {
		const vi code = vf_int(vf_mul(vf_load(dev + c), inv));
		vi_store_bytes((uint8_t *)p->mean + c, code);
		sum = vi_add(sum, code);
	}
	p->base = vf_sum(base) - p->mean_unit * (float)vi_sum(sum) * 128 / INDEX_UNITS;
	memset(p->ranked, 0, l->scaled * sizeof *p->ranked);
	for (int i = 0, first = 0; i < PLANES; first += planes[i++].channels * l->vectors) {
		const int end = first + planes[i].channels * l->vectors;
		for (int r = first; r < end && r < dim; r++) p->ranked[r] = dev[ix[r]] * planes[i].step;
	}
	p->top = largest(p->ranked, l->scaled);
}

// page_probe is a probe against one page's codes: four ranks each.
typedef struct {
	int32_t quad[MAX_RANKS / 4 + 4];
	float unit, base; // score of one unit of code, and of a token with no codes
} page_probe;

// centres are twice the middle codes of all ranks.
INLINE void centres_of(const index_layout *l, uint8_t *c) {
	memset(c, 0, l->scaled);
	for (int i = 0; i < PLANES; c += planes[i++].channels * l->vectors)
		memset(c, (1 << planes[i].bits) - 1, planes[i].channels * l->vectors);
}

INLINE void probe_page(page_probe *to, const probe *p, const index_layout *l, const uint8_t *ix, int page, const uint8_t *centres) {
	const uint8_t *scales = ix + l->scales + page * l->scaled;
	vf most = vf_zero();
	for (int i = 0; i < l->scaled; i += 16) most = vf_max(most, vf_u8(scales + i));
	const float top = p->top * vf_top(most);
	const vf inv = vf_set(top > 0 ? 127 / top : 0);
	for (int i = 0; i < l->scaled; i += 16)
		vi_store_bytes((uint8_t *)to->quad + i, vf_int(vf_mul(vf_mul(vf_load(p->ranked + i), vf_u8(scales + i)), inv)));
	to->unit = top / 127 / INDEX_UNITS;
	const int m = dot_bytes(ix + l->means + page * l->padded, (const int8_t *)p->mean, l->padded);
	const int centre = dot_bytes(centres, (const int8_t *)to->quad, l->scaled);
	to->base = p->base + p->mean_unit * (float)m / INDEX_UNITS - to->unit * (float)centre / 2;
}

// plane_dots adds a plane's codes times W probes.
INLINE const uint8_t *plane_dots(const int W, const int bits, int vectors, const uint8_t *codes, const page_probe *p, int quad, vi *acc) {
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

// page_weights computes the largest scores and weights of a page's two cold
// ones for W probes.
INLINE void page_weights(const int W, const index_layout *l, const uint8_t *ix, int page, const probe *p, const uint8_t *centres, float *const *top, float *const *sum, int at) {
	const uint8_t *codes = ix + l->codes + page * 2 * index_half(l);
	page_probe x[SCAN_HEADS];
#pragma GCC unroll 4
	for (int r = 0; r < W; r++) probe_page(&x[r], &p[r], l, ix, page, centres);
	for (int half = 0; half < 2; half++) {
		vi acc[SCAN_HEADS];
#pragma GCC unroll 4
		for (int r = 0; r < W; r++) acc[r] = vi_zero();
		codes = plane_dots(W, 4, l->vectors, codes, x, 0, acc);
		codes = plane_dots(W, 2, l->vectors, codes, x, 2 * l->vectors, acc);
#pragma GCC unroll 4
		for (int r = 0; r < W; r++) {
			const vf a = vf_fma(vi_float(acc[r]), vf_set(x[r].unit), vf_set(x[r].base));
			const float t = vf_top(a);
			top[r][2 * at + half] = t;
			sum[r][2 * at + half] = vf_sum(vf_exp_rough(vf_sub(a, vf_set(t))));
		}
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
	uint8_t centres[MAX_RANKS + 16];
	centres_of(&c->ix, centres);
	probe p[SCAN_HEADS];
	for (int b = b0; b < b1; b++) {
		const uint8_t *ix = c->index + ((int64_t)v->table[b] * c->kv_heads + head) * c->ix.bytes;
		for (int r = 0; r < W; r++) probe_of(&p[r], &c->ix, ix, q + (head0 + r) * c->dim, c->dim, o->scale, aux);
		const int n = pages - b * BLOCK_PAGES < BLOCK_PAGES ? pages - b * BLOCK_PAGES : BLOCK_PAGES;
		for (int i = 0; i < n; i++) {
			switch (W) {
			case 1: page_weights(1, &c->ix, ix, i, p, centres, top, sum, b * BLOCK_PAGES + i); break;
			case 2: page_weights(2, &c->ix, ix, i, p, centres, top, sum, b * BLOCK_PAGES + i); break;
			case 3: page_weights(3, &c->ix, ix, i, p, centres, top, sum, b * BLOCK_PAGES + i); break;
			default: page_weights(4, &c->ix, ix, i, p, centres, top, sum, b * BLOCK_PAGES + i);
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
		if (v->stage || v->stored / COLD_TOK <= c->budget) continue;
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

// lists are a thread's arrays for a choice, [max_chosen] each.
typedef struct {
	uint32_t *wanted, *in, *out, *pages, *places, *free;
} lists;

INLINE lists lists_in(const exec *e, float *scratch) {
	uint32_t *p = (uint32_t *)(scratch + e->max_pages);
	const int n = e->max_chosen;
	return (lists){p, p + n, p + 2 * n, p + 3 * n, p + 4 * n, p + 5 * n};
}

// keep_best leaves k of n ascending pages, those of the greatest share, or of
// the least where sign is -1, and earlier ones among equals.
static void keep_best(uint32_t *page, int n, int k, const float *share, float sign) {
	const uint32_t taken = 1u << 31;
	for (int i = 0; i < k; i++) {
		int best = -1;
		for (int j = 0; j < n; j++)
			if (!(page[j] & taken) && (best < 0 || sign * share[page[j]] > sign * share[page[best]])) best = j;
		page[best] |= taken;
	}
	for (int j = 0, i = 0; j < n; j++)
		if (page[j] & taken) page[i++] = page[j] & ~taken;
}

// exchange decides which of n wanted pages come into a set, to in, and which
// leave it, to out: free places are filled, and at most so many exchanged.
INLINE int exchange(const cache *c, const uint32_t *set, const lists *x, int n, const float *share, int *n_out) {
	const uint32_t *held = set + 1;
	const int m = (int)set[0];
	int in = 0, out = 0;
	for (int i = 0, j = 0; i < m || j < n;) {
		if (j == n || (i < m && held[i] < x->wanted[j])) x->out[out++] = held[i++];
		else if (i == m || x->wanted[j] < held[i]) x->in[in++] = x->wanted[j++];
		else i++, j++;
	}
	const int free = in - out, most = free + c->exchange;
	if (in > most) {
		keep_best(x->in, in, most, share, 1);
		keep_best(x->out, out, c->exchange, share, -1);
		in = most, out = c->exchange;
	}
	*n_out = out;
	return in;
}

// replace writes what a set becomes, and copies the records that come in.
static void replace(const cache *c, const view *v, int head, uint32_t *set, const lists *x, int in, int out, const uint8_t **at) {
	uint32_t *held = set + 1, *place = held + c->budget;
	const int m = (int)set[0], n = m + in - out, bytes = c->rec.bytes;
	uint8_t *records = v->sets + (int64_t)head * c->budget * bytes;
	int free = 0;
	for (int i = m; i < c->budget; i++) x->free[free++] = place[i];
	for (int i = 0, j = 0; j < out; i++)
		if (held[i] == x->out[j]) x->free[free++] = place[i], j++;
	for (int i = 0, j = 0, o = 0, to = 0; to < n;) {
		if (i < m && o < out && held[i] == x->out[o]) {
			i++, o++;
		} else if (j < in && (i == m || x->in[j] < held[i])) {
			memcpy(records + (int64_t)x->free[j] * bytes, record_at(c, v->table, (int)x->in[j] * COLD_TOK, head), bytes);
			x->pages[to] = x->in[j], x->places[to++] = x->free[j], j++;
		} else {
			x->pages[to] = held[i], x->places[to++] = place[i++];
		}
	}
	set[0] = n;
	memcpy(held, x->pages, n * sizeof *held), memcpy(place, x->places, n * sizeof *place);
	memcpy(place + n, x->free + in, (c->budget - n) * sizeof *place);
	for (int i = 0; i < n; i++) at[i] = records + (int64_t)place[i] * bytes;
}

// pick renews the working set of one sequence and KV head.
static void pick(exec *e, const op *o, int seq, int head, int64_t *traffic, float *share) {
	const cache *c = o->kv;
	const view *v = &e->st.views[seq * e->layers + o->layer];
	const int pages = v->stored / COLD_TOK, n = pages < c->budget ? pages : c->budget;
	const lists x = lists_in(e, share);
	if (n < pages) {
		page_shares(e, o, seq, head, pages, share);
		choose_pages(share, pages, n, x.wanted);
	} else {
		for (int i = 0; i < n; i++) x.wanted[i] = i;
	}
	uint32_t *set = v->chosen + head * v->chosen_len;
	int out;
	const int in = exchange(c, set, &x, n, share, &out);
	replace(c, v, head, set, &x, in, out, e->picked + ((int64_t)seq * e->max_kv_heads + head) * e->max_chosen);
	traffic[T_PAGES] += pages, traffic[T_CHOSEN] += n, traffic[T_HITS] += n - in;
	traffic[T_FETCHED] += (int64_t)in * c->rec.bytes, traffic[T_COLD] += (int64_t)pages * c->rec.bytes;
}

// op_pick hands out KV heads.
static void op_pick(exec *e, const op *o, int at, int thread, uint8_t *scratch) {
	for (int end, head; (head = claim(e, at, o->kv->kv_heads, 1, &end)) < o->kv->kv_heads;)
		for (int s = 0; s < e->st.seqs; s++)
			if (!e->st.views[s * e->layers + o->layer].stage)
				pick(e, o, s, head, e->traffic + thread * N_TRAFFIC, (float *)scratch);
}

// estimates says whether some pages are not in a list and are estimated.
INLINE int estimates(const list *l) { return l->kv->ix.values && l->chosen >= 0 && l->chosen * PAGE_TOK < l->v->stored; }

// estimate stands for the pages that are not in the working set: their weight as the index
// has it, and their mean values. It gives a partial softmax like a span does.
static void estimate(const exec *e, const list *l, int seq, int head, int heads, float *acc, float *m, float *sum) {
	const cache *c = l->kv;
	const float *weight = page_stat(e, e->page_sum, heads, seq, head);
	const uint32_t *held = l->v->chosen + l->head * l->v->chosen_len;
	const int pages = l->v->stored / COLD_TOK, dim = c->dim, n = (int)*held++;
	*m = page_stat(e, e->page_max, heads, seq, head)[0], *sum = 0;
	memset(acc, 0, dim * sizeof *acc);
	for (int b = 0, next = 0; b * BLOCK_COLD < pages; b++) {
		const uint8_t *ix = c->index + ((int64_t)l->v->table[b] * c->kv_heads + l->head) * c->ix.bytes;
		float step[BLOCK_COLD];
		vf_store(step, vf_half(ix + c->ix.value_step));
		for (int page = 0; page < BLOCK_COLD && b * BLOCK_COLD + page < pages; page++) {
			if (next < n && (int)held[next] == b * BLOCK_COLD + page) {
				next++;
				continue;
			}
			const float w = weight[b * BLOCK_COLD + page], x = w * step[page];
			const uint8_t *v = ix + c->ix.values + page * c->ix.padded;
			*sum += w;
			int ch = 0;
			for (; ch + 16 <= dim; ch += 16) vf_store(acc + ch, vf_fma(vf_i8(v + ch), vf_set(x), vf_load(acc + ch)));
			for (; ch < dim; ch++) acc[ch] += (float)(int8_t)v[ch] * x;
		}
	}
}
