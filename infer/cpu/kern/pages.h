// Where cached tokens lie, and how records become floats.

// page_ref is PAGE_TOK tokens of one KV head: exact values, or the codes of a
// record's page or of two cold pages' records.
typedef struct {
	const uint8_t *k, *v;
	const uint8_t *rec;   // the record; null for exact pages
	const uint8_t *rec2;  // the second cold page's
	const float *known[2]; // scores [query heads of the KV head, COLD_TOK] of either record that are there already, or null
	int32_t part;         // page in the record
} page_ref;

INLINE int whole_lanes(int n) { return (n + 15) / 16 * 16; }

INLINE void ahead(const uint8_t *p) { __builtin_prefetch(p, 0, 3); }

// ahead_L2 asks for memory that comes to be read a while later: the first cache waits for few
// lines at a time, and what is read from the second meanwhile needs these places too.
INLINE void ahead_L2(const uint8_t *p) { __builtin_prefetch(p, 0, 2); }
INLINE void ahead_L2_bytes(const uint8_t *p, int bytes) {
	for (int i = 0; i < bytes; i += 64) ahead_L2(p + i);
}

INLINE uint8_t *record_at(const cache *c, const uint32_t *table, int pos, int head) {
	const int64_t i = (int64_t)(pos % BLOCK_TOK / c->rec.group) * c->kv_heads + head;
	return c->units + table[pos / BLOCK_TOK] * c->unit_bytes + i * c->rec.bytes;
}

INLINE page_ref exact_ref(const cache *c, const uint8_t *page, int head) {
	const uint8_t *k = page + head * c->head_bytes;
	return (page_ref){.k = k, .v = k + c->head_bytes / 2};
}

// key_runs is how many runs of K a page of a record has.
INLINE int key_runs(const record *r, int dim) { return r->k_bits == 16 ? dim : (dim + r->k_channels - 1) / r->k_channels; }

INLINE page_ref record_ref(const cache *c, const uint8_t *rec, int part) {
	const record *r = &c->rec;
	return (page_ref){.k = rec + r->k + part * key_runs(r, c->dim) * r->k_row, .v = rec + r->v + part * PAGE_TOK * r->v_row, .rec = rec, .part = part};
}

INLINE page_ref cold_ref(const cache *c, const uint8_t *rec, const uint8_t *rec2) {
	return (page_ref){.k = rec + c->rec.k, .v = rec2 + c->rec.k, .rec = rec, .rec2 = rec2};
}

// exact_page is where a page that is not a record lies.
INLINE uint8_t *exact_page(const cache *c, const view *v, int page) {
	if (c->class == EXACT) return c->units + v->table[page] * c->unit_bytes;
	if (v->stage) return v->stage + (page - v->stage_page) * c->page_bytes;
	return v->tail + page % c->ring * c->page_bytes;
}

INLINE page_ref page_at(const cache *c, const view *v, int page, int head) {
	const int pos = page * PAGE_TOK;
	if (pos >= v->stored) return exact_ref(c, exact_page(c, v, page), head);
	const uint8_t *rec = record_at(c, v->table, pos, head);
	if (c->rec.group == COLD_TOK) return cold_ref(c, rec, record_at(c, v->table, pos + COLD_TOK, head));
	return record_ref(c, rec, pos % c->rec.group / PAGE_TOK);
}

// set_round is what exec.renewed says of a layer's working sets in this step.
INLINE int64_t set_round(const exec *e, int layer) { return e->st.number * e->layers + layer; }

INLINE int64_t *set_renewed(const exec *e, int seq, int head) { return e->renewed + (int64_t)seq * e->max_kv_heads + head; }

// list is what a query row attends to, in the order of positions: all pages,
// or what was chosen of records and all that are exact. Positions in a
// list count its tokens from its first page on.
typedef struct {
	const cache *kv;
	const view *v;
	int head;
	int chosen;               // pairs of records or gathered pages; -1 where all pages are listed
	const uint8_t *const *at; // [2 chosen] records; null where rows were gathered
	const float *const *known; // [2 chosen] their scores (exec.known)
	int first;                // query head of the KV head
	int empty;                // places at the begin that hold no token
} list;

