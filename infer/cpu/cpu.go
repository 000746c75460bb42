// Package cpu runs programs on the processor: C kernels for AVX-512 VNNI,
// AVX2 and everything else, chosen at run time, over weights repacked into
// tiles of 16 rows.
//
// A step is one call into C. Threads walk the program's ops together and meet
// at barriers that spin for a while; between steps they sleep. Products of quantized
// weights use 16-bit activations and exact integer sums, and attention cuts
// positions at fixed boundaries, so logits have the same bits whatever else a
// step contains and however a prompt was cut into steps.
//
// # Ownership
//
// An Exec owns its threads, packed weights and activations, in arenas of the
// host account given at compile time. Embedding rows are read from the model
// file's mapping, which must stay open.
//
// # Goroutine-safety
//
// A Backend may be shared. An Exec belongs to one goroutine.
//
// # Failure modes
//
// Compile refuses weight types without a kernel and shapes that their blocks
// do not divide, by name, and fails when the host budget is too small. Step
// fails on rows that do not fit and on a cancelled context.
package cpu

// #include "kern/cpu.h"
import "C"

import (
	"errors"
	"fmt"

	_ "edged/infer/cpu/kern" // the C that this package calls
	"edged/infer/graph"
	"edged/pinnedmem"
)

type backend struct{ isa C.int32_t }

// New is the backend with the best vector instructions of this processor.
func New() graph.Backend { return backend{C.edged_best_isa()} }

// NewISA is the backend with the named vector instructions, one of ISAs.
func NewISA(name string) (graph.Backend, error) {
	for isa := C.edged_best_isa(); isa >= 0; isa-- {
		if C.GoString(C.edged_isa_name(isa)) == name {
			return backend{isa}, nil
		}
	}
	return nil, fmt.Errorf("choose vector instructions: %q is not among this processor's: %v", name, ISAs())
}

// ISAs lists the vector instructions that this processor can run, best first.
func ISAs() []string {
	var names []string
	for isa := C.edged_best_isa(); isa >= 0; isa-- {
		names = append(names, C.GoString(C.edged_isa_name(isa)))
	}
	return names
}

func (backend) Close() error { return nil }

func (b backend) Compile(p *graph.Program, l graph.Limits) (graph.Exec, error) {
	e, err := b.newExec(p, l)
	if err != nil {
		return nil, fmt.Errorf("compile for cpu: %w", err)
	}
	if err := e.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("compile for cpu: %w", err), e.Close())
	}
	return e, nil
}

// Size implements [graph.Sizer].
func (b backend) Size(p *graph.Program, l graph.Limits) (f graph.Footprint, err error) {
	e, err := b.newExec(p, l)
	if err != nil {
		return f, fmt.Errorf("size for cpu: %w", err)
	}
	if err := e.planAll(); err != nil {
		return f, fmt.Errorf("size for cpu: %w", err)
	}
	for _, m := range []*block{&e.weightMem, &e.actMem} {
		f.Host[m.purpose] += pinnedmem.ArenaBytes(m.size)
	}
	if m := &e.hiddenMem; m.size > 0 {
		f.Host[m.purpose] += pinnedmem.ArenaBytes(m.size)
	}
	return f, nil
}

// newExec has taken nothing yet.
func (b backend) newExec(p *graph.Program, l graph.Limits) (*exec, error) {
	if err := errors.Join(p.Validate(), l.Validate()); err != nil {
		return nil, err
	}
	prog, err := graph.WithCache(p, l.KV)
	if err != nil {
		return nil, err
	}
	if l.Threads > maxThreads {
		return nil, fmt.Errorf("%d threads, at most %d", l.Threads, maxThreads)
	}
	e := &exec{prog: prog, lim: l, run: C.edged_run_for(b.isa)}
	e.weightMem.purpose, e.actMem.purpose, e.hiddenMem.purpose = pinnedmem.Weights, pinnedmem.Activations, pinnedmem.Prefill
	return e, nil
}

// maxThreads bounds a mistaken configuration; barriers among more threads
// than a large workstation has would cost more than they bring.
const maxThreads = 256
