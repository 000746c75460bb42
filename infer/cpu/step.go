package cpu

// #include "kern/cpu.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"edged/infer/graph"
	"edged/offload"
)

var errClosed = errors.New("the program is closed")

// Step implements graph.Exec. A decode step makes no heap allocation.
func (e *exec) Step(ctx context.Context, rows *graph.Rows, kv []*offload.Seq) (graph.Logits, error) {
	if e.c == nil {
		return graph.Logits{}, fmt.Errorf("step on cpu: %w", errClosed)
	}
	if err := live(kv); err != nil {
		return graph.Logits{}, fmt.Errorf("step on cpu: %w", err)
	}
	if err := rows.Check(e.prog, e.lim, kv); err != nil {
		return graph.Logits{}, fmt.Errorf("step on cpu: %w", err)
	}
	if err := e.bind(kv); err != nil {
		return graph.Logits{}, fmt.Errorf("step on cpu: %w", err)
	}
	if err := e.embedRows(rows); err != nil {
		return graph.Logits{}, fmt.Errorf("step on cpu: %w", err)
	}
	if err := e.pool.ClaimSets(kv); err != nil {
		return graph.Logits{}, fmt.Errorf("step on cpu: %w", err)
	}
	e.describe(rows, kv)
	e.viewStep(kv)
	e.c.st.decode = 1
	if err := e.runWhole(ctx, rows); err != nil {
		return graph.Logits{}, fmt.Errorf("step on cpu: %w", err)
	}
	e.count(len(kv))
	return e.logits(rows), nil
}

// runWhole runs the program, with the states' ops for its head where these are wanted.
func (e *exec) runWhole(ctx context.Context, rows *graph.Rows) error {
	if !rows.States {
		return e.runStep(ctx, opRange{0, e.final.first}, len(rows.Tok))
	}
	if err := e.runStep(ctx, opRange{0, e.parts[len(e.parts)-1].first}, len(rows.Tok)); err != nil {
		return err
	}
	return e.runStep(ctx, e.final, len(rows.Tok))
}

// logits are what the step was asked for.
func (e *exec) logits(rows *graph.Rows) graph.Logits {
	buf, n := e.prog.Logits, len(rows.Out)
	if rows.States {
		buf, n = e.prog.States, len(rows.Tok)
	}
	ld := int(e.buffers[buf].ld)
	return graph.Logits{Data: e.data[buf][:n*ld], Width: e.prog.Buffers[buf].Width, Stride: ld}
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

// describe hands the step's rows and views to C.
func (e *exec) describe(rows *graph.Rows, kv []*offload.Seq) {
	at := 0
	for s := range kv {
		e.seqRow[s] = C.int32_t(at)
		for at < len(rows.Seq) && int(rows.Seq[at]) == s {
			at++
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
	clear(e.traffic)
	e.c.st = C.step{number: e.c.st.number + 1, rows: C.int32_t(len(rows.Tok)), outs: C.int32_t(len(rows.Out)), seqs: C.int32_t(len(kv)),
		pos: unsafe.SliceData(e.pos), seq: unsafe.SliceData(e.seq), out: unsafe.SliceData(e.out),
		seq_row: unsafe.SliceData(e.seqRow), views: unsafe.SliceData(e.views)}
	e.c.cancel, e.c.stopped, e.c.flushing = 0, 0, 0
}

// runStep runs ops. Chunks end early on cancellation; a step of a few rows is
// over sooner than anybody could notice, and one that writes records must not
// end between them and the tokens that take their place in the tail.
func (e *exec) runStep(ctx context.Context, ops opRange, rows int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.c.first, e.c.end = C.int32_t(ops.first), C.int32_t(ops.end)
	if rows <= C.SPLIT_ROWS || ctx.Done() == nil || e.c.flushing != 0 {
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

// Spent is the time that all threads together took so far for choosing what to
// attend to, the bookkeeping of that included, and for attention.
func (e *exec) Spent() (choice, attention time.Duration) {
	for i := 0; i < len(e.spent); i += C.N_SPENT {
		choice += time.Duration(e.spent[i+C.SPENT_CHOICE])
		attention += time.Duration(e.spent[i+C.SPENT_ATTENTION])
	}
	return choice, attention
}
