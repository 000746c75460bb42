package offload

import "fmt"

// Reach says which of a sequence's tokens its last decode step attended to, for
// people to see. Layers that attend to all of their tokens, or to a window, are
// counted and not described.
type Reach struct {
	Tokens int // of the sequence
	Layers int // of the model
	Sparse int // of them, those that attend to chosen tokens
	// Share is [spans]: of the tokens of each of equal spans, the part that a KV
	// head of a sparse layer attended to, 0 to 1, in the mean over those heads. It
	// is nil without sparse layers: everything was attended to.
	Share []float32
}

// Reach describes the sequence in so many spans at most: no span is less than one
// token. It reads lists of choices in the fast tier, and takes one step's worth of
// small reads.
func (s *Seq) Reach(spans int) (Reach, error) {
	r := Reach{Tokens: s.nTok, Layers: len(s.pool.layers)}
	lists, err := s.pool.readLists(s.set, s.slot)
	if err != nil {
		return r, fmt.Errorf("describe a step's reach: %w", err)
	}
	var heads int
	sum := newTally(s.nTok, spans)
	for i := range s.pool.layers {
		l := &s.pool.layers[i]
		if !l.Class.Cold() {
			continue
		}
		r.Sparse++
		heads += l.KVHeads
		sum.add(s.stored, s.nTok, l.KVHeads) // the tail is always attended to
		for head := range l.KVHeads {
			if lists.all[i] != nil {
				sum.addChosen(l.Class, lists.of(i, head), s.stored)
			}
		}
	}
	if r.Sparse > 0 {
		r.Share = sum.share(heads)
	}
	return r, nil
}

// addChosen counts what a KV head of a cold layer has chosen.
func (t *tally) addChosen(c Class, list []uint32, stored int) {
	unit := 1
	if c == Paged {
		unit = ColdTok
	}
	for _, x := range list[1 : 1+list[0]] {
		t.add(int(x)*unit, min(int(x+1)*unit, stored), 1)
	}
}

// tally counts tokens by spans of equal length; the last may be shorter.
type tally struct {
	tokens, span int
	n            []int // [spans]
}

func newTally(tokens, spans int) *tally {
	span := max(unitsFor(tokens, max(spans, 1)), 1)
	return &tally{tokens: tokens, span: span, n: make([]int, unitsFor(tokens, span))}
}

// add counts positions [from, to) a number of times.
func (t *tally) add(from, to, times int) {
	for from < to {
		i := from / t.span
		end := min((i+1)*t.span, to)
		t.n[i] += (end - from) * times
		from = end
	}
}

// share is the mean over a number of heads.
func (t *tally) share(heads int) []float32 {
	out := make([]float32, len(t.n))
	for i, n := range t.n {
		length := min((i+1)*t.span, t.tokens) - i*t.span
		out[i] = float32(n) / float32(length*heads)
	}
	return out
}
