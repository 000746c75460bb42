package cpu

// #include "kern/cpu.h"
import "C"

import (
	"fmt"
	"math"
	"runtime"
	"unsafe"

	"golang.org/x/sync/errgroup"

	"edged/infer/gguf"
	"edged/infer/graph"
)

// uses says how a program's ops read each weight.
type uses struct {
	packed []bool // operand of Linear or GatedLinear
	vector []bool // norm weight or bias, kept as float32
}

func usesOf(p *graph.Program) uses {
	u := uses{make([]bool, len(p.Weights)), make([]bool, len(p.Weights))}
	for _, op := range p.Ops {
		switch o := op.(type) {
		case graph.Linear:
			for _, t := range o.Parts {
				u.packed[t.W] = true
				if t.Bias != graph.NoWeight {
					u.vector[t.Bias] = true
				}
			}
		case graph.GatedLinear:
			u.packed[o.Gate], u.packed[o.Up] = true, true
		case graph.RMSNorm:
			u.vector[o.W] = true
		case graph.AddRMSNorm:
			u.vector[o.W] = true
		case graph.HeadNorm:
			u.vector[o.W] = true
		}
	}
	return u
}

func isFloat(t gguf.Type) bool { return t == gguf.F32 || t == gguf.F16 || t == gguf.BF16 }

func tiles(n int) int { return rounded(n, C.TILE) / C.TILE }

// planWeights adds up what weights take.
func (e *exec) planWeights() error {
	u := usesOf(e.prog)
	for i, w := range e.prog.Weights {
		if err := e.planWeight(u, i, w); err != nil {
			return fmt.Errorf("load weight %s: %w", w.Name, err)
		}
	}
	return nil
}

// loadWeights repacks matrices and converts vectors, all into one arena.
func (e *exec) loadWeights() error {
	if err := e.planWeights(); err != nil {
		return err
	}
	if err := e.weightMem.open(e.lim.Host); err != nil {
		return err
	}
	u := usesOf(e.prog)
	var total int64
	for _, w := range e.prog.Weights {
		total += int64(len(w.Data))
	}
	e.packed = make([]C.weight, len(e.prog.Weights))
	e.vectors = make([][]float32, len(e.prog.Weights))
	var done int64
	for i := range e.prog.Weights {
		w := &e.prog.Weights[i]
		if err := e.loadWeight(u, i, w); err != nil {
			return fmt.Errorf("load weight %s: %w", w.Name, err)
		}
		done += int64(len(w.Data))
		if e.lim.Loaded != nil {
			e.lim.Loaded(done, total)
		}
	}
	return nil
}

func (e *exec) planWeight(u uses, i int, w graph.Weight) error {
	if w.N > math.MaxInt32-C.TILE || w.K > math.MaxInt32-C.TILE {
		return fmt.Errorf("[%d,%d] is too large: at most %d rows and columns", w.N, w.K, math.MaxInt32-C.TILE)
	}
	if want := w.N * w.Type.RowBytes(w.K); len(w.Data) != want {
		return fmt.Errorf("%d bytes do not hold [%d,%d] of %s, %d bytes", len(w.Data), w.N, w.K, w.Type, want)
	}
	if u.packed[i] {
		bytes := int64(C.edged_tile_bytes(C.int32_t(w.Type), C.int32_t(w.K)))
		if bytes == 0 {
			return fmt.Errorf("type %s with rows of %d has no kernel", w.Type, w.K)
		}
		e.weightMem.want(bytes * int64(tiles(w.N)))
		e.maxK = max(e.maxK, w.K)
	}
	if u.vector[i] {
		wantArray[float32](&e.weightMem, rounded(w.K, C.TILE))
	}
	return nil
}

func (e *exec) loadWeight(u uses, i int, w *graph.Weight) (err error) {
	if u.packed[i] {
		if e.packed[i], err = e.pack(w); err != nil {
			return err
		}
	}
	if u.vector[i] {
		if e.vectors[i], err = array[float32](&e.weightMem, rounded(w.K, C.TILE)); err != nil {
			return err
		}
		if err := w.Type.Dequantize(e.vectors[i][:w.K], w.Data); err != nil {
			return err
		}
	}
	if e.lim.Copied != nil && (u.packed[i] || u.vector[i]) {
		e.lim.Copied(w)
	}
	return nil
}

// pack repacks a matrix with all threads.
func (e *exec) pack(w *graph.Weight) (C.weight, error) {
	bytes := int64(C.edged_tile_bytes(C.int32_t(w.Type), C.int32_t(w.K)))
	n := tiles(w.N)
	dst, err := e.weightMem.take(bytes * int64(n))
	if err != nil {
		return C.weight{}, err
	}
	var g errgroup.Group
	// A few pieces per thread even out what page faults cost.
	piece := max(1, n/(4*e.lim.Threads))
	g.SetLimit(e.lim.Threads)
	for t := 0; t < n; t += piece {
		g.Go(func() error {
			if C.edged_pack(C.int32_t(w.Type), (*C.uint8_t)(unsafe.SliceData(w.Data)), C.int64_t(w.Type.RowBytes(w.K)),
				C.int32_t(w.N), C.int32_t(w.K), C.int32_t(t), C.int32_t(min(t+piece, n)), (*C.uint8_t)(dst)) != 0 {
				return fmt.Errorf("type %s cannot be packed", w.Type)
			}
			return nil
		})
	}
	err = g.Wait()
	runtime.KeepAlive(w)
	return C.weight{_type: C.int32_t(w.Type), n: C.int32_t(w.N), k: C.int32_t(w.K), tiles: C.int32_t(n),
		tile_bytes: C.int64_t(bytes), data: (*C.uint8_t)(dst)}, err
}
