package infer

import (
	"edged/infer/graph"
	"edged/infer/sample"
)

// ask lets the tasks of the step being built say what they need of their logits:
// a backend may then leave the rows where they are.
func (o *owner) ask() {
	for _, t := range o.parts {
		if t.rows == t.pending() {
			o.rows.Ask = append(o.rows.Ask, t.ask())
		}
	}
}

// ask is nil where the task needs all logits, and where something is wrong, which
// accept will meet again and report.
func (t *task) ask() (a *sample.Ask) {
	var err error
	defer func() {
		if err != nil {
			a = nil
		}
	}()
	defer catch(&err)
	var allowed []uint64
	if allowed, err = t.mask(); err != nil {
		return nil
	}
	return t.sampler.Ask(allowed)
}

// mask is the tokens that may come next, nil where all may.
func (t *task) mask() ([]uint64, error) {
	if t.matcher == nil || t.allowed != nil {
		return t.allowed, nil
	}
	allowed, err := t.matcher.Mask()
	if err != nil {
		return nil, t.grammarError(err)
	}
	t.allowed = allowed
	return allowed, nil
}

// pick is a token, and the logits that it was chosen of: narrowed, or whole.
type pick struct {
	sample.Choice
	narrow *sample.Narrow
	row    []float32
}

// pick chooses a token from one row of a step's logits.
func (t *task) pick(l graph.Logits, row int) (p pick, err error) {
	allowed, err := t.mask()
	if err != nil {
		return p, err
	}
	if p.narrow = l.Narrowed(row); p.narrow != nil {
		var enough bool
		if p.Choice, enough = t.sampler.Choose(p.narrow); enough {
			t.narrowed++
			return p, nil
		}
		p.narrow = nil
	}
	if p.row, err = l.Whole(row); err != nil {
		return p, err
	}
	if p.Choice = t.sampler.SampleAllowed(p.row, allowed); p.ID == sample.NoToken {
		return p, ErrNoLogits
	}
	return p, nil
}

// tops appends the most probable tokens to dst.
func (p *pick) tops(dst []sample.TokenProb, most int) []sample.TokenProb {
	if p.narrow != nil {
		return p.narrow.TopLogprobs(dst, most)
	}
	return sample.TopLogprobs(dst, p.row, most)
}
