package graph

import (
	"fmt"
	"math"
)

// QueryScales are the root mean squares of a layer's query channels,
// [kvHeads*headDim], that the weights let expect: of queries from an input
// whose channels are alike and independent before the norm's weights, over the
// query heads of each KV head and over the channels that a rotation mixes. What
// orders channels by their share of attention scores takes them for the
// queries' part. They are 1 where no product makes the queries.
func (p *Program) QueryScales(layer int) ([]float32, error) {
	q, err := p.queryOf(layer)
	if err != nil {
		return nil, fmt.Errorf("scale queries of layer %d: %w", layer, err)
	}
	spec := p.KV[layer]
	scales := make([]float32, spec.KVHeads*spec.HeadDim)
	group := len(q.square) / len(scales)
	for head := range spec.KVHeads {
		mean := make([]float64, spec.HeadDim)
		for g := range group {
			for c := range mean {
				mean[c] += q.square[(head*group+g)*spec.HeadDim+c] / float64(group)
			}
		}
		q.mix(mean)
		for c, v := range mean {
			scales[head*spec.HeadDim+c] = float32(math.Sqrt(v))
		}
	}
	return scales, nil
}

// queries are what is known of a layer's queries.
type queries struct {
	square []float64 // [heads*headDim] mean squares
	rope   *RopeTable
}

// queryOf reads the ops that make a layer's queries.
func (p *Program) queryOf(layer int) (queries, error) {
	var q queries
	at := -1
	var a Attend
	for i, op := range p.Ops {
		if o, ok := op.(Attend); ok && o.Layer == layer {
			at, a = i, o
		}
	}
	dim := p.KV[layer].HeadDim
	q.square = make([]float64, max(a.Heads, p.KV[layer].KVHeads)*dim)
	for i := range q.square {
		q.square[i] = 1
	}
	var headNorm []float32
	for i := at - 1; i >= 0; i-- {
		switch o := p.Ops[i].(type) {
		case Rope:
			if o.X == a.Q && q.rope == nil {
				q.rope = &p.Ropes[o.Table]
			}
		case HeadNorm:
			if o.X == a.Q && headNorm == nil {
				var err error
				if headNorm, err = p.vector(o.W); err != nil {
					return q, err
				}
			}
		case Linear:
			for _, part := range o.Parts {
				if part.Dst == a.Q {
					err := p.products(q.square, part, i)
					q.normalize(headNorm, dim)
					return q, err
				}
			}
		}
	}
	return q, nil
}

// products are the mean squares of a product's outputs.
func (p *Program) products(dst []float64, part Part, op int) error {
	w := &p.Weights[part.W]
	norm := make([]float32, w.K)
	for i := range norm {
		norm[i] = 1
	}
	src := p.Ops[op].(Linear).Src
	for i := op - 1; i >= 0; i-- {
		if o, ok := p.Ops[i].(RMSNorm); ok && o.Dst == src {
			v, err := p.vector(o.W)
			if err != nil {
				return err
			}
			norm = v
			break
		}
	}
	bias := make([]float32, w.N)
	if part.Bias != NoWeight {
		v, err := p.vector(part.Bias)
		if err != nil {
			return err
		}
		bias = v
	}
	row, bytes := make([]float32, w.K), w.Type.RowBytes(w.K)
	for n := range dst {
		if err := w.Type.Dequantize(row, w.Data[n*bytes:(n+1)*bytes]); err != nil {
			return fmt.Errorf("read %s: %w", w.Name, err)
		}
		dst[n] = float64(bias[n]) * float64(bias[n])
		for k, x := range row {
			y := float64(x) * float64(norm[k])
			dst[n] += y * y
		}
	}
	return nil
}

// normalize applies a norm over each head's channels.
func (q queries) normalize(weight []float32, dim int) {
	for head := 0; weight != nil && head < len(q.square); head += dim {
		var mean float64
		for _, v := range q.square[head : head+dim] {
			mean += v / float64(dim)
		}
		for c, w := range weight {
			q.square[head+c] *= float64(w) * float64(w) / max(mean, math.SmallestNonzeroFloat64)
		}
	}
}

// mix gives channels that are rotated into each other the same mean square.
func (q queries) mix(square []float64) {
	if q.rope == nil {
		return
	}
	n := len(q.rope.InvFreq)
	for i := range n {
		a, b := i, i+n
		if q.rope.Interleaved {
			a, b = 2*i, 2*i+1
		}
		square[a] = (square[a] + square[b]) / 2
		square[b] = square[a]
	}
}

// vector is a weight as floats.
func (p *Program) vector(id WeightID) ([]float32, error) {
	w := &p.Weights[id]
	v := make([]float32, w.N*w.K)
	if err := w.Type.Dequantize(v, w.Data); err != nil {
		return nil, fmt.Errorf("read %s: %w", w.Name, err)
	}
	return v, nil
}
