package grammar

import "slices"

// closure follows everything that consumes no byte and keeps the states that
// wait for one. Calls of the same rule at the same place of the text share one
// frame, so that ambiguity does not multiply stacks.
type closure struct {
	c      *Constraint
	seen   map[item]bool
	todo   []item
	keep   []item
	frames map[int32]*frame // by rule, open
	accept bool
}

// closure returns the config of what is reached from the kernel.
func (c *Constraint) closure(kernel []item, accept bool) int32 {
	x := closure{c: c, seen: map[item]bool{}, accept: accept}
	for _, it := range kernel {
		x.add(it.state, it.up)
	}
	for len(x.todo) > 0 && c.over == nil {
		it := x.todo[len(x.todo)-1]
		x.todo = x.todo[:len(x.todo)-1]
		x.visit(it)
	}
	for i := range x.keep {
		x.keep[i].up = x.closed(x.keep[i].up)
	}
	if c.over != nil {
		return failed
	}
	// Frames that were different while open may have become the same.
	slices.SortFunc(x.keep, compareItems)
	return c.configOf(slices.Compact(x.keep), x.accept)
}

func (x *closure) add(s int32, f *frame) {
	it := item{s, f}
	if x.c.cost[s] >= never || x.seen[it] {
		return
	}
	if len(x.seen) >= maxItems {
		if x.c.over == nil {
			x.c.over = &LimitError{What: "states of an ambiguous grammar at one byte", Limit: maxItems, Got: maxItems + 1}
		}
		return
	}
	x.seen[it] = true
	x.todo = append(x.todo, it)
}

func (x *closure) visit(it item) {
	st := &x.c.g.states[it.state]
	if !x.c.spend(1 + len(st.eps) + len(st.calls)) {
		return
	}
	if len(st.edges) > 0 {
		x.keep = append(x.keep, it)
	}
	if st.final && !it.up.open { // an open frame's rule has matched nothing: see call
		x.leave(it.up)
	}
	for _, to := range st.eps {
		x.add(to, it.up)
	}
	for _, e := range st.calls {
		x.call(e, it.up)
	}
}

func (x *closure) leave(f *frame) {
	x.accept = x.accept || f.bottom
	x.c.spend(len(f.items))
	for _, it := range f.items {
		x.add(it.state, it.up)
	}
}

func (x *closure) call(e callEdge, up *frame) {
	c := x.c
	start := c.g.starts[e.rule]
	if c.cost[start] >= never || c.cost[e.ret] >= never {
		return
	}
	f := x.frames[e.rule]
	if f == nil {
		if x.frames == nil {
			x.frames = map[int32]*frame{}
		}
		f = &frame{open: true}
		x.frames[e.rule] = f
		x.add(start, f)
	}
	if c.tail[e.ret] {
		f.inherits = append(f.inherits, up)
	} else {
		f.items = append(f.items, item{e.ret, up})
	}
	if c.g.nullable[e.rule] {
		x.add(e.ret, up)
	}
}

// closed returns the finished frame for one that may be open. Open frames
// refer to one another without cycles, as there is no left recursion. What it
// returns is of no use when the work has become too much.
func (x *closure) closed(f *frame) *frame {
	if !f.open {
		return f
	}
	if f.done == nil {
		items, bottom := x.returns(f)
		f.done = x.c.frameOf(items, bottom)
	}
	return f.done
}

// returns lists what the finished frame for an open one has. A chain of tail
// calls copies the items of each frame into the next, so that they grow with the
// square of its length.
func (x *closure) returns(f *frame) (items []item, bottom bool) {
	for _, it := range f.items {
		if !x.c.spend(1) {
			return nil, false
		}
		items = append(items, item{it.state, x.closed(it.up)})
	}
	for _, up := range f.inherits {
		up = x.closed(up)
		if !x.c.spend(1 + len(up.items)) {
			return nil, false
		}
		items = append(items, up.items...)
		bottom = bottom || up.bottom
	}
	return items, bottom
}
