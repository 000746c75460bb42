// Attention over cached pages.
//
// Positions are cut into spans of 256 tokens at fixed boundaries. Within a
// span, scores of several query vectors are computed from one reading of K,
// softmaxed, and applied in one reading of V; spans are then merged in order.
// The boundaries depend on positions alone, so a row's result is the same
// whether it comes alone or in a chunk, on one thread or on several.

// state is a partial softmax: sum of weights, weighted sum of V, largest score.
typedef struct {
	float *acc; // [dim]
	float m, l;
} state;

// merge folds one span's result into the running one.
INLINE void merge(state *to, const float *acc, float m, float l, int dim) {
	if (m == -INFINITY) return;
	const float top = to->m > m ? to->m : m;
	const float a = to->m == -INFINITY ? 0 : expf(to->m - top), b = expf(m - top);
	for (int i = 0; i < dim; i++) to->acc[i] = to->acc[i] * a + acc[i] * b;
	to->l = to->l * a + l * b;
	to->m = top;
}

// tile is the set of query vectors that read a KV head together.
typedef struct {
	int n;                // queries
	int row[MAX_QUERY];   // step row
	int head[MAX_QUERY];  // query head
	int lo[MAX_QUERY];    // first visible position
	int hi[MAX_QUERY];    // position after the last visible one
	int first, end;       // union of the visible ranges
	float *q;             // [dim][MAX_QUERY], scaled
	float *by_head;       // [MAX_QUERY][lanes] the same, padded with 0
	float *score;         // [MAX_QUERY][SPAN]
	float *acc;           // [MAX_QUERY][dim], one span
	float *total;         // [MAX_QUERY][dim], all spans
	float *page;          // [dim][PAGE_TOK] keys or values of one record's page
	float *aux;           // [MAX_QUERY+4][lanes]
	float m[MAX_QUERY], l[MAX_QUERY];
	const exec *e;
	later *next; // weights
} tile;

INLINE vf load_kv(const uint8_t *p, int64_t i, const int f32) {
	return f32 ? vf_load((const float *)p + i) : vf_half((const uint16_t *)p + i);
}

INLINE float load_kv1(const uint8_t *p, int64_t i, const int f32) {
	if (f32) return ((const float *)p)[i];
	uint16_t h[16] = {((const uint16_t *)p)[i]};
	float out[16];
	vf_store(out, vf_half(h));
	return out[0];
}

// AHEAD is how many pages ahead memory is asked for: pages are not adjacent, so
// the processor cannot foresee where the next one begins, and one page's work
// is shorter than the memory's latency.
enum { AHEAD = 2, SPAN_PAGES = SPAN / PAGE_TOK };

// span_pages are a span's pages, in reading order.
typedef struct {
	int n;
	page_ref at[SPAN_PAGES];
	const uint8_t *next[2 * SPAN_PAGES + AHEAD]; // where their K lies and then their V
} span_pages;

INLINE span_pages pages_of(const list *l, int base, int t0, int t1) {
	span_pages p = {.n = (t1 - t0 + PAGE_TOK - 1) / PAGE_TOK};
	for (int i = 0; i < p.n; i++) {
		p.at[i] = list_page(l, (base + t0) / PAGE_TOK + i);
		p.next[i] = p.at[i].k, p.next[p.n + i] = p.at[i].v;
	}
	for (int i = 0; i < AHEAD; i++) p.next[2 * p.n + i] = p.next[2 * p.n - 1];
	return p;
}

