// Dominant pages: which ones a working set is to hold, and their exchange. A KV
// head wants the pages whose largest share of any of its query heads is greatest.

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
	for (int j = 0; j < in; j++) ahead_L2_bytes(record_at(c, v->table, (int)x->in[j] * COLD_TOK, head), bytes);
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

// held_scores is where a KV head's scores lie of the records of its working set.
INLINE float *held_scores(const exec *e, int seq, int head) { return e->held + ((int64_t)seq * e->max_kv_heads + head) * e->max_held; }

// pair_scores writes the scores [W][COLD_TOK] of each of a pair of records.
INLINE void pair_scores(const int W, const op *o, tile *x, page_ref p, int first, int r0, float *const *score) {
	record_scores(W, x, o->kv, p, first, r0, x->score);
	for (int i = 0; i < 2; i++)
		for (int r = 0; r < W; r++) vf_store(score[i] + (x->head[r0 + r] - first) * COLD_TOK, vf_load(x->score + r * SPAN + i * COLD_TOK));
}

#define PAIR_WIDTH(W) \
	static void __attribute__((noinline)) pair_scores_##W(const op *o, tile *x, page_ref p, int first, int r0, float *const *score) { pair_scores(W, o, x, p, first, r0, score); }
PAIR_WIDTH(1) PAIR_WIDTH(2) PAIR_WIDTH(3) PAIR_WIDTH(4) PAIR_WIDTH(6) PAIR_WIDTH(8) PAIR_WIDTH(12)

// held_place is the place of a working set's i-th record to be scored. Where all places
// are taken they are taken in their order, which the processor foresees.
INLINE uint32_t held_place(const cache *c, const uint32_t *set, int i) {
	return *set == (uint32_t)c->budget ? (uint32_t)i : set[1 + c->budget + i];
}

// held_record is a working set's i-th record to be scored.
INLINE const uint8_t *held_record(const cache *c, const uint8_t *records, const uint32_t *set, int i) { return records + (int64_t)held_place(c, set, i) * c->rec.bytes; }

// score_dots scores records [i0, i1) for the queries of a tile by products of bytes.
static void score_dots(const cache *c, const tile *x, const uint8_t *records, const uint32_t *set, float *held, int group, int i0, int i1) {
	const uint8_t *rec[DOTS_RUN], *next[DOTS_RUN];
	float *score[DOTS_RUN];
	for (int i = i0, n; i < i1; i += n) {
		n = i1 - i < DOTS_RUN ? i1 - i : DOTS_RUN;
		for (int k = 0; k < n; k++) {
			const int soon = i + k + DOTS_RUN;
			rec[k] = held_record(c, records, set, i + k), next[k] = soon < (int)*set ? held_record(c, records, set, soon) : 0;
			score[k] = held + held_place(c, set, i + k) * group * COLD_TOK;
		}
		dots_scores(x->n, &c->rec, c->dim, rec, n, x->by_head, score, COLD_TOK, next);
	}
}

// score_pairs does it for records of any widths, two at a time.
static void score_pairs(const exec *e, const op *o, tile *x, later *next, const uint8_t *records, const uint32_t *set, float *held, int group, int first, int i0, int i1) {
	const cache *c = o->kv;
	for (int i = i0; i < i1; i += 2) {
		const uint32_t a = held_place(c, set, i), b = i + 1 < i1 ? held_place(c, set, i + 1) : a;
		for (int k = i + 2; k < i + 4 && k < i1; k++) ahead_keys(&c->rec, held_record(c, records, set, k));
		later_lines(e, next, LATER_LINES);
		const page_ref p = cold_ref(c, records + (int64_t)a * c->rec.bytes, records + (int64_t)b * c->rec.bytes);
		float *const score[2] = {held + a * group * COLD_TOK, held + b * group * COLD_TOK};
		for (int r = 0; r < x->n;) {
			const int left = x->n - r < QUERY_ROWS ? x->n - r : QUERY_ROWS;
#define TRY(W) if (left >= W) { pair_scores_##W(o, x, p, first, r, score); r += W; continue; }
			TRY(12) TRY(8) TRY(6) TRY(4) TRY(3) TRY(2) TRY(1)
#undef TRY
		}
	}
}

// score_held scores records [i0, i1) of a working set, for its choice and for
// attention.
static void score_held(const exec *e, const op *o, later *next, int seq, int head, int i0, int i1, uint8_t *scratch) {
	const cache *c = o->kv;
	const view *v = &e->st.views[seq * e->layers + o->layer];
	const uint8_t *records = v->sets + (int64_t)head * c->budget * c->rec.bytes;
	const uint32_t *set = v->chosen + head * v->chosen_len;
	const int group = o->heads / c->kv_heads, first = head * group;
	float *held = held_scores(e, seq, head);
	const list l = list_of(e, o, seq, head);
	tile x = tile_in(scratch, c->dim);
	for (int h = 0; h < group; h += MAX_QUERY) {
		fill(&x, e, o, &l, e->st.seq_row[seq], 1, first + h, group - h < MAX_QUERY ? group - h : MAX_QUERY);
		if (dots_fast(&c->rec, c->dim)) score_dots(c, &x, records, set, held + h * COLD_TOK, group, i0, i1);
		else score_pairs(e, o, &x, next, records, set, held, group, first, i0, i1);
	}
}

