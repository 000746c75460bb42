package cpu

// #include "cpu.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"edged/infer/graph"
	"edged/offload"
)

// errPool is a programming error of the caller: pages of another shape.
var errPool = fmt.Errorf("%w: sequences do not fit the program's cache layers", graph.ErrRows)

var errClosed = errors.New("the program is closed")

// Step implements graph.Exec. A decode step makes no heap allocation.
func (e *exec) Step(ctx context.Context, rows *graph.Rows, kv []*offload.Seq) (graph.Logits, error) {
	if e.c == nil {
		return graph.Logits{}, fmt.Errorf("step on cpu: %w", errClosed)
	}
	if err := rows.Check(e.prog.Vocab, e.lim, kv); err != nil {
		return graph.Logits{}, fmt.Errorf("step on cpu: %w", err)
	}
	if err := e.bind(kv); err != nil {
		return graph.Logits{}, fmt.Errorf("step on cpu: %w", err)
	}
	if err := e.embedRows(rows); err != nil {
		return graph.Logits{}, fmt.Errorf("step on cpu: %w", err)
	}
	e.describe(rows, kv)
	if err := e.runStep(ctx, len(rows.Tok)); err != nil {
		return graph.Logits{}, fmt.Errorf("step on cpu: %w", err)
	}
	ld := int(e.buffers[e.prog.Logits].ld)
	return graph.Logits{Data: e.data[e.prog.Logits][:len(rows.Out)*ld], Vocab: e.prog.Vocab, Stride: ld}, nil
}

// bind points the cache descriptions at the sequences' pool.
func (e *exec) bind(kv []*offload.Seq) error {
	pool := kv[0].Pool()
	for _, s := range kv {
		if s.Pool() != pool {
			return fmt.Errorf("%w: they are of different pools", errPool)
		}
	}
	if pool == e.pool {
		return nil
	}
	if pool.Layers() != len(e.prog.KV) {
		return fmt.Errorf("%w: %d layers, not %d", errPool, pool.Layers(), len(e.prog.KV))
	}
	e.pool = nil // a pool that is refused halfway leaves nothing to fall back to
	for i, want := range e.prog.KV {
		l := pool.Layout(i)
		if l.Spec != want || l.Elem != e.lim.Elem {
			return fmt.Errorf("%w: layer %d is %+v in %s, not %+v in %s", errPool, i, l.Spec, l.Elem, want, e.lim.Elem)
		}
		e.caches[i] = C.cache{base: (*C.uint8_t)(pool.Base(i)), page_bytes: C.int64_t(l.PageBytes), head_bytes: C.int64_t(l.HeadBytes),
			kv_heads: C.int32_t(want.KVHeads), dim: C.int32_t(want.HeadDim), window: C.int32_t(want.Window), f32: flag(l.Elem == offload.F32)}
	}
	e.pool = pool
	return nil
}

// embedRows copies the tokens' embeddings from the model file.
func (e *exec) embedRows(rows *graph.Rows) error {
	for i := range e.embeds {
		o := &e.embeds[i]
		w := &e.prog.Weights[o.Table]
		dst, ld, bytes := e.data[o.Dst], int(e.buffers[o.Dst].ld), w.Type.RowBytes(w.K)
		for r, t := range rows.Tok {
			row := dst[r*ld : r*ld+w.K]
			if err := w.Type.Dequantize(row, w.Data[int(t)*bytes:(int(t)+1)*bytes]); err != nil {
				return fmt.Errorf("embed token %d: %w", t, err)
			}
			if o.Scale == 1 {
				continue
			}
			for c := range row {
				row[c] *= o.Scale
			}
		}
	}
	return nil
}

// describe hands the step's rows and page tables to C.
func (e *exec) describe(rows *graph.Rows, kv []*offload.Seq) {
	at := 0
	for s, q := range kv {
		e.seqRow[s] = C.int32_t(at)
		for at < len(rows.Seq) && int(rows.Seq[at]) == s {
			at++
		}
		for l := range e.prog.KV {
			e.tables[s*len(e.prog.KV)+l] = (*C.uint32_t)(unsafe.SliceData(q.Table(l)))
		}
	}
	e.seqRow[len(kv)] = C.int32_t(at)
	for i := range rows.Tok {
		e.pos[i], e.seq[i] = C.int32_t(rows.Pos[i]), C.int32_t(rows.Seq[i])
	}
	for i, o := range rows.Out {
		e.out[i] = C.int32_t(o)
	}
	clear(e.next)
	e.c.st = C.step{rows: C.int32_t(len(rows.Tok)), outs: C.int32_t(len(rows.Out)), seqs: C.int32_t(len(kv)),
		pos: unsafe.SliceData(e.pos), seq: unsafe.SliceData(e.seq), out: unsafe.SliceData(e.out),
		seq_row: unsafe.SliceData(e.seqRow), tables: unsafe.SliceData(e.tables)}
	e.c.cancel, e.c.stopped = 0, 0
}

// runStep runs the ops. Chunks end early on cancellation; a step of a few rows
// is over sooner than anybody could notice.
func (e *exec) runStep(ctx context.Context, rows int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if rows <= C.SPLIT_ROWS || ctx.Done() == nil {
		C.edged_pool_run(e.c.pool, e.run, e.c)
		return nil
	}
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		atomic.StoreInt32((*int32)(unsafe.Pointer(&e.c.cancel)), 1)
		close(fired)
	})
	stopped := C.edged_pool_run(e.c.pool, e.run, e.c)
	if !stop() {
		<-fired // or it would cancel the next step
	}
	if stopped != 0 {
		return ctx.Err()
	}
	return nil
}