// page_halves computes the scores of W queries with N of a page's two runs of 16 tokens,
// whose sums stay in registers.
INLINE void page_halves(const int W, const int N, const int f32, const uint8_t *k, const uint8_t *next, int dim, const float *q, float *score) {
	vf a[2 * MAX_QUERY]; // [W][N]
#pragma GCC unroll 24
	for (int r = 0; r < W * N; r++) a[r] = vf_zero();
	for (int c = 0; c < dim; c++, q += MAX_QUERY) {
		if (next) ahead(next + c * 64);
		vf x[2]; // [N]
#pragma GCC unroll 2
		for (int i = 0; i < N; i++) x[i] = load_kv(k, c * PAGE_TOK + 16 * i, f32);
#pragma GCC unroll 12
		for (int r = 0; r < W; r++) {
			const vf y = vf_set(q[r]);
#pragma GCC unroll 2
			for (int i = 0; i < N; i++) a[r * N + i] = vf_fma(x[i], y, a[r * N + i]);
		}
	}
#pragma GCC unroll 12
	for (int r = 0; r < W; r++)
#pragma GCC unroll 2
		for (int i = 0; i < N; i++) vf_store(score + r * SPAN + 16 * i, a[r * N + i]);
}

// page_scores computes one page's scores of W queries.
INLINE void page_scores(const int W, const int f32, const uint8_t *k, const uint8_t *next, int dim, const float *q, float *score) {
	if (PAGE_RUNS(W) > 1) {
		page_halves(W, 2, f32, k, next, dim, q, score);
		return;
	}
	page_halves(W, 1, f32, k, next, dim, q, score);
	page_halves(W, 1, f32, k + 16 * (f32 ? 4 : 2), 0, dim, q, score + 16);
}

// apply_v adds tokens [t0, t1) of a span, weighted, to 16 N channels from c on
// of W queries. v lists the pages of V; W*N sums stay in registers. fresh says
// that there are no sums yet.
INLINE void apply_v(const int W, const int N, const int f32, int dim, const uint8_t *const *v, int t0, int t1, int c, const float *p, float *acc, int fresh) {
	vf a[2 * MAX_QUERY]; // [W][N]
#pragma GCC unroll 12
	for (int r = 0; r < W; r++)
#pragma GCC unroll 4
		for (int i = 0; i < N; i++) a[r * N + i] = fresh ? vf_zero() : vf_load(acc + r * dim + c + 16 * i);
	for (int t = t0; t < t1; v++) {
		const int stop = t + PAGE_TOK < t1 ? t + PAGE_TOK : t1;
		for (int64_t at = c; t < stop; t++, at += dim) {
			vf x[4]; // [N], of fixed size to stay in registers
#pragma GCC unroll 4
			for (int i = 0; i < N; i++) {
				x[i] = load_kv(v[0], at + 16 * i, f32);
				if (i % 2 == 0) ahead(v[AHEAD] + 2 * (at + 16 * i));
			}
#pragma GCC unroll 12
			for (int r = 0; r < W; r++) {
				vf w = vf_set(p[r * SPAN + t]);
#pragma GCC unroll 4
				for (int i = 0; i < N; i++) a[r * N + i] = vf_fma(x[i], w, a[r * N + i]);
			}
		}
	}
#pragma GCC unroll 12
	for (int r = 0; r < W; r++)
#pragma GCC unroll 4
		for (int i = 0; i < N; i++) vf_store(acc + r * dim + c + 16 * i, a[r * N + i]);
}

// apply_rest is apply_v for the channels past the last 16.
static void apply_rest(int w, int f32, int dim, const uint8_t *const *v, int t0, int t1, int c, const float *p, float *acc, int fresh) {
	for (; c < dim; c++)
		for (int r = 0; r < w; r++) {
			float s = fresh ? 0 : acc[r * dim + c];
			for (int t = t0; t < t1; t++)
				s += load_kv1(v[(t - t0) / PAGE_TOK], (int64_t)(t % PAGE_TOK) * dim + c, f32) * p[r * SPAN + t];
			acc[r * dim + c] = s;
		}
}