// empty_places are those before n gathered tokens, which end with a page.
INLINE int empty_places(int n) { return (PAGE_TOK - n % PAGE_TOK) % PAGE_TOK; }

INLINE list list_of(const exec *e, const op *o, int seq, int head) {
	list l = {.kv = o->kv, .v = &e->st.views[seq * e->layers + o->layer], .head = head, .chosen = -1, .first = o->heads / o->kv->kv_heads * head};
	if (o->kv->class < PAGED || l.v->stage) return l;
	l.chosen = (int)l.v->chosen[head * l.v->chosen_len];
	if (o->kv->class == GATHERED) {
		l.empty = empty_places(l.chosen);
		l.chosen = (l.chosen + l.empty) / PAGE_TOK;
		return l;
	}
	l.chosen /= 2;
	const int64_t lists = ((int64_t)seq * e->max_kv_heads + head) * e->max_chosen;
	l.at = e->picked + lists, l.known = e->known + lists;
	return l;
}

INLINE page_ref list_page(const list *l, int i) {
	if (l->chosen < 0) return page_at(l->kv, l->v, i, l->head);
	if (i < l->chosen && !l->at) return exact_ref(l->kv, l->v->work + i * l->kv->page_bytes, l->head);
	if (i < l->chosen) {
		page_ref p = cold_ref(l->kv, l->at[2 * i], l->at[2 * i + 1]);
		p.known[0] = l->known[2 * i], p.known[1] = l->known[2 * i + 1];
		return p;
	}
	return exact_ref(l->kv, exact_page(l->kv, l->v, l->v->stored / PAGE_TOK + i - l->chosen), l->head);
}

// list_end is the place in a list behind the token at pos.
INLINE int list_end(const list *l, int pos) {
	return l->chosen < 0 ? pos + 1 : l->chosen * PAGE_TOK + pos + 1 - l->v->stored;
}

// list_first is the first place that a query at pos sees.
INLINE int list_first(const list *l, int pos) {
	return l->kv->window && pos >= l->kv->window ? pos + 1 - l->kv->window : l->empty;
}

// run_codes are 16 neighbouring codes of a run, as floats.
INLINE vf run_codes(const int bits, const uint8_t *run, int half) {
	if (bits == 6) {
		vf code[4];
		vf_six(run, code);
		return code[half];
	}
	if (bits == 8) return vf_u8(run + 16 * half);
	if (bits == 4) return half ? vf_u4_high(run) : vf_u4_low(run);
	// Eight bytes at once, each of which gives a code after every shift. A run in
	// 1 bit has four: its next four codes come from the same, one bit higher.
	uint64_t x = 0, code[2];
	memcpy(&x, run, 4 * bits);
	if (bits == 1) x |= x >> 1 << 32;
	for (int i = 0; i < 2; i++) code[i] = x >> (4 * half + 2 * i) & (bits == 2 ? 0x0303030303030303u : 0x0101010101010101u);
	return vf_u8((const uint8_t *)code);
}

INLINE float half1(const void *p) {
	uint16_t h[16] = {0};
	float f[16];
	memcpy(h, p, 2);
	vf_store(f, vf_half(h));
	return f[0];
}

// halves_to converts n float16 to floats.
INLINE void halves_to(float *dst, const uint8_t *src, int n) {
	int i = 0;
	for (; i + 16 <= n; i += 16) vf_store(dst + i, vf_half(src + 2 * i));
	for (; i < n; i++) dst[i] = half1(src + 2 * (int64_t)i);
}

