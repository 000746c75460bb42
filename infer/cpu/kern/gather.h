// Dominant tokens of layers that keep no index (TailorKV, arXiv:2505.19586,
// section 4.2). A KV head's query, which may be predicted, is the signed mean
// over its group's. The few channels in which it meets the largest keys are
// streamed for all tokens; scores over them choose tokens, whose rows are then
// gathered into exact pages, in the order of positions.
//
// A sequence's work memory holds the gathered pages and, behind the most that
// the budget allows, each head's streamed channels [pages][channels][PAGE_TOK].

enum { STREAM_PAGES = 64 }; // pages that one piece of a stream brings

// raise lifts a peak to at least x >= 0. Blocks of one head are written by
// several threads, and the largest does not depend on their order. Floats that
// are not negative are ordered as their bits; NaN counts as infinite.
INLINE void raise(float *peak, float x) {
	const float top = x >= 0 ? x : INFINITY;
	uint32_t bits, old = __atomic_load_n((uint32_t *)peak, __ATOMIC_RELAXED);
	memcpy(&bits, &top, sizeof bits);
	while (old < bits && !__atomic_compare_exchange_n((uint32_t *)peak, &old, bits, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
	}
}

// peaks_of_page raises a head's peaks to the largest |K| of one page. They stay
// when a prompt is cancelled or a sequence cut: upper bounds, which at worst
// stream channels that no longer deserve it.
static void peaks_of_page(const cache *c, const view *v, page_ref p, int head) {
	float *peak = v->peaks + head * c->dim;
	for (int ch = 0; ch < c->dim; ch++) {
		const vf a = vf_half(p.k + 2 * ch * PAGE_TOK), b = vf_half(p.k + 2 * (ch * PAGE_TOK + 16));
		const float bad = vf_sum(vf_mul(vf_add(a, b), vf_zero())); // 0 or NaN, which vf_max may miss
		raise(peak + ch, vf_top(vf_max(vf_abs(a), vf_abs(b))) + bad);
	}
}

// mean_query is the mean [dim] of a decode row's queries that share a KV head.
static void mean_query(const exec *e, const op *o, int seq, int head, float *mean) {
	const int dim = o->kv->dim, group = o->heads / o->kv->kv_heads;
	const float *q = o->src->p + (int64_t)e->st.seq_row[seq] * o->src->ld + (int64_t)head * group * dim;
	for (int c = 0; c < dim; c++) {
		float sum = 0;
		for (int g = 0; g < group; g++) sum += q[g * dim + c];
		mean[c] = sum / (float)group;
	}
}

// critical_channels writes the n channels of the largest |q_c| max_t |K_tc|
// (eq. 10), ascending. Of equal ones the earlier is chosen; what is no number
// counts as larger than any. score holds dim floats.
static void critical_channels(const float *q, const float *peak, int dim, int n, float *score, int32_t *channel) {
	for (int c = 0; c < dim; c++) {
		score[c] = fabsf(q[c]) * peak[c];
		if (!(score[c] >= 0)) score[c] = INFINITY;
	}
	for (int i = 0; i < n; i++) {
		int best = 0;
		for (int c = 1; c < dim; c++)
			if (score[c] > score[best]) best = c;
		score[best] = -1;
	}
	for (int c = 0; c < dim; c++)
		if (score[c] < 0) *channel++ = c;
}

INLINE float *token_scores(const exec *e, int seq, int head) {
	return e->token_score + ((int64_t)seq * e->max_kv_heads + head) * e->max_tokens;
}

// stream_pages brings the critical channels of pages [p0, p1) and scores their
// tokens, relative to each other alone: scale and softmax change no order.
static void stream_pages(const exec *e, const op *o, int seq, int head, int p0, int p1, float *aux) {
	const cache *c = o->kv;
	const view *v = &e->st.views[seq * e->layers + o->layer];
	float *q = aux, *score = token_scores(e, seq, head);
	int32_t *channel = (int32_t *)(aux + 2 * c->dim);
	mean_query(e, o, seq, head, q);
	critical_channels(q, v->peaks + head * c->dim, c->dim, c->channels, aux + c->dim, channel);
	const int64_t page_bytes = (int64_t)c->channels * 2 * PAGE_TOK;
	uint8_t *to = v->work + (c->budget + PAGE_TOK - 1) / PAGE_TOK * c->page_bytes + ((int64_t)head * (v->stored / PAGE_TOK) + p0) * page_bytes;
	for (int page = p0; page < p1; page++) {
		const page_ref from = page_at(c, v, page, head);
		vf a = vf_zero(), b = vf_zero();
		for (int i = 0; i < c->channels; i++, to += 2 * PAGE_TOK) {
			memcpy(to, from.k + channel[i] * c->rec.k_row, 2 * PAGE_TOK);
			const vf x = vf_set(q[channel[i]]);
			a = vf_fma(vf_half(to), x, a), b = vf_fma(vf_half(to + 2 * 16), x, b);
		}
		vf_store(score + page * PAGE_TOK, a), vf_store(score + page * PAGE_TOK + 16, b);
	}
}

// op_stream hands out runs of pages of single KV heads. Nothing is streamed
// where every token is attended to anyway.
static void op_stream(exec *e, const op *o, int at, int thread, uint8_t *scratch) {
	const cache *c = o->kv;
	int piece = 0, mine = claim(e, at);
	for (int s = 0; s < e->st.seqs; s++) {
		const view *v = &e->st.views[s * e->layers + o->layer];
		if (v->stored <= c->budget || e->st.seq_row[s] == e->st.seq_row[s + 1]) continue;
		const int pages = v->stored / PAGE_TOK, runs = (pages + STREAM_PAGES - 1) / STREAM_PAGES;
		for (; mine < piece + c->kv_heads * runs; mine = claim(e, at)) {
			const int head = (mine - piece) / runs, p0 = (mine - piece) % runs * STREAM_PAGES;
			const int p1 = p0 + STREAM_PAGES < pages ? p0 + STREAM_PAGES : pages;
			stream_pages(e, o, s, head, p0, p1, (float *)scratch);
			e->traffic[thread * N_TRAFFIC + T_STREAMED] += (int64_t)(p1 - p0) * c->channels * 2 * PAGE_TOK;
		}
		piece += c->kv_heads * runs;
	}
}

// order_of orders scores as integers; those that are not finite come above all
// others, so that whoever looks at the result sees them.
INLINE int32_t order_of(float score) {
	int32_t bits;
	score += 0.0f; // -0 is 0
	if (!(fabsf(score) < INFINITY)) return INT32_MAX;
	memcpy(&bits, &score, sizeof bits);
	return bits ^ (bits >> 31 & INT32_MAX);
}

// orders_of turns n scores into their orders, in place, padded to whole 16s with
// what comes below all.
static int32_t *orders_of(float *score, int n) {
	for (int i = 0; i < n; i++) {
		const int32_t r = order_of(score[i]);
		memcpy(score + i, &r, sizeof r);
	}
	int32_t *order = (int32_t *)score;
	for (int i = n; i % 16; i++) order[i] = INT32_MIN;
	return order;
}

// nth_order is the k-th largest of n padded orders, or what lies between it and
// the next smaller one. It leaves in k how many of those that equal it are among
// the k. Halving what it may be takes a time that hardly depends on the orders.
static int32_t nth_order(const int32_t *order, int n, int *k) {
	int64_t lo = INT32_MIN, hi = (int64_t)INT32_MAX + 1; // k or more are from lo on, fewer from hi on
	int above = 0;
	while (hi - lo > 1) {
		const int64_t mid = (lo + hi) >> 1;
		vi count = vi_zero();
		for (int i = 0; i < n; i += 16) count = vi_count_from(count, order + i, (int32_t)mid);
		const int m = vi_sum(count);
		if (m == *k) {
			*k = 0;
			return (int32_t)(mid - 1);
		}
		if (m > *k) lo = mid;
		else hi = mid, above = m;
	}
	*k -= above;
	return (int32_t)lo;
}

// choose_best writes the places of the k largest of n padded orders, ascending.
// Of equal ones the earlier is chosen.
static void choose_best(const int32_t *order, int n, int k, uint32_t *out) {
	int equal = k;
	const int32_t least = nth_order(order, n, &equal);
	if (!equal) { // all are above what lies below the k-th
		for (int i = 0, at = 0; i < n; i += 16)
			for (uint32_t m = vi_above(order + i, least); m; m &= m - 1) out[at++] = (uint32_t)(i + __builtin_ctz(m));
		return;
	}
	for (int i = 0, at = 0; at < k; i++) {
		out[at] = i;
		if (order[i] == least) at += equal-- > 0;
		else at += order[i] > least;
	}
}

// choose_tokens writes n of so many positions, ascending: the first sink ones,
// and those of the largest scores, whose memory it takes.
static void choose_tokens(float *score, int tokens, int sink, int n, uint32_t *out) {
	if (n == tokens) {
		for (int t = 0; t < n; t++) out[t] = t;
		return;
	}
	for (int t = 0; t < sink; t++) score[t] = INFINITY;
	choose_best(orders_of(score, tokens), tokens, n, out);
}

// copy_rows copies m tokens of one page, at places at[i] % PAGE_TOK, to places
// from slot on of another.
INLINE void copy_rows(int dim, page_ref from, const uint32_t *at, int m, uint8_t *to_k, uint8_t *to_v, int slot) {
	if (m == PAGE_TOK) {
		memcpy(to_k, from.k, (size_t)dim * 2 * PAGE_TOK), memcpy(to_v, from.v, (size_t)dim * 2 * PAGE_TOK);
		return;
	}
	for (int c = 0; c < dim; c++)
		for (int i = 0; i < m; i++) memcpy(to_k + 2 * (c * PAGE_TOK + slot + i), from.k + 2 * (c * PAGE_TOK + at[i] % PAGE_TOK), 2);
	for (int i = 0; i < m; i++) memcpy(to_v + 2 * (slot + i) * dim, from.v + 2 * (at[i] % PAGE_TOK) * dim, 2 * (size_t)dim);
}

// fetch_rows gathers n tokens of ascending positions. Only the first page may
// be partial, and at its begin: attention begins behind its empty places. Their
// values are cleared, since even 0 times what is no number is none.
static void fetch_rows(const cache *c, const view *v, int head, const uint32_t *at, int n) {
	const int pad = empty_places(n);
	uint8_t *first = v->work + head * c->head_bytes;
	memset(first + c->head_bytes / 2, 0, (size_t)pad * c->dim * 2);
	for (int i = 0, m; i < n; i += m) {
		const int page = (int)at[i] / PAGE_TOK, slot = (pad + i) % PAGE_TOK;
		for (m = 1; i + m < n && slot + m < PAGE_TOK && (int)at[i + m] / PAGE_TOK == page; m++) {
		}
		uint8_t *to = first + (pad + i) / PAGE_TOK * c->page_bytes;
		copy_rows(c->dim, page_at(c, v, page, head), at + i, m, to, to + c->head_bytes / 2, slot);
	}
}

// op_gather hands out KV heads of single sequences.
static void op_gather(exec *e, const op *o, int at, int thread) {
	const cache *c = o->kv;
	int64_t *traffic = e->traffic + thread * N_TRAFFIC;
	const int pieces = c->kv_heads * e->st.seqs;
	for (int mine; (mine = claim(e, at)) < pieces;) {
		const int seq = mine / c->kv_heads, head = mine % c->kv_heads;
		const view *v = &e->st.views[seq * e->layers + o->layer];
		if (e->st.seq_row[seq] == e->st.seq_row[seq + 1]) continue;
		uint32_t *chosen = v->chosen + head * v->chosen_len;
		const int n = v->stored < c->budget ? v->stored : c->budget;
		chosen[0] = n;
		choose_tokens(token_scores(e, seq, head), v->stored, c->sink, n, chosen + 1);
		fetch_rows(c, v, head, chosen + 1, n);
		traffic[T_PAGES] += v->stored / PAGE_TOK, traffic[T_CHOSEN] += (n + PAGE_TOK - 1) / PAGE_TOK;
		traffic[T_FETCHED] += (int64_t)n * 2 * c->dim * 2, traffic[T_COLD] += (int64_t)v->stored * 2 * c->dim * 2;
	}
}
