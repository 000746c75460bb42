package ref

import (
	"math"

	"edged/infer/graph"
	"edged/offload"
)

// attend gives every query row the softmax-weighted mean of its sequence's
// values, one KV head and its group of query heads at a time.
func (s step) attend(o graph.Attend) {
	for lo := 0; lo < len(s.rows.Seq); lo = s.runEnd(lo) {
		for kvHead := range s.prog.KV[o.Layer].KVHeads {
			switch {
			case s.chooses(o.Layer):
				s.attendChosen(o, lo, kvHead)
			case s.gathers(o.Layer):
				s.attendGathered(o, lo, kvHead)
			default:
				s.attendAll(o, lo, s.runEnd(lo), kvHead)
			}
		}
	}
}

// attendAll attends from rows [lo, hi) to all tokens that they see.
func (s step) attendAll(o graph.Attend, lo, hi, kvHead int) {
	spec := s.prog.KV[o.Layer]
	group := o.Heads / spec.KVHeads
	first := firstSeen(int(s.rows.Pos[lo]), spec.Window)
	k, v := s.view(int(s.rows.Seq[lo]), o.Layer).gather(kvHead, first, int(s.rows.Pos[hi-1])+1)
	parallel((hi-lo)*group, s.lim.Threads, func(a, b int) {
		for u := a; u < b; u++ {
			row, head := lo+u/group, kvHead*group+u%group
			pos := int(s.rows.Pos[row])
			from := firstSeen(pos, spec.Window) - first
			attendOne(s.head(o.Dst, row, head, spec), s.head(o.Q, row, head, spec), k.rowsOf(from, pos+1-first), v.rowsOf(from, pos+1-first), float64(o.Scale), rest{})
		}
	})
}

// attendChosen attends from a decode row to the chosen records, to the exact
// tokens behind all records, and to what stands for the rest.
func (s step) attendChosen(o graph.Attend, row, kvHead int) {
	spec := s.prog.KV[o.Layer]
	group := o.Heads / spec.KVHeads
	seq := int(s.rows.Seq[row])
	w, c := s.view(seq, o.Layer), s.choices[seq][kvHead]
	k, v := w.gather(kvHead, w.stored, int(s.rows.Pos[row])+1)
	k, v = w.prepend(c.records, k, v)
	for g := range group {
		head := kvHead*group + g
		attendOne(s.head(o.Dst, row, head, spec), s.head(o.Q, row, head, spec), k, v, float64(o.Scale), c.rest[g])
	}
}

// head is one head's part of a row.
func (s step) head(b graph.Buf, row, head int, spec offload.LayerSpec) []float32 {
	return s.buf(b).row(row)[head*spec.HeadDim : (head+1)*spec.HeadDim]
}

// attendOne is softmax(scale * q k^T) v for one query of one head.
func attendOne(dst, q []float32, k, v matrix64, scale float64, r rest) {
	qw := make([]float64, len(q))
	widen(qw, q)
	score := make([]float64, k.rows, k.rows+len(r.weight))
	for j := range score {
		score[j] = scale * dot(qw, k.row(j))
	}
	score = append(score, r.weight...)
	softmax(score)
	acc := make([]float64, len(dst))
	for j, p := range score {
		row := r.value
		if j < v.rows {
			row = v
		} else {
			j -= v.rows
		}
		for c, x := range row.row(j) {
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
	spec := s.prog.KV[layer]
	for i := range k.rows {
		p := s.view(int(s.rows.Seq[i]), layer).exact(int(s.rows.Pos[i]))
		for h := range spec.KVHeads {
			for c := range spec.HeadDim {
				p.set(p.kAt(h, c), k.row(i)[h*spec.HeadDim+c])
				p.set(p.vAt(h, c), v.row(i)[h*spec.HeadDim+c])
			}
		}
	}
}

// gather reads the keys and values [hi-lo, headDim] of positions [lo, hi).
func (v view) gather(head, lo, hi int) (k, val matrix64) {
	k, val = newMatrix64(hi-lo, v.mem.Plan.HeadDim), newMatrix64(hi-lo, v.mem.Plan.HeadDim)
	for pos := lo; pos < hi; pos++ {
		v.token(pos, head, k.row(pos-lo), val.row(pos-lo))
	}
	return k, val
}

// prepend puts the tokens of records before k and val.
func (v view) prepend(records [][]byte, k, val matrix64) (matrix64, matrix64) {
	n := len(records) * offload.ColdTok
	ks, vs := newMatrix64(n+k.rows, k.width), newMatrix64(n+k.rows, k.width)
	for i := range n {
		r := record{at: v.mem.Record, b: records[i/offload.ColdTok]}
		r.token(i%offload.ColdTok, ks.row(i), vs.row(i))
	}
	copy(ks.data[n*k.width:], k.data)
	copy(vs.data[n*k.width:], val.data)
	return ks, vs
}
