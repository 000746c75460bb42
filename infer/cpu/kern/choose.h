// Dominant pages: the choice, the exchange of working sets, and the estimate of
// what is not in them.
//
// A query head's share of a cold page is e^score of the page's best token over
// the sum of that over all pages, with keys as the index has them. A KV head
// wants the pages whose largest share of any of its query heads is greatest.
// Shares are kept as logarithms.

// settle makes scores that are not finite larger than any other, and returns
// the logarithm of the summed e^score.
INLINE float settle(float *top, int pages) {
	const int n = (pages + 15) / 16 * 16;
	for (int i = pages; i < n; i++) top[i] = -INFINITY;
	vf m = vf_set(-INFINITY), total = vf_zero();
	for (int i = 0; i < n; i += 16) {
		const vf x = vf_min(vf_load(top + i), vf_set(1e38f)); // of NaN, the second operand
		vf_store(top + i, x);
		m = vf_max(m, x);
	}
	m = vf_set(vf_top(m));
	for (int i = 0; i < n; i += 16) total = vf_add(total, vf_exp_rough(vf_sub(vf_load(top + i), m)));
	float first[16];
	vf_store(first, m);
	return first[0] + logf(vf_sum(total));
}

// page_shares writes the logarithm of every page's largest share.
static void page_shares(const exec *e, const op *o, int seq, int head, int pages, float *share) {
	const int group = o->heads / o->kv->kv_heads;
	for (int r = 0; r < group; r++) {
		float *top = page_stat(e, e->page_max, o->heads, seq, head * group + r);
		const vf all = vf_set(settle(top, pages));
		for (int i = 0; i < pages; i += 16) {
			const vf x = vf_sub(vf_load(top + i), all);
			vf_store(share + i, r ? vf_max(vf_load(share + i), x) : x);
		}
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
// the least where least is -1, and earlier ones among equals. Shares are orders.
static void keep_best(uint32_t *page, int n, int k, const int32_t *share, int32_t least) {
	const uint32_t taken = 1u << 31;
	for (int i = 0; i < k; i++) {
		int best = -1;
		for (int j = 0; j < n; j++)
			if (!(page[j] & taken) && (best < 0 || (share[page[j]] ^ least) > (share[page[best]] ^ least))) best = j;
		page[best] |= taken;
	}
	for (int j = 0, i = 0; j < n; j++)
		if (page[j] & taken) page[i++] = page[j] & ~taken;
}

// exchange decides which of n wanted pages come into a set, to in, and which
// leave it, to out: free places are filled, and at most so many exchanged.
INLINE int exchange(const cache *c, const uint32_t *set, const lists *x, int n, const int32_t *share, int *n_out) {
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
		keep_best(x->in, in, most, share, 0);
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
static void pick(exec *e, const op *o, int seq, int head, int64_t *traffic, float *scratch) {
	const cache *c = o->kv;
	const view *v = &e->st.views[seq * e->layers + o->layer];
	const int pages = v->stored / COLD_TOK, n = pages < c->budget ? pages : c->budget;
	const lists x = lists_in(e, scratch);
	const int32_t *share = 0;
	uint32_t *set = v->chosen + head * v->chosen_len;
	if (n < pages) {
		page_shares(e, o, seq, head, pages, scratch);
		for (int i = 1; i <= (int)set[0]; i++) scratch[set[i]] += c->gain;
		scratch[0] = scratch[pages - 1] = INFINITY; // the attention sink and the last page always belong to the set
		share = orders_of(scratch, pages);
		choose_best(share, pages, n, x.wanted);
	} else {
		for (int i = 0; i < n; i++) x.wanted[i] = i;
	}
	int out;
	const int in = exchange(c, set, &x, n, share, &out);
	replace(c, v, head, set, &x, in, out, e->picked + ((int64_t)seq * e->max_kv_heads + head) * e->max_chosen);
	traffic[T_PAGES] += pages, traffic[T_CHOSEN] += n, traffic[T_HITS] += n - in;
	traffic[T_FETCHED] += (int64_t)in * c->rec.bytes, traffic[T_COLD] += (int64_t)pages * c->rec.bytes;
}

// op_scan hands out runs of blocks of single KV heads, and whoever scores the
// last run of a head renews its working set, for which those that attend to it
// wait, and nobody else. Nothing is scored where every page is attended to anyway.
static void op_scan(exec *e, const op *o, int at, int thread, uint8_t *scratch) {
	const cache *c = o->kv;
	int piece = 0, end, mine = claim(e, at, INT32_MAX, 1, &end);
	for (int s = 0; s < e->st.seqs; s++) {
		const view *v = &e->st.views[s * e->layers + o->layer];
		if (v->stage) continue;
		const int blocks = v->stored / COLD_TOK <= c->budget ? 0 : (v->stored + BLOCK_TOK - 1) / BLOCK_TOK;
		const int runs = blocks ? (blocks + SCAN_BLOCKS - 1) / SCAN_BLOCKS : 1;
		for (; mine < piece + c->kv_heads * runs; mine = claim(e, at, INT32_MAX, 1, &end)) {
			const int head = (mine - piece) / runs, b0 = (mine - piece) % runs * SCAN_BLOCKS;
			scan_group(e, o, s, head, b0, b0 + SCAN_BLOCKS < blocks ? b0 + SCAN_BLOCKS : blocks);
			int32_t *done = &e->scanned[s * e->max_kv_heads + head];
			if (__atomic_add_fetch(done, 1, __ATOMIC_ACQ_REL) < runs) continue;
			*done = 0; // for the next layer, behind a barrier
			pick(e, o, s, head, e->traffic + thread * N_TRAFFIC, (float *)scratch);
			__atomic_store_n(set_renewed(e, s, head), set_round(e, o->layer), __ATOMIC_RELEASE);
		}
		piece += c->kv_heads * runs;
	}
}

// estimates says whether some pages are not in a list and are estimated.
INLINE int estimates(const list *l) { return l->kv->ix.values && l->chosen >= 0 && l->chosen * PAGE_TOK < l->v->stored; }

// estimate stands for the pages that are not in the working set: each weighs
// what its tokens would if all had its mean key, and has its mean value. It
// gives a partial softmax like a span does.
static void estimate(const exec *e, const list *l, int seq, int head, int heads, float *acc, float *m, float *sum) {
	const cache *c = l->kv;
	const float *mean = page_stat(e, e->page_mean, heads, seq, head);
	const uint32_t *held = l->v->chosen + l->head * l->v->chosen_len;
	const int pages = l->v->stored / COLD_TOK, dim = c->dim, n = (int)*held++;
	*m = -INFINITY, *sum = 0;
	for (int i = 0; i < pages; i++) *m = !(mean[i] <= *m) ? mean[i] : *m; // NaN stays
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
			const float w = COLD_TOK * expf(mean[b * BLOCK_COLD + page] - *m), x = w * step[page];
			const uint8_t *v = ix + c->ix.values + page * c->ix.padded;
			*sum += w;
			int ch = 0;
			for (; ch + 16 <= dim; ch += 16) vf_store(acc + ch, vf_fma(vf_i8(v + ch), vf_set(x), vf_load(acc + ch)));
			for (; ch < dim; ch++) acc[ch] += (float)(int8_t)v[ch] * x;
		}
	}
}