// heads_tops puts the largest of W heads' scores of a working set's records in place of what
// the index says of their pages; what is no number stays none.
INLINE void heads_tops(const int W, const uint32_t *set, int budget, const float *held, int group, float *to, int row) {
	for (int i = 1; i <= (int)set[0]; i++) {
		float top[4];
		vf x[4], odd = vf_zero();
#pragma GCC unroll 4
		for (int k = 0; k < W; k++) x[k] = vf_load(held + (set[i + budget] * group + k) * COLD_TOK), odd = vf_add(odd, vf_sub(x[k], x[k]));
		vf_tops(W, x, top);
		if (!vf_finite(odd))
			for (int k = 0; k < W; k++) top[k] = vf_finite(x[k]) ? top[k] : NAN;
		for (int k = 0; k < W; k++) to[k * row + set[i]] = top[k];
	}
}

// held_tops does so for all query heads of a KV head.
static void held_tops(const exec *e, const op *o, int seq, int head, const uint32_t *set) {
	const int group = o->heads / o->kv->kv_heads;
	const float *held = held_scores(e, seq, head);
	for (int r = 0; r < group; r += 4) {
		float *to = page_stat(e, e->page_max, o->heads, seq, head * group + r);
		switch (group - r) {
		case 1: heads_tops(1, set, o->kv->budget, held + r * COLD_TOK, group, to, e->max_pages); break;
		case 2: heads_tops(2, set, o->kv->budget, held + r * COLD_TOK, group, to, e->max_pages); break;
		case 3: heads_tops(3, set, o->kv->budget, held + r * COLD_TOK, group, to, e->max_pages); break;
		default: heads_tops(4, set, o->kv->budget, held + r * COLD_TOK, group, to, e->max_pages);
		}
	}
}

// pick renews the working set of one sequence and KV head.
static void pick(exec *e, const op *o, int seq, int head, int64_t *traffic, float *scratch) {
	const cache *c = o->kv;
	const view *v = &e->st.views[seq * e->layers + o->layer];
	const int pages = v->stored / COLD_TOK, n = pages < c->budget ? pages : c->budget;
	const lists x = lists_in(e, scratch);
	const int32_t *share = 0;
	uint32_t *set = v->chosen + head * v->chosen_len;
	const int scored = n < pages && c->by_record;
	if (n < pages) {
		if (scored) held_tops(e, o, seq, head, set);
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
	const int64_t list = ((int64_t)seq * e->max_kv_heads + head) * e->max_chosen;
	replace(c, v, head, set, &x, in, out, e->picked + list);
	const int group = o->heads / c->kv_heads;
	for (int i = 0; i < (int)set[0]; i++) e->known[list + i] = scored ? held_scores(e, seq, head) + x.places[i] * group * COLD_TOK : 0;
	for (int i = 0, j = 0; j < in; i++)
		if (x.pages[i] == x.in[j]) e->known[list + i] = 0, j++;
	traffic[T_PAGES] += pages, traffic[T_CHOSEN] += n, traffic[T_HITS] += n - in;
	traffic[T_FETCHED] += (int64_t)in * c->rec.bytes, traffic[T_COLD] += (int64_t)pages * c->rec.bytes;
}

enum { HELD_RUN = 32 }; // records of a working set that are scored in one piece

// scan_pieces are those of a KV head: runs of blocks of the index, and of the
// records that its working set holds. Nothing is scored where every page is attended
// to anyway.
typedef struct { int blocks, scans, all; } scan_pieces;

INLINE scan_pieces pieces_of(const cache *c, const view *v) {
	scan_pieces p = {.all = 1};
	if (v->stored / COLD_TOK <= c->budget) return p;
	p.blocks = (v->stored + BLOCK_TOK - 1) / BLOCK_TOK, p.scans = (p.blocks + SCAN_BLOCKS - 1) / SCAN_BLOCKS;
	p.all = p.scans + (c->by_record ? (c->budget + HELD_RUN - 1) / HELD_RUN : 0);
	return p;
}

// op_scan hands out the pieces of single KV heads, and whoever is done with the last
// one of a head renews its working set, for which those that attend to it wait, and
// nobody else. The time for scores of records counts as attention's, which needs
// them too.
static void op_scan(exec *e, const op *o, int at, int thread, uint8_t *scratch) {
	const cache *c = o->kv;
	int64_t *spent = e->spent + thread * N_SPENT;
	later_begin(e, at, thread);
	int piece = 0, mine = claim(e, at);
	for (int s = 0; s < e->st.seqs; s++) {
		const view *v = &e->st.views[s * e->layers + o->layer];
		if (v->stage) continue;
		const scan_pieces p = pieces_of(c, v);
		for (int head = 0; head < c->kv_heads; head++) {
			for (; mine < piece + p.all; mine = claim(e, at)) {
				const int b0 = (mine - piece) * SCAN_BLOCKS, i0 = (mine - piece - p.scans) * HELD_RUN;
				if (mine - piece < p.scans) {
					scan_group(e, o, s, head, b0, b0 + SCAN_BLOCKS < p.blocks ? b0 + SCAN_BLOCKS : p.blocks);
				} else if (p.scans) {
					const int held = (int)v->chosen[head * v->chosen_len]; // until its last piece is done
					const int64_t begin = edged_now();
					score_held(e, o, &e->later[thread], s, head, i0, i0 + HELD_RUN < held ? i0 + HELD_RUN : held, scratch);
					const int64_t took = edged_now() - begin;
					spent[SPENT_ATTENTION] += took, spent[SPENT_CHOICE] -= took;
				}
				int32_t *done = &e->scanned[s * e->max_kv_heads + head];
				if (__atomic_add_fetch(done, 1, __ATOMIC_ACQ_REL) < p.all) continue;
				*done = 0; // for the next layer, behind a barrier
				pick(e, o, s, head, e->traffic + thread * N_TRAFFIC, (float *)scratch);
				__atomic_store_n(set_renewed(e, s, head), set_round(e, o->layer), __ATOMIC_RELEASE);
			}
			piece += p.all;
		}
	}
}
