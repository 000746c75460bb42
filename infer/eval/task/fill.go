package task

import (
	"errors"
	"fmt"
)

// filling looks for the document that makes a conversation of the wanted
// length. A document of a million tokens is worth few counts, so it estimates
// the tokens of a unit from the counts that it has.
type filling struct {
	plan
	spec  Spec
	count func(string) (int, error)
	fixed int // tokens of everything but the first message's text
}

// trial is a document of n units in a conversation of so many tokens.
type trial struct {
	n, tokens int
	text      string // of the first message
}

func (f *filling) fill() (string, int, error) {
	if err := f.countFixed(); err != nil {
		return "", 0, err
	}
	fits, err := f.try(f.least)
	if err != nil {
		return "", 0, err
	}
	if fits.tokens > f.spec.Tokens {
		return "", 0, fmt.Errorf("%d questions and their facts take at least %d tokens", len(f.turns), fits.tokens)
	}
	fits, over, err := f.search(fits)
	if err != nil {
		return "", 0, err
	}
	if 100*fits.tokens < 98*f.spec.Tokens {
		step := over.tokens - fits.tokens
		return "", 0, fmt.Errorf("one %s more or less takes %d tokens, more than 2 %%: at least %d tokens are needed", f.unit, step, 50*step)
	}
	return fits.text, fits.tokens, nil
}

// search returns the largest trial found that fits, and one that does not.
// Both bounds are counted, not estimated, so that texts whose counts do not
// add up cost tries but no precision.
func (f *filling) search(fits trial) (trial, trial, error) {
	want := f.spec.Tokens
	near := want - want/200 // close enough to stop
	over := trial{n: f.least + 4*want + 64, tokens: 0}
	probe := f.least + max(1, (want-fits.tokens)/4)
	for tries := 0; over.n-fits.n > 1 && fits.tokens < near; tries++ {
		t, err := f.try(probe)
		if err != nil {
			return trial{}, trial{}, err
		}
		before := fits
		if t.tokens > want {
			over = t
		} else {
			fits = t
		}
		probe = fits.n + (over.n-fits.n)/2
		if tries < 8 && t.tokens != before.tokens {
			aim := want - want/400
			rate := float64(t.n-before.n) / float64(t.tokens-before.tokens)
			probe = fits.n + int(float64(aim-fits.tokens)*rate)
		}
		probe = min(max(probe, fits.n+1), over.n-1)
	}
	if over.tokens == 0 && fits.tokens < near {
		return trial{}, trial{}, fmt.Errorf("the counter finds %d tokens in %d bytes", fits.tokens, len(fits.text))
	}
	return fits, over, nil
}

func (f *filling) try(n int) (trial, error) {
	text := f.text(n) + "\n" + f.turns[0].question
	tokens, err := f.tokens(text)
	return trial{n: n, tokens: f.fixed + tokens, text: text}, err
}

func (f *filling) countFixed() error {
	f.fixed = f.spec.ConversationTokens + 2*len(f.turns)*f.spec.MessageTokens
	for i, t := range f.turns {
		texts := []string{t.answer}
		if i > 0 {
			texts = append(texts, t.question)
		}
		for _, text := range texts {
			n, err := f.tokens(text)
			if err != nil {
				return err
			}
			f.fixed += n
		}
	}
	return nil
}

func (f *filling) tokens(text string) (int, error) {
	n, err := f.count(text)
	if err != nil {
		return 0, fmt.Errorf("count tokens: %w", err)
	}
	if n < 0 {
		return 0, errors.New("count tokens: the counter returned a negative number")
	}
	return n, nil
}
