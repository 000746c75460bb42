package cuda

import (
	"fmt"
	"slices"

	"edged/infer/graph"
	"edged/offload"
)

// shape is what a step's commands depend on.
type shape struct {
	rows, outs int
	// reads: rows of prompts. All products and attention are those of many rows then,
	// and those of few where each row goes on with a sequence of its own: what a row
	// gives does not depend on how many stand beside it.
	reads    bool
	manyOuts bool // more than decoding ever asks for
	tiles    int  // of prompt attention, all groupings together
	// prompt: a part of a prompt that is read layer by layer.
	prompt bool
	// flush: tokens leave tails for records.
	flush bool
	// states: of all rows, in place of logits.
	states bool
	// What becomes of logits.
	logits outcome
}

// outcome is what a step does with rows of logits.
type outcome struct {
	whole                    bool // some are brought whole
	narrow, changed, weighed bool // some are narrowed, of these some masked or edited, some summed
}

func (s shape) of(x graph.Extent) int {
	if x == graph.OutRows {
		return s.outs
	}
	return s.rows
}

// many says whether what reads rows of that extent is made for many.
func (s shape) many(x graph.Extent) bool {
	if x == graph.OutRows {
		return s.manyOuts
	}
	return s.reads
}

const (
	// graphRows is the most rows of a step that runs as a graph.
	graphRows = 16
	// fewOuts is up to how many rows of logits are multiplied as those of few, or as
	// many as sequences can ask for.
	fewOuts = 32
)

// fewRows is the most rows that products of few rows take.
func (e *exec) fewRows() int { return max(e.lim.MaxSeqs, min(e.lim.MaxOut, fewOuts)) }

// node is an op, or several that run as one, with its buffers and weights
// placed. It appends its commands for a shape.
type node interface{ emit(b *batch, s shape) }

// lower turns the program into nodes.
func (e *exec) lower() error {
	ops := e.prog.Ops
	next, predicts := e.prog.Predicted()
	for i := 0; i < len(ops); {
		if slices.Contains(e.prog.Parts, i) {
			e.parts = append(e.parts, len(e.nodes))
		}
		n, used, err := e.lowerOp(ops, i)
		if err != nil {
			return fmt.Errorf("lower program: op %d: %w", i, err)
		}
		if n != nil {
			e.nodes = append(e.nodes, n)
			if predicts && writes(ops[i], next) {
				e.ahead[n] = true
			}
		}
		i += used
	}
	for i := 0; i < len(e.prog.Final); {
		n, used, err := e.lowerOp(e.prog.Final, i)
		if err != nil {
			return fmt.Errorf("lower program: op %d of its states: %w", i, err)
		}
		e.final = append(e.final, n)
		i += used
	}
	return nil
}

// nodesOf are the nodes of a step, or those of the parts from first on.
func (e *exec) nodesOf(s shape, first int) []node {
	if !s.states {
		return e.nodes[first:]
	}
	return slices.Concat(e.nodes[first:e.parts[len(e.parts)-1]], e.final)
}

// lowerOp makes a node of the op at i and, if they run as one, of those behind it.
func (e *exec) lowerOp(ops []graph.Op, i int) (node, int, error) {
	switch o := ops[i].(type) {
	case graph.Embed:
		return &embedNode{e: e, op: o}, 1, nil
	case graph.RMSNorm:
		n := &normNode{src: e.buf(o.Src), dst: e.buf(o.Dst), w: e.vectorOf(o.W), eps: o.Eps}
		delete(e.norms, o.Dst)
		if e.foldNorm(ops, i) {
			n.folded, n.always = true, e.backend.byWarpgroups()
			e.norms[o.Dst] = n
		}
		return n, 1, nil
	case graph.AddRMSNorm:
		return &normNode{src: e.buf(o.Y), dst: e.buf(o.X), w: e.vectorOf(o.W), eps: o.Eps, add: true}, 1, nil
	case graph.HeadNorm, graph.Rope:
		if n, used := e.queryKey(ops, i); n != nil {
			return n, used, nil
		}
		if h, ok := o.(graph.HeadNorm); ok {
			return &normNode{src: e.buf(h.X), dst: e.buf(h.X), w: e.vectorOf(h.W), eps: h.Eps, heads: h.Heads}, 1, nil
		}
		return &ropeNode{e: e, op: o.(graph.Rope)}, 1, nil
	case graph.KVAppend:
		return &appendNode{e: e, op: o}, 1, nil
	case graph.KVStore:
		return e.newStore(o.Layer), 1, nil
	case graph.KVSelect:
		if e.lim.KV[o.Layer].Class == offload.Gathered {
			n, err := e.newGathered(o)
			return n, 1, err
		}
		n, err := e.newChoice(o)
		return n, 1, err
	case graph.KVFetch, graph.KVWait:
		return nil, 1, nil // what is chosen is fetched at once
	case graph.Attend:
		n, err := e.newAttend(o)
		if err == nil && e.lim.KV[o.Layer].Class == offload.Gathered {
			return e.newGatheredAttend(n), 1, nil
		}
		if err == nil && e.lim.KV[o.Layer].Class.Stored() {
			r, err := e.newRecords(n)
			return r, 1, err
		}
		return n, 1, err
	case graph.Select:
		return &selectNode{e: e, src: e.buf(o.Src), dst: e.buf(o.Dst)}, 1, nil
	case graph.Linear:
		return e.newLinear(o), 1, nil
	case graph.GatedLinear:
		return e.newGated(o), 1, nil
	}
	return nil, 0, fmt.Errorf("%w: %T", ErrUnsupported, ops[i])
}

