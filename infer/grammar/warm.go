package grammar

import "context"

// maxWarm is how many bytes of an output are looked at ahead.
const maxWarm = 512

// Warm finds out ahead which tokens may come along a shortest output, and along
// those that begin a string where one may stand: the places where most of a
// vocabulary is possible are found by walking through all of it, which the
// goroutine that generates should not have to wait for. It fails when ctx ends,
// with its cause, and where already the first token is too much work, as no
// output has another beginning. What else fails here fails again where it matters.
func (c *Constraint) Warm(ctx context.Context) error {
	m, err := c.Matcher(false)
	if err != nil {
		return err
	}
	w := warming{ctx: ctx, steps: maxWarm, work: maxWarmTokens * c.mostWork()}
	if err := w.mask(m); err != nil {
		return err
	}
	w.along(m, func(at *Matcher) {
		if s := w.after(at, '"'); s != nil {
			w.along(s, func(*Matcher) {})
		}
	})
	return context.Cause(ctx)
}

// warming is what is left of the masks and of the work that looking ahead may take.
// Each mask may take the work for one token, but not all of them.
type warming struct {
	ctx         context.Context
	steps, work int
}

func (w *warming) more() bool { return w.steps > 0 && w.work > 0 && w.ctx.Err() == nil }

// along takes masks along a shortest completion and calls each before every step.
func (w *warming) along(m *Matcher, each func(*Matcher)) {
	m.c.mu.Lock()
	text := m.c.completionBytes(m.at, w.steps)
	m.c.mu.Unlock()
	for i := 0; m != nil && w.more(); i++ {
		w.steps--
		if w.mask(m) != nil {
			return
		}
		each(m)
		if i == len(text) {
			return
		}
		m = w.after(m, text[i])
	}
}

// mask finds the mask of m.
func (w *warming) mask(m *Matcher) error {
	c := m.c
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begin()
	m.find()
	w.work -= c.work
	return c.end()
}

// after is a matcher one byte further, nil when the grammar does not allow it.
func (w *warming) after(m *Matcher, b byte) *Matcher {
	c := m.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begin()
	at := c.cache.configs[c.step(c.adopt(m.at), c.class[b])]
	w.work -= c.work
	if c.end() != nil || len(at.items) == 0 && !at.accept {
		return nil
	}
	return &Matcher{c: c, at: at, mask: m.mask}
}
