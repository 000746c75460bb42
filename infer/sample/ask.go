package sample

import "math"

// Limits of what a device is asked, so that it can have the memory beforehand.
const (
	MaxKeys  = 128  // best tokens that a Narrow lists
	MaxEdits = 2048 // logits that an Ask changes
)

// Edits change logits, one kind after the other. A kind names a token at most once.
type Edits struct {
	Repeat   []Edit // divides positive logits, multiplies others
	Subtract []Edit
	Add      []Edit // minus infinity bans
}

// Edit changes the logit of one token.
type Edit struct {
	ID    int32
	Value float32
}

// Len is the number of edits of all kinds.
func (e *Edits) Len() int { return len(e.Repeat) + len(e.Subtract) + len(e.Add) }

// apply changes a row. Products are rounded by conversions: see the package
// documentation.
func (e *Edits) apply(row []float32) {
	for _, d := range e.Repeat {
		if l := row[d.ID]; l > 0 {
			row[d.ID] = l / d.Value
		} else {
			row[d.ID] = float32(l * d.Value)
		}
	}
	for _, d := range e.Subtract {
		row[d.ID] -= d.Value
	}
	for _, d := range e.Add {
		row[d.ID] += d.Value
	}
}

// Ask is what a [Sampler] has to know of a row of logits that lies elsewhere. Its
// answer, a [Narrow], is a thousandth of the row.
type Ask struct {
	Mask  []uint64 // tokens that may be chosen, as for SampleAllowed; nil stands for all
	Edits Edits    // of the logits, after the mask

	Total bool // Narrow.Total is wanted
	// Scale is not 0 where Narrow.Drawn is wanted: the token at Quantile, in [0, 1),
	// of the distribution of e^(Scale * logit).
	Scale, Quantile float64
}

// Narrow is what is left of a row, [vocab]float32, of which a token is chosen. All
// of it is of the masked and edited logits. Equal logits give an equal Narrow on
// every device: sums are made in blocks of [SumBlock] logits.
type Narrow struct {
	// Keys are the best tokens, best first and the lower id first among equals: at
	// most MaxKeys, and less only where no more are above minus infinity. A key is
	// a token's id, and above that 32 bits that order logits, see [NewKey].
	Keys  []uint64
	Total float64 // sum of e^(logit - largest logit) over the row
	Drawn int32   // NoToken where none was wanted, or there is none
	Logit float32 // of Drawn
}

// NewKey is the key of a token: the smaller it is, the better.
func NewKey(logit float32, id int32) uint64 { return uint64(newCandidate(logit, id)) }

// Fill narrows a row as asked, which it does not modify. It is what devices are
// judged by, and allocates.
func (n *Narrow) Fill(a *Ask, logits []float32) {
	row := logits
	if a.Mask != nil {
		row = make([]float32, len(logits))
		mask(row, logits, a.Mask)
	} else if a.Edits.Len() > 0 {
		row = append([]float32(nil), logits...)
	}
	a.Edits.apply(row)
	*n = Narrow{Keys: n.Keys[:0], Drawn: NoToken}
	for _, c := range selectTop(nil, row, MaxKeys) {
		n.Keys = append(n.Keys, uint64(c))
	}
	if len(n.Keys) == 0 {
		return
	}
	var p pool
	p.reset(row, candidate(n.Keys[0]).logit())
	if a.Total {
		n.Total = sumExp(row, p.top, 1)
	}
	if a.Scale != 0 {
		n.Drawn = p.drawRow(a.Scale, a.Quantile)
		n.Logit = row[n.Drawn]
	}
}

// TopLogprobs is the function of that name for a row that was narrowed without mask
// and edits, and with Total.
func (n *Narrow) TopLogprobs(dst []TokenProb, most int) []TokenProb {
	for _, k := range n.Keys[:min(max(most, 0), len(n.Keys))] {
		c := candidate(k)
		dst = append(dst, TokenProb{ID: c.id(), Logprob: n.logprob(c.logit())})
	}
	return dst
}

// logprob is the log-softmax of a logit of the row.
func (n *Narrow) logprob(l float32) float32 {
	return logSoftmax(l, finiteMax(candidate(n.Keys[0]).logit()), ln(n.Total))
}

// Ask says what Choose needs of the next row, and nil where that is all of it:
// more than MaxKeys tokens or MaxEdits edits, typical sampling of all tokens, log
// probabilities of logits that are not what tokens are chosen by. What it returns
// is valid until the next call.
func (s *Sampler) Ask(allowed []uint64) *Ask {
	if allowed != nil && len(allowed) != maskWords(s.vocab) {
		return nil
	}
	a := &s.ask
	*a = Ask{Mask: allowed, Total: s.p.Logprobs, Edits: a.Edits}
	if s.adjust != nil {
		s.adjust.edits(&a.Edits, true)
	}
	if a.Edits.Len() > MaxEdits || s.p.Logprobs && (allowed != nil || s.adjust != nil) {
		return nil
	}
	if s.p.Temperature == 0 {
		return a
	}
	switch k := s.p.topK(s.vocab); {
	case k > MaxKeys || k == 0 && s.p.hasTypical():
		return nil
	case k > 0 || !s.p.hasTopP() && s.p.MinP > 0:
	case s.p.hasTopP():
		a.Total = true
	default:
		a.Scale, a.Quantile = 1/float64(s.p.Temperature), s.quantile()
	}
	return a
}

// Choose is SampleAllowed for a row that was narrowed as Ask said. It returns false
// where that turns out to be too little, because the tokens that may be drawn are
// more than MaxKeys or because biases ban all of them: then SampleAllowed has to
// choose from the whole row, and will draw the token that it would have without Ask.
func (s *Sampler) Choose(n *Narrow) (Choice, bool) {
	choice := Choice{ID: NoToken, Logprob: float32(math.NaN())}
	if len(n.Keys) == 0 {
		return choice, false
	}
	best := candidate(n.Keys[0])
	choice.ID = best.id()
	logit := best.logit()
	switch {
	case s.p.Temperature == 0:
	case s.ask.Scale != 0:
		choice.ID, logit = n.Drawn, n.Logit
		s.drawn = false
	default:
		if s.sparse == nil {
			s.sparse = make([]float32, s.vocab)
		}
		if !s.pool.narrow(s.sparse, n, &s.p) {
			return choice, false
		}
		choice.ID = s.pool.draw(s.p.Temperature, s.quantile())
		logit, s.drawn = s.sparse[choice.ID], false
	}
	if s.p.Logprobs {
		choice.Logprob = n.logprob(logit)
	}
	return choice, true
}
