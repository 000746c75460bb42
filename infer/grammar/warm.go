package grammar

// maxWarm is how many bytes of an output are looked at ahead.
const maxWarm = 512

// Warm finds out ahead which tokens may come along a shortest output, and along
// those that begin a string where one may stand: the places where most of a
// vocabulary is possible are found by walking through all of it, which the
// goroutine that generates should not have to wait for. What fails here fails
// again where it matters.
func (c *Constraint) Warm() {
	m, err := c.Matcher(false)
	if err != nil {
		return
	}
	steps := maxWarm
	m.warm(&steps, func(at *Matcher) {
		if s := at.after('"'); s != nil {
			s.warm(&steps, func(*Matcher) {})
		}
	})
}

// warm takes masks along a shortest completion and calls each before every step.
func (m *Matcher) warm(steps *int, each func(*Matcher)) {
	m.c.mu.Lock()
	text := m.c.completionBytes(m.at, *steps)
	m.c.mu.Unlock()
	for i := 0; m != nil && *steps > 0; i++ {
		*steps--
		if _, err := m.Mask(); err != nil {
			return
		}
		each(m)
		if i == len(text) {
			return
		}
		m = m.after(text[i])
	}
}

// after is a matcher one byte further, nil when the grammar does not allow it.
func (m *Matcher) after(b byte) *Matcher {
	c := m.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begin()
	at := c.step(c.adopt(m.at), c.class[b])
	if c.over != nil || at == failed {
		return nil
	}
	return &Matcher{c: c, at: c.cache.configs[at], mask: m.mask}
}
