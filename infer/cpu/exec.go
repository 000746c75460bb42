package cpu

// #include "kern/cpu.h"
import "C"

import (
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"edged/infer/graph"
	"edged/offload"
)

// exec is a compiled program. The C side's view of it, c, and everything that
// c points to lie in actMem and weightMem.
type exec struct {
	prog *graph.Program
	lim  graph.Limits
	run  C.run_fn

	weightMem block
	packed    []C.weight  // [weights] where an op multiplies with it
	vectors   [][]float32 // [weights] where an op needs plain values
	maxK      int

	actMem  block
	buffers []C.buffer     // off-heap
	data    [][]float32    // [buffers] the buffers' memory
	ropes   []C.rope_table // off-heap
	caches  []C.cache      // off-heap
	weights []C.weight     // off-heap, one per operand of an op
	ops     []C.op         // off-heap
	c       *C.exec
	pool    *offload.Pool // whose memory caches point to

	hiddenMem block
	hidden    []float32 // [context, width] between the parts of a prompt

	embeds      []graph.Embed
	pos         []C.int32_t
	seq         []C.int32_t
	out         []C.int32_t
	seqRow      []C.int32_t
	views       []C.view    // [MaxSeqs, layers]
	queryScales [][]C.float // [layers][kvHeads*headDim] of Paged ones
	next        []C.int32_t // [threads, opCounters]
	parts       []opRange   // [parts] of the program
	final       opRange     // in place of the last part, for states
	flush       []C.int32_t // [layers] the op that writes records; -1 for none
	angles      int         // ops that begin every step

	traffic []C.int64_t // [threads, N_TRAFFIC]
	spent   []C.int64_t // [threads, N_SPENT]
	later   []C.later   // [threads]
	oneSeq  [1]*offload.Seq
}

// opRange is ops [first, end).
type opRange struct{ first, end int }

// planAll adds up the memory that build takes.
func (e *exec) planAll() error {
	if err := e.planWeights(); err != nil {
		return err
	}
	l, err := lower(e.prog, e.lim.KV)
	if err != nil {
		return err
	}
	if err := e.visitAll(l); err != nil {
		return err
	}
	return e.planHidden()
}

func (e *exec) build() error {
	if err := e.loadWeights(); err != nil {
		return err
	}
	l, err := lower(e.prog, e.lim.KV)
	if err != nil {
		return err
	}
	e.embeds, e.parts, e.final, e.flush, e.angles = l.embeds, l.parts, l.final, l.flush, len(e.prog.Ropes)
	if err := e.allocate(l); err != nil {
		return err
	}
	if err := e.scaleQueries(); err != nil {
		return err
	}
	e.link(l)
	if e.c.pool = C.edged_pool_new(C.int32_t(e.lim.Threads)); e.c.pool == nil {
		return fmt.Errorf("start %d threads: the system refused", e.lim.Threads)
	}
	return nil
}

// Close stops the threads and gives all memory back.
func (e *exec) Close() error {
	if e.c != nil {
		C.edged_pool_free(e.c.pool)
		e.c = nil
	}
	return errors.Join(e.weightMem.close(), e.actMem.close(), e.hiddenMem.close())
}

func (e *exec) rows(b graph.Buffer) int {
	if b.Rows == graph.OutRows {
		return e.lim.MaxOut
	}
	return e.lim.MaxRows
}

// heads is the largest heads*(dim+2) of the attention ops, the size of one
// span's partial result for a row.
func (e *exec) partialWidth() (width, dim int) {
	for _, op := range e.prog.Ops {
		if a, ok := op.(graph.Attend); ok {
			d := e.prog.KV[a.Layer].HeadDim
			width, dim = max(width, a.Heads*(d+2)), max(dim, d)
		}
	}
	return width, dim
}

// visit calls want and take through one list, so that planning and handing
// out cannot disagree.
func visit[T any](b *block, dst *[]T, n int) error {
	if b.arena == nil {
		wantArray[T](b, n)
		return nil
	}
	var err error
	*dst, err = array[T](b, n)
	return err
}

// allocate plans and takes everything that steps touch.
func (e *exec) allocate(l *lowered) error {
	if err := e.visitAll(l); err != nil {
		return err
	}
	if err := e.actMem.open(e.lim.Host); err != nil {
		return err
	}
	if err := e.visitAll(l); err != nil {
		return err
	}
	return e.allocateHidden()
}

// planHidden plans the memory in which a prompt's rows wait between layers: none where
// prompts are not read layer by layer.
func (e *exec) planHidden() error {
	if !slices.ContainsFunc(e.lim.KV, func(p offload.LayerPlan) bool { return p.Class != offload.Exact }) {
		return nil
	}
	if len(e.prog.Parts) == 0 {
		return errors.New("a program without parts cannot read prompts layer by layer")
	}
	wantArray[float32](&e.hiddenMem, e.hiddenLen())
	return nil
}

