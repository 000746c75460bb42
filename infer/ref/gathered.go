package ref

import (
	"encoding/binary"
	"math"
	"slices"

	"edged/infer/graph"
	"edged/offload"
)

// gathers says whether a layer's rows attend to single tokens that are chosen
// without an index (TailorKV, arXiv:2505.19586, section 4.2).
func (s step) gathers(layer int) bool {
	return !s.prompt && s.lim.KV[layer].Class == offload.Gathered
}

// selectTokens chooses tokens for every sequence and KV head.
func (s step) selectTokens(o graph.KVSelect) {
	spec := s.prog.KV[o.Layer]
	width := o.Heads / spec.KVHeads * spec.HeadDim
	for seq := range s.kv {
		row := s.rowOf(seq)
		if row < 0 {
			continue
		}
		v := s.view(seq, o.Layer)
		s.choices[seq] = make([]choice, spec.KVHeads)
		for head := range spec.KVHeads {
			tokens := v.chooseTokens(head, s.buf(o.Q).row(row)[head*width:(head+1)*width])
			s.choices[seq][head] = choice{pages: tokens}
			v.writeTokens(head, tokens)
		}
	}
}

// chooseTokens are the positions of the records' tokens that a KV head attends
// to, ascending, given the queries [group*headDim] of its query heads.
func (v view) chooseTokens(head int, q []float32) []int {
	p := v.mem.Plan
	all := make([]int, v.stored)
	for i := range all {
		all[i] = i
	}
	if v.stored <= p.Budget {
		return all
	}
	score := v.tokenScores(head, q)
	rest := all[p.Sink:]
	slices.SortStableFunc(rest, func(a, b int) int { return descending(score[a], score[b]) })
	chosen := all[:p.Budget]
	slices.Sort(chosen)
	return chosen
}

// descending puts what is not finite before all others.
func descending(a, b float64) int {
	switch badA, badB := math.IsNaN(a-a), math.IsNaN(b-b); {
	case badA && badB:
		return 0
	case badA || !badB && a > b:
		return -1
	case badB || a < b:
		return 1
	}
	return 0
}

// tokenScores are the products of the mean query with the keys of all stored
// tokens, in the critical channels alone.
func (v view) tokenScores(head int, q []float32) []float64 {
	dim := v.mem.Plan.HeadDim
	mean := meanQuery(q, dim)
	channels := criticalChannels(mean, v.peaks(head), v.mem.Plan.Channels)
	score := make([]float64, v.stored)
	k, val := make([]float64, dim), make([]float64, dim)
	for pos := range score {
		v.token(pos, head, k, val)
		for _, c := range channels {
			score[pos] += float64(mean[c]) * k[c]
		}
	}
	return score
}

// meanQuery is the signed mean [dim] of queries, in float32 and in their
// order, as every backend must compute it: channels are chosen by it.
func meanQuery(q []float32, dim int) []float32 {
	mean := make([]float32, dim)
	for c := range mean {
		for at := c; at < len(q); at += dim {
			mean[c] += q[at]
		}
		mean[c] /= float32(len(q) / dim)
	}
	return mean
}

// criticalChannels are the n channels of the largest |q_c| max_t |K_tc|
// (eq. 10), ascending; of equal ones the earlier.
func criticalChannels(q, peaks []float32, n int) []int {
	order := make([]int, len(q))
	score := make([]float64, len(q))
	for c := range order {
		order[c] = c
		score[c] = float64(float32(math.Abs(float64(q[c]))) * peaks[c])
	}
	slices.SortStableFunc(order, func(a, b int) int { return descending(score[a], score[b]) })
	channels := order[:n]
	slices.Sort(channels)
	return channels
}

// TokenScores are what a KV head of a Gathered layer chooses stored tokens by,
// given the queries [group*headDim] of its query heads: for tests that judge a
// choice.
func TokenScores(q *offload.Seq, layer, head int, query []float32) []float64 {
	v := view{q: q, layer: layer, mem: q.Pool().Memory(layer), stored: q.Stored()}
	return v.tokenScores(head, query)
}

// writeTokens leaves a KV head's choice where whoever looks finds it.
func (v view) writeTokens(head int, tokens []int) {
	list := v.list(head)
	binary.NativeEndian.PutUint32(list, uint32(len(tokens)))
	for i, pos := range tokens {
		binary.NativeEndian.PutUint32(list[4+4*i:], uint32(pos))
	}
}
