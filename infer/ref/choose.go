package ref

import (
	"math"
	"slices"

	"edged/infer/graph"
	"edged/offload"
)

// choice is what a decode row of one KV head attends to of its records.
type choice struct {
	wanted  []int       // dominant cold pages, ascending
	share   []float64   // [cold pages] by which they are; nil where all are wanted
	weights [][]float64 // [group][cold pages]
	pages   []int       // attended to, ascending; single tokens where a layer gathers
	records [][]byte    // their records in the fast tier
	rest    []rest      // [group] for each query head, what stands for the other pages; empty without an estimate
}

// rest stands for tokens that are not read: a weight for every page, as the
// logarithm of its tokens' summed e^score, and their mean value.
type rest struct {
	weight []float64
	value  matrix64 // [len(weight), headDim]
}

// chooses says whether a layer's rows attend to chosen records alone.
func (s step) chooses(layer int) bool {
	return !s.prompt && s.lim.KV[layer].Class == offload.Paged
}

// rowOf is a decode step's row of a sequence, -1 when it has none.
func (s step) rowOf(seq int) int { return slices.Index(s.rows.Seq, int32(seq)) }

// kvSelect chooses pages for every sequence and KV head.
func (s step) kvSelect(o graph.KVSelect) {
	if s.gathers(o.Layer) {
		s.selectTokens(o)
	}
	if !s.chooses(o.Layer) {
		return
	}
	spec := s.prog.KV[o.Layer]
	group := o.Heads / spec.KVHeads
	for seq := range s.kv {
		row := s.rowOf(seq)
		if row < 0 {
			continue
		}
		v := s.view(seq, o.Layer)
		s.choices[seq] = make([]choice, spec.KVHeads)
		for head := range spec.KVHeads {
			q := s.buf(o.Q).row(row)[head*group*spec.HeadDim : (head+1)*group*spec.HeadDim]
			s.choices[seq][head] = v.choose(head, q, o.Scale)
		}
	}
}

// choose weighs a KV head's cold pages with the queries [group*headDim] of its
// query heads. A page's share is the largest that any query head gives it.
func (v view) choose(head int, q []float32, scale float32) choice {
	pages := v.stored / offload.ColdTok
	c := choice{rest: make([]rest, len(q)/v.mem.Plan.HeadDim)}
	if pages <= v.mem.Plan.Budget {
		for i := range pages {
			c.wanted = append(c.wanted, i)
		}
		return c
	}
	c.share, c.weights = v.shares(head, q, scale)
	c.wanted = wanted(c.share, v.mem.Plan.Budget)
	return c
}

// shares gives every page's largest share of a query head's weights, and for
// every query head the pages' weights.
func (v view) shares(head int, q []float32, scale float32) (share []float64, weights [][]float64) {
	dim := v.mem.Plan.HeadDim
	share = make([]float64, v.stored/offload.ColdTok)
	for ; len(q) > 0; q = q[dim:] {
		w := v.pageWeights(head, q[:dim], scale)
		total := logSum(w)
		for i, x := range w {
			share[i] = math.Max(share[i], math.Exp(x-total))
		}
		weights = append(weights, w)
	}
	return share, weights
}

// Shares are what a KV head of a Paged layer chooses pages by, given the
// queries [group*headDim] of its query heads: for tests that judge a choice.
func Shares(q *offload.Seq, layer, head int, query []float32, scale float32) []float64 {
	v := view{q: q, layer: layer, mem: q.Pool().Memory(layer), stored: q.Stored()}
	share, _ := v.shares(head, query, scale)
	return share
}

// restOf lists the pages that were not chosen.
func (v view) restOf(head int, chosen []int, weight []float64) rest {
	dim := v.mem.Plan.HeadDim
	var r rest
	for i, w := range weight {
		if _, found := slices.BinarySearch(chosen, i); found {
			continue
		}
		mean := make([]float64, dim)
		pos := i * offload.ColdTok
		v.index(pos, head).meanValue(pos%offload.BlockTok/offload.ColdTok, mean)
		r.weight = append(r.weight, w)
		r.value.data = append(r.value.data, mean...)
	}
	r.value.rows, r.value.width = len(r.weight), dim
	return r
}

// pageWeights are the logarithms of every page's summed e^score, with keys as
// the index has them.
func (v view) pageWeights(head int, q []float32, scale float32) []float64 {
	var w []float64
	for pos := 0; pos < v.stored; pos += offload.BlockTok {
		x := v.index(pos, head)
		p := newProbe(x, q, scale)
		for page := range (min(v.stored-pos, offload.BlockTok)) / offload.PageTok {
			w = append(w, x.weights(p, page)...)
		}
	}
	return w
}

// logSum is log(sum(e^x)).
func logSum(x []float64) float64 {
	top := slices.Max(x)
	var sum float64
	for _, v := range x {
		sum += math.Exp(v - top)
	}
	return top + math.Log(sum)
}
