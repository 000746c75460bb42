// Tokens that leave the exact tail become records, with what finds them again.

// coder turns values into codes: x = zero + step * code.
typedef struct {
	float zero, step, inv, top;
} coder;

// step_for is offload.StepFor.
INLINE uint8_t step_for(float x) {
	if (!(x > step_of(0))) return 0;
	uint32_t bits, one;
	memcpy(&bits, &x, 4);
	int b = ((int)(bits >> 23) - 127 + 16) * 8;
	float mantissa;
	one = (bits & 0x7fffff) | 127u << 23;
	memcpy(&mantissa, &one, 4);
	for (int i = 0; i < 8 && step_mantissas[i] < mantissa; i++) b++;
	return (uint8_t)(b < 255 ? b : 255);
}

// coder_for spans [lo, hi] with codes 0..top. Zero and step are what is kept of
// them, so that encoding sees what decoding will. bad, 0 or NaN, is
// the sum of all values times 0: the least and greatest may miss a NaN.
INLINE coder coder_for(const record *r, float lo, float hi, float bad, int bits, uint8_t *zero, uint8_t *step) {
	coder c = {.top = (float)((1 << bits) - 1)};
	const float zs[2] = {lo + bad, (hi - lo) / c.top};
	uint16_t h[2];
	halves(h, zs, 2);
	memcpy(zero, h, 2);
	c.zero = half1(h);
	if (step_bytes(r) == 1) {
		*step = step_for(zs[1]);
		c.step = step_of(*step);
	} else {
		memcpy(step, h + 1, 2);
		c.step = half1(h + 1);
	}
	c.inv = c.step > 0 ? 1 / c.step : 0;
	return c;
}

// encode writes 16 codes. NaN becomes the second operand of vf_max: a code like
// any other, under a zero or step that is not finite.
INLINE void encode(coder c, vf x, uint8_t *code) {
	vf v = vf_mul(vf_sub(x, vf_set(c.zero)), vf_set(c.inv));
	vi_store_bytes(code, vf_int(vf_min(vf_max(v, vf_zero()), vf_set(c.top))));
}

// pack_run writes a run of 32 codes as offload.Record says, pack_keys one of K.
INLINE void pack_run(int bits, const uint8_t *code, uint8_t *dst) {
	const int per = 4 * bits, share = 8 / bits;
	for (int j = 0; j < per; j++) {
		uint8_t b = 0;
		for (int i = 0; i < share; i++) b |= code[j + i * per] << (i * bits);
		dst[j] = b;
	}
}

INLINE void pack_keys(int bits, const uint8_t *code, uint8_t *dst) {
	if (bits != 6) {
		pack_run(bits, code, dst);
		return;
	}
	for (int j = 0; j < 48; j++) dst[j] = (uint8_t)(code[j] | code[48 + j % 16] >> j / 16 * 2 << 6);
}

// keys_to_record encodes the keys of a group, whose pages' K [dim, PAGE_TOK] are
// given, channel by channel.
static void keys_to_record(const record *r, int dim, const uint8_t *const *pages, uint8_t *rec) {
	const int n = r->group / PAGE_TOK;
	uint8_t code[BLOCK_PAGES][MAX_RUN] = {0};
	for (int c = 0; c < dim; c++) {
		vf lo = vf_set(INFINITY), hi = vf_set(-INFINITY), bad = vf_zero();
		for (int i = 0; i < 2 * n; i++) {
			vf x = vf_half(pages[i / 2] + 2 * (c * PAGE_TOK + 16 * (i % 2)));
			lo = vf_min(x, lo), hi = vf_max(x, hi);
			bad = vf_add(bad, vf_mul(x, vf_zero()));
		}
		coder q = coder_for(r, -vf_top(vf_sub(vf_zero(), lo)), vf_top(hi), vf_sum(bad), r->k_bits, rec + 2 * c, rec + r->k_steps + 2 * c);
		const int per = r->k_channels, at = c % per * PAGE_TOK;
		for (int i = 0; i < n; i++) {
			for (int h = 0; h < 2; h++) encode(q, vf_half(pages[i] + 2 * (c * PAGE_TOK + 16 * h)), code[i] + at + 16 * h);
			if (c % per == per - 1 || c == dim - 1) pack_keys(r->k_bits, code[i], rec + r->k + (i * ((dim + per - 1) / per) + c / per) * r->k_row);
		}
	}
}

