package grammar

import "slices"

// findEarly marks the states that are reached before the first byte of their
// rule, and so the rules that match the empty text.
func (g *Grammar) findEarly() {
	g.early, g.nullable = make([]bool, len(g.states)), make([]bool, len(g.starts))
	rule := int32(-1)
	ruleOf := make([]int32, len(g.states))
	for s := range g.states {
		if next := rule + 1; int(next) < len(g.starts) && g.starts[next] == int32(s) {
			rule = next
		}
		ruleOf[s] = rule
	}
	waiting := make([][]int32, len(g.starts)) // states behind calls of a rule, until it is nullable
	var todo []int32
	mark := func(s int32) {
		if !g.early[s] {
			g.early[s] = true
			todo = append(todo, s)
		}
	}
	for _, s := range g.starts {
		mark(s)
	}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, to := range g.states[s].eps {
			mark(to)
		}
		for _, c := range g.states[s].calls {
			if g.nullable[c.rule] {
				mark(c.ret)
			} else {
				waiting[c.rule] = append(waiting[c.rule], c.ret)
			}
		}
		if r := ruleOf[s]; g.states[s].final && !g.nullable[r] {
			g.nullable[r] = true
			for _, ret := range waiting[r] {
				mark(ret)
			}
		}
	}
}

// maxNames is how much of a cycle an error shows.
const maxNames = 8

// leftRecursion returns the names along a cycle of rules that begin with one
// another, or nil.
func (g *Grammar) leftRecursion() []string {
	const (
		unseen = iota
		open
		done
	)
	type frame struct {
		rule  int32
		calls []int32 // not looked at yet
	}
	mark := make([]byte, len(g.starts))
	for first := range g.starts {
		next := int32(first)
		var path []frame
		for {
			switch mark[next] {
			case unseen:
				mark[next] = open
				path = append(path, frame{next, g.firstCalls(next)})
			case open:
				at := slices.IndexFunc(path, func(f frame) bool { return f.rule == next })
				var names []string
				for _, f := range path[at:min(at+maxNames, len(path))] {
					names = append(names, g.names[f.rule])
				}
				return append(names, g.names[next])
			}
			for len(path) > 0 && len(path[len(path)-1].calls) == 0 {
				mark[path[len(path)-1].rule] = done
				path = path[:len(path)-1]
			}
			if len(path) == 0 {
				break
			}
			top := &path[len(path)-1]
			next, top.calls = top.calls[0], top.calls[1:]
		}
	}
	return nil
}

// firstCalls lists the rules that rule r may begin with.
func (g *Grammar) firstCalls(r int32) []int32 {
	end := int32(len(g.states))
	if int(r)+1 < len(g.starts) {
		end = g.starts[r+1]
	}
	var out []int32
	for s := g.starts[r]; s < end; s++ {
		if g.early[s] {
			for _, c := range g.states[s].calls {
				out = append(out, c.rule)
			}
		}
	}
	return out
}
