package sample

import (
	"maps"
	"math"
	"slices"
)

// adjuster applies penalties and bias to a private copy of the logits.
type adjuster struct {
	repeat, presence, frequency float32

	window    *tokenBag // prompt and completion, for repeat; nil when off
	ring      []int32   // the tokens in window, oldest at next; nil for the whole history
	next      int
	generated *tokenBag // completion, for presence and frequency; nil when off

	biasIDs []int32
	bias    []float32 // logits, parallel to biasIDs
	work    []float32 // [vocab], the adjusted row
	changes Edits     // scratch of apply
}

// newAdjuster returns nil when p leaves logits as they are.
func newAdjuster(p Params, vocab int) *adjuster {
	a := &adjuster{repeat: p.RepeatPenalty, presence: p.PresencePenalty, frequency: p.FrequencyPenalty}
	if p.RepeatPenalty != 0 && p.RepeatPenalty != 1 {
		a.window = newTokenBag(vocab)
		switch {
		case p.PenaltyLastN == 0:
			a.ring = make([]int32, 0, DefaultPenaltyLastN)
		case p.PenaltyLastN > 0:
			a.ring = make([]int32, 0, p.PenaltyLastN)
		}
	}
	if p.PresencePenalty != 0 || p.FrequencyPenalty != 0 {
		a.generated = newTokenBag(vocab)
	}
	for _, id := range slices.Sorted(maps.Keys(p.LogitBias)) {
		if b := p.LogitBias[id]; b != 0 {
			a.biasIDs = append(a.biasIDs, id)
			a.bias = append(a.bias, b)
		}
	}
	if a.window == nil && a.generated == nil && a.bias == nil {
		return nil
	}
	a.work = make([]float32, vocab)
	return a
}

func (a *adjuster) accept(id int32, generated bool) {
	if a.window != nil {
		a.slide(id)
		a.window.add(id)
	}
	if generated && a.generated != nil {
		a.generated.add(id)
	}
}

// slide makes room for id in the ring and takes the oldest token out of the
// window when the ring is full.
func (a *adjuster) slide(id int32) {
	switch {
	case cap(a.ring) == 0: // the whole history counts
	case len(a.ring) < cap(a.ring):
		a.ring = append(a.ring, id)
	default:
		a.window.remove(a.ring[a.next])
		a.ring[a.next] = id
		a.next = (a.next + 1) % len(a.ring)
	}
}

// apply returns the adjusted row, which is valid until the next call. With ban
// set, a bias of -MaxLogitBias removes its token.
func (a *adjuster) apply(logits []float32, ban bool) []float32 {
	copy(a.work, logits)
	a.edits(&a.changes, ban)
	a.changes.apply(a.work)
	return a.work
}

// edits lists what apply does.
func (a *adjuster) edits(e *Edits, ban bool) {
	e.Repeat, e.Subtract, e.Add = e.Repeat[:0], e.Subtract[:0], e.Add[:0]
	if a.window != nil {
		for _, id := range a.window.ids {
			e.Repeat = append(e.Repeat, Edit{id, a.repeat})
		}
	}
	if a.generated != nil {
		for _, id := range a.generated.ids {
			// The conversion rounds the product: see the package documentation.
			e.Subtract = append(e.Subtract, Edit{id, float32(float32(a.generated.count[id])*a.frequency) + a.presence})
		}
	}
	for i, id := range a.biasIDs {
		b := a.bias[i]
		if ban && b == -MaxLogitBias {
			b = float32(math.Inf(-1)) // an infinite logit becomes NaN, which is no token either
		}
		e.Add = append(e.Add, Edit{id, b})
	}
}

// tokenBag counts tokens and lists the distinct ones, so that a pass over them
// costs their number and not the vocabulary.
type tokenBag struct {
	count []int32 // [vocab] occurrences
	place []int32 // [vocab] index in ids while count > 0
	ids   []int32 // distinct tokens, in no order
}

func newTokenBag(vocab int) *tokenBag {
	return &tokenBag{count: make([]int32, vocab), place: make([]int32, vocab)}
}

func (b *tokenBag) holds(id int32) bool { return id >= 0 && int(id) < len(b.count) }

func (b *tokenBag) add(id int32) {
	if !b.holds(id) {
		return
	}
	if b.count[id] == 0 {
		b.place[id] = int32(len(b.ids))
		b.ids = append(b.ids, id)
	}
	b.count[id]++
}

func (b *tokenBag) remove(id int32) {
	if !b.holds(id) {
		return
	}
	b.count[id]--
	if b.count[id] == 0 {
		last := b.ids[len(b.ids)-1]
		b.ids[b.place[id]] = last
		b.place[last] = b.place[id]
		b.ids = b.ids[:len(b.ids)-1]
	}
}
