package calibrate

import (
	"math"
	"slices"
	"sync"
)

// topMass is the share of attention that the dominant tokens of each of the
// last queries hold, as a mean over queries and heads (equations 6 to 8).
func (r *reader) topMass(layer int) float64 {
	heads := r.attend[layer].Heads
	mass := make([]float64, heads)
	var wg sync.WaitGroup
	for first := range min(r.cfg.Threads, r.prog.KV[layer].KVHeads) {
		wg.Go(func() {
			for kvHead := first; kvHead < r.prog.KV[layer].KVHeads; kvHead += r.cfg.Threads {
				r.headMass(layer, kvHead, mass)
			}
		})
	}
	wg.Wait()
	var sum float64
	for _, m := range mass {
		sum += m
	}
	return sum / float64(heads*Queries)
}

// headMass sums the queries' shares for each query head of a KV head.
func (r *reader) headMass(layer, kvHead int, mass []float64) {
	spec := r.prog.KV[layer]
	group := r.attend[layer].Heads / spec.KVHeads
	keys := r.keys(layer, kvHead)
	weight := make([]float32, len(r.tok))
	for row := range Queries {
		q := r.probe.Queries(layer, row)
		seen := len(r.tok) - Queries + row + 1
		for head := kvHead * group; head < (kvHead+1)*group; head++ {
			scores(weight[:seen], q[head*spec.HeadDim:(head+1)*spec.HeadDim], keys, r.attend[layer].Scale)
			mass[head] += topOf(weight[:seen])
		}
	}
}

// scores are scale * q K^T.
func scores(dst, q []float32, keys [][]float32, scale float32) {
	clear(dst)
	for c, key := range keys {
		x := q[c] * scale
		key = key[:len(dst)]
		for i := range dst {
			dst[i] += x * key[i]
		}
	}
}

// topOf is the share of softmax(score) that its TopShare largest entries hold.
// It leaves the scores sorted.
func topOf(score []float32) float64 {
	slices.Sort(score)
	top := float64(score[len(score)-1])
	var dominant, all float64
	first := len(score) - max(1, int(TopShare*float64(len(score))))
	for i, s := range score {
		w := math.Exp(float64(s) - top)
		all += w
		if i >= first {
			dominant += w
		}
	}
	return dominant / all
}
