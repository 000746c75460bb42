package grammar

import (
	"errors"
	"fmt"
	"sync"
)

// Constraint is a grammar over a vocabulary, with what has been found out about
// the two together. Its methods may be called from any goroutine.
type Constraint struct {
	g     *Grammar
	v     *Vocabulary
	cost  []int32  // [states] fewest bytes to the end of the rule
	best  []choice // [states]
	tail  []bool   // [states] the rule can only end here
	class [256]uint8
	bytes []byte // [classes] one byte of each
	dead  []bool // [classes] no token is such a byte alone

	mu    sync.Mutex
	cache cache
	work  int         // items touched for the current token
	over  *LimitError // why the current token was given up
}

// New binds g to v. It fails when no output of the grammar can be spelled with
// the vocabulary, for instance because all of them need a byte that no token is.
func New(g *Grammar, v *Vocabulary) (*Constraint, error) {
	c := &Constraint{g: g, v: v}
	can := func(s byteSpan) (byte, bool) {
		for b := int(s.lo); b <= int(s.hi); b++ {
			if v.alone[b] >= 0 {
				return byte(b), true
			}
		}
		return 0, false
	}
	k := newCosts(g, can)
	c.cost, c.best = k.cost, k.best
	if c.cost[g.starts[g.root]] >= never {
		return nil, c.unproductive()
	}
	c.findTails()
	c.findClasses()
	c.cache.reset()
	return c, nil
}

// unproductive says why nothing can be generated.
func (c *Constraint) unproductive() error {
	all := newCosts(c.g, func(s byteSpan) (byte, bool) { return s.lo, true })
	if all.cost[c.g.starts[c.g.root]] >= never {
		return fmt.Errorf("the grammar matches no text of at most %d bytes: rule %s never ends", never-1, c.g.names[c.g.root])
	}
	return errors.New("every text that the grammar matches has a byte that is not a token of the model's vocabulary")
}

// findTails marks the states that lead to the end of their rule and nowhere
// else: a call that returns to one needs no place on the stack.
func (c *Constraint) findTails() {
	n := len(c.g.states)
	c.tail = make([]bool, n)
	into := make([][]int32, n)
	var todo []int32
	for s, st := range c.g.states {
		c.tail[s] = len(st.edges) == 0 && len(st.calls) == 0
		if !c.tail[s] {
			todo = append(todo, int32(s))
		}
		for _, to := range st.eps {
			into[to] = append(into[to], int32(s))
		}
	}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, from := range into[s] {
			if c.tail[from] {
				c.tail[from] = false
				todo = append(todo, from)
			}
		}
	}
}

// findClasses groups bytes that no edge tells apart.
func (c *Constraint) findClasses() {
	var begins [257]bool
	for b := range 256 {
		begins[b] = b == 0 || (c.v.alone[b] < 0) != (c.v.alone[b-1] < 0)
	}
	for _, st := range c.g.states {
		for _, e := range st.edges {
			begins[e.lo], begins[int(e.hi)+1] = true, true
		}
	}
	for b := range 256 {
		if begins[b] {
			c.bytes = append(c.bytes, byte(b))
			c.dead = append(c.dead, c.v.alone[b] < 0)
		}
		c.class[b] = uint8(len(c.bytes) - 1)
	}
}

// begin starts the work for one token. The lock is held until end.
func (c *Constraint) begin() { c.work, c.over = 0, nil }

// mostWork is the limit on the work for one token. A string of limited length
// takes about three walks through the trie.
func (c *Constraint) mostWork() int { return maxWork + maxWalks*len(c.v.bytes) }

// spend counts work and says whether there may be more. Whatever grows the cache
// is work, so that this is where its growth is noticed.
func (c *Constraint) spend(items int) bool {
	c.work += items
	switch limit := c.mostWork(); {
	case c.over != nil:
	case c.work > limit:
		c.over = &LimitError{What: "steps of an ambiguous grammar for one token", Limit: limit, Got: c.work}
	case c.cache.size > maxCachePeak:
		c.over = &LimitError{What: "bytes of an ambiguous grammar for one token", Limit: maxCachePeak, Got: c.cache.size}
	}
	return c.over == nil
}

// end reports why the work since begin failed, or nil. It forgets what has become
// too large at once, as there may be no next time, and what was given up half done.
func (c *Constraint) end() error {
	if c.over == nil && c.cache.size <= maxCacheLen {
		return nil
	}
	c.cache.reset()
	if c.over != nil {
		return c.over
	}
	return nil
}
