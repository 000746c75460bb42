package jinja

import (
	"cmp"
	"fmt"
	"strings"
)

func (in *interp) compareOp(op string, l, r any) (bool, error) {
	switch op {
	case "==":
		return in.equal(l, r, 0)
	case "!=":
		eq, err := in.equal(l, r, 0)
		return !eq, err
	case "in":
		return in.contains(r, l)
	case "not in":
		found, err := in.contains(r, l)
		return !found, err
	}
	c, ordered, err := in.order(op, l, r, 0)
	if err != nil || !ordered {
		return false, err
	}
	switch op {
	case "<":
		return c < 0, nil
	case "<=":
		return c <= 0, nil
	case ">":
		return c > 0, nil
	}
	return c >= 0, nil
}

// equal is Python's l == r. Values of different kinds are unequal, never an
// error.
func (in *interp) equal(l, r any, depth int) (bool, error) {
	if err := checkDepth(depth); err != nil {
		return false, err
	}
	switch lv := l.(type) {
	case nil:
		return r == nil, nil
	case string:
		rv, ok := r.(string)
		if !ok || len(lv) != len(rv) {
			return false, nil
		}
		return lv == rv, in.spend(len(lv))
	case bigInt:
		return l == r, nil
	case *undefined:
		_, ok := r.(*undefined)
		return ok, nil
	case *List:
		rv, ok := r.(*List)
		if !ok || lv.tuple != rv.tuple {
			return false, nil
		}
		return in.equalItems(lv.Items, rv.Items, depth)
	case *Dict:
		rv, ok := r.(*Dict)
		if !ok || lv.Len() != rv.Len() {
			return false, nil
		}
		return in.equalDicts(lv, rv, depth)
	case rangeValue:
		rv, ok := r.(rangeValue)
		if !ok || lv.len() != rv.len() {
			return false, nil
		}
		n := lv.len()
		return n == 0 || lv.start == rv.start && (n == 1 || lv.step == rv.step), nil
	case Func:
		return false, nil // functions cannot be compared in Go
	}
	if li, ok := asInt(l); ok {
		if ri, ok := asInt(r); ok {
			return li == ri, nil
		}
	}
	if lf, ok := asFloat(l); ok {
		rf, ok := asFloat(r)
		return ok && lf == rf, nil
	}
	return l == r, nil
}

func (in *interp) equalItems(l, r []any, depth int) (bool, error) {
	if len(l) != len(r) {
		return false, nil
	}
	if err := in.spend(itemBytes * len(l)); err != nil {
		return false, err
	}
	for i := range l {
		if eq, err := in.equal(l[i], r[i], depth+1); err != nil || !eq {
			return false, err
		}
	}
	return true, nil
}

func (in *interp) equalDicts(l, r *Dict, depth int) (bool, error) {
	if err := in.spend(itemBytes * l.Len()); err != nil {
		return false, err
	}
	for i, k := range l.keys {
		rv, ok := r.lookup(k)
		if !ok {
			return false, nil
		}
		if eq, err := in.equal(l.vals[i], rv, depth+1); err != nil || !eq {
			return false, err
		}
	}
	return true, nil
}

// order compares two values as Python's < and > do. ordered is false for NaN.
func (in *interp) order(op string, l, r any, depth int) (c int, ordered bool, err error) {
	if err := checkDepth(depth); err != nil {
		return 0, false, err
	}
	for _, v := range []any{l, r} {
		if u, ok := v.(*undefined); ok {
			return 0, false, u.err()
		}
	}
	if li, ok := asInt(l); ok {
		if ri, ok := asInt(r); ok {
			return cmp.Compare(li, ri), true, nil
		}
	}
	lf, lok := asFloat(l)
	rf, rok := asFloat(r)
	if lok && rok {
		return cmp.Compare(lf, rf), lf == lf && rf == rf, nil
	}
	switch lv := l.(type) {
	case string:
		if rv, ok := r.(string); ok {
			// UTF-8 sorts like code points, which is Python's order.
			return strings.Compare(lv, rv), true, in.spend(min(len(lv), len(rv)))
		}
	case *List:
		if rv, ok := r.(*List); ok && lv.tuple == rv.tuple {
			return in.orderItems(op, lv.Items, rv.Items, depth)
		}
	}
	return 0, false, fmt.Errorf("'%s' not supported between '%s' and '%s'", op, typeName(l), typeName(r))
}

func (in *interp) orderItems(op string, l, r []any, depth int) (int, bool, error) {
	n := min(len(l), len(r))
	if err := in.spend(itemBytes * n); err != nil {
		return 0, false, err
	}
	for i := range n {
		eq, err := in.equal(l[i], r[i], depth+1)
		if err != nil {
			return 0, false, err
		}
		if !eq {
			return in.order(op, l[i], r[i], depth+1)
		}
	}
	return cmp.Compare(len(l), len(r)), true, nil
}

// contains is Python's "v in container".
func (in *interp) contains(container, v any) (bool, error) {
	switch c := container.(type) {
	case string:
		sub, ok := v.(string)
		if !ok {
			return false, operandError(v, fmt.Errorf("'in <string>' requires string as left operand, not '%s'", typeName(v)))
		}
		return strings.Contains(c, sub), in.spend(len(c))
	case *Dict:
		switch v.(type) {
		case *List, *Dict: // the kinds that Python cannot hash
			_, err := hashKey(v)
			return false, err
		}
		_, ok := c.lookup(v)
		return ok, nil
	}
	items, err := in.iterate(container)
	if err != nil {
		return false, fmt.Errorf("argument of type '%s' is not a container", typeName(container))
	}
	for _, item := range items {
		if err := in.step(); err != nil {
			return false, err
		}
		if eq, err := in.equal(item, v, 0); err != nil || eq {
			return eq, err
		}
	}
	return false, nil
}
