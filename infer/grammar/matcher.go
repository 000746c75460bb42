package grammar

import (
	"errors"
	"fmt"
)

// ErrTokens says that fewer tokens are left than the shortest completion needs.
var ErrTokens = errors.New("the grammar cannot be completed")

// Matcher follows one output through a constraint. It belongs to one goroutine
// at a time.
type Matcher struct {
	c       *Constraint
	at      *config
	mask    []uint64 // valid until the next Mask
	plan    []int32  // the rest of a completion that has begun; nil when the model is free
	noSpace bool     // the decoder drops a space that begins the next token
}

// Matcher starts at the beginning of an output. dropsSpace says that a space
// which begins the first token will not be part of the text, as vocabularies
// have it that put one before every text.
func (c *Constraint) Matcher(dropsSpace bool) (*Matcher, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begin()
	at := c.cache.configs[c.closure([]item{{c.g.starts[c.g.root], c.cache.bottom}}, false)]
	if err := c.end(); err != nil {
		return nil, err
	}
	return &Matcher{c: c, at: at, noSpace: dropsSpace}, nil
}

// Accepting says whether the output may end here.
func (m *Matcher) Accepting() bool { return m.at.accept }

// Finished says whether the output must end here.
func (m *Matcher) Finished() bool { return m.at.accept && len(m.at.items) == 0 }

// Mask returns the set of tokens that may come next: bit id%64 of word id/64,
// for as many ids as the vocabulary has rows. It belongs to the Matcher and is
// valid until the next call. It is never empty.
func (m *Matcher) Mask() ([]uint64, error) {
	c := m.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begin()
	m.find()
	return m.mask, c.end()
}

// find makes the mask.
func (m *Matcher) find() {
	c := m.c
	if m.mask == nil {
		m.mask = make([]uint64, c.words())
	}
	clear(m.mask)
	id := c.adopt(m.at)
	if m.noSpace {
		m.maskFirst(id)
	} else {
		c.mask(m.mask, id, c.cache.startNodes, map[walkKey]bool{})
	}
	if m.at.accept {
		for _, t := range c.v.eog {
			m.mask[t/64] |= 1 << (t % 64)
		}
	}
}

// maskFirst is the mask where a space that begins a token is dropped.
func (m *Matcher) maskFirst(id int32) {
	c, v := m.c, m.c.v
	c.mask(m.mask, id, c.cache.startNodes, map[walkKey]bool{})
	space := v.child(0, ' ')
	if space < 0 {
		return
	}
	for _, t := range v.ids[v.first[space]:v.first[v.skip[space]]] {
		m.mask[t/64] &^= 1 << (t % 64)
	}
	// Without their first byte they begin where the trie has read it.
	c.mask(m.mask, id, c.cache.frontier([]int32{space}), map[walkKey]bool{})
	if empty(m.mask) && v.alone[' '] >= 0 { // the text begins with a space: a first one is lost
		m.mask[v.alone[' ']/64] |= 1 << (v.alone[' '] % 64)
	}
}

// Accept takes the token that was sampled, of a Mask, and says which token is
// the next one: the same, unless the output could then not be completed in left
// more tokens. In that case it is the next token of a shortest completion, or
// one that ends the generation where the output is complete.
func (m *Matcher) Accept(id int32, left int) (int32, error) {
	c := m.c
	if m.isEOG(id) {
		if !m.at.accept {
			return 0, fmt.Errorf("accept token %d: it ends the output, which is not complete", id)
		}
		return id, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begin()
	defer c.end() // advance returns its error
	next, err := m.advance(id)
	if err != nil {
		return 0, err
	}
	if int(next.cost) <= left {
		m.take(next, nil)
		return id, nil
	}
	if plan, ok := c.completionTokens(next, left); ok {
		m.take(next, plan)
		return id, nil
	}
	if m.plan == nil {
		var ok bool
		if m.plan, ok = m.completion(left + 1); !ok {
			return 0, fmt.Errorf("%w: its shortest end has %d bytes, but only %d tokens are left", ErrTokens, m.at.cost, left+1)
		}
	}
	if len(m.plan) == 0 {
		// The output is complete, and the sampled token begins more of it.
		if len(c.v.eog) == 0 {
			return 0, fmt.Errorf("%w: only %d tokens are left, and none ends a generation", ErrTokens, left+1)
		}
		return c.v.eog[0], nil
	}
	forced := m.plan[0]
	if next, err = m.advance(forced); err != nil {
		return 0, err
	}
	m.take(next, m.plan[1:])
	return forced, nil
}

// Fits says whether the output can be completed in that many tokens: in those
// that spell a shortest completion, each as long as possible.
func (m *Matcher) Fits(tokens int) bool {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	_, ok := m.completion(tokens)
	return ok
}

// completion returns the tokens of a shortest completion.
func (m *Matcher) completion(limit int) ([]int32, bool) {
	plan, ok := m.c.completionTokens(m.at, limit)
	if ok && m.noSpace && len(plan) > 0 && m.c.v.texts[plan[0]][0] == ' ' {
		// The first space is lost.
		if m.c.v.alone[' '] < 0 {
			return nil, false
		}
		plan = append([]int32{m.c.v.alone[' ']}, plan...)
		ok = len(plan) <= limit
	}
	return plan, ok
}

// ShortestBytes returns the fewest bytes that complete the output.
func (m *Matcher) ShortestBytes() int { return int(m.at.cost) }

func (m *Matcher) isEOG(id int32) bool {
	for _, t := range m.c.v.eog {
		if t == id {
			return true
		}
	}
	return false
}

// take moves to a config. plan completes the output from there, nil when any
// way to go on leaves enough tokens.
func (m *Matcher) take(next *config, plan []int32) {
	m.at, m.plan, m.noSpace = next, plan, false
}

// advance returns the config after a token.
func (m *Matcher) advance(id int32) (*config, error) {
	c := m.c
	if id < 0 || int(id) >= len(c.v.texts) || c.v.texts[id] == "" {
		return nil, fmt.Errorf("accept token %d: it has no text", id)
	}
	text := c.v.texts[id]
	if m.noSpace && text[0] == ' ' {
		text = text[1:]
	}
	at := c.adopt(m.at)
	for i := range len(text) {
		if at = c.step(at, c.class[text[i]]); c.over != nil {
			return nil, c.over
		}
		if at == failed {
			return nil, fmt.Errorf("accept token %d (%q): the grammar does not allow it", id, text)
		}
	}
	return c.cache.configs[at], nil
}
