package cpu

// #include "kern/cpu.h"
import "C"

import (
	"fmt"
	"os"
	"unsafe"

	"edged/infer/graph"
	"edged/offload"
)

// instr is an op of the C step before addresses are known.
type instr struct {
	kind           C.op_kind
	dst, src, src2 graph.Buf // noBuf where absent
	w, w2          graph.WeightID
	bias, vec      graph.WeightID
	add, gelu      bool
	heads, dim     int
	scale, eps     float32
	rope, layer    int
	joined         bool // continues the op before it: no barrier between
	decode         bool // prompts go without it
}

const noBuf graph.Buf = -1

// lowered is a program as a list of C ops.
type lowered struct {
	embeds    []graph.Embed // come first, and run in Go
	ops       []instr
	quantized []bool    // [buffers] also kept as int16
	operands  int       // packed weights that ops name
	fresh     []bool    // [buffers] int16 form is up to date, while lowering
	predicted graph.Buf // the query that only a choice reads; noBuf without one
	prog      *graph.Program
	kv        []offload.LayerPlan
	parts     []opRange
	final     opRange
	flush     []C.int32_t // [layers] index of its OP_FLUSH, -1 for none
}

func lower(p *graph.Program, kv []offload.LayerPlan) (*lowered, error) {
	l := &lowered{prog: p, kv: kv, quantized: make([]bool, len(p.Buffers)), fresh: make([]bool, len(p.Buffers)), predicted: noBuf}
	if q, ok := p.Predicted(); ok {
		l.predicted = q
	}
	ops := p.Ops
	for len(ops) > 0 {
		o, ok := ops[0].(graph.Embed)
		if !ok {
			break
		}
		l.embeds, ops = append(l.embeds, o), ops[1:]
	}
	for t := range p.Ropes {
		l.emit(instr{kind: C.OP_ANGLES, dst: noBuf, rope: t})
	}
	for range p.KV {
		l.flush = append(l.flush, -1)
	}
	for i, op := range ops {
		l.beginPart(len(l.embeds) + i)
		if err := l.lowerOp(op); err != nil {
			return nil, fmt.Errorf("lower program: op %d: %w", len(l.embeds)+i, err)
		}
	}
	for i := range l.parts {
		l.parts[i].end = len(l.ops)
		if i+1 < len(l.parts) {
			l.parts[i].end = l.parts[i+1].first
		}
	}
	return l, l.lowerFinal()
}

// lowerFinal lowers what stands in place of the head for states, behind all else.
func (l *lowered) lowerFinal() error {
	clear(l.fresh)
	l.final.first = len(l.ops)
	for i, op := range l.prog.Final {
		if err := l.lowerOp(op); err != nil {
			return fmt.Errorf("lower program: op %d of its states: %w", i, err)
		}
	}
	l.final.end = len(l.ops)
	return nil
}

// beginPart notes where a part of the program begins, at op at or before it:
// embeddings are no ops of the step. A part may be run alone, so nothing that
// an earlier one left counts as up to date.
func (l *lowered) beginPart(at int) {
	if n := len(l.parts); n < len(l.prog.Parts) && at >= l.prog.Parts[n] {
		l.parts = append(l.parts, opRange{first: len(l.ops)})
		clear(l.fresh)
	}
}

func (l *lowered) lowerOp(op graph.Op) error {
	switch o := op.(type) {
	case graph.RMSNorm:
		l.emit(instr{kind: C.OP_NORM, dst: o.Dst, src: o.Src, vec: o.W, eps: o.Eps})
	case graph.AddRMSNorm:
		l.emit(instr{kind: C.OP_ADDNORM, dst: o.X, src: o.Y, vec: o.W, eps: o.Eps})
	case graph.HeadNorm:
		l.emit(instr{kind: C.OP_HEADNORM, dst: o.X, vec: o.W, eps: o.Eps, heads: o.Heads, dim: o.Dim})
	case graph.Rope:
		l.emit(instr{kind: C.OP_ROPE, dst: o.X, heads: o.Heads, dim: o.Dim, rope: o.Table})
	case graph.KVAppend:
		l.emit(instr{kind: C.OP_APPEND, dst: noBuf, src: o.K, src2: o.V, layer: o.Layer})
	case graph.KVStore:
		l.flush[o.Layer] = C.int32_t(len(l.ops))
		l.emit(instr{kind: C.OP_FLUSH, dst: noBuf, layer: o.Layer})
	case graph.KVSelect:
		l.emit(instr{kind: C.OP_SCAN, dst: noBuf, src: o.Q, layer: o.Layer, heads: o.Heads, scale: o.Scale})
		if l.kv[o.Layer].Class == offload.Gathered {
			l.emit(instr{kind: C.OP_GATHER, dst: noBuf, src: o.Q, layer: o.Layer, heads: o.Heads, scale: o.Scale})
		}
	case graph.KVFetch, graph.KVWait:
		// The choice brings what it chose.
	case graph.Select:
		l.emit(instr{kind: C.OP_SELECT, dst: o.Dst, src: o.Src})
	case graph.Attend:
		l.emit(instr{kind: C.OP_ATTEND, dst: o.Dst, src: o.Q, layer: o.Layer, heads: o.Heads, scale: o.Scale})
		l.emit(instr{kind: C.OP_MERGE, dst: o.Dst, layer: o.Layer, heads: o.Heads})
	case graph.Linear:
		for i, t := range o.Parts {
			l.quantize(o.Src, t.W)
			l.operands++
			l.emit(instr{kind: C.OP_LINEAR, dst: t.Dst, src: o.Src, w: t.W, bias: t.Bias, add: t.Add, joined: i > 0 && l.ops[len(l.ops)-1].kind == C.OP_LINEAR})
		}
	case graph.GatedLinear:
		l.quantize(o.Src, o.Gate)
		l.quantize(o.Src, o.Up)
		l.operands += 2
		l.emit(instr{kind: C.OP_GATED, dst: o.Dst, src: o.Src, w: o.Gate, w2: o.Up, bias: graph.NoWeight, gelu: o.Act == graph.GELUTanh})
	default:
		return fmt.Errorf("%T has no kernel here", op)
	}
	return nil
}