// keys_to_cold encodes the keys of a cold page, at k [dim, PAGE_TOK].
static void keys_to_cold(const record *r, int dim, const uint8_t *k, uint8_t *rec) {
	for (int c = 0; c < dim; c += r->k_channels) {
		uint8_t code[MAX_RUN] = {0};
		for (int i = c; i < c + r->k_channels && i < dim; i++) {
			const vf x = vf_half(k + 2 * i * PAGE_TOK);
			coder q = coder_for(r, -vf_top(vf_sub(vf_zero(), x)), vf_top(x), vf_sum(vf_mul(x, vf_zero())), r->k_bits, rec + 2 * i, rec + r->k_steps + i);
			encode(q, x, code + (i - c) * COLD_TOK);
		}
		pack_keys(r->k_bits, code, rec + r->k + c / r->k_channels * r->k_row);
	}
}

// values_to_record encodes one token's value [dim] as token t of a group.
static void value_to_record(const record *r, int dim, int t, const uint8_t *row, uint8_t *rec) {
	uint8_t *zeros = rec + r->v_scales + 2 * t * r->v_groups, *steps = rec + r->v_steps + step_bytes(r) * t * r->v_groups;
	uint8_t *dst = rec + r->v + t * r->v_row;
	for (int g = 0; g < r->v_groups; g++) {
		const int n = dim - g * V_GROUP < V_GROUP ? dim - g * V_GROUP : V_GROUP;
		float x[V_GROUP];
		halves_to(x, row + 2 * g * V_GROUP, n);
		float lo = x[0], hi = x[0], bad = x[0] * 0;
		for (int i = 1; i < n; i++) lo = x[i] < lo ? x[i] : lo, hi = x[i] > hi ? x[i] : hi, bad += x[i] * 0;
		for (int i = n; i < V_GROUP; i++) x[i] = lo;
		coder q = coder_for(r, lo, hi, bad, r->v_bits, zeros + 2 * g, steps + step_bytes(r) * g);
		for (int i = 0; i < n; i += 32) {
			uint8_t code[32];
			encode(q, vf_load(x + i), code), encode(q, vf_load(x + i + 16), code + 16);
			pack_run(r->v_bits, code, dst + (g * V_GROUP + i) / 32 * 4 * r->v_bits);
		}
	}
}

// store_cold writes the record of a cold page.
static void store_cold(const cache *c, const view *v, int pos, int head, uint8_t *rec) {
	const record *r = &c->rec;
	const page_ref p = exact_ref(c, exact_page(c, v, pos / PAGE_TOK), head);
	const int t0 = pos % PAGE_TOK;
	const uint8_t *k = p.k + 2 * t0, *row = p.v + 2 * t0 * c->dim;
	if (r->k_bits == 16) {
		for (int ch = 0; ch < c->dim; ch++) memcpy(rec + r->k + ch * r->k_row, k + 2 * ch * PAGE_TOK, r->k_row);
		memcpy(rec + r->v, row, COLD_TOK * r->v_row);
		return;
	}
	keys_to_cold(r, c->dim, k, rec);
	for (int t = 0; t < COLD_TOK; t++) value_to_record(r, c->dim, t, row + 2 * t * c->dim, rec);
}

// rows_of_keys writes the keys [dim, PAGE_TOK] of a page token by token.
static void rows_of_keys(int dim, const uint8_t *k, uint8_t *to) {
	for (int t = 0; t < PAGE_TOK; t++)
		for (int ch = 0; ch < dim; ch++) memcpy(to + 2 * (t * dim + ch), k + 2 * (ch * PAGE_TOK + t), 2);
}

// store_group writes one record of one head from the exact pages of its tokens.
static void store_group(const cache *c, const view *v, int pos, int head, uint8_t *rec) {
	const record *r = &c->rec;
	if (r->group == COLD_TOK) {
		store_cold(c, v, pos, head, rec);
		return;
	}
	const uint8_t *pages[BLOCK_PAGES];
	for (int i = 0; i < r->group / PAGE_TOK; i++) {
		page_ref p = exact_ref(c, exact_page(c, v, pos / PAGE_TOK + i), head);
		pages[i] = p.k;
		if (r->k_bits == 16) {
			memcpy(rec + r->k + i * c->dim * r->k_row, p.k, c->dim * r->k_row);
			memcpy(rec + r->v + i * PAGE_TOK * r->v_row, p.v, PAGE_TOK * r->v_row);
			if (r->k_rows) rows_of_keys(c->dim, p.k, rec + r->k_rows + i * PAGE_TOK * c->dim * 2);
			continue;
		}
		for (int t = 0; t < PAGE_TOK; t++) value_to_record(r, c->dim, i * PAGE_TOK + t, p.v + 2 * t * c->dim, rec);
	}
	if (r->k_bits != 16) keys_to_record(r, c->dim, pages, rec);
}

