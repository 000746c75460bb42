// The step: every thread walks the list of ops.

// spent_on is what the time of an op is noted as; -1 for most.
INLINE int spent_on(int kind) {
	if (kind == OP_SCAN || kind == OP_GATHER || kind == OP_FLUSH) return SPENT_CHOICE;
	return kind == OP_ATTEND || kind == OP_MERGE ? SPENT_ATTENTION : -1;
}

void RUN(exec *e, int32_t thread);
void RUN(exec *e, int32_t thread) {
	const step *st = &e->st;
	uint8_t *scratch = e->scratch[thread];
	e->later[thread] = (later){0}; // a prompt asks for nothing, however far the step before came
	for (int i = e->first; i < e->end; i++) {
		const op *o = &e->ops[i];
		if ((o->kind == OP_FLUSH && !e->flushing) || (o->decode && !st->decode)) continue;
		const int rows = o->dst && o->dst->out ? st->outs : st->rows, noted = spent_on(o->kind);
		const int64_t begin = noted < 0 ? 0 : edged_now();
		if (o->kind == OP_LINEAR) {
			op_linear(e, o, i, rows, thread, scratch);
		} else if (o->kind == OP_GATED) {
			op_gated(e, o, i, rows, thread, scratch);
		} else if (o->kind == OP_ATTEND) {
			op_attend(e, o, i, thread, scratch);
		} else if (o->kind == OP_FLUSH) {
			op_flush(e, o, i, scratch);
		} else if (o->kind == OP_SCAN) {
			if (o->kv->class == GATHERED) op_stream(e, o, i, thread, scratch);
			else op_scan(e, o, i, thread, scratch);
		} else if (o->kind == OP_GATHER) {
			op_gather(e, o, i, thread);
		} else {
			const int a = range_of(e, rows, thread), z = range_of(e, rows, thread + 1);
			for (int r = a; r < z; r++) op_row(e, o, r, rows);
		}
		if (noted >= 0) e->spent[thread * N_SPENT + noted] += edged_now() - begin;
		if (!o->barrier) continue;
		edged_pool_barrier(e->pool, e);
		if (e->stopped) return;
	}
}