// halves converts n floats to float16 bits.
INLINE void halves(uint16_t *dst, const float *x, int n) {
	int i = 0;
	for (; i + 16 <= n; i += 16) vf_store_half(dst + i, vf_load(x + i));
	if (i == n) return;
	float rest[16] = {0};
	uint16_t h[16];
	memcpy(rest, x + i, (n - i) * sizeof *x);
	vf_store_half(h, vf_load(rest));
	memcpy(dst + i, h, (n - i) * sizeof *h);
}

// step_bytes is the size of a step (offload.Record).
INLINE int step_bytes(const record *r) { return r->group == COLD_TOK ? 1 : 2; }

// step_of is offload.StepOf.
static const float step_mantissas[8] = {1, 1.0905077f, 1.1892071f, 1.2968396f, 1.4142135f, 1.5422108f, 1.6817929f, 1.8340081f};
INLINE float step_of(uint8_t b) {
	uint32_t bits;
	float x = step_mantissas[b % 8];
	memcpy(&bits, &x, 4);
	bits += (uint32_t)(b / 8 - 16) << 23;
	memcpy(&x, &bits, 4);
	return x;
}

// steps_to converts n steps to floats.
INLINE void steps_to(const record *r, float *dst, const uint8_t *src, int n) {
	if (step_bytes(r) == 2) {
		halves_to(dst, src, n);
		return;
	}
	int i = 0;
	for (; i + 16 <= n; i += 16) vf_store(dst + i, vf_steps(src + i, step_mantissas));
	for (; i < n; i++) dst[i] = step_of(src[i]);
}

// vf_some are the first n of 16 floats, and 0.
INLINE vf vf_some(const float *p, int n) {
	if (n >= 16) return vf_load(p);
	float x[16] = {0};
	if (n > 0) memcpy(x, p, n * sizeof *x);
	return vf_load(x);
}
INLINE void vf_store_some(float *p, vf v, int n) {
	float x[16];
	if (n >= 16) {
		vf_store(p, v);
		return;
	}
	vf_store(x, v);
	if (n > 0) memcpy(p, x, n * sizeof *x);
}

// key_floats writes a page's keys [dim, PAGE_TOK]; aux holds 4 dim floats.
INLINE void key_floats_in(const int bits, const record *r, page_ref p, int dim, float *dst, float *aux) {
	if (bits == 16 && !p.rec2) {
		for (int i = 0; i < dim * PAGE_TOK; i += 16) vf_store(dst + i, vf_half(p.k + 2 * i));
		return;
	}
	if (bits == 16) {
		for (int c = 0; c < dim; c++, dst += PAGE_TOK)
			vf_store(dst, vf_half(p.rec + c * r->k_row)), vf_store(dst + 16, vf_half(p.rec2 + c * r->k_row));
		return;
	}
	const int per = r->k_channels;
	halves_to(aux, p.rec, dim), steps_to(r, aux + dim, p.rec + r->k_steps, dim);
	if (!p.rec2) {
		for (int c = 0; c < dim; c++, dst += PAGE_TOK) {
			const vf zero = vf_set(aux[c]), step = vf_set(aux[dim + c]);
			const uint8_t *run = p.k + c / per * r->k_row;
			vf_store(dst, vf_fma(run_codes(bits, run, c % per * 2), step, zero));
			vf_store(dst + 16, vf_fma(run_codes(bits, run, c % per * 2 + 1), step, zero));
		}
		return;
	}
	float *aux2 = aux + 2 * dim;
	const uint8_t *k = p.rec + r->k, *k2 = p.rec2 + r->k;
	halves_to(aux2, p.rec2, dim), steps_to(r, aux2 + dim, p.rec2 + r->k_steps, dim);
	for (int c = 0; c < dim; c++, dst += PAGE_TOK) {
		vf_store(dst, vf_fma(run_codes(bits, k + c / per * r->k_row, c % per), vf_set(aux[dim + c]), vf_set(aux[c])));
		vf_store(dst + 16, vf_fma(run_codes(bits, k2 + c / per * r->k_row, c % per), vf_set(aux2[dim + c]), vf_set(aux2[c])));
	}
}