func (e *exec) hiddenLen() int { return e.lim.Context * e.prog.Buffers[e.prog.Hidden].Width }

// allocateHidden takes it.
func (e *exec) allocateHidden() error {
	if err := e.planHidden(); err != nil || e.hiddenMem.size == 0 {
		return err
	}
	if err := e.hiddenMem.open(e.lim.Host); err != nil {
		return err
	}
	var err error
	e.hidden, err = array[float32](&e.hiddenMem, e.hiddenLen())
	return err
}

func (e *exec) visitAll(l *lowered) error {
	m := &e.actMem
	if e.data == nil {
		e.data = make([][]float32, len(e.prog.Buffers))
	}
	var execs []C.exec
	err := errors.Join(
		visit(m, &execs, 1), visit(m, &e.ops, len(l.ops)), visit(m, &e.next, opCounters(l.ops)*e.lim.Threads),
		visit(m, &e.weights, l.operands), visit(m, &e.buffers, len(e.prog.Buffers)),
		visit(m, &e.ropes, len(e.prog.Ropes)), visit(m, &e.caches, len(e.prog.KV)),
		visit(m, &e.pos, e.lim.MaxRows), visit(m, &e.seq, e.lim.MaxRows), visit(m, &e.out, e.lim.MaxOut),
		visit(m, &e.seqRow, e.lim.MaxSeqs+1), visit(m, &e.views, e.lim.MaxSeqs*len(e.prog.KV)),
		visit(m, &e.traffic, e.lim.Threads*C.N_TRAFFIC), visit(m, &e.spent, e.lim.Threads*C.N_SPENT),
		visit(m, &e.later, e.lim.Threads),
	)
	if err != nil {
		return err
	}
	if err := e.visitQueryScales(); err != nil {
		return err
	}
	if len(execs) == 1 {
		e.c = &execs[0]
	}
	return errors.Join(e.visitBuffers(l), e.visitRopes(), e.visitScratch())
}

// opCounters is the number of a thread's counters, in whole lines.
func opCounters[T any](ops []T) int { return rounded(len(ops), lineBytes/4) }

func (e *exec) visitQueryScales() error {
	if e.queryScales == nil {
		e.queryScales = make([][]C.float, len(e.lim.KV))
	}
	for i, p := range e.lim.KV {
		if p.Class != offload.Paged {
			continue
		}
		if err := visit(&e.actMem, &e.queryScales[i], p.KVHeads*p.HeadDim); err != nil {
			return err
		}
	}
	return nil
}

// scaleQueries asks the program how large queries are in each channel.
func (e *exec) scaleQueries() error {
	for i, dst := range e.queryScales {
		if len(dst) == 0 {
			continue
		}
		scales, err := e.prog.QueryScales(i)
		if err != nil {
			return err
		}
		for c, v := range scales {
			dst[c] = C.float(v)
		}
	}
	return nil
}

func (e *exec) visitBuffers(l *lowered) error {
	for i, b := range e.prog.Buffers {
		rows, ld := e.rows(b), rounded(b.Width, C.TILE)
		if err := visit(&e.actMem, &e.data[i], rows*ld); err != nil {
			return err
		}
		var q []C.int16_t
		var d, s []C.float
		if l.quantized[i] {
			if err := errors.Join(visit(&e.actMem, &q, rows*b.Width), visit(&e.actMem, &d, rows*b.Width/C.BLOCK), visit(&e.actMem, &s, 3*rows*b.Width/C.BLOCK)); err != nil {
				return err
			}
		}
		if e.actMem.arena == nil {
			continue
		}
		e.buffers[i] = C.buffer{p: (*C.float)(unsafe.SliceData(e.data[i])), width: C.int32_t(b.Width), ld: C.int32_t(ld)}
		if b.Rows == graph.OutRows {
			e.buffers[i].out = 1
		}
		e.buffers[i].q = C.quant{q: unsafe.SliceData(q), d: unsafe.SliceData(d), s: unsafe.SliceData(s)}
	}
	return nil
}

func (e *exec) visitRopes() error {
	for i, r := range e.prog.Ropes {
		n := len(r.InvFreq)
		var freq []float64
		var cos, sin []C.float
		if err := errors.Join(visit(&e.actMem, &freq, n), visit(&e.actMem, &cos, n*e.lim.MaxRows), visit(&e.actMem, &sin, n*e.lim.MaxRows)); err != nil {
			return err
		}
		if e.actMem.arena == nil {
			continue
		}
		copy(freq, r.InvFreq)
		e.ropes[i] = C.rope_table{freq: (*C.double)(unsafe.SliceData(freq)), cos: unsafe.SliceData(cos), sin: unsafe.SliceData(sin), pairs: C.int32_t(n), scale: C.float(r.Scale)}
		if r.Interleaved {
			e.ropes[i].interleaved = 1
		}
	}
	return nil
}