// weights turns a query's scores of a span into softmax weights against the
// span's own maximum; tokens outside [lo, hi) get 0.
static void weights(float *s, int t0, int t1, int lo, int hi, float *m, float *l) {
	const int a = t0 / 16 * 16, z = (t1 + 15) / 16 * 16;
	for (int t = a; t < lo && t < z; t++) s[t] = -INFINITY;
	for (int t = hi > a ? hi : a; t < z; t++) s[t] = -INFINITY;
	vf top = vf_set(-INFINITY);
	for (int t = a; t < z; t += 16) top = vf_max(top, vf_load(s + t));
	*m = vf_top(top), *l = 0;
	if (*m == -INFINITY) {
		memset(s + a, 0, (z - a) * sizeof *s);
		return;
	}
	vf sum = vf_zero();
	for (int t = a; t < z; t += 16) {
		vf w = vf_exp(vf_sub(vf_load(s + t), vf_set(*m)));
		vf_store(s + t, w);
		sum = vf_add(sum, w);
	}
	*l = vf_sum(sum);
}

// span_values adds tokens [t0, t1), whose V has one format, to all channels.
INLINE void span_values(const int W, const int f32, int dim, const uint8_t *const *v, int t0, int t1, const float *score, float *acc, int fresh) {
	int c = 0;
	if (PAGE_RUNS(W) >= 4)
		for (; c + 64 <= dim; c += 64) apply_v(W, 4, f32, dim, v, t0, t1, c, score, acc, fresh);
	if (PAGE_RUNS(W) >= 2)
		for (; c + 32 <= dim; c += 32) apply_v(W, 2, f32, dim, v, t0, t1, c, score, acc, fresh);
	for (; c + 16 <= dim; c += 16) apply_v(W, 1, f32, dim, v, t0, t1, c, score, acc, fresh);
	if (c < dim) apply_rest(W, f32, dim, v, t0, t1, c, score, acc, fresh);
}

// known_scores copies a record's scores that are there already, of W query heads.
INLINE void known_scores(const int W, const float *known, float *score) {
#pragma GCC unroll 12
	for (int i = 0; i < W; i++) vf_store(score + i * SPAN, vf_load(known + i * COLD_TOK));
}

// record_scores and record_values treat one page of a record. Where cold.h has
// no kernels it becomes floats first, which keeps one set of others. first is the
// query head that known scores begin with.
INLINE void record_scores(const int W, tile *x, const cache *kv, page_ref p, int first, int r0, float *score) {
	const record *r = &kv->rec;
	const int at = (x->head[r0] - first) * COLD_TOK;
	if (p.known[0] && p.known[1]) {
		for (int i = 0; i < 2; i++) known_scores(W, p.known[i] + at, score + i * COLD_TOK);
		return;
	}
	if (!cold_fast(r)) {
		key_floats(r, p, kv->dim, x->page, x->aux);
		page_scores(W, 1, (const uint8_t *)x->page, p.v, kv->dim, x->q + r0, score);
		return;
	}
	for (int i = 0; i < 2; i++) {
		const uint8_t *rec = i ? p.rec2 : p.rec;
		const float *q = x->by_head + r0 * whole_lanes(kv->dim);
		float *to = score + i * COLD_TOK;
		if (p.known[i]) known_scores(W, p.known[i] + at, to);
		else if (dots_fast(r, kv->dim)) dots_scores(W, r, kv->dim, &rec, 1, q, &to, SPAN, 0);
		else scores_of_cold(W, r, rec, kv->dim, q, to, x->aux);
	}
}

INLINE void record_values(const int W, tile *x, const cache *kv, page_ref p, int t0, int t1, const float *score, float *acc, int fresh) {
	const record *r = &kv->rec;
	if (cold_fast(r)) {
		for (int i = 0; i < 2; i++) values_of_cold(W, r, i ? p.rec2 : p.rec, kv->dim, score + t0 + i * COLD_TOK, acc, fresh && !i);
		return;
	}
	value_floats(&kv->rec, p, kv->dim, x->page);
	const uint8_t *v[1 + AHEAD];
	for (int i = 0; i < 1 + AHEAD; i++) v[i] = (const uint8_t *)x->page;
	span_values(W, 1, kv->dim, v, t0, t1, score, acc, fresh);
}