// value_scales reads the zeros and steps of a record's tokens [first, first+n),
// 16 or 32, of the g-th channels.
INLINE void value_scales(const record *r, const uint8_t *rec, int g, int first, int n, float *zero, float *step) {
	const int groups = r->v_groups, bytes = step_bytes(r);
	const uint8_t *zeros = rec + r->v_scales + 2 * first * groups, *steps = rec + r->v_steps + bytes * first * groups;
	if (groups == 1) {
		halves_to(zero, zeros, n), steps_to(r, step, steps, n);
		return;
	}
	for (int i = 0, t = 0; t < n; i += 16) { // 16 of all groups' at once
		float z[16], s[16];
		halves_to(z, zeros + 2 * i, 16), steps_to(r, s, steps + bytes * i, 16);
		for (; t < n && t * groups + g < i + 16; t++) zero[t] = z[t * groups + g - i], step[t] = s[t * groups + g - i];
	}
}

// value_rows writes the values [n, dim] of a record's tokens from first on; n is
// 16 or 32.
INLINE void value_rows(const int bits, const record *r, const uint8_t *rec, int first, int n, int dim, float *dst) {
	const uint8_t *row = rec + r->v + first * r->v_row;
	if (bits == 16) {
		int i = 0;
		for (; i + 16 <= dim * n; i += 16) vf_store(dst + i, vf_half(row + 2 * i));
		return;
	}
	for (int g = 0; g < r->v_groups; g++) {
		const int end = (g + 1) * V_GROUP < dim ? (g + 1) * V_GROUP : dim;
		float z[PAGE_TOK], s[PAGE_TOK];
		value_scales(r, rec, g, first, n, z, s);
		for (int t = 0; t < n; t++) {
			const vf zero = vf_set(z[t]), step = vf_set(s[t]);
			for (int c = g * V_GROUP; c < end; c += 16) {
				vf x = vf_fma(run_codes(bits, row + t * r->v_row + c / 32 * 4 * bits, c / 16 % 2), step, zero);
				if (c + 16 <= dim) {
					vf_store(dst + t * dim + c, x);
				} else {
					float rest[16];
					vf_store(rest, x);
					memcpy(dst + t * dim + c, rest, (dim - c) * sizeof *rest);
				}
			}
		}
	}
}

INLINE void value_floats_in(const int bits, const record *r, page_ref p, int dim, float *dst) {
	if (!p.rec2) {
		value_rows(bits, r, p.rec, p.part * PAGE_TOK, PAGE_TOK, dim, dst);
		return;
	}
	value_rows(bits, r, p.rec, 0, COLD_TOK, dim, dst);
	value_rows(bits, r, p.rec2, 0, COLD_TOK, dim, dst + COLD_TOK * dim);
}

static void key_floats(const record *r, page_ref p, int dim, float *dst, float *aux) {
	switch (r->k_bits) {
	case 16: key_floats_in(16, r, p, dim, dst, aux); break;
	case 8: key_floats_in(8, r, p, dim, dst, aux); break;
	case 6: key_floats_in(6, r, p, dim, dst, aux); break;
	case 4: key_floats_in(4, r, p, dim, dst, aux); break;
	case 2: key_floats_in(2, r, p, dim, dst, aux); break;
	default: key_floats_in(1, r, p, dim, dst, aux);
	}
}

// value_floats writes a page's values [PAGE_TOK, dim].
static void value_floats(const record *r, page_ref p, int dim, float *dst) {
	switch (r->v_bits) {
	case 16: value_floats_in(16, r, p, dim, dst); break;
	case 8: value_floats_in(8, r, p, dim, dst); break;
	case 4: value_floats_in(4, r, p, dim, dst); break;
	case 2: value_floats_in(2, r, p, dim, dst); break;
	default: value_floats_in(1, r, p, dim, dst);
	}
}
