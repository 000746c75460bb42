package grammar

import (
	"fmt"
	"strings"
)

// state is a place in a rule. Its edges are alternatives.
type state struct {
	edges []edge  // on a byte
	eps   []int32 // on nothing
	calls []callEdge
	final bool // the rule may end here
}

type edge struct {
	byteSpan
	to int32
}

// callEdge goes through another rule and then to a state.
type callEdge struct{ rule, ret int32 }

// Grammar is a pushdown automaton over bytes. It is immutable.
type Grammar struct {
	states   []state
	starts   []int32  // [rules] state where a rule begins
	names    []string // [rules]
	early    []bool   // [states] reached before the first byte of the rule
	nullable []bool   // [rules] may match nothing
	root     int32    // rule
}

// compile turns rules into a grammar. Expressions refer to rules by index.
func compile(rules []rule, root int) (*Grammar, error) {
	g := &Grammar{root: int32(root)}
	b := builder{g: g}
	for _, r := range rules {
		start := b.state()
		g.starts, g.names = append(g.starts, start), append(g.names, r.name)
		if end := b.build(r.body, start); b.err == nil {
			g.states[end].final = true
		}
		if b.err != nil {
			return nil, fmt.Errorf("rule %s: %w", r.name, b.err)
		}
	}
	g.findEarly()
	if loop := g.leftRecursion(); loop != nil {
		return nil, fmt.Errorf("left recursion: %s begins with itself (%s)", loop[0], strings.Join(loop, " -> "))
	}
	return g, nil
}

// builder makes states out of expressions.
type builder struct {
	g   *Grammar
	err error
}

func (b *builder) state() int32 {
	if n := len(b.g.states); n < MaxStates {
		b.g.states = append(b.g.states, state{})
	} else if b.err == nil {
		b.err = &LimitError{What: "states of the grammar", Limit: MaxStates, Got: n + 1}
	}
	return int32(len(b.g.states) - 1)
}

func (b *builder) edge(from int32, s byteSpan, to int32) {
	b.g.states[from].edges = append(b.g.states[from].edges, edge{s, to})
}

func (b *builder) skip(from, to int32) {
	b.g.states[from].eps = append(b.g.states[from].eps, to)
}

// build adds e behind from and returns the state after it.
func (b *builder) build(e expr, from int32) int32 {
	if b.err != nil {
		return from
	}
	switch e := e.(type) {
	case literal:
		for _, c := range []byte(e) {
			to := b.state()
			b.edge(from, byteSpan{c, c}, to)
			from = to
		}
		return from
	case runes:
		return b.runes(e, from)
	case seq:
		for _, x := range e {
			from = b.build(x, from)
		}
		return from
	case alt:
		end := b.state()
		for _, x := range e {
			b.skip(b.build(x, from), end)
		}
		return end
	case call:
		to := b.state()
		b.g.states[from].calls = append(b.g.states[from].calls, callEdge{int32(e.rule), to})
		return to
	case notWords:
		return b.notWords(e, from)
	case words:
		return b.words(e, from)
	case repeat:
		return b.repeat(e, from)
	}
	panic(fmt.Sprintf("expression of type %T", e))
}

func (b *builder) runes(r runes, from int32) int32 {
	end := b.state()
	for _, s := range r {
		utf8Sequences(s, func(bytes []byteSpan) {
			at := from
			for _, x := range bytes[:len(bytes)-1] {
				to := b.state()
				b.edge(at, x, to)
				at = to
			}
			b.edge(at, bytes[len(bytes)-1], end)
		})
	}
	return end
}

// words shares the beginnings of strings, so that one of thousands is a walk
// and not thousands of walks.
func (b *builder) words(list []string, from int32) int32 {
	end := b.state()
	type key struct {
		at int32
		c  byte
	}
	next := map[key]int32{}
	for _, w := range list {
		at := from
		for i := range len(w) {
			k := key{at, w[i]}
			to, ok := next[k]
			if !ok {
				to = b.state()
				b.edge(at, byteSpan{w[i], w[i]}, to)
				next[k] = to
			}
			at = to
		}
		b.skip(at, end)
	}
	return end
}

func (b *builder) repeat(r repeat, from int32) int32 {
	for range r.min {
		if from = b.build(r.of, from); b.err != nil {
			return from
		}
	}
	end := b.state()
	if r.max < 0 {
		loop := b.state() // apart: what leads back here must not lead back into from
		b.skip(from, loop)
		b.skip(b.build(r.of, loop), loop)
		b.skip(loop, end)
		return end
	}
	for range r.max - r.min {
		b.skip(from, end)
		if from = b.build(r.of, from); b.err != nil {
			return from
		}
	}
	b.skip(from, end)
	return end
}
