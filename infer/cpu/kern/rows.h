// Ops that treat every row by itself. Threads own fixed ranges of rows, so
// that consecutive row ops need no barrier between them.

INLINE float sum_squares(const float *x, int n) {
	vf s = vf_zero();
	int i = 0;
	for (; i + 16 <= n; i += 16) {
		vf v = vf_load(x + i);
		s = vf_fma(v, v, s);
	}
	float sum = vf_sum(s);
	for (; i < n; i++) sum += x[i] * x[i];
	return sum;
}

INLINE void norm(float *dst, const float *src, const float *w, int n, float eps, int add) {
	const float inv = 1.0f / sqrtf(sum_squares(src, n) / (float)n + eps);
	int i = 0;
	for (; i + 16 <= n; i += 16) {
		vf v = vf_mul(vf_mul(vf_load(src + i), vf_set(inv)), vf_load(w + i));
		vf_store(dst + i, add ? vf_add(vf_load(dst + i), v) : v);
	}
	for (; i < n; i++) {
		float v = src[i] * inv * w[i];
		dst[i] = add ? dst[i] + v : v;
	}
}

// quantize rounds a row to int16 codes, 32 to a scale, at its place in a group.
// Inputs below 2^-99 become 0, since their scale has no finite inverse. A block
// with NaN or infinity gets a scale that is not finite, so that its products
// show it.
static void quantize(const float *x, int k, int lane, int width, int16_t *q, float *d, float *s) {
	pair *out = (pair *)q + lane;
	for (int b = 0; b < k / 32; b++, x += 32) {
		vf v0 = vf_load(x), v1 = vf_load(x + 16);
		float top = vf_top(vf_max(vf_abs(v0), vf_abs(v1)));
		float inv = top >= 0x1p-99f ? 32767.0f / top : 0;
		float bad = vf_sum(vf_mul(vf_add(v0, v1), vf_zero())); // 0 or NaN; top may miss a NaN
		// NaN becomes the second operand: a code like any other, under a NaN scale.
		const vf least = vf_set(-32767);
		vi c0 = vf_int(vf_max(vf_mul(v0, vf_set(inv)), least)), c1 = vf_int(vf_max(vf_mul(v1, vf_set(inv)), least));
		d[b * width + lane] = top / 32767.0f + bad;
		const float s0 = (float)vi_sum(c0), s1 = (float)vi_sum(c1), scale = d[b * width + lane];
		s[3 * b * width + lane] = scale * (s0 + s1);
		s[(3 * b + 1) * width + lane] = scale * s0;
		s[(3 * b + 2) * width + lane] = scale * s1;
		int16_t words[32];
		vi_store_words(words, c0), vi_store_words(words + 16, c1);
		for (int j = 0; j < 16; j++) memcpy(out + ((int64_t)b * 16 + j) * width, words + 2 * j, 4);
	}
}

// quantize_row finds the group that a row belongs to among all rows.
static void quantize_row(const buffer *x, int row, int rows) {
	int first = 0, width = group_width(rows);
	while (row >= first + width) first += width, width = group_width(rows - first);
	const int k = x->width;
	quantize(x->p + (int64_t)row * x->ld, k, row - first, width, x->q.q + (int64_t)first * k,
		x->q.d + (int64_t)first * (k / 32), x->q.s + 3 * (int64_t)first * (k / 32));
}

static void angles(const rope_table *t, int row, int pos) {
	float *c = t->cos + (int64_t)row * t->pairs, *s = t->sin + (int64_t)row * t->pairs;
	for (int i = 0; i < t->pairs; i++) {
		double a = (double)pos * t->freq[i];
		c[i] = (float)cos(a) * t->scale;
		s[i] = (float)sin(a) * t->scale;
	}
}

static void rotate(float *x, int heads, int dim, const rope_table *t, int row) {
	const float *c = t->cos + (int64_t)row * t->pairs, *s = t->sin + (int64_t)row * t->pairs;
	const int n = t->pairs;
	for (int h = 0; h < heads; h++, x += dim) {
		if (t->interleaved) {
			for (int i = 0; i < n; i++) {
				float a = x[2 * i], b = x[2 * i + 1];
				x[2 * i] = a * c[i] - b * s[i], x[2 * i + 1] = a * s[i] + b * c[i];
			}
			continue;
		}
		for (int i = 0; i < n; i++) {
			float a = x[i], b = x[i + n];
			x[i] = a * c[i] - b * s[i], x[i + n] = a * s[i] + b * c[i];
		}
	}
}

// append writes one token's K, channel-major, and V, token-major.
static void append(const cache *c, const view *w, int pos, const float *k, const float *v) {
	const int dim = c->dim, slot = pos % PAGE_TOK;
	uint8_t *page = exact_page(c, w, pos / PAGE_TOK);
	for (int h = 0; h < c->kv_heads; h++, k += dim, v += dim) {
		uint8_t *kp = page + h * c->head_bytes, *vp = kp + c->head_bytes / 2;
		if (c->f32) {
			for (int i = 0; i < dim; i++) ((float *)kp)[i * PAGE_TOK + slot] = k[i];
			memcpy((float *)vp + slot * dim, v, dim * sizeof *v);
			continue;
		}
		for (int i = 0; i < dim; i += 16) { // in pieces, as the stack must not depend on the model
			uint16_t kh[16];
			const int n = dim - i < 16 ? dim - i : 16;
			halves(kh, k + i, n);
			for (int c = 0; c < n; c++) ((uint16_t *)kp)[(i + c) * PAGE_TOK + slot] = kh[c];
		}
		halves((uint16_t *)vp + slot * dim, v, dim);
	}
}

static void op_row(const exec *e, const op *o, int row, int rows) {
	const step *st = &e->st;
	float *dst = o->dst ? o->dst->p + (int64_t)row * o->dst->ld : 0;
	const float *src = o->src ? o->src->p + (int64_t)row * o->src->ld : 0;
	switch (o->kind) {
	case OP_ANGLES: angles(o->rope, row, st->pos[row]); break;
	case OP_NORM: norm(dst, src, o->vec, o->src->width, o->eps, 0); break;
	case OP_ADDNORM: norm(dst, src, o->vec, o->src->width, o->eps, 1); break;
	case OP_HEADNORM:
		for (int h = 0; h < o->heads; h++) norm(dst + h * o->dim, dst + h * o->dim, o->vec, o->dim, o->eps, 0);
		break;
	case OP_ROPE: rotate(dst, o->heads, o->dim, o->rope, row); break;
	case OP_QUANT: quantize_row(o->dst, row, rows); break;
	case OP_SELECT:
		memcpy(dst, o->src->p + (int64_t)st->out[row] * o->src->ld, o->dst->width * sizeof *dst);
		break;
	case OP_APPEND:
		append(o->kv, &st->views[st->seq[row] * e->layers + o->layer], st->pos[row], src, o->src2->p + (int64_t)row * o->src2->ld);
		break;
	case OP_MERGE: merge_row(e, o, row, dst); break;
	}
}
