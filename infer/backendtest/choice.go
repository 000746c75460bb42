package backendtest

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"testing"

	"edged/infer/ref"
	"edged/offload"
)

// shareSlack is by how much, relative to each other, two pages' shares may
// differ and still be taken for equal: scores are sums of float32.
const shareSlack = 1e-3

// testChoice lets decode steps attend to fewer pages than there are.
func (s *suite) testChoice(t *testing.T) {
	for i, shape := range s.shapes()[len(stored)-1:] {
		elem := stored[(int(s.seed%uint64(len(stored)))+i)%len(stored)]
		t.Run(fmt.Sprintf("%s/%s", elem, shape), func(t *testing.T) { s.choiceCase(t, shape, elem) })
	}
}

func (s *suite) choiceCase(t *testing.T, shape headShape, elem offload.Elem) {
	rng := s.rng(t)
	budget := 2 + rng.IntN(5)
	hots := []int{0, 2, budget, budget + 3, 4 * budget}
	tail := offload.PageTok * (2 + rng.IntN(2))
	var plans []offload.LayerPlan
	for range 2 {
		plan := pagedPlan(shape.spec(0), elem, tail, budget, hots[rng.IntN(len(hots))])
		plans = append(plans, estimated(plan, rng.IntN(2) == 0))
	}
	toy := newCacheToy(t, rng, shape, 1+3*rng.Float64(), plans)
	p := s.pair(t, toy.prog, toy.limits(plans))
	j := &choiceJudge{t: t, toy: toy, got: p.got, want: p.want}
	l := &lockstep{t: t, rng: rng, rigs: []*rig{p.got, p.want}, seqs: make([]*twin, 3), tokens: toy.tokens, most: 620, longest: 200}
	l.decoded = j.look
	l.check = func(what string, got []rows) {
		t.Helper()
		for i := range got[0] {
			if j.skip(i) {
				continue
			}
			if err := s.opt.Tolerance.Attend.compare(got[0][i], got[1][i]); err != nil {
				t.Fatalf("%s: row %d of %d: %v", what, i, len(got[0]), err)
			}
		}
		j.differ = nil
	}
	l.open(0)
	l.prompt(l.seqs[0], 350)
	for range 20 {
		l.decode()
	}
	l.run(5)
	if j.chosen == 0 {
		t.Error("no step had to choose")
	}
	if j.ties > j.chosen/10 {
		t.Errorf("%d of %d choices differ from the reference's", j.ties, j.chosen)
	}
	if j.ties == 0 {
		sameTraffic(t, p.got.pool.Traffic(), p.want.pool.Traffic())
	}
}

// choiceJudge looks at the choices and the hot caches after every decode step.
type choiceJudge struct {
	t            *testing.T
	toy          *cacheToy
	got, want    *rig
	differ       []bool // rows of the last step whose choices are not the reference's
	chosen, ties int
}

// skip says whether a row's logits cannot be compared: it attended to other
// pages of equal weight.
func (j *choiceJudge) skip(row int) bool { return j.differ != nil && j.differ[row] }

func (j *choiceJudge) look(step []*twin) {
	j.t.Helper()
	j.differ = make([]bool, len(step))
	for i := range j.got.layers() {
		for row, w := range step {
			for head := range j.toy.shape.kvHeads {
				if !j.choice(i, head, w) {
					j.differ[row] = true
				}
			}
		}
		for _, r := range []*rig{j.got, j.want} {
			j.hot(r, i)
		}
		if len(step) == 1 {
			j.present(step[0].q[0], i)
		}
	}
}

// choice judges one KV head's choice and says whether it is the reference's.
func (j *choiceJudge) choice(layer, head int, w *twin) bool {
	j.t.Helper()
	got, want := chosenPages(j.t, w.q[0], layer, head), chosenPages(j.t, w.q[1], layer, head)
	pages, budget := w.q[0].Stored()/offload.PageTok, w.q[0].Pool().Plan(layer).Budget
	if len(got) != min(pages, budget) || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
		j.t.Fatalf("layer %d, head %d: %v was chosen of %d pages with a budget of %d", layer, head, got, pages, budget)
	}
	if pages <= budget {
		return true // all were
	}
	if got[0] != 0 || got[len(got)-1] != pages-1 {
		j.t.Fatalf("layer %d, head %d: %v of %d pages leaves out the first or the last", layer, head, got, pages)
	}
	j.chosen++
	q := j.toy.queries(layer, w.tok[len(w.tok)-1], head)
	if err := topShares(ref.Shares(w.q[0], layer, head, q, j.toy.scale), got); err != nil {
		j.t.Fatalf("layer %d, head %d: %v", layer, head, err)
	}
	if !slices.Equal(got, want) {
		j.ties++
		return false
	}
	return true
}

// topShares checks that no page that was left out beats a chosen one clearly.
// The first and the last page are chosen whatever they are worth.
func topShares(share []float64, chosen []int) error {
	least, most, at, out := math.Inf(1), 0.0, 0, 0
	for i := 1; i < len(share)-1; i++ {
		if _, in := slices.BinarySearch(chosen, i); in && share[i] < least {
			least, at = share[i], i
		} else if !in && share[i] > most {
			most, out = share[i], i
		}
	}
	if most > least*(1+shareSlack) {
		return fmt.Errorf("page %d with a share of %g was chosen rather than page %d with %g", at, least, out, most)
	}
	return nil
}

// chosenPages are the pages of a sequence that the last step chose.
func chosenPages(t *testing.T, q *offload.Seq, layer, head int) []int {
	t.Helper()
	var pages []int
	for _, id := range chosenIDs(layerOf(q, layer), head) {
		block := slices.Index(q.Table(layer), uint32(id/blockPages))
		if block < 0 {
			t.Fatalf("layer %d, head %d: page %d of block %d is not the sequence's", layer, head, id%blockPages, id/blockPages)
		}
		pages = append(pages, block*blockPages+id%blockPages)
	}
	return pages
}

const blockPages = offload.BlockTok / offload.PageTok

func chosenIDs(l layerSeq, head int) []int {
	m := l.mem
	list := m.Chosen[(l.q.Slot()*m.Plan.KVHeads+head)*m.ChosenBytes:][:m.ChosenBytes]
	ids := make([]int, binary.NativeEndian.Uint32(list))
	for i := range ids {
		ids[i] = int(binary.NativeEndian.Uint32(list[4+4*i:]))
	}
	return ids
}
