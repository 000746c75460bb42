package ref

import (
	"math"

	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

// peaks are the largest |K| [headDim] that a KV head has stored: an upper bound
// where a sequence was cut or a prompt cancelled.
func (v view) peaks(head int) []float32 {
	dim := v.mem.Plan.HeadDim
	return pinnedmem.View[float32](nth(v.mem.Peaks, v.q.Slot()*v.mem.Plan.KVHeads+head, 4*dim))
}

// raisePeaks takes one channel of new keys into account. What is no number
// counts as infinite, so that its channel is always streamed.
func (v view) raisePeaks(head, channel int, keys []float32) {
	peak := &v.peaks(head)[channel]
	for _, k := range keys {
		*peak = max(*peak, float32(math.Abs(float64(k))))
	}
	if math.IsNaN(float64(*peak)) {
		*peak = float32(math.Inf(1))
	}
}

// fetchTokens counts what the choice of a Gathered layer brings to the fast
// tier; the reference reads it where it lies.
func (s step) fetchTokens(layer int) {
	p := s.lim.KV[layer]
	for seq := range s.kv {
		for head := range s.choices[seq] {
			v := s.view(seq, layer)
			n := len(s.choices[seq][head].pages)
			t := offload.Traffic{
				Pages:     int64(v.stored / offload.PageTok),
				Chosen:    int64((n + offload.PageTok - 1) / offload.PageTok),
				Fetched:   int64(n * 2 * p.HeadDim * 2),
				ColdBytes: int64(v.stored / p.Group * v.mem.Record.Once()),
			}
			if n < v.stored {
				t.Streamed = int64(v.stored * p.Channels * 2)
			}
			v.q.Pool().Count(t)
		}
	}
}

// attendGathered attends from a decode row to the chosen tokens of records and
// to the exact tokens behind all records.
func (s step) attendGathered(o graph.Attend, row, kvHead int) {
	spec := s.prog.KV[o.Layer]
	group := o.Heads / spec.KVHeads
	seq := int(s.rows.Seq[row])
	v := s.view(seq, o.Layer)
	at := append([]int(nil), s.choices[seq][kvHead].pages...)
	for pos := v.stored; pos <= int(s.rows.Pos[row]); pos++ {
		at = append(at, pos)
	}
	k, val := newMatrix64(len(at), spec.HeadDim), newMatrix64(len(at), spec.HeadDim)
	for i, pos := range at {
		v.token(pos, kvHead, k.row(i), val.row(i))
	}
	for g := range group {
		head := kvHead*group + g
		attendOne(s.head(o.Dst, row, head, spec), s.head(o.Q, row, head, spec), k, val, float64(o.Scale), rest{})
	}
}
