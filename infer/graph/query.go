package graph

import "slices"

// query is how a layer's query is made.
type query struct {
	found  bool
	at     int // the op that computes it
	src    Buf // the layer's normed input
	part   Part
	norm   *HeadNorm
	rope   *Rope
	attend Attend
}

// query finds the ops between a layer's input and its attention.
func (p *Program) query(layer int) query {
	var q query
	end := slices.IndexFunc(p.Ops, func(op Op) bool { a, ok := op.(Attend); return ok && a.Layer == layer })
	if end < 0 {
		return q
	}
	q.attend = p.Ops[end].(Attend)
	for i := end - 1; i >= 0; i-- {
		switch o := p.Ops[i].(type) {
		case Rope:
			if o.X == q.attend.Q && q.rope == nil {
				q.rope = &o
			}
		case HeadNorm:
			if o.X == q.attend.Q && q.norm == nil {
				q.norm = &o
			}
		case Linear:
			for _, part := range o.Parts {
				if part.Dst == q.attend.Q {
					q.found, q.at, q.src, q.part = !part.Add, i, o.Src, part
					return q
				}
			}
		}
	}
	return q
}
