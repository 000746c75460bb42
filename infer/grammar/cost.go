package grammar

import "container/heap"

// never is the cost of what cannot be completed. Sums stop there.
const never = int32(1) << 30

func plus(a, b int32) int32 { return min(a+b, never) }

// choice is how a state gets to the end of its rule with the fewest bytes.
type choice struct {
	kind choiceKind
	b    byte
	call callEdge
	to   int32
}

type choiceKind uint8

const (
	chooseEnd choiceKind = iota
	chooseByte
	chooseSkip
	chooseCall
)

// link is a way out of a state.
type link struct {
	from int32
	how  choice
}

// costs finds, for every state, the fewest bytes to the end of its rule, where
// only some bytes can be generated, and the first step there. States settle in
// the order of their cost (Dijkstra's algorithm; a call costs the sum of two
// states and can settle when both have). can picks a byte of a span that can be
// generated.
type costs struct {
	g      *Grammar
	cost   []int32           // [states] bytes, never if there is no way
	best   []choice          // [states]
	done   []bool            // [states]
	into   [][]link          // [states] ways here: edges, skips, and calls that return here
	sites  [][]link          // [rules] calls of it
	ruleAt map[int32][]int32 // rules by start
	todo   costQueue
}

func newCosts(g *Grammar, can func(byteSpan) (byte, bool)) *costs {
	n := len(g.states)
	c := &costs{g: g, cost: make([]int32, n), best: make([]choice, n), done: make([]bool, n),
		into: make([][]link, n), sites: make([][]link, len(g.starts)), ruleAt: map[int32][]int32{}}
	for r, s := range g.starts {
		c.ruleAt[s] = append(c.ruleAt[s], int32(r))
	}
	for s, st := range g.states {
		c.cost[s] = never
		from := int32(s)
		for _, e := range st.edges {
			if b, ok := can(e.byteSpan); ok {
				c.into[e.to] = append(c.into[e.to], link{from, choice{kind: chooseByte, b: b, to: e.to}})
			}
		}
		for _, to := range st.eps {
			c.into[to] = append(c.into[to], link{from, choice{kind: chooseSkip, to: to}})
		}
		for _, x := range st.calls {
			l := link{from, choice{kind: chooseCall, call: x}}
			c.into[x.ret], c.sites[x.rule] = append(c.into[x.ret], l), append(c.sites[x.rule], l)
		}
		if st.final {
			c.offer(int32(s), 0, choice{kind: chooseEnd})
		}
	}
	for len(c.todo) > 0 {
		s := heap.Pop(&c.todo).(costEntry).state
		if !c.done[s] {
			c.done[s] = true
			c.settle(s)
		}
	}
	return c
}

func (c *costs) offer(s, cost int32, how choice) {
	if cost < c.cost[s] {
		c.cost[s], c.best[s] = cost, how
		heap.Push(&c.todo, costEntry{cost, s})
	}
}

// settle offers what the cost of s makes possible.
func (c *costs) settle(s int32) {
	for _, l := range c.into[s] {
		switch l.how.kind {
		case chooseByte:
			c.offer(l.from, plus(c.cost[s], 1), l.how)
		case chooseSkip:
			c.offer(l.from, c.cost[s], l.how)
		case chooseCall:
			c.offerCall(l)
		}
	}
	for _, r := range c.ruleAt[s] {
		for _, l := range c.sites[r] {
			c.offerCall(l)
		}
	}
}

func (c *costs) offerCall(l link) {
	if start, ret := c.g.starts[l.how.call.rule], l.how.call.ret; c.done[start] && c.done[ret] {
		c.offer(l.from, plus(c.cost[start], c.cost[ret]), l.how)
	}
}

// costEntry and costQueue are a heap by cost; stale entries stay in it.
type costEntry struct{ cost, state int32 }

type costQueue []costEntry

func (q costQueue) Len() int           { return len(q) }
func (q costQueue) Less(i, j int) bool { return q[i].cost < q[j].cost }
func (q costQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *costQueue) Push(x any)        { *q = append(*q, x.(costEntry)) }
func (q *costQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}