// span_dots adds the values of a span's records, which come first, by products of bytes and
// returns of how many pages; 0 where there are no such kernels.
INLINE int span_dots(const int W, tile *x, const cache *kv, const span_pages *p, const float *score, float *acc) {
	const uint8_t *rec[2 * SPAN_PAGES];
	int n = 0;
	if (!dots_fast(&kv->rec, kv->dim)) return 0;
	for (; n < p->n && p->at[n].rec; n++) rec[2 * n] = p->at[n].rec, rec[2 * n + 1] = p->at[n].rec2;
	if (n) dots_values(W, &kv->rec, kv->dim, rec, 2 * n, score, acc, x->e, x->next);
	return n;
}

INLINE void ahead_pair(const cache *kv, page_ref p) {
	ahead_record(&kv->rec, p.rec, p.known[0]), ahead_record(&kv->rec, p.rec2, p.known[1]);
}

INLINE void span_queries(const int W, const int f32, tile *x, int r0, const list *l, int base, int t0, int t1) {
	const cache *kv = l->kv;
	float *score = x->score + r0 * SPAN, *acc = x->acc + r0 * kv->dim;
	const span_pages p = pages_of(l, base, t0, t1);
	for (int i = 0; i < p.n; i++) {
		float *s = score + t0 + i * PAGE_TOK;
		if (i + 1 < p.n && p.at[i + 1].rec2) ahead_pair(kv, p.at[i + 1]);
		if (p.at[i].rec) record_scores(W, x, kv, p.at[i], l->first, r0, s);
		else page_scores(W, f32, p.at[i].k, p.next[i + AHEAD], kv->dim, x->q + r0, s);
	}
	for (int r = 0; r < W; r++) weights(score + r * SPAN, t0, t1, x->lo[r0 + r] - base, x->hi[r0 + r] - base, &x->m[r0 + r], &x->l[r0 + r]);
	for (int i = span_dots(W, x, kv, &p, score + t0, acc); i < p.n;) {
		const int a = t0 + i * PAGE_TOK, fresh = i == 0;
		if (p.at[i].rec) {
			later_lines(x->e, x->next, LATER_LINES);
			record_values(W, x, kv, p.at[i], a, a + PAGE_TOK, score, acc, fresh);
			i++;
			continue;
		}
		int n = 1; // exact pages in a row
		while (i + n < p.n && !p.at[i + n].rec) n++;
		const int z = a + n * PAGE_TOK < t1 ? a + n * PAGE_TOK : t1;
		span_values(W, f32, kv->dim, p.next + p.n + i, a, z, score, acc, fresh);
		i += n;
	}
}

#define SPAN_WIDTH(W) \
	static void __attribute__((noinline)) span_queries_##W(tile *x, int r0, const list *l, int base, int t0, int t1) { \
		if (l->kv->f32) span_queries(W, 1, x, r0, l, base, t0, t1); \
		else span_queries(W, 0, x, r0, l, base, t0, t1); \
	}
SPAN_WIDTH(1) SPAN_WIDTH(2) SPAN_WIDTH(3) SPAN_WIDTH(4) SPAN_WIDTH(6) SPAN_WIDTH(8) SPAN_WIDTH(12)

// span_tile computes one span for all queries of a tile.
static void span_tile(tile *x, const list *l, int span) {
	const int base = span * SPAN;
	const int t0 = x->first > base ? (x->first - base) / PAGE_TOK * PAGE_TOK : 0;
	const int t1 = x->end - base < SPAN ? x->end - base : SPAN;
	for (int r = 0; r < x->n;) {
		int left = x->n - r;
		if (left > QUERY_ROWS) left = QUERY_ROWS;
#define TRY(W) if (left >= W) { span_queries_##W(x, r, l, base, t0, t1); r += W; continue; }
		TRY(12) TRY(8) TRY(6) TRY(4) TRY(3) TRY(2) TRY(1)
#undef TRY
	}
}