func (l *lowered) emit(i instr) {
	if i.dst >= 0 {
		l.fresh[i.dst] = false
	}
	// Barriers stay right without these ops: their first is tiled, and so
	// there is one before it.
	i.decode = i.kind == C.OP_SCAN || i.kind == C.OP_GATHER || i.dst != noBuf && i.dst == l.predicted
	l.ops = append(l.ops, i)
}

// quantize converts a product's input unless its int16 form is up to date or
// the weight wants floats.
func (l *lowered) quantize(src graph.Buf, w graph.WeightID) {
	if isFloat(l.prog.Weights[w].Type) || l.fresh[src] {
		return
	}
	l.emit(instr{kind: C.OP_QUANT, dst: src})
	l.quantized[src], l.fresh[src] = true, true
}

// tiled says whether an op's pieces go to whichever thread is free.
func tiled(k C.op_kind) bool {
	switch k {
	case C.OP_LINEAR, C.OP_GATED, C.OP_ATTEND, C.OP_FLUSH, C.OP_SCAN, C.OP_GATHER:
		return true
	}
	return false
}

// barrier says whether threads must meet between op i and the next. Row ops
// over the same rows follow each other freely, since a thread keeps its rows;
// so do the parts of one product.
func (l *lowered) barrier(i int) bool {
	if i+1 == len(l.ops) {
		return true
	}
	a, b := l.ops[i], l.ops[i+1]
	if b.joined || a.kind == C.OP_SCAN && b.kind == C.OP_ATTEND && l.kv[a.layer].Class == offload.Paged {
		return false // who attends waits for the working sets that it reads
	}
	return tiled(a.kind) || tiled(b.kind) || b.kind == C.OP_SELECT || l.extent(a) != l.extent(b)
}

func (l *lowered) extent(i instr) graph.Extent {
	if i.dst == noBuf {
		return graph.AllRows
	}
	return l.prog.Buffers[i.dst].Rows
}

// link writes the C ops, now that all addresses are known.
func (e *exec) link(l *lowered) {
	at := 0
	operand := func(id, bias graph.WeightID) *C.weight {
		w := &e.weights[at]
		at++
		*w = e.packed[id]
		if bias != graph.NoWeight {
			w.bias = (*C.float)(unsafe.SliceData(e.vectors[bias]))
		}
		return w
	}
	for n, i := range l.ops {
		o := &e.ops[n]
		*o = C.op{kind: C.int32_t(i.kind), heads: C.int32_t(i.heads), dim: C.int32_t(i.dim), scale: C.float(i.scale), eps: C.float(i.eps),
			layer: C.int32_t(i.layer), barrier: flag(l.barrier(n)), add: flag(i.add), gelu: flag(i.gelu), decode: flag(i.decode)}
		if i.dst >= 0 {
			o.dst = &e.buffers[i.dst]
		}
		switch i.kind {
		case C.OP_NORM, C.OP_ADDNORM, C.OP_SELECT, C.OP_LINEAR, C.OP_GATED, C.OP_ATTEND, C.OP_APPEND, C.OP_SCAN, C.OP_GATHER:
			o.src = &e.buffers[i.src]
		}
		switch i.kind {
		case C.OP_NORM, C.OP_ADDNORM, C.OP_HEADNORM:
			o.vec = (*C.float)(unsafe.SliceData(e.vectors[i.vec]))
		case C.OP_ANGLES, C.OP_ROPE:
			o.rope = &e.ropes[i.rope]
		case C.OP_APPEND:
			o.src2 = &e.buffers[i.src2]
			o.kv = &e.caches[i.layer]
		case C.OP_ATTEND, C.OP_MERGE, C.OP_FLUSH, C.OP_SCAN, C.OP_GATHER:
			o.kv = &e.caches[i.layer]
		case C.OP_LINEAR:
			o.w = operand(i.w, i.bias)
		case C.OP_GATED:
			o.w, o.w2 = operand(i.w, graph.NoWeight), operand(i.w2, graph.NoWeight)
		}
	}
	e.c.ops, e.c.op_counters, e.c.layers, e.c.threads = unsafe.SliceData(e.ops), C.int32_t(opCounters(e.ops)), C.int32_t(len(e.prog.KV)), C.int32_t(e.lim.Threads)
	e.c.next = unsafe.SliceData(e.next)
	e.c.later, e.c.later_bytes = unsafe.SliceData(e.later), C.int64_t(ownL2(os.DirFS("/sys"))/2)
}

func flag(b bool) C.int32_t {
	if b {
		return 1
	}
	return 0
}
