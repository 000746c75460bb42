package ref

import (
	"errors"
	"fmt"
	"slices"

	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

// align keeps every weight and buffer on a cache line of its own.
const align = 64

type backend struct{}

// New is the reference backend.
func New() graph.Backend { return backend{} }

func (backend) Close() error { return nil }

func (backend) Compile(p *graph.Program, l graph.Limits) (graph.Exec, error) {
	if err := errors.Join(p.Validate(), l.Validate()); err != nil {
		return nil, fmt.Errorf("compile for ref: %w", err)
	}
	prog, err := graph.WithCache(p, l.KV)
	if err != nil {
		return nil, fmt.Errorf("compile for ref: %w", err)
	}
	e := &exec{prog: prog, lim: l}
	if err := errors.Join(e.loadWeights(), e.allocBuffers(), e.allocHidden(), e.scaleQueries()); err != nil {
		return nil, errors.Join(fmt.Errorf("compile for ref: %w", err), e.Close())
	}
	return e, nil
}

// scaleQueries asks the program how large queries are in each channel.
func (e *exec) scaleQueries() error {
	e.scales = make([][]float32, len(e.lim.KV))
	for i, p := range e.lim.KV {
		if p.Class != offload.Paged {
			continue
		}
		var err error
		if e.scales[i], err = e.prog.QueryScales(i); err != nil {
			return err
		}
	}
	return nil
}

// loadWeights decodes every weight to float32.
func (e *exec) loadWeights() error {
	var values, total, done int64
	for _, w := range e.prog.Weights {
		values += padded(w.N * w.K)
		total += int64(len(w.Data))
	}
	arena, err := e.arena(pinnedmem.Weights, values)
	if err != nil {
		return err
	}
	for _, w := range e.prog.Weights {
		dst, err := floats(arena, w.N*w.K)
		if err != nil {
			return fmt.Errorf("load weight %s: %w", w.Name, err)
		}
		if err := decode(dst, w); err != nil {
			return fmt.Errorf("load weight %s: %w", w.Name, err)
		}
		e.weights = append(e.weights, dst)
		done += int64(len(w.Data))
		if e.lim.Loaded != nil {
			e.lim.Loaded(done, total)
		}
	}
	return nil
}

// decode fills dst [N, K] with a weight's values.
func decode(dst []float32, w graph.Weight) error {
	if b := w.Type.BlockElems(); b == 0 || w.K%b != 0 {
		return fmt.Errorf("rows of %d are not whole blocks of type %s", w.K, w.Type)
	}
	if want := w.N * w.Type.RowBytes(w.K); len(w.Data) != want {
		return fmt.Errorf("%d bytes do not hold [%d,%d] of %s, %d bytes", len(w.Data), w.N, w.K, w.Type, want)
	}
	return w.Type.Dequantize(dst, w.Data)
}

// allocBuffers takes every activation buffer at the size of the largest step.
func (e *exec) allocBuffers() error {
	var values int64
	for _, b := range e.prog.Buffers {
		values += padded(e.maxRows(b.Rows) * b.Width)
	}
	arena, err := e.arena(pinnedmem.Activations, values)
	if err != nil {
		return err
	}
	for _, b := range e.prog.Buffers {
		data, err := floats(arena, e.maxRows(b.Rows)*b.Width)
		if err != nil {
			return fmt.Errorf("allocate buffer %s: %w", b.Name, err)
		}
		e.buffers = append(e.buffers, data)
	}
	return nil
}

// allocHidden takes the memory in which a prompt's rows wait between parts.
func (e *exec) allocHidden() error {
	if !slices.ContainsFunc(e.lim.KV, func(p offload.LayerPlan) bool { return p.Class != offload.Exact }) {
		return nil
	}
	if len(e.prog.Parts) == 0 {
		return errors.New("a program without parts cannot read prompts layer by layer")
	}
	n := e.lim.Context * e.prog.Buffers[e.prog.Hidden].Width
	arena, err := e.arena(pinnedmem.Prefill, padded(n))
	if err != nil {
		return err
	}
	e.hidden, err = floats(arena, n)
	return err
}

func (e *exec) maxRows(x graph.Extent) int {
	if x == graph.OutRows {
		return e.lim.MaxOut
	}
	return e.lim.MaxRows
}

func (e *exec) arena(p pinnedmem.Purpose, values int64) (*pinnedmem.Arena, error) {
	a, err := e.lim.Host.Arena(p, values*4, pinnedmem.Options{})
	if err != nil {
		return nil, err
	}
	e.arenas = append(e.arenas, a)
	return a, nil
}

func floats(a *pinnedmem.Arena, n int) ([]float32, error) {
	b, err := a.Alloc(n*4, align)
	return pinnedmem.View[float32](b), err
}

// padded is n float32 values rounded up to whole cache lines.
func padded(n int) int64 { return (int64(n) + align/4 - 1) / (align / 4) * (align / 4) }
