package ref

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"edged/infer/graph"
	"edged/infer/sample"
	"edged/offload"
	"edged/pinnedmem"
)

type exec struct {
	prog    *graph.Program
	lim     graph.Limits
	arenas  []*pinnedmem.Arena
	weights [][]float32 // [weight][N*K]
	buffers [][]float32 // [buffer][max rows * width]
	scales  [][]float32 // [layers][kvHeads*headDim] of queries in Paged ones, by which the index orders channels
	hidden  []float32   // [context, width] between the parts of a prompt; nil where no layer needs them
}

// matrix is the part of a buffer that the current step uses.
type matrix struct {
	data        []float32
	rows, width int
}

func (m matrix) row(i int) []float32 { return m.data[i*m.width : (i+1)*m.width] }

// step is one call of Step or Part: the rows that every op works on.
type step struct {
	*exec
	rows    *graph.Rows
	kv      []*offload.Seq
	prompt  bool       // a part: prompts are read exactly, and store their records at their end
	choices [][]choice // [sequences][kvHeads] of the layer at work
}

var errClosed = errors.New("the program is closed")

// Step implements graph.Exec.
func (e *exec) Step(ctx context.Context, rows *graph.Rows, kv []*offload.Seq) (graph.Logits, error) {
	if len(e.arenas) == 0 {
		return graph.Logits{}, fmt.Errorf("run step: %w", errClosed)
	}
	if err := e.checkPools(kv); err != nil {
		return graph.Logits{}, fmt.Errorf("run step: %w", err)
	}
	if err := rows.Check(e.prog, e.lim, kv); err != nil {
		return graph.Logits{}, fmt.Errorf("run step: %w", err)
	}
	if err := kv[0].Pool().ClaimSets(kv); err != nil {
		return graph.Logits{}, fmt.Errorf("run step: %w", err)
	}
	s := step{exec: e, rows: rows, kv: kv, choices: make([][]choice, len(kv))}
	if err := s.runAll(ctx, e.stepOps(rows)); err != nil {
		return graph.Logits{}, fmt.Errorf("run step: %w", err)
	}
	kv[0].Pool().Count(offload.Traffic{Steps: int64(len(kv))})
	l := s.logits()
	l.Narrow = s.narrow(l)
	return l, nil
}

// narrow narrows the rows of which it was asked, which stay whole beside that.
func (s step) narrow(l graph.Logits) []*sample.Narrow {
	var out []*sample.Narrow
	for i, a := range s.rows.Ask {
		out = append(out, nil)
		if a != nil {
			out[i] = &sample.Narrow{}
			out[i].Fill(a, l.Row(i))
		}
	}
	return out
}

func (s step) runAll(ctx context.Context, ops []graph.Op) error {
	for i, op := range ops {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("stopped before op %d of %d: %w", i, len(ops), err)
		}
		if err := s.run(op); err != nil {
			return fmt.Errorf("op %d: %w", i, err)
		}
	}
	return nil
}

// stepOps is the whole program, with the states' ops for its head where these are wanted.
func (e *exec) stepOps(rows *graph.Rows) []graph.Op {
	if !rows.States {
		return e.prog.Ops
	}
	head := e.prog.Parts[len(e.prog.Parts)-1]
	return slices.Concat(e.prog.Ops[:head], e.prog.Final)
}

// logits are what the step was asked for.
func (s step) logits() graph.Logits {
	x := s.buf(s.prog.Logits)
	if s.rows.States {
		x = s.buf(s.prog.States)
	}
	return graph.Logits{Data: x.data, Width: x.width, Stride: x.width}
}

// Close implements graph.Exec.
func (e *exec) Close() error {
	var errs []error
	for _, a := range e.arenas {
		errs = append(errs, a.Close())
	}
	e.arenas, e.weights, e.buffers, e.hidden = nil, nil, nil, nil
	return errors.Join(errs...)
}

// checkPools refuses sequences whose memory the program would misread.
func (e *exec) checkPools(kv []*offload.Seq) error {
	for i, q := range kv {
		p := q.Pool()
		if p == nil {
			return fmt.Errorf("%w: sequence %d is freed", graph.ErrRows, i)
		}
		if p != kv[0].Pool() || p.Layers() != len(e.lim.KV) {
			return fmt.Errorf("%w: sequence %d has %d layers, the program %d, or another pool than sequence 0", graph.ErrRows, i, p.Layers(), len(e.lim.KV))
		}
		if p.LayerMajor() && p.Context() > e.lim.Context {
			return fmt.Errorf("%w: sequence %d may hold %d tokens, the program %d", graph.ErrRows, i, p.Context(), e.lim.Context)
		}
		for l, want := range e.lim.KV {
			if got := p.Plan(l); got != want {
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
	case graph.KVStore:
		s.kvStore(o.Layer)
	case graph.KVAppend:
		s.kvAppend(o.Layer, s.buf(o.K), s.buf(o.V))
	case graph.KVSelect:
		s.kvSelect(o)
	case graph.KVFetch:
		s.kvFetch(o)
	case graph.KVWait:
		// Fetches are plain calls here.
	case graph.Attend:
		s.attend(o)
	case graph.Select:
		selectRows(s.buf(o.Dst), s.buf(o.Src), s.rows.Out)
	default:
		return fmt.Errorf("ref has no op %T", op)
	}
	return nil
}
