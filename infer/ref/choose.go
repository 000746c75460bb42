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
	share   []float64   // [cold pages] by which they are, logarithms, with the gain of those that are held; nil where all are wanted
	means   [][]float64 // [group][cold pages] scores of the mean keys around them
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
// query heads.
func (v view) choose(head int, q []float32, scale float32) choice {
	pages := v.stored / offload.ColdTok
	c := choice{rest: make([]rest, len(q)/v.mem.Plan.HeadDim)}
	if pages <= v.mem.Plan.Budget {
		for i := range pages {
			c.wanted = append(c.wanted, i)
		}
		return c
	}
	held, _ := v.set(head).held()
	c.share, c.means = v.shares(head, q, scale, held)
	for _, p := range held {
		c.share[p] += float64(v.mem.Plan.Gain)
	}
	c.wanted = wanted(c.share, v.mem.Plan.Budget)
	return c
}

// shares gives the logarithm of every page's largest share of a query head, and
// for every query head the scores of the mean keys around the pages. A share is
// e^score of the page's best token over the sum of that over all pages. Keys are
// as the index has them, or, of pages that are held, their records where the plan
// says so.
func (v view) shares(head int, q []float32, scale float32, held []int) (share []float64, means [][]float64) {
	dim := v.mem.Plan.HeadDim
	for ; len(q) > 0; q = q[dim:] {
		top, mean := v.pageScores(head, q[:dim], scale)
		if v.mem.Plan.ByRecord {
			for _, p := range held {
				top[p] = v.recordScore(head, p, q[:dim], scale)
			}
		}
		total := logSum(top)
		for i, x := range top {
			if len(means) == 0 {
				share = append(share, x-total)
			}
			share[i] = math.Max(share[i], x-total)
		}
		means = append(means, mean)
	}
	return share, means
}

// Shares are what a KV head of a Paged layer chooses pages by, as logarithms,
// given the queries [group*headDim] of its query heads and the pages of its working
// set: for tests that judge a choice.
func Shares(q *offload.Seq, layer, head int, query []float32, scale float32, held []int) []float64 {
	v := view{q: q, layer: layer, mem: q.Pool().Memory(layer), stored: q.Stored()}
	share, _ := v.shares(head, query, scale, held)
	return share
}

// restOf lists the pages that are not held. Each weighs what its tokens would if
// all had the mean key.
func (v view) restOf(head int, held []int, mean []float64) rest {
	dim := v.mem.Plan.HeadDim
	var r rest
	for i, m := range mean {
		if _, found := slices.BinarySearch(held, i); found {
			continue
		}
		value := make([]float64, dim)
		pos := i * offload.ColdTok
		v.index(pos, head).meanValue(pos%offload.BlockTok/offload.ColdTok, value)
		r.weight = append(r.weight, m+math.Log(offload.ColdTok))
		r.value.data = append(r.value.data, value...)
	}
	r.value.rows, r.value.width = len(r.weight), dim
	return r
}

// pageScores are the largest scores of cold pages' tokens, with keys as the
// index has them, and those of the mean keys around the pages.
func (v view) pageScores(head int, q []float32, scale float32) (top, mean []float64) {
	for pos := 0; pos < v.stored; pos += offload.BlockTok {
		x := v.index(pos, head)
		p := newProbe(x, q, scale)
		for page := range (min(v.stored-pos, offload.BlockTok)) / offload.PageTok {
			tops, m := x.scores(p, page)
			for _, t := range tops {
				top, mean = append(top, t), append(mean, m)
			}
		}
	}
	return top, mean
}

// recordScore is the largest score of a cold page's tokens, with keys as its
// record has them.
func (v view) recordScore(head, page int, q []float32, scale float32) float64 {
	r := record{at: v.mem.Record, b: v.record(page*offload.ColdTok, head)}
	k, val := make([]float64, len(q)), make([]float64, len(q))
	top := math.Inf(-1)
	for t := range offload.ColdTok {
		r.token(t, k, val)
		var score float64
		for c, x := range q {
			score += float64(x*scale) * k[c]
		}
		top = math.Max(top, score) // NaN stays
	}
	return top
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
