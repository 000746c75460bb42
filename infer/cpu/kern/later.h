// Weights of the next products, asked for while a decode step chooses and attends.
// That work waits for instructions, products wait for memory: what memory can bring
// meanwhile to a thread's share of the second-level cache, half of which is for it, its
// products need not wait for. LATER_LINES come with the values of each two records, and with
// their scores where these are not products of bytes, which wait for memory themselves; an
// instruction set has none where its products wait for instructions too.

enum { LINE = 64 };

// later_begin begins anew behind op at.
INLINE void later_begin(exec *e, int at, int thread) { e->later[thread] = (later){.left = LATER_LINES && e->st.decode ? e->later_bytes : 0, .op = at, .thread = thread}; }

// later_range goes on with this thread's range of a matrix.
static inline void later_range(const exec *e, later *l, const weight *w, int two) {
	l->at = w->data + range_of(e, w->tiles, l->thread) * w->tile_bytes;
	l->end = w->data + range_of(e, w->tiles, l->thread + 1) * w->tile_bytes;
	l->two = two;
}

// later_next goes on with the next matrix, or ends: past the next choice there is time
// again.
static inline void later_next(const exec *e, later *l) {
	if (l->two) {
		later_range(e, l, e->ops[l->op].w2, 0);
		return;
	}
	while (++l->op < e->end && e->ops[l->op].kind != OP_SCAN) {
		const op *o = &e->ops[l->op];
		if (o->kind != OP_LINEAR && o->kind != OP_GATED) continue;
		later_range(e, l, o->w, o->kind == OP_GATED);
		return;
	}
	l->left = 0;
}

// later_lines asks for the next n lines.
INLINE void later_lines(const exec *e, later *l, int n) {
	for (; n > 0; n--, l->at += LINE, l->left -= LINE) {
		while (l->at >= l->end && l->left > 0) later_next(e, l);
		if (l->left <= 0) return;
		ahead_L2(l->at);
	}
}
