package ref

import (
	"context"
	"errors"
	"fmt"

	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

type exec struct {
	prog    *graph.Program
	lim     graph.Limits
	layouts []offload.Layout // [layer]
	arenas  []*pinnedmem.Arena
	weights [][]float32 // [weight][N*K]
	buffers [][]float32 // [buffer][max rows * width]
}

// matrix is the part of a buffer that the current step uses.
type matrix struct {
	data        []float32
	rows, width int
}

func (m matrix) row(i int) []float32 { return m.data[i*m.width : (i+1)*m.width] }

// step is one call of Step: the rows that every op works on.
type step struct {
	*exec
	rows *graph.Rows
	kv   []*offload.Seq
}

func (e *exec) Step(ctx context.Context, rows *graph.Rows, kv []*offload.Seq) (graph.Logits, error) {
	if len(e.arenas) == 0 {
		return graph.Logits{}, errors.New("run step: the program is closed")
	}
	if err := errors.Join(rows.Check(e.prog.Vocab, e.lim, kv), e.checkPages(kv)); err != nil {
		return graph.Logits{}, fmt.Errorf("run step: %w", err)
	}
	s := step{exec: e, rows: rows, kv: kv}
	for i, op := range e.prog.Ops {
		if err := ctx.Err(); err != nil {
			return graph.Logits{}, fmt.Errorf("run step: stopped before op %d of %d: %w", i, len(e.prog.Ops), err)
		}
		if err := s.run(op); err != nil {
			return graph.Logits{}, fmt.Errorf("run step: op %d: %w", i, err)
		}
	}
	return graph.Logits{Data: s.buf(e.prog.Logits).data, Vocab: e.prog.Vocab, Stride: e.prog.Vocab}, nil
}

func (e *exec) Close() error {
	var errs []error
	for _, a := range e.arenas {
		errs = append(errs, a.Close())
	}
	e.arenas, e.weights, e.buffers = nil, nil, nil
	return errors.Join(errs...)
}

// checkPages refuses sequences whose pages the program would misread.
func (e *exec) checkPages(kv []*offload.Seq) error {
	for i, q := range kv {
		p := q.Pool()
		if p == nil {
			return fmt.Errorf("%w: sequence %d is freed", graph.ErrRows, i)
		}
		if p.Layers() != len(e.layouts) {
			return fmt.Errorf("%w: sequence %d has %d layers, the program %d", graph.ErrRows, i, p.Layers(), len(e.layouts))
		}
		for l, want := range e.layouts {
			if got := p.Layout(l); got != want {
				return fmt.Errorf("%w: sequence %d keeps layer %d as %+v, the program wants %+v", graph.ErrRows, i, l, got, want)
			}
		}
	}
	return nil
}

func (s step) buf(b graph.Buf) matrix {
	d := s.prog.Buffers[b]
	n := len(s.rows.Tok)
	if d.Rows == graph.OutRows {
		n = len(s.rows.Out)
	}
	return matrix{data: s.buffers[b][:n*d.Width], rows: n, width: d.Width}
}

func (s step) run(op graph.Op) error {
	switch o := op.(type) {
	case graph.Embed:
		embed(s.buf(o.Dst), s.weights[o.Table], s.rows.Tok, o.Scale)
	case graph.RMSNorm:
		rmsNorm(s.buf(o.Dst), s.buf(o.Src), s.weights[o.W], o.Eps)
	case graph.AddRMSNorm:
		addRMSNorm(s.buf(o.X), s.buf(o.Y), s.weights[o.W], o.Eps)
	case graph.Linear:
		s.linear(o)
	case graph.GatedLinear:
		x := widenAll(s.buf(o.Src))
		gatedLinear(s.buf(o.Dst), x, s.weights[o.Gate], s.weights[o.Up], o.Act, s.lim.Threads)
	case graph.HeadNorm:
		x := s.buf(o.X)
		heads := matrix{data: x.data, rows: x.rows * o.Heads, width: o.Dim}
		rmsNorm(heads, heads, s.weights[o.W], o.Eps)
	case graph.Rope:
		rope(s.buf(o.X), o.Heads, o.Dim, s.rows.Pos, s.prog.Ropes[o.Table])
	case graph.KVAppend:
		s.kvAppend(o.Layer, s.buf(o.K), s.buf(o.V))
	case graph.Attend:
		s.attend(o)
	case graph.Select:
		selectRows(s.buf(o.Dst), s.buf(o.Src), s.rows.Out)
	default:
		return fmt.Errorf("ref has no op %T", op)
	}
	return nil
}
