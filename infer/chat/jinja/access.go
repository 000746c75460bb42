package jinja

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// getAttr is obj.name: Jinja2 looks for a Python attribute first and for an
// item second, so that d.items is a method even if d has the key "items".
func getAttr(obj any, name string) (any, error) {
	if u, ok := obj.(*undefined); ok {
		return nil, u.err()
	}
	if v, ok := attribute(obj, name); ok {
		return v, nil
	}
	if d, ok := obj.(*Dict); ok {
		if v, ok := d.lookup(name); ok {
			return v, nil
		}
	}
	return undefinedf("'%s object' has no attribute '%s'", typeName(obj), name), nil
}

// attribute returns the Python attribute of a value.
func attribute(obj any, name string) (any, bool) {
	switch obj := obj.(type) {
	case *loopState:
		return obj.attr(name), true
	case *namespace:
		if v, ok := obj.attrs.lookup(name); ok {
			return v, true
		}
	case *macro:
		if name == "name" {
			return obj.def.name, true
		}
	}
	if slices.Contains(mutators[typeName(obj)], name) {
		return undefinedf("'%s.%s' would modify a value, which templates cannot do", typeName(obj), name), true
	}
	if hasMethod(obj, name) {
		return &method{obj, name}, true
	}
	return nil, false
}

func (in *interp) evalItem(x *itemExpr, sc *scope) (any, error) {
	obj, key, err := in.evalTwo(x.obj, x.key, sc)
	if err != nil {
		return nil, err
	}
	return in.getItem(obj, key)
}

// getItem is obj[key]: an item first, an attribute second.
func (in *interp) getItem(obj, key any) (any, error) {
	if u, ok := obj.(*undefined); ok {
		return nil, u.err()
	}
	if v, ok, err := in.item(obj, key); ok || err != nil {
		return v, err
	}
	name, ok := key.(string)
	if !ok {
		return undefinedf("'%s object' has no such element", typeName(obj)), nil
	}
	if v, ok := attribute(obj, name); ok {
		return v, nil
	}
	return undefinedf("'%s object' has no attribute '%s'", typeName(obj), name), nil
}

func (in *interp) item(obj, key any) (any, bool, error) {
	if d, ok := obj.(*Dict); ok {
		v, ok := d.lookup(key)
		return v, ok, nil
	}
	i, ok := asInt(key)
	if !ok {
		return nil, false, nil
	}
	switch obj := obj.(type) {
	case *List:
		if at, ok := position(i, len(obj.Items)); ok {
			return obj.Items[at], true, nil
		}
	case rangeValue:
		if at, ok := position(i, int(obj.len())); ok {
			return obj.at(int64(at)), true, nil
		}
	case string:
		if err := in.spend(len(obj)); err != nil {
			return nil, false, err
		}
		if at, ok := position(i, utf8.RuneCountInString(obj)); ok {
			from := runeOffset(obj, at)
			_, size := utf8.DecodeRuneInString(obj[from:])
			return obj[from : from+size], true, nil
		}
	}
	return nil, false, nil
}

// position resolves a Python index, which may count from the end.
func position(i int64, n int) (int, bool) {
	if i < 0 {
		i += int64(n)
	}
	return int(i), i >= 0 && i < int64(n)
}

// runeOffset is the byte offset of character n of s, or len(s) behind the last.
func runeOffset(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}

func (in *interp) evalSlice(x *sliceExpr, sc *scope) (any, error) {
	obj, err := in.eval(x.obj, sc)
	if err != nil {
		return nil, err
	}
	var bounds [3]*int64
	for i, bx := range []expr{x.lo, x.hi, x.step} {
		if bx == nil {
			continue
		}
		v, err := in.eval(bx, sc)
		if err != nil {
			return nil, err
		}
		if v == nil {
			continue
		}
		n, ok := asInt(v)
		if !ok {
			return nil, operandError(v, fmt.Errorf("slice indices must be integers or None, not '%s'", typeName(v)))
		}
		bounds[i] = &n
	}
	return in.slice(obj, bounds[0], bounds[1], bounds[2])
}

func (in *interp) slice(obj any, lo, hi, stepBy *int64) (any, error) {
	if u, ok := obj.(*undefined); ok {
		return nil, u.err()
	}
	n, err := in.length(obj)
	if err != nil {
		return nil, err
	}
	span, err := sliceRange(n, lo, hi, stepBy)
	if err != nil {
		return nil, err
	}
	switch obj := obj.(type) {
	case string:
		return in.sliceString(obj, int(span.start), int(span.len()), int(span.step))
	case rangeValue:
		return rangeValue{obj.at(span.start), obj.at(span.stop), obj.step * span.step}, nil
	case *List:
		items := make([]any, span.len())
		if err := in.spend(itemBytes * len(items)); err != nil {
			return nil, err
		}
		for i := range items {
			items[i] = obj.Items[span.at(int64(i))]
		}
		return &List{items, obj.tuple}, nil
	}
	return nil, fmt.Errorf("'%s' object cannot be sliced", typeName(obj))
}

func (in *interp) sliceString(s string, start, count, step int) (any, error) {
	if err := in.spend(len(s)); err != nil {
		return nil, err
	}
	if count == 0 {
		return "", nil
	}
	if step == 1 {
		from := runeOffset(s, start)
		return s[from : from+runeOffset(s[from:], count)], nil
	}
	if err := in.spend(4 * len(s)); err != nil {
		return nil, err
	}
	runes := []rune(s)
	out := make([]rune, count)
	for i := range out {
		out[i] = runes[start+i*step]
	}
	return string(out), nil
}

// sliceRange resolves Python slice bounds over n items to the range of indexes
// that they select.
func sliceRange(n int, lo, hi, stepBy *int64) (rangeValue, error) {
	by := int64(1)
	if stepBy != nil {
		by = *stepBy
	}
	if by == 0 {
		return rangeValue{}, fmt.Errorf("slice step cannot be zero")
	}
	// Steps beyond the length select the same items and would overflow below.
	by = max(min(by, int64(n)+1), -int64(n)-1)
	size := int64(n)
	low, high := int64(0), size
	if by < 0 {
		low, high = -1, size-1
	}
	clamp := func(p *int64, def int64) int64 {
		if p == nil {
			return def
		}
		v := *p
		if v < 0 {
			v += size
		}
		return max(low, min(v, high))
	}
	first, last := clamp(lo, low), clamp(hi, high)
	if by < 0 {
		first, last = clamp(lo, high), clamp(hi, low)
	}
	return rangeValue{first, last, by}, nil
}
