package cuda

import (
	"context"
	"errors"
	"fmt"
	"unsafe"

	"edged/cudakern/driver"
	"edged/infer/graph"
	"edged/offload"
)

var errClosed = errors.New("the program is closed")

// segmentNodes is how many nodes of a prompt's step are queued before the
// context is looked at again: about a layer.
const segmentNodes = 10

// ReadsApart implements graph.ReadsApart.
func (e *exec) ReadsApart() bool { return true }

// Step implements graph.Exec.
func (e *exec) Step(ctx context.Context, rows *graph.Rows, kv []*offload.Seq) (graph.Logits, error) {
	l, err := e.step(ctx, rows, kv)
	if err != nil {
		return l, fmt.Errorf("step on cuda: %w", lost(err))
	}
	return l, nil
}

// lost marks errors after which the context is dead.
func lost(err error) error {
	if errors.Is(err, driver.ErrLost) {
		return fmt.Errorf("%w: %w", graph.ErrLost, err)
	}
	return err
}

func (e *exec) step(ctx context.Context, rows *graph.Rows, kv []*offload.Seq) (graph.Logits, error) {
	return e.stepBy(ctx, rows, kv, e.replay)
}

// stepBy takes a step, one of few rows by a function.
func (e *exec) stepBy(ctx context.Context, rows *graph.Rows, kv []*offload.Seq, few func(shape) error) (graph.Logits, error) {
	if e.queue == nil {
		return graph.Logits{}, errClosed
	}
	if err := live(kv); err != nil {
		return graph.Logits{}, err
	}
	if err := rows.Check(e.prog, e.lim, kv); err != nil {
		return graph.Logits{}, err
	}
	if err := e.bind(kv); err != nil {
		return graph.Logits{}, err
	}
	if err := ctx.Err(); err != nil {
		return graph.Logits{}, err
	}
	if err := e.pool.ClaimSets(kv); err != nil {
		return graph.Logits{}, err
	}
	sh := e.state.fill(rows, false)
	sh.logits = e.narrow.fill(e, rows)
	sh.flush = e.fillSequences(kv)
	err := e.updateTables(rows, kv)
	if err == nil && e.state.count() && e.markedFloats > 0 {
		e.batch.reset()
		e.batch.clear(e.marked, int64(e.markedFloats)*4)
		err = e.queue.Run(e.batch.cmds)
	}
	if err == nil && !sh.reads && sh.rows <= graphRows {
		err = few(sh)
	} else if err == nil {
		err = e.queueAll(ctx, sh)
	}
	// Staging memory is the device's until it has read it, also after an error.
	if err := errors.Join(err, e.queue.Wait()); err != nil {
		return graph.Logits{}, err
	}
	e.count(len(kv))
	l := e.logitsOf(sh)
	if sh.logits.narrow {
		l.Narrow, l.Fetch = e.narrow.read(rows.Ask), e.narrow.fetch
	}
	return l, nil
}

// answerOf is where a step of a shape leaves what it was asked for, in so many rows.
func (e *exec) answerOf(sh shape) (*array, int) {
	if sh.states {
		return e.buf(e.prog.States), sh.rows
	}
	return e.buf(e.prog.Logits), sh.outs
}

// logitsOf is what a step of a shape has left.
func (e *exec) logitsOf(sh shape) graph.Logits {
	x, n := e.answerOf(sh)
	data := unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(e.answer))), n*x.width)
	return graph.Logits{Data: data, Width: x.width, Stride: x.width}
}

// replay runs the step's graph, which it makes when the shape is new.
func (e *exec) replay(sh shape) error {
	g, ok := e.graphs[sh]
	if !ok {
		e.batch.reset()
		e.begin(&e.batch)
		for _, n := range e.nodesOf(sh, 0) {
			n.emit(&e.batch, sh)
		}
		e.end(&e.batch, sh)
		e.batch.order()
		var err error
		if g, err = e.queue.Prepare(e.batch.cmds); err != nil {
			return err
		}
		e.graphs[sh] = g
	}
	return e.queue.Replay(g)
}

// begin sends the step's state.
func (e *exec) begin(b *batch) { b.copyIn(e.state.at, e.state.host) }

// end brings the answer or what it is narrowed to, and what choices have counted.
func (e *exec) end(b *batch, sh shape) {
	if e.topFloats+e.tokenKeys > 0 {
		b.copyOut(e.cold.host, e.cold.traffic)
	}
	if sh.logits.narrow {
		e.narrow.emit(e, b, sh)
	}
	if x, n := e.answerOf(sh); n > 0 && sh.logits.whole {
		b.copyOut(e.answer[:4*n*x.width], x.at)
	}
}

// queueAll runs a step of many rows, a segment after the other: the next is
// queued while the one before runs, so that a cancellation is seen soon.
func (e *exec) queueAll(ctx context.Context, sh shape) error {
	nodes := e.nodesOf(sh, 0)
	for at := 0; at < len(nodes); at += segmentNodes {
		if err := ctx.Err(); err != nil {
			return err
		}
		e.batch.reset()
		if at == 0 {
			e.begin(&e.batch)
		}
		for _, n := range nodes[at:min(at+segmentNodes, len(nodes))] {
			n.emit(&e.batch, sh)
		}
		if at+segmentNodes >= len(nodes) {
			e.end(&e.batch, sh)
		}
		e.batch.order()
		if err := e.queue.Run(e.batch.cmds); err != nil {
			return err
		}
	}
	return nil
}
