package backendtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/x448/float16"

	"edged/infer/ref"
	"edged/offload"
)

// scoreSlack is by how much, of the largest score, two tokens' scores may
// differ and still be taken for equal: they are sums of float32.
const scoreSlack = 1e-5

// tokenJudge looks at the choices of gathered layers after every decode step.
type tokenJudge struct {
	t            *testing.T
	toy          *cacheToy
	differ       []bool // rows of the last step whose choices are not the reference's
	chosen, ties int
}

func (j *tokenJudge) look(step []*twin) {
	j.t.Helper()
	j.differ = make([]bool, len(step))
	for row, w := range step {
		spoilWork(w.q[0])
		for layer := range w.q[0].Pool().Layers() {
			if w.q[0].Pool().Plan(layer).Class != offload.Gathered {
				continue
			}
			for head := range j.toy.shape.kvHeads {
				if !j.choice(layer, head, w) {
					j.differ[row] = true
				}
			}
		}
	}
}

// spoilWork leaves NaN where the next step gathers: a place without a token must
// not be read.
func spoilWork(q *offload.Seq) {
	work := q.Pool().Work(q.Slot())
	for i := range work {
		work[i] = 0xff
	}
}

// choice judges one KV head's choice and says whether it is the reference's.
func (j *tokenJudge) choice(layer, head int, w *twin) bool {
	j.t.Helper()
	got, want := chosenTokens(layerOf(w.q[0], layer), head), chosenTokens(layerOf(w.q[1], layer), head)
	tokens, plan := w.q[0].Stored(), w.q[0].Pool().Plan(layer)
	n := min(tokens, plan.Budget)
	if len(got) != n || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != n || n > 0 && (got[0] < 0 || got[n-1] >= tokens) {
		j.fail(layer, head, "%v was chosen of %d tokens with a budget of %d", got, tokens, plan.Budget)
	}
	if n == tokens {
		return true
	}
	if plan.Sink > 0 && got[plan.Sink-1] != plan.Sink-1 {
		j.fail(layer, head, "%v leaves out some of the first %d tokens", got, plan.Sink)
	}
	j.chosen++
	score := ref.TokenScores(w.q[0], layer, head, j.toy.queries(layer, w.tok[len(w.tok)-1], head))
	if err := topScores(score, plan.Sink, got); err != nil {
		j.fail(layer, head, "%v", err)
	}
	if !slices.Equal(got, want) {
		j.ties++
		return false
	}
	return true
}

// topScores checks that no token behind the sink that was left out beats a
// chosen one clearly.
func topScores(score []float64, sink int, chosen []int) error {
	least, most, at, out, top := math.Inf(1), math.Inf(-1), 0, 0, 0.0
	for i := sink; i < len(score); i++ {
		top = math.Max(top, math.Abs(score[i]))
		if _, in := slices.BinarySearch(chosen, i); in && score[i] < least {
			least, at = score[i], i
		} else if !in && score[i] > most {
			most, out = score[i], i
		}
	}
	if most > least+scoreSlack*top {
		return fmt.Errorf("token %d with a score of %g was chosen rather than token %d with %g", at, least, out, most)
	}
	return nil
}

// peaksOf checks that a layer's peaks are at least the largest |K| of every
// channel, or just that where the sequence was never cut and no prompt
// cancelled.
func peaksOf(q *offload.Seq, layer int, just bool) error {
	l := layerOf(q, layer)
	dim := l.mem.Plan.HeadDim
	for head := range l.mem.Plan.KVHeads {
		top := make([]float32, dim)
		for pos := 0; pos < q.Stored(); pos += gatheredGroup {
			u := l.unpack(pos, head)
			for i := range gatheredGroup * dim { // keys come first
				k := float16.Frombits(u.halves[i]).Float32()
				c := i / offload.PageTok % dim
				top[c] = max(top[c], float32(math.Abs(float64(k))))
			}
		}
		for c, want := range top {
			at := ((q.Slot()*l.mem.Plan.KVHeads+head)*dim + c) * 4
			peak := math.Float32frombits(binary.NativeEndian.Uint32(l.mem.Peaks[at:]))
			if peak < want || just && peak != want {
				return fmt.Errorf("layer %d, head %d: the peak of channel %d is %g, its largest key %g", layer, head, c, peak, want)
			}
		}
	}
	return nil
}

// rowsOf checks that the rows of a layer's keys are what stands channel by channel.
func rowsOf(q *offload.Seq, layer int) error {
	l := layerOf(q, layer)
	r := l.mem.Record
	for head := range l.mem.Plan.KVHeads {
		for pos := range q.Stored() {
			row, run := l.record(pos, head)[r.KRows+pos%r.Group*r.Dim*2:], l.record(pos, head)[pos%r.Group/offload.PageTok*r.Dim*r.KRow:]
			for c := range r.Dim {
				if got, want := row[2*c:][:2], run[c*r.KRow+pos%offload.PageTok*2:][:2]; !bytes.Equal(got, want) {
					return fmt.Errorf("layer %d, head %d: channel %d of token %d is %x in its row, %x beside its neighbours", layer, head, c, pos, got, want)
				}
			}
		}
	}
	return nil
}

// chosenTokens are the positions that the last step chose.
func chosenTokens(l layerSeq, head int) []int {
	m := l.mem
	list := m.Chosen[(l.q.Slot()*m.Plan.KVHeads+head)*m.ChosenBytes:][:m.ChosenBytes]
	tokens := make([]int, binary.NativeEndian.Uint32(list))
	for i := range tokens {
		tokens[i] = int(binary.NativeEndian.Uint32(list[4+4*i:]))
	}
	return tokens
}
