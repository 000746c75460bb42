package cpu

// #include "kern/cpu.h"
import "C"

import (
	"context"
	"fmt"

	"edged/infer/graph"
	"edged/offload"
)

// Part implements graph.Exec.
func (e *exec) Part(ctx context.Context, part int, rows *graph.Rows, q *offload.Seq) (graph.Logits, error) {
	l, err := e.part(ctx, part, rows, q)
	if err != nil {
		return l, fmt.Errorf("run part %d on cpu: %w", part, err)
	}
	return l, nil
}

func (e *exec) part(ctx context.Context, part int, rows *graph.Rows, q *offload.Seq) (graph.Logits, error) {
	if e.c == nil {
		return graph.Logits{}, errClosed
	}
	e.oneSeq[0] = q
	if err := live(e.oneSeq[:]); err != nil {
		return graph.Logits{}, err
	}
	if !q.Pool().LayerMajor() {
		return graph.Logits{}, fmt.Errorf("%w: the sequence's pool reads prompts in steps", graph.ErrRows)
	}
	if err := rows.CheckPart(e.prog, part, e.lim, q); err != nil {
		return graph.Logits{}, err
	}
	if err := e.bind(e.oneSeq[:]); err != nil {
		return graph.Logits{}, err
	}
	head := part == len(e.parts)-1
	if part == 0 {
		if err := e.embedRows(rows); err != nil {
			return graph.Logits{}, err
		}
	} else {
		e.moveHidden(rows, q, false)
	}
	e.describe(rows, e.oneSeq[:])
	if !head {
		if e.staged(part) && int(rows.Pos[0]) == q.Len() {
			q.StageIn(part)
		}
		e.views[part] = e.viewPart(q, part)
	}
	if err := e.runStep(ctx, opRange{0, e.angles}, 1); err != nil {
		return graph.Logits{}, err
	}
	ops := e.parts[part]
	if rows.States {
		ops = e.final
	}
	if err := e.runStep(ctx, ops, len(rows.Tok)); err != nil {
		return graph.Logits{}, err
	}
	if head {
		return e.logits(rows), nil
	}
	e.moveHidden(rows, q, true)
	e.stream(q, part)
	if e.staged(part) && int(rows.Pos[len(rows.Pos)-1])+1 == q.Prefilling() {
		return graph.Logits{}, e.endLayer(q, part)
	}
	return graph.Logits{}, nil
}

func (e *exec) staged(layer int) bool { return e.lim.KV[layer].Class != offload.Exact }

// viewPart describes a sequence that reads a prompt.
func (e *exec) viewPart(q *offload.Seq, layer int) C.view {
	v := e.view(q, layer)
	if e.staged(layer) {
		v.stage, v.stage_page = bytePtr(e.pool.Stage()), C.int32_t(q.StageFrom(layer)/offload.PageTok)
	}
	return v
}

// endLayer writes what the layer keeps of the prompt.
func (e *exec) endLayer(q *offload.Seq, layer int) error {
	if at := e.flush[layer]; at >= 0 {
		from, to := q.Flush(q.Prefilling())
		e.views[layer].flush_from, e.views[layer].flush_to = C.int32_t(from), C.int32_t(to)
		e.c.flushing = 1
		// A layer that has been read is kept whole, whoever waits for it.
		if err := e.runStep(context.Background(), opRange{int(at), int(at) + 1}, 1); err != nil {
			return err
		}
	}
	q.StageOut(layer)
	return nil
}

// moveHidden brings rows' hidden state from where it waits between parts, or
// there.
func (e *exec) moveHidden(rows *graph.Rows, q *offload.Seq, out bool) {
	buf, width := e.data[e.prog.Hidden], e.prog.Buffers[e.prog.Hidden].Width
	ld := int(e.buffers[e.prog.Hidden].ld)
	for i, pos := range rows.Pos {
		at := int(pos) - q.Len()
		row, kept := buf[i*ld:i*ld+width], e.hidden[at*width:(at+1)*width]
		if out {
			copy(kept, row)
		} else {
			copy(row, kept)
		}
	}
}

// stream counts the records that a chunk of a prompt read where they lie.
func (e *exec) stream(q *offload.Seq, layer int) {
	if m := e.pool.Memory(layer); m.Plan.Class.Cold() {
		n := int64(q.Stored()/m.Plan.Group) * int64(m.Plan.KVHeads*m.Record.Once())
		e.pool.Count(offload.Traffic{Prompt: n})
	}
}

var _ graph.HiddenStates = (*exec)(nil)

// Hidden implements graph.HiddenStates.
func (e *exec) Hidden(n int) []float32 {
	return e.hidden[:n*e.prog.Buffers[e.prog.Hidden].Width]
}
