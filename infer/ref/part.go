package ref

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
		return l, fmt.Errorf("run part %d: %w", part, err)
	}
	return l, nil
}

func (e *exec) part(ctx context.Context, part int, rows *graph.Rows, q *offload.Seq) (graph.Logits, error) {
	if len(e.arenas) == 0 {
		return graph.Logits{}, errClosed
	}
	kv := []*offload.Seq{q}
	if err := e.checkPools(kv); err != nil {
		return graph.Logits{}, err
	}
	if !q.Pool().LayerMajor() {
		return graph.Logits{}, fmt.Errorf("%w: the sequence's pool reads prompts in steps", graph.ErrRows)
	}
	if err := rows.CheckPart(e.prog, part, e.lim, q); err != nil {
		return graph.Logits{}, err
	}
	s := step{exec: e, rows: rows, kv: kv, prompt: true}
	if part < len(e.prog.Parts)-1 {
		return graph.Logits{}, s.layer(ctx, part)
	}
	s.recall()
	ops := e.partOps(part)
	if rows.States {
		ops = e.prog.Final
	}
	if err := s.runAll(ctx, ops); err != nil {
		return graph.Logits{}, err
	}
	return s.logits(), nil
}

// layer runs one layer's part and keeps what it leaves behind.
func (s step) layer(ctx context.Context, part int) error {
	q := s.kv[0]
	staged := s.lim.KV[part].Class != offload.Exact
	if part > 0 {
		s.recall()
	}
	if staged && int(s.rows.Pos[0]) == q.Len() {
		q.StageIn(part)
	}
	if err := s.runAll(ctx, s.partOps(part)); err != nil {
		return err
	}
	s.keep()
	s.countStreamed(part)
	if last := s.rows.Pos[len(s.rows.Pos)-1]; staged && int(last)+1 == q.Prefilling() {
		from, to := q.Flush(q.Prefilling())
		s.view(0, part).store(from, to)
		q.StageOut(part)
	}
	return nil
}

func (e *exec) partOps(part int) []graph.Op {
	end := len(e.prog.Ops)
	if part+1 < len(e.prog.Parts) {
		end = e.prog.Parts[part+1]
	}
	return e.prog.Ops[e.prog.Parts[part]:end]
}

// keep puts the rows' hidden state aside for the next part.
func (s step) keep() {
	x := s.buf(s.prog.Hidden)
	for i := range x.rows {
		copy(s.waiting(i, x.width), x.row(i))
	}
}

// recall brings back what the part before kept.
func (s step) recall() {
	x := s.buf(s.prog.Hidden)
	for i := range x.rows {
		copy(x.row(i), s.waiting(i, x.width))
	}
}

func (s step) waiting(row, width int) []float32 {
	at := int(s.rows.Pos[row]) - s.kv[0].Len()
	return s.hidden[at*width : (at+1)*width]
}

// countStreamed counts the cold records that the rows attended to.
func (s step) countStreamed(layer int) {
	q := s.kv[0]
	m := q.Pool().Memory(layer)
	if m.Plan.Class.Cold() {
		records := int64(q.Stored() / m.Plan.Group * m.Plan.KVHeads)
		q.Pool().Count(offload.Traffic{Prompt: records * int64(m.Record.Once())})
	}
}

var _ graph.HiddenStates = (*exec)(nil)

// Hidden implements graph.HiddenStates.
func (e *exec) Hidden(n int) []float32 {
	return e.hidden[:n*e.prog.Buffers[e.prog.Hidden].Width]
}