func (e *exec) visitScratch() error {
	width, dim := e.partialWidth()
	spans := rounded(e.lim.Context, C.SPAN) / C.SPAN
	split := min(C.SPLIT_ROWS, e.lim.MaxRows)
	var partial, top, mean, scores, held []C.float
	var scratch, picked []*C.uint8_t
	var known []*C.float
	var scanned []C.int32_t
	var renewed []C.int64_t
	stats, choices := e.choosing()
	tokens := e.scoredTokens()
	if err := errors.Join(visit(&e.actMem, &partial, split*width*(spans+1)), visit(&e.actMem, &scratch, e.lim.Threads),
		visit(&e.actMem, &top, e.lim.MaxSeqs*stats.heads*stats.each), visit(&e.actMem, &mean, e.lim.MaxSeqs*stats.heads*stats.each),
		visit(&e.actMem, &picked, e.lim.MaxSeqs*choices.heads*choices.each), visit(&e.actMem, &scanned, e.lim.MaxSeqs*choices.heads),
		visit(&e.actMem, &renewed, e.lim.MaxSeqs*choices.heads), visit(&e.actMem, &known, e.lim.MaxSeqs*choices.heads*choices.each),
		visit(&e.actMem, &held, e.lim.MaxSeqs*choices.heads*choices.scores),
		visit(&e.actMem, &scores, e.lim.MaxSeqs*choices.heads*tokens)); err != nil {
		return err
	}
	for i := range e.lim.Threads {
		var mem []C.uint8_t
		if err := visit(&e.actMem, &mem, int(C.edged_scratch_bytes(C.int32_t(e.maxK), C.int32_t(dim), C.int32_t(stats.each), C.int32_t(choices.each)))); err != nil {
			return err
		}
		if e.actMem.arena != nil {
			scratch[i] = unsafe.SliceData(mem)
		}
	}
	if e.actMem.arena != nil {
		e.c.partial, e.c.max_spans, e.c.scratch = unsafe.SliceData(partial), C.int32_t(spans), unsafe.SliceData(scratch)
		e.c.page_max, e.c.page_mean, e.c.max_pages = unsafe.SliceData(top), unsafe.SliceData(mean), C.int32_t(stats.each)
		e.c.scanned, e.c.renewed = unsafe.SliceData(scanned), unsafe.SliceData(renewed)
		e.c.picked, e.c.max_chosen, e.c.max_kv_heads = unsafe.SliceData(picked), C.int32_t(choices.each), C.int32_t(choices.heads)
		e.c.known, e.c.held, e.c.max_held = unsafe.SliceData(known), unsafe.SliceData(held), C.int32_t(choices.scores)
		e.c.token_score, e.c.max_tokens = unsafe.SliceData(scores), C.int32_t(tokens)
		e.c.traffic, e.c.spent = unsafe.SliceData(e.traffic), unsafe.SliceData(e.spent)
	}
	return nil
}

// extent is an array's shape: heads times so many of each.
type extent struct{ heads, each int }

// choiceExtent is that of choices by page, and of how many tokens of a working set
// the scores are kept, for each query head of a KV head.
type choiceExtent struct {
	extent
	scores int
}

// choosing sizes what layers with cold records note of their pages and of their
// choice.
func (e *exec) choosing() (stats extent, choices choiceExtent) {
	for _, op := range e.prog.Ops {
		o, ok := op.(graph.Attend)
		if !ok {
			continue
		}
		switch p := e.lim.KV[o.Layer]; p.Class {
		case offload.Paged:
			stats = extent{max(stats.heads, o.Heads), rounded(e.lim.Context, offload.ColdTok*16) / offload.ColdTok}
			choices.heads, choices.each = max(choices.heads, p.KVHeads), max(choices.each, p.Budget)
			if p.ByRecord {
				choices.scores = max(choices.scores, p.Budget*o.Heads/p.KVHeads*offload.ColdTok)
			}
		case offload.Gathered:
			choices.heads = max(choices.heads, p.KVHeads)
		}
	}
	return stats, choices
}

// scoredTokens is of how many tokens a KV head's scores are kept: all, where
// single tokens are chosen.
func (e *exec) scoredTokens() int {
	if slices.ContainsFunc(e.lim.KV, func(p offload.LayerPlan) bool { return p.Class == offload.Gathered }) {
		return rounded(e.lim.Context, offload.PageTok)
	}
	return 0
}
