package bench

import (
	"edged/infer/graph"
	"edged/offload"
)

// cost is what a step has to read at least: every weight once, in the file's
// encoding, and every cached key and value that is visible, once. A backend
// that stores weights in another size, or reads something twice, moves more.
type cost struct {
	weights int64 // bytes per step
	embed   int64 // bytes per row: its row of the embedding table
	plan    *offload.Plan
	layers  []offload.LayerSpec
}

func newCost(p *graph.Program, plan *offload.Plan) cost {
	c := cost{plan: plan, layers: p.KV}
	for _, op := range p.Ops {
		switch o := op.(type) {
		case graph.Embed:
			w := p.Weights[o.Table]
			c.embed += int64(len(w.Data) / w.N)
		case graph.RMSNorm:
			c.read(p, o.W)
		case graph.AddRMSNorm:
			c.read(p, o.W)
		case graph.HeadNorm:
			c.read(p, o.W)
		case graph.GatedLinear:
			c.read(p, o.Gate)
			c.read(p, o.Up)
		case graph.Linear:
			for _, part := range o.Parts {
				c.read(p, part.W)
				c.read(p, part.Bias)
			}
		}
	}
	return c
}

func (c *cost) read(p *graph.Program, w graph.WeightID) {
	if w != graph.NoWeight {
		c.weights += int64(len(p.Weights[w].Data))
	}
}

// kv is the bytes of the cache that one more token behind n reads once they are
// in the fast tier.
func (c cost) kv(n int) int64 { return c.plan.Step(n, false).Fast() }

// decode is bytes per token, averaged over gen tokens from a depth on.
func (c cost) decode(depth, gen int) int64 {
	var total int64
	for i := range gen {
		total += c.weights + c.embed + c.kv(depth+i+1)
	}
	return total / int64(gen)
}

// prompt is bytes per token of a prompt of n tokens, read in chunks.
func (c cost) prompt(n, chunk int) int64 {
	var total int64
	for at := 0; at < n; {
		rows := min(chunk, n-at)
		at += rows
		total += c.weights + int64(rows)*c.embed + c.chunkKV(at, rows)
	}
	return total / int64(n)
}

// chunkKV is the bytes of exact keys and values that the last rows of n tokens
// see together.
func (c cost) chunkKV(n, rows int) int64 {
	var total int64
	for _, l := range c.layers {
		seen := n
		if l.Window > 0 {
			seen = min(seen, l.Window+rows-1)
		}
		total += offload.ExactBytes([]offload.LayerSpec{l}, seen)
	}
	return total
}
