package backendtest

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"edged/infer/ref"
	"edged/offload"
	"edged/pinnedmem"
)

// shareSlack is by how much the logarithms of two pages' shares may differ and
// the shares still be taken for equal: scores are sums of float32.
const shareSlack = 1e-3

// choiceJudge looks at the working sets before and after every decode step.
type choiceJudge struct {
	t            *testing.T
	toy          *cacheToy
	got, want    *rig
	before       map[setKey][]int
	differ       []bool // rows of the last step whose choices are not the reference's
	chosen, ties int
}

// setKey names a KV head's working set of a sequence of the rig that is judged.
type setKey struct {
	seq         *offload.Seq
	layer, head int
}

// skip says whether a row's logits cannot be compared: it attended to other
// pages of equal weight.
func (j *choiceJudge) skip(row int) bool { return j.differ != nil && j.differ[row] }

func (j *choiceJudge) eachSet(step []*twin, do func(row, layer, head int, w *twin)) {
	for row, w := range step {
		for i := range j.got.layers() {
			for head := range j.toy.shape.kvHeads {
				do(row, i, head, w)
			}
		}
	}
}

func (j *choiceJudge) remember(step []*twin) {
	j.before = map[setKey][]int{}
	j.eachSet(step, func(_, layer, head int, w *twin) {
		j.before[setKey{w.q[0], layer, head}] = setOf(w.q[0], layer, head).pages()
	})
}

func (j *choiceJudge) look(step []*twin) {
	j.t.Helper()
	j.differ = make([]bool, len(step))
	j.eachSet(step, func(row, layer, head int, w *twin) {
		for _, q := range w.q {
			if err := setOf(q, layer, head).check(); err != nil {
				j.t.Fatalf("layer %d, head %d: %v", layer, head, err)
			}
		}
		if err := j.choice(layer, head, w); err != nil {
			j.t.Fatalf("layer %d, head %d: %v", layer, head, err)
		}
		got, want := setOf(w.q[0], layer, head), setOf(w.q[1], layer, head)
		if !slices.Equal(got.pages(), want.pages()) {
			j.ties++
			j.differ[row] = true
			want.become(got)
		}
	})
}

// choice judges one KV head's working set against what it was.
func (j *choiceJudge) choice(layer, head int, w *twin) error {
	q := w.q[0]
	held, had := setOf(q, layer, head).pages(), j.before[setKey{q, layer, head}]
	plan := q.Pool().Plan(layer)
	pages := q.Stored() / offload.ColdTok
	if len(held) != min(pages, plan.Budget) {
		return fmt.Errorf("%d of %d pages are held with a budget of %d", len(held), pages, plan.Budget)
	}
	if pages <= plan.Budget {
		return nil // all are
	}
	if held[0] != 0 || held[len(held)-1] != pages-1 {
		return fmt.Errorf("%v of %d pages leaves out the first or the last", held, pages)
	}
	j.chosen++
	x := exchanged{share: ref.Shares(q, layer, head, j.toy.queries(layer, w.tok[len(w.tok)-1], head), j.toy.scale, had)}
	for _, p := range had {
		x.share[p] += float64(plan.Gain)
	}
	x.share[0], x.share[pages-1] = math.Inf(1), math.Inf(1)
	for p := range pages {
		switch is, was := slices.Contains(held, p), slices.Contains(had, p); {
		case is && was:
			x.kept = append(x.kept, p)
		case is:
			x.in = append(x.in, p)
		case was:
			x.out = append(x.out, p)
		default:
			x.never = append(x.never, p)
		}
	}
	return x.check(plan.Exchange)
}

// exchanged are the pages of a sequence by what a step did with them.
type exchanged struct {
	share                []float64
	kept, in, out, never []int
}

// check compares shares: what came in is worth most of what was outside, what
// left least of what was held, and where more might have been exchanged,
// nothing outside is worth more than what is held.
func (x exchanged) check(most int) error {
	n := len(x.out)
	if n > most {
		return fmt.Errorf("%v was exchanged for %v, more than %d", x.out, x.in, most)
	}
	if err := x.beats(x.in, x.never); err != nil {
		return err
	}
	if err := x.beats(x.kept, x.out); err != nil {
		return err
	}
	if n == most {
		return nil
	}
	return x.beats(append(slices.Clone(x.in), x.kept...), append(slices.Clone(x.out), x.never...))
}

// beats checks that no page of a loser's is clearly worth more than a winner.
func (x exchanged) beats(winners, losers []int) error {
	for _, w := range winners {
		for _, l := range losers {
			if x.share[l] > x.share[w]+shareSlack {
				return fmt.Errorf("page %d with a share of e^%g is held rather than page %d with e^%g", w, x.share[w], l, x.share[l])
			}
		}
	}
	return nil
}

// workingSet is one KV head's set as a pool keeps it.
type workingSet struct {
	layerSeq
	head    int
	list    []uint32 // length, pages, places
	records []byte
}

func setOf(q *offload.Seq, layer, head int) workingSet {
	l := layerOf(q, layer)
	m := l.mem
	if q.Set() < 0 {
		return workingSet{layerSeq: l, head: head, list: []uint32{0}}
	}
	at := q.Set()*m.Plan.KVHeads + head
	n := m.Plan.Budget * m.Record.Bytes
	return workingSet{l, head, pinnedmem.View[uint32](m.Chosen[at*m.ChosenBytes:][:m.ChosenBytes]), m.Sets[at*n:][:n]}
}

func (s workingSet) pages() []int {
	var pages []int
	for _, p := range s.list[1:][:s.list[0]] {
		pages = append(pages, int(p))
	}
	return pages
}

// check says whether pages are in order, places are each other's, and records
// what the cold ones are.
func (s workingSet) check() error {
	pages, places := s.pages(), s.list[1+s.mem.Plan.Budget:]
	if !slices.IsSorted(pages) || len(slices.Compact(slices.Clone(pages))) != len(pages) {
		return fmt.Errorf("pages are not in order: %v", pages)
	}
	if all := slices.Sorted(slices.Values(places)); len(slices.Compact(all)) != s.mem.Plan.Budget || int(all[len(all)-1]) >= s.mem.Plan.Budget {
		return fmt.Errorf("places are not each other's: %v", places)
	}
	for i, p := range pages {
		if held := s.place(i); !slices.Equal(held, s.record(p*offload.ColdTok, s.head)) {
			return fmt.Errorf("place %d does not hold page %d's record", places[i], p)
		}
	}
	return nil
}

// place is the memory of the i-th page's record.
func (s workingSet) place(i int) []byte {
	n := s.mem.Record.Bytes
	return s.records[int(s.list[1+s.mem.Plan.Budget+i])*n:][:n]
}

// become lets a set hold the same pages as another one.
func (s workingSet) become(x workingSet) {
	copy(s.list, x.list)
	for i, p := range s.pages() {
		copy(s.place(i), s.record(p*offload.ColdTok, s.head))
	}
}
