package ref

import (
	"math"

	"edged/infer/graph"
	"edged/offload"
)

// attend gives every query row the softmax-weighted mean of its sequence's
// values, one KV head and its group of query heads at a time.
func (s step) attend(o graph.Attend) {
	q, dst := s.buf(o.Q), s.buf(o.Dst)
	spec := s.prog.KV[o.Layer]
	group := o.Heads / spec.KVHeads
	for lo := 0; lo < q.rows; {
		hi := s.runEnd(lo)
		first := firstSeen(int(s.rows.Pos[lo]), spec.Window)
		last := int(s.rows.Pos[hi-1])
		for kvHead := range spec.KVHeads {
			k, v := s.gather(s.kv[s.rows.Seq[lo]], o.Layer, kvHead, first, last+1)
			parallel((hi-lo)*group, s.lim.Threads, func(a, b int) {
				for u := a; u < b; u++ {
					row, head := lo+u/group, kvHead*group+u%group
					pos := int(s.rows.Pos[row])
					from := firstSeen(pos, spec.Window) - first
					at := head * spec.HeadDim
					attendOne(dst.row(row)[at:at+spec.HeadDim], q.row(row)[at:at+spec.HeadDim], k.rowsOf(from, pos+1-first), v.rowsOf(from, pos+1-first), float64(o.Scale))
				}
			})
		}
		lo = hi
	}
}

// attendOne is softmax(scale * q k^T) v for one query of one head.
func attendOne(dst, q []float32, k, v matrix64, scale float64) {
	qw := make([]float64, len(q))
	widen(qw, q)
	score := make([]float64, k.rows)
	for j := range score {
		score[j] = scale * dot(qw, k.row(j))
	}
	softmax(score)
	acc := make([]float64, len(dst))
	for j, p := range score {
		for c, x := range v.row(j) {
			acc[c] += p * x
		}
	}
	for c := range dst {
		dst[c] = float32(acc[c])
	}
}

func softmax(x []float64) {
	top := math.Inf(-1)
	for _, v := range x {
		top = math.Max(top, v)
	}
	var sum float64
	for i := range x {
		x[i] = math.Exp(x[i] - top)
		sum += x[i]
	}
	for i := range x {
		x[i] /= sum
	}
}

// firstSeen is the first position that a query at pos attends to.
func firstSeen(pos, window int) int {
	if window == 0 {
		return 0
	}
	return max(pos-window+1, 0)
}

// runEnd is the end of the rows that belong to the same sequence as row lo.
func (s step) runEnd(lo int) int {
	hi := lo + 1
	for hi < len(s.rows.Seq) && s.rows.Seq[hi] == s.rows.Seq[lo] {
		hi++
	}
	return hi
}

func (m matrix64) rowsOf(lo, hi int) matrix64 {
	return matrix64{data: m.data[lo*m.width : hi*m.width], rows: hi - lo, width: m.width}
}

// kvAppend writes each row's keys and values to the slot of its position.
func (s step) kvAppend(layer int, k, v matrix) {
	l := s.layouts[layer]
	for i := range k.rows {
		p := pageAt(s.kv[s.rows.Seq[i]], layer, int(s.rows.Pos[i]), l)
		for h := range l.Spec.KVHeads {
			for c := range l.Spec.HeadDim {
				p.set(p.kAt(h, c), k.row(i)[h*l.Spec.HeadDim+c])
				p.set(p.vAt(h, c), v.row(i)[h*l.Spec.HeadDim+c])
			}
		}
	}
}

// gather reads the keys and values [hi-lo, headDim] of positions [lo, hi).
func (s step) gather(q *offload.Seq, layer, head, lo, hi int) (k, v matrix64) {
	l := s.layouts[layer]
	dim := l.Spec.HeadDim
	k = matrix64{data: make([]float64, (hi-lo)*dim), rows: hi - lo, width: dim}
	v = matrix64{data: make([]float64, (hi-lo)*dim), rows: hi - lo, width: dim}
	for pos := lo; pos < hi; pos++ {
		p := pageAt(q, layer, pos, l)
		kr, vr := k.row(pos-lo), v.row(pos-lo)
		for c := range dim {
			kr[c] = p.get(p.kAt(head, c))
			vr[c] = p.get(p.vAt(head, c))
		}
	}
	return k, v
}
