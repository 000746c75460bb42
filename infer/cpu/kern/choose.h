// What a cold page is worth, and the estimate of those that are not attended to.
//
// A query head's share of a cold page is e^score of the page's best token over
// the sum of that over all pages, with keys as the index has them, or, of pages in
// a working set, their records (pick.h). Shares are kept as logarithms.

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