// foldNorm says whether all that reads a norm's result are products with tiled
// weights, which can compute the norm themselves from its source.
func (e *exec) foldNorm(ops []graph.Op, at int) bool {
	norm := ops[at].(graph.RMSNorm)
	if e.prog.Buffers[norm.Src].Width%8 != 0 || norm.Dst == norm.Src {
		return false
	}
	found := false   // a reader
	changed := false // the source, so that later readers could not read it
	for _, op := range ops[at+1:] {
		if reads(op, norm.Dst) {
			if changed || !e.multipliesTiles(op) {
				return false
			}
			found = true
		}
		if writes(op, norm.Dst) {
			return found
		}
		changed = changed || writes(op, norm.Src)
	}
	return found && norm.Dst != e.prog.Logits
}

// multipliesTiles says whether an op is a product, all of whose weights have tiles.
func (e *exec) multipliesTiles(op graph.Op) bool {
	switch o := op.(type) {
	case graph.Linear:
		for _, p := range o.Parts {
			if !e.weights[p.W].hasTiles() {
				return false
			}
		}
		return true
	case graph.GatedLinear:
		g, u := &e.weights[o.Gate], &e.weights[o.Up]
		return g.hasTiles() && g.Type == u.Type
	}
	return false
}

// reads says whether an op reads a buffer.
func reads(op graph.Op, b graph.Buf) bool {
	switch o := op.(type) {
	case graph.RMSNorm:
		return o.Src == b
	case graph.AddRMSNorm:
		return o.X == b || o.Y == b
	case graph.HeadNorm:
		return o.X == b
	case graph.Rope:
		return o.X == b
	case graph.KVAppend:
		return o.K == b || o.V == b
	case graph.Attend:
		return o.Q == b
	case graph.KVSelect:
		return o.Q == b
	case graph.Select:
		return o.Src == b
	case graph.GatedLinear:
		return o.Src == b
	case graph.Linear:
		return o.Src == b || slices.ContainsFunc(o.Parts, func(p graph.Part) bool { return p.Add && p.Dst == b })
	}
	return false
}

// writes says whether an op writes a buffer.
func writes(op graph.Op, b graph.Buf) bool {
	switch o := op.(type) {
	case graph.Embed:
		return o.Dst == b
	case graph.RMSNorm:
		return o.Dst == b
	case graph.AddRMSNorm:
		return o.X == b
	case graph.HeadNorm:
		return o.X == b
	case graph.Rope:
		return o.X == b
	case graph.Attend:
		return o.Dst == b
	case graph.Select:
		return o.Dst == b
	case graph.GatedLinear:
		return o.Dst == b
	case graph.Linear:
		return slices.ContainsFunc(o.Parts, func(p graph.Part) bool { return p.Dst == b })
	}
	return false
}

// queryKey joins the norms and rotations of a layer's query and key with the
// append behind them, where they stand as models have them.
func (e *exec) queryKey(ops []graph.Op, at int) (*queryKeyNode, int) {
	end := at
	for end < len(ops) {
		switch ops[end].(type) {
		case graph.HeadNorm, graph.Rope:
			end++
			continue
		}
		break
	}
	var store *storeNode
	if end < len(ops) {
		if o, ok := ops[end].(graph.KVStore); ok {
			store = e.newStore(o.Layer)
			end++
		}
	}
	if end+1 >= len(ops) {
		return nil, 0
	}
	add, ok := ops[end].(graph.KVAppend)
	att, ok2 := attention(ops[end+1:])
	if !ok || !ok2 || add.Layer != att.Layer || att.Q == add.K || att.Q == add.V || add.K == add.V || e.readLater(ops[end+1:], add.K) {
		return nil, 0
	}
	n := &queryKeyNode{e: e, store: store, layer: add.Layer, q: e.buf(att.Q), k: e.buf(add.K), v: e.buf(add.V), heads: att.Heads}
	spec := e.prog.KV[add.Layer]
	var qRope, kRope *graph.Rope
	for _, op := range ops[at:end] { // but for KVStore
		switch o := op.(type) {
		case graph.HeadNorm:
			isQ := o.X == att.Q
			if qRope != nil || kRope != nil || !isQ && o.X != add.K || o.Dim != spec.HeadDim || n.eps != 0 && n.eps != o.Eps {
				return nil, 0
			}
			n.eps = o.Eps
			if isQ {
				n.qNorm = e.vectorOf(o.W)
			} else {
				n.kNorm = e.vectorOf(o.W)
			}
		case graph.Rope:
			isQ := o.X == att.Q
			if !isQ && o.X != add.K || o.Dim != spec.HeadDim || isQ && (qRope != nil || o.Heads != att.Heads) || !isQ && (kRope != nil || o.Heads != spec.KVHeads) {
				return nil, 0
			}
			if isQ {
				qRope = &o
			} else {
				kRope = &o
			}
		}
	}
	if qRope == nil || kRope == nil || qRope.Table != kRope.Table {
		return nil, 0
	}
	n.table = qRope.Table
	return n, end + 1 - at
}

// attention is the Attend that ops begin with, behind the choice of what it reads.
func attention(ops []graph.Op) (graph.Attend, bool) {
	for _, op := range ops {
		switch o := op.(type) {
		case graph.KVSelect, graph.KVFetch, graph.KVWait:
			continue
		case graph.Attend:
			return o, true
		}
		break
	}
	return graph.Attend{}, false
}

// readLater says whether ops read a buffer before they write it whole.
func (e *exec) readLater(ops []graph.Op, b graph.Buf) bool {
	for _, op := range ops {
		if reads(op, b) {
			return true
		}
		if writes(op, b) {
			return false
		}
	}
	return b == e.prog.Logits
}