INLINE tile tile_in(uint8_t *scratch, int dim) {
	float *f = (float *)scratch;
	tile x = {.q = f, .acc = f + MAX_QUERY * dim, .total = f + 2 * MAX_QUERY * dim, .score = f + 3 * MAX_QUERY * dim};
	x.page = x.score + MAX_QUERY * SPAN;
	x.by_head = x.page + PAGE_TOK * dim;
	x.aux = x.by_head + MAX_QUERY * whole_lanes(dim);
	return x;
}

// ahead_span asks for the first cold pages of a span.
INLINE void ahead_span(const list *l, int span) {
	if (!l->at || span * SPAN_PAGES >= l->chosen) return;
	const page_ref p = list_page(l, span * SPAN_PAGES);
	ahead_pair(l->kv, p);
}

// fill gathers the queries of rows [row, row+rows) and heads [head0, head0+heads).
static void fill(tile *x, const exec *e, const op *o, const list *l, int row, int rows, int head0, int heads) {
	const int dim = o->kv->dim, lanes = whole_lanes(dim);
	x->n = 0, x->first = INT32_MAX, x->end = 0;
	for (int r = row; r < row + rows; r++)
		for (int h = head0; h < head0 + heads; h++) {
			const float *q = o->src->p + (int64_t)r * o->src->ld + h * dim;
			const int pos = e->st.pos[r], i = x->n++;
			float *by_head = x->by_head + i * lanes;
			for (int c = 0; c < dim; c++) by_head[c] = x->q[c * MAX_QUERY + i] = q[c] * o->scale;
			for (int c = dim; c < lanes; c++) by_head[c] = 0;
			x->row[i] = r, x->head[i] = h, x->hi[i] = list_end(l, pos);
			x->lo[i] = list_first(l, pos);
			if (x->lo[i] < x->first) x->first = x->lo[i];
			if (x->hi[i] > x->end) x->end = x->hi[i];
		}
}

// Each row and head has a place for every span and one for the estimate.
INLINE float *partial_at(const exec *e, const op *o, int row, int head, int span) {
	return e->partial + (((int64_t)row * o->heads + head) * (e->max_spans + 1) + span) * (o->kv->dim + 2);
}

// attend_whole runs all spans of a tile and writes the finished rows.
static void attend_whole(const exec *e, const op *o, tile *x, const list *l, int seq) {
	const int dim = o->kv->dim;
	state s[MAX_QUERY];
	memset(x->total, 0, (size_t)x->n * dim * sizeof *x->total);
	for (int i = 0; i < x->n; i++) s[i] = (state){x->total + i * dim, -INFINITY, 0};
	for (int span = x->first / SPAN; span * SPAN < x->end; span++) {
		span_tile(x, l, span);
		for (int i = 0; i < x->n; i++) merge(&s[i], x->acc + i * dim, x->m[i], x->l[i], dim);
	}
	if (estimates(l))
		for (int i = 0; i < x->n; i++) {
			float m, sum;
			estimate(e, l, seq, x->head[i], o->heads, x->acc, &m, &sum);
			merge(&s[i], x->acc, m, sum, dim);
		}
	for (int i = 0; i < x->n; i++) {
		float *dst = o->dst->p + (int64_t)x->row[i] * o->dst->ld + x->head[i] * dim;
		for (int c = 0; c < dim; c++) dst[c] = s[i].acc[c] / s[i].l;
	}
}