// index_stats sets a block's references, deviations and order of channels from
// its first page.
static void index_stats(const cache *c, const uint8_t *k, int head, int skip, uint8_t *ix) {
	float share[MAX_INDEX_DIM]; // of scores
	const float *query = c->query_scale + head * c->dim;
	uint8_t *order = ix;
	for (int ch = 0; ch < c->dim; ch++) {
		float x[PAGE_TOK], sum = 0, square = 0;
		halves_to(x, k + 2 * ch * PAGE_TOK, PAGE_TOK);
		for (int t = skip; t < PAGE_TOK; t++) sum += x[t];
		const float mean = sum / (float)(PAGE_TOK - skip);
		for (int t = skip; t < PAGE_TOK; t++) square += (x[t] - mean) * (x[t] - mean);
		const float stats[2] = {mean, sqrtf(square / (float)(PAGE_TOK - skip))};
		uint16_t h[2];
		halves(h, stats, 2);
		memcpy(ix + c->ix.refs + 2 * ch, h, 2), memcpy(ix + c->ix.steps + 2 * ch, h + 1, 2);
		share[ch] = half1(h + 1) * query[ch];
		int i = ch;
		for (; i > 0 && share[order[i - 1]] < share[ch]; i--) order[i] = order[i - 1];
		order[i] = (uint8_t)ch;
	}
}

INLINE float clamp(float x, float lo, float hi) { return x >= lo ? x <= hi ? x : hi : lo; } // NaN gives lo

#define CODE_STEP 1.145f // offload.IndexStep
enum { RANKS = 24, ALONE = 16, BOTH = 8 }; // coded channels of each 64, and of those with a vector for 16 tokens and for 32 (offload.Index)

// page_codes is the bytes of the codes of a page.
INLINE int page_codes(const index_layout *l) { return 3 * l->vectors * 64; }

// index_code_at is where in a page's codes that of a token has its byte, and the shift in it.
INLINE int index_code_at(const index_layout *l, int t, int rank, int *shift) {
	const int alone = rank < ALONE * l->vectors, at = alone ? rank : rank - ALONE * l->vectors, n = alone ? ALONE : BOTH;
	*shift = (alone ? 0 : t / 16 * 4) + at % n / 4 * CODE_BITS;
	return (((alone ? t / 16 : 2) * l->vectors + at / n) * 16 + t % 16) * 4 + at % 4;
}

// beside is where one of a page's bytes lies among those of its block's pages.
INLINE int beside(int page, int i) { return (i / 4 * BLOCK_PAGES + page) * 4 + i % 4; }

// index_keys writes the means, scales and codes of one page of a block.
static void index_keys(const cache *c, const uint8_t *k, int page, uint8_t *ix) {
	const index_layout *l = &c->ix;
	uint8_t *codes = ix + l->codes + page * page_codes(l);
	memset(codes, 0, page_codes(l));
	for (int rank = 0; rank < c->dim; rank++) {
		const int ch = ix[rank];
		const float ref = half1(ix + l->refs + 2 * ch), dev = half1(ix + l->steps + 2 * ch), inv = dev > 0 ? 1 / dev : 0;
		float x[PAGE_TOK], sum = 0, square = 0;
		halves_to(x, k + 2 * ch * PAGE_TOK, PAGE_TOK);
		for (int t = 0; t < PAGE_TOK; t++) sum += x[t] = (x[t] - ref) * inv;
		const float mean = rintf(clamp(sum / PAGE_TOK * INDEX_UNITS, -128, 127));
		ix[l->means + beside(page, ch)] = (uint8_t)((int)mean + 128);
		if (rank >= l->ranks) continue;
		for (int t = 0; t < PAGE_TOK; t++) x[t] -= mean / INDEX_UNITS, square += x[t] * x[t];
		const float scale = rintf(clamp(sqrtf(square / PAGE_TOK) * INDEX_UNITS, 1, 255));
		ix[l->scales + beside(page, rank)] = (uint8_t)scale;
		const float unit = INDEX_UNITS / (scale * CODE_STEP);
		for (int t = 0; t < PAGE_TOK; t++) {
			int shift;
			const int code = (int)rintf(clamp(x[t] * unit + CODE_TOP / 2.0f, 0, CODE_TOP)), byte = index_code_at(l, t, rank, &shift);
			codes[byte] |= code << shift;
		}
	}
}

