package graph

import (
	"fmt"
	"slices"

	"edged/offload"
)

// WithCache is the program for a cache that is kept as planned: the ops that
// store, choose and fetch stand where they may begin.
//
// Under Paged, the choice uses the layer's true query: what the step before
// attended to is in the fast tier already. Under Gathered, layer l+1's query is
// predicted from layer l's input (arXiv:2505.19586, section 4.2), and its
// choice and fetch stand before layer l's MLP, so that they overlap it.
func WithCache(p *Program, plans []offload.LayerPlan) (*Program, error) {
	if len(plans) != len(p.KV) {
		return nil, fmt.Errorf("plan cache of program %s: %d plans for %d layers", p.Name, len(plans), len(p.KV))
	}
	for i, plan := range plans {
		if plan.LayerSpec != p.KV[i] {
			return nil, fmt.Errorf("plan cache of program %s: layer %d is planned as %+v, not %+v", p.Name, i, plan.LayerSpec, p.KV[i])
		}
		if err := plan.Check(); err != nil {
			return nil, fmt.Errorf("plan cache of program %s: layer %d: %w", p.Name, i, err)
		}
	}
	n := *p
	n.Ops, n.Parts = nil, nil
	n.Buffers = slices.Clone(p.Buffers)
	c := cachePass{old: p, new: &n, plans: plans, predicted: -1}
	for part := range p.Parts {
		n.Parts = append(n.Parts, len(n.Ops))
		for _, op := range p.part(part) {
			c.copy(op)
		}
	}
	if len(p.Parts) == 0 { // a program of loose ops
		for _, op := range p.Ops {
			c.copy(op)
		}
	}
	if err := n.Validate(); err != nil {
		return nil, fmt.Errorf("plan cache of program %s: %w", p.Name, err)
	}
	return &n, nil
}

// cachePass copies a program op by op.
type cachePass struct {
	old, new  *Program
	plans     []offload.LayerPlan
	predicted Buf // holds the next layer's predicted query; -1 until one is needed
	input     Buf // of the present layer's queries
}

func (c *cachePass) emit(ops ...Op) { c.new.Ops = append(c.new.Ops, ops...) }

func (c *cachePass) copy(op Op) {
	switch o := op.(type) {
	case KVAppend:
		if c.plans[o.Layer].Class.Stored() && !c.predicts(o.Layer) {
			c.emit(KVStore{Layer: o.Layer})
		}
		c.emit(op)
	case Attend:
		c.before(o)
		c.emit(op)
		c.after(o)
	default:
		c.emit(op)
	}
}

// before stands between a layer's append and its attention.
func (c *cachePass) before(o Attend) {
	switch plan := c.plans[o.Layer]; {
	case plan.Class == offload.Paged || plan.Class == offload.Gathered && !c.predicts(o.Layer):
		c.emit(KVSelect{Layer: o.Layer, Q: o.Q, Heads: o.Heads, Scale: o.Scale}, KVFetch{Layer: o.Layer}, KVWait{Layer: o.Layer})
	case plan.Class == offload.Gathered:
		c.emit(KVWait{Layer: o.Layer})
	}
}

// after stands behind a layer's attention: what the next layer may begin with.
func (c *cachePass) after(o Attend) {
	next := o.Layer + 1
	if next >= len(c.plans) {
		return
	}
	if !c.predicts(next) {
		return
	}
	q := c.old.query(next)
	if c.predicted < 0 {
		c.predicted = Buf(len(c.new.Buffers))
		c.new.Buffers = append(c.new.Buffers, Buffer{Name: "q_next", Width: c.new.Buffers[q.attend.Q].Width, Rows: AllRows})
	}
	part := q.part
	part.Dst = c.predicted
	c.emit(Linear{Src: c.old.query(o.Layer).src, Parts: []Part{part}})
	if q.norm != nil {
		n := *q.norm
		n.X = c.predicted
		c.emit(n)
	}
	if q.rope != nil {
		r := *q.rope
		r.X = c.predicted
		c.emit(r)
	}
	// What the step pushes out of the tail can be chosen only as records.
	c.emit(KVStore{Layer: next}, KVSelect{Layer: next, Q: c.predicted, Heads: q.attend.Heads, Scale: q.attend.Scale, Predicted: true}, KVFetch{Layer: next})
}

// Predicted is the buffer of the query that a layer computes for the next one's choice
// alone; false where there is none.
func (p *Program) Predicted() (Buf, bool) {
	for _, op := range p.Ops {
		if o, ok := op.(KVSelect); ok && o.Predicted {
			return o.Q, true
		}
	}
	return 0, false
}

// predicts says whether a layer's query is predicted in the layer before: both
// must compute theirs from a normed input in the usual way.
func (c *cachePass) predicts(layer int) bool {
	if layer == 0 || c.plans[layer].Class != offload.Gathered {
		return false
	}
	return c.old.query(layer).found && c.old.query(layer-1).found
}