// merge_row joins the spans that attend_span left for one row.
static void merge_row(const exec *e, const op *o, int row, float *dst) {
	if (e->st.rows > SPLIT_ROWS) return;
	const int dim = o->kv->dim, group = o->heads / o->kv->kv_heads;
	for (int h = 0; h < o->heads; h++) {
		const list l = list_of(e, o, e->st.seq[row], h / group);
		const int hi = list_end(&l, e->st.pos[row]), lo = list_first(&l, e->st.pos[row]);
		state s = {dst + h * dim, -INFINITY, 0};
		memset(s.acc, 0, dim * sizeof *s.acc);
		for (int span = lo / SPAN; span * SPAN < hi; span++) {
			const float *p = partial_at(e, o, row, h, span);
			merge(&s, p, p[dim], p[dim + 1], dim);
		}
		if (estimates(&l)) {
			const float *p = partial_at(e, o, row, h, e->max_spans);
			merge(&s, p, p[dim], p[dim + 1], dim);
		}
		for (int c = 0; c < dim; c++) s.acc[c] = s.acc[c] / s.l;
	}
}

static void attend_span(const exec *e, const op *o, tile *x, const list *l, int span) {
	const int dim = o->kv->dim;
	span_tile(x, l, span);
	for (int i = 0; i < x->n; i++) {
		float *p = partial_at(e, o, x->row[i], x->head[i], span);
		memcpy(p, x->acc + i * dim, dim * sizeof *p);
		p[dim] = x->m[i], p[dim + 1] = x->l[i];
	}
}

static void attend_estimate(const exec *e, const op *o, const tile *x, const list *l, int seq) {
	for (int i = 0; i < x->n; i++) {
		float *p = partial_at(e, o, x->row[i], x->head[i], e->max_spans);
		estimate(e, l, seq, x->head[i], o->heads, p, p + o->kv->dim, p + o->kv->dim + 1);
	}
}

// pieces of one tile's rows: one, or one a span when a step has too few rows
// to go round, and one for the estimate.
INLINE int tile_pieces(const list *l, int split, int first, int end) {
	return split ? (end + SPAN - 1) / SPAN - first / SPAN + estimates(l) : 1;
}

// op_attend hands out work in pieces of (query rows, query heads of one KV
// head), and of single spans when a step has too few rows to go round.
static void op_attend(exec *e, const op *o, int at, int thread, uint8_t *scratch) {
	const step *st = &e->st;
	const cache *kv = o->kv;
	const int group = o->heads / kv->kv_heads, split = st->rows <= SPLIT_ROWS;
	const int heads = group < MAX_QUERY ? group : MAX_QUERY, parts = (group + heads - 1) / heads;
	const int tile_rows = MAX_QUERY / heads;
	tile x = tile_in(scratch, kv->dim);
	x.e = e, x.next = &e->later[thread];
	if (kv->class != PAGED) later_begin(e, at, thread); // with nothing chosen before
	int piece = 0, mine = claim(e, at);
	for (int s = 0; s < st->seqs; s++)
		// The last rows of a chunk see most tokens: they go first.
		for (int z = st->seq_row[s + 1]; z > st->seq_row[s]; z -= tile_rows) {
			const int row = z - tile_rows > st->seq_row[s] ? z - tile_rows : st->seq_row[s];
			for (int h = 0; h < kv->kv_heads; h++) {
				if (kv->class == PAGED && !st->views[s * e->layers + o->layer].stage) edged_pool_await(set_renewed(e, s, h), set_round(e, o->layer));
				const list l = list_of(e, o, s, h);
				const int first = list_first(&l, st->pos[row]), last = list_end(&l, st->pos[z - 1]);
				const int n = tile_pieces(&l, split, first, last);
				for (; mine < piece + parts * n; mine = claim(e, at)) {
					const int part = (mine - piece) / n, span = first / SPAN + (mine - piece) % n;
					const int head0 = h * group + part * heads, left = (h + 1) * group - head0;
					ahead_span(&l, split ? span : 0);
					fill(&x, e, o, &l, row, z - row, head0, left < heads ? left : heads);
					if (!split) attend_whole(e, o, &x, &l, s);
					else if (span * SPAN < last) attend_span(e, o, &x, &l, span);
					else attend_estimate(e, o, &x, &l, s);
				}
				piece += parts * n;
			}
		}
}
