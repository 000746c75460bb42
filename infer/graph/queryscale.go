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
	spec, q := p.KV[layer], p.query(layer)
	square, err := p.querySquares(q, layer)
	if err != nil {
		return nil, fmt.Errorf("scale queries of layer %d: %w", layer, err)
	}
	scales := make([]float32, spec.KVHeads*spec.HeadDim)
	group := len(square) / len(scales)
	for head := range spec.KVHeads {
		mean := make([]float64, spec.HeadDim)
		for g := range group {
			for c := range mean {
				mean[c] += square[(head*group+g)*spec.HeadDim+c] / float64(group)
			}
		}
		if q.rope != nil {
			p.Ropes[q.rope.Table].mix(mean)
		}
		for c, v := range mean {
			scales[head*spec.HeadDim+c] = float32(math.Sqrt(v))
		}
	}
	return scales, nil
}

// querySquares are the mean squares of a layer's queries [heads*headDim] before
// their rotation.
func (p *Program) querySquares(q query, layer int) ([]float64, error) {
	spec := p.KV[layer]
	square := make([]float64, max(q.attend.Heads, spec.KVHeads)*spec.HeadDim)
	for i := range square {
		square[i] = 1
	}
	if !q.found {
		return square, nil
	}
	if err := p.products(square, q); err != nil || q.norm == nil {
		return square, err
	}
	weight, err := p.vector(q.norm.W)
	if err == nil {
		normalize(square, weight)
	}
	return square, err
}

// products are the mean squares of the outputs of a query's product.
func (p *Program) products(dst []float64, q query) error {
	w := &p.Weights[q.part.W]
	norm := make([]float32, w.K)
	for i := range norm {
		norm[i] = 1
	}
	for i := q.at - 1; i >= 0; i-- {
		if o, ok := p.Ops[i].(RMSNorm); ok && o.Dst == q.src {
			v, err := p.vector(o.W)
			if err != nil {
				return err
			}
			norm = v
			break
		}
	}
	bias := make([]float32, w.N)
	if q.part.Bias != NoWeight {
		v, err := p.vector(q.part.Bias)
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
func normalize(square []float64, weight []float32) {
	for ; len(square) > 0; square = square[len(weight):] {
		var mean float64
		for _, v := range square[:len(weight)] {
			mean += v / float64(len(weight))
		}
		for c, w := range weight {
			square[c] *= float64(w) * float64(w) / max(mean, math.SmallestNonzeroFloat64)
		}
	}
}

// mix gives channels that are rotated into each other the same mean square.
func (r *RopeTable) mix(square []float64) {
	n := len(r.InvFreq)
	for i := range n {
		a, b := i, i+n
		if r.Interleaved {
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