// index_values writes the mean value of one cold page of a block.
static void index_values(const cache *c, const uint8_t *v, int cold, uint8_t *ix, float *mean) {
	for (int ch = 0; ch < c->dim; ch++) mean[ch] = 0;
	for (int t = 0; t < COLD_TOK; t++)
		for (int ch = 0; ch < c->dim; ch += 16) {
			float x[16];
			const int n = c->dim - ch < 16 ? c->dim - ch : 16;
			halves_to(x, v + 2 * (t * c->dim + ch), n);
			for (int i = 0; i < n; i++) mean[ch + i] += x[i];
		}
	float top = 0;
	for (int ch = 0; ch < c->dim; ch++) {
		mean[ch] /= COLD_TOK;
		top = fabsf(mean[ch]) > top ? fabsf(mean[ch]) : top;
	}
	uint16_t h;
	const float step = top / 127;
	halves(&h, &step, 1);
	memcpy(ix + c->ix.value_step + 2 * cold, &h, 2);
	const float kept = half1(&h), inv = kept > 0 ? 1 / kept : 0;
	int8_t *dst = (int8_t *)ix + c->ix.values + cold * c->ix.padded;
	for (int ch = 0; ch < c->dim; ch++) dst[ch] = (int8_t)rintf(clamp(mean[ch] * inv, -127, 127));
}

// spoil makes a block's scores NaN when a page's keys or values are not finite:
// such pages are chosen first, so that whoever looks at the result sees it.
static void spoil(const cache *c, page_ref p, uint8_t *ix) {
	vf bad = vf_zero();
	for (int i = 0; i < c->dim * PAGE_TOK; i += 16)
		bad = vf_add(bad, vf_add(vf_mul(vf_half(p.k + 2 * i), vf_zero()), vf_mul(vf_half(p.v + 2 * i), vf_zero())));
	if (vf_sum(bad) == 0) return;
	const uint16_t nan = 0x7e00;
	memcpy(ix + c->ix.refs, &nan, 2);
}

// index_page writes what the index of a block says of one page.
static void index_page(const cache *c, const view *v, int pos, int head, float *aux) {
	const int page = pos % BLOCK_TOK / PAGE_TOK;
	uint8_t *ix = c->index + ((int64_t)v->table[pos / BLOCK_TOK] * c->kv_heads + head) * c->ix.bytes;
	const page_ref p = exact_ref(c, exact_page(c, v, pos / PAGE_TOK), head);
	if (page == 0) index_stats(c, p.k, head, pos == 0 ? INDEX_SKIP : 0, ix);
	index_keys(c, p.k, page, ix);
	for (int i = 0; c->ix.values && i < PAGE_TOK / COLD_TOK; i++)
		index_values(c, p.v + 2 * i * COLD_TOK * c->dim, page * (PAGE_TOK / COLD_TOK) + i, ix, aux);
	spoil(c, p, ix);
}

// store_block writes the records of one head of the part of a block that is due.
static void store_block(const cache *c, const view *v, int from, int to, int head, float *aux) {
	for (int pos = from; pos < to; pos += c->rec.group) {
		store_group(c, v, pos, head, record_at(c, v->table, pos, head));
		for (int i = 0; c->class == GATHERED && i < c->rec.group / PAGE_TOK; i++)
			peaks_of_page(c, v, exact_ref(c, exact_page(c, v, pos / PAGE_TOK + i), head), head);
		if (c->class == PAGED && pos % PAGE_TOK == 0) index_page(c, v, pos, head, aux);
	}
}

// op_flush hands out blocks of single heads.
static void op_flush(exec *e, const op *o, int at, uint8_t *scratch) {
	int piece = 0, mine = claim(e, at);
	for (int s = 0; s < e->st.seqs; s++) {
		const view *v = &e->st.views[s * e->layers + o->layer];
		for (int from = v->flush_from; from < v->flush_to;) {
			int to = (from / BLOCK_TOK + 1) * BLOCK_TOK;
			if (to > v->flush_to) to = v->flush_to;
			for (; mine < piece + o->kv->kv_heads; mine = claim(e, at))
				store_block(o->kv, v, from, to, mine - piece, (float *)scratch);
			piece += o->kv->kv_heads;
			from = to;
		}
	}
}
