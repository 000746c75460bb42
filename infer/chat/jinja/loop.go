package jinja

import "fmt"

// loopState is the loop variable of a running for loop.
type loopState struct {
	stmt    *forStmt
	scope   *scope // where the loop stands, for recursive calls
	items   []any
	index   int // 0-based
	depth   int // 0-based
	changed []any
	started bool // changed() was called before
}

func (in *interp) execFor(s *forStmt, sc *scope) error {
	v, err := in.eval(s.iter, sc)
	if err != nil {
		return err
	}
	return in.loop(s, sc, v, 0)
}

func (in *interp) loop(s *forStmt, sc *scope, over any, depth int) error {
	items, err := in.iterate(over)
	if err != nil {
		return err
	}
	if s.test != nil {
		if items, err = in.filterItems(s, sc, items); err != nil {
			return err
		}
	}
	state := &loopState{stmt: s, scope: sc, items: items, depth: depth}
	for i, item := range items {
		if err := in.step(); err != nil {
			return err
		}
		state.index = i
		inner := sc.child()
		inner.set("loop", state)
		if err := in.assign(s.target, item, inner); err != nil {
			return err
		}
		j, err := in.run(s.body, inner)
		if err != nil {
			return err
		}
		if j == jumpBreak {
			break
		}
	}
	if len(items) == 0 {
		_, err = in.run(s.orElse, sc.child())
	}
	return err
}

// filterItems keeps the items for which the loop's condition holds.
func (in *interp) filterItems(s *forStmt, sc *scope, items []any) ([]any, error) {
	var kept []any
	for _, item := range items {
		inner := sc.child()
		if err := in.assign(s.target, item, inner); err != nil {
			return nil, err
		}
		v, err := in.eval(s.test, inner)
		if err != nil {
			return nil, err
		}
		if truth(v) {
			kept = append(kept, item)
		}
	}
	return kept, in.spend(itemBytes * len(kept))
}

// attr returns an attribute of the loop variable.
func (l *loopState) attr(name string) any {
	n := len(l.items)
	switch name {
	case "index":
		return int64(l.index + 1)
	case "index0":
		return int64(l.index)
	case "revindex":
		return int64(n - l.index)
	case "revindex0":
		return int64(n - l.index - 1)
	case "first":
		return l.index == 0
	case "last":
		return l.index == n-1
	case "length":
		return int64(n)
	case "depth":
		return int64(l.depth + 1)
	case "depth0":
		return int64(l.depth)
	case "previtem":
		if l.index == 0 {
			return undefinedf("there is no previous item")
		}
		return l.items[l.index-1]
	case "nextitem":
		if l.index == n-1 {
			return undefinedf("there is no next item")
		}
		return l.items[l.index+1]
	case "cycle", "changed":
		return &method{l, name}
	}
	return undefinedf("'loop' has no attribute '%s'", name)
}

// call runs a method of the loop variable.
func (l *loopState) call(in *interp, name string, a *args) (any, error) {
	if len(a.kwNames) > 0 {
		return nil, fmt.Errorf("loop.%s takes no keyword arguments", name)
	}
	if name == "cycle" {
		if len(a.pos) == 0 {
			return nil, fmt.Errorf("loop.cycle has nothing to cycle through")
		}
		return a.pos[l.index%len(a.pos)], nil
	}
	if l.started {
		same, err := in.equalItems(l.changed, a.pos, 0)
		if err != nil || same {
			return false, err
		}
	}
	l.started, l.changed = true, a.pos
	return true, nil
}

// recurse renders the loop again over other items, for loop(items).
func (l *loopState) recurse(in *interp, a *args) (any, error) {
	if !l.stmt.recursive {
		return nil, fmt.Errorf("the loop is not marked recursive")
	}
	got, err := a.bind("loop", 1, "iterable")
	if err != nil {
		return nil, err
	}
	if err := in.enterCall(); err != nil {
		return nil, err
	}
	defer in.leaveCall()
	return in.captureWith(func() error { return in.loop(l.stmt, l.scope, got[0], l.depth+1) })
}
