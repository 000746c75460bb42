package jinja

import (
	"fmt"
	"math"
	"unicode/utf8"
)

// Func is a function that a template may call by name.
type Func func(pos []any, kw *Dict) (any, error)

// List is a Python list or tuple. It is not modified after it is built.
type List struct {
	Items []any
	tuple bool
}

// NewList returns a list of the items, which it takes over.
func NewList(items ...any) *List { return &List{Items: items} }

func newTuple(items ...any) *List { return &List{Items: items, tuple: true} }

// undefined is the value of a missing name, attribute or item. It prints as
// nothing, is false and empty; any other use is an error with its message.
type undefined struct{ msg string }

func undefinedf(format string, args ...any) *undefined {
	return &undefined{fmt.Sprintf(format, args...)}
}

func (u *undefined) err() error { return &undefinedError{u.msg} }

type undefinedError struct{ msg string }

func (e *undefinedError) Error() string { return e.msg }

// bigInt is an integer of JSON outside int64, in decimal digits.
type bigInt string

// generator is the result of a lazy filter: it can be iterated once, is always
// true and has no length.
type generator struct{ items []any }

// dictView is the result of items(), keys() or values().
type dictView struct {
	kind  string // "dict_items", ...
	items []any
}

type rangeValue struct{ start, stop, step int64 }

func (r rangeValue) len() int64 {
	switch {
	case r.step > 0 && r.start < r.stop:
		return (r.stop - r.start + r.step - 1) / r.step
	case r.step < 0 && r.start > r.stop:
		return (r.start - r.stop - r.step - 1) / -r.step
	}
	return 0
}

func (r rangeValue) at(i int64) int64 { return r.start + i*r.step }

// namespace is the one value that a template can modify.
type namespace struct{ attrs *Dict }

// method is a method taken from a value without a call.
type method struct {
	obj  any
	name string
}

// builtin is a function of the language that needs the running render.
type builtin struct {
	name string
	fn   func(*interp, *args) (any, error)
}

// typeName is Python's name of a value's type.
func typeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int64, bigInt:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case *List:
		if v.tuple {
			return "tuple"
		}
		return "list"
	case *Dict:
		return "dict"
	case *undefined:
		return "Undefined"
	case *generator:
		return "generator"
	case *dictView:
		return v.kind
	case rangeValue:
		return "range"
	case *namespace:
		return "Namespace"
	case *loopState:
		return "LoopContext"
	case *macro:
		return "Macro"
	}
	return "function"
}

// truth is Python's bool(v).
func truth(v any) bool {
	switch v := v.(type) {
	case nil, *undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case *List:
		return len(v.Items) > 0
	case *Dict:
		return v.Len() > 0
	case *dictView:
		return len(v.items) > 0
	case rangeValue:
		return v.len() > 0
	}
	return true
}

// length is Python's len(v).
func (in *interp) length(v any) (int, error) {
	switch v := v.(type) {
	case *undefined:
		return 0, nil
	case string:
		return utf8.RuneCountInString(v), in.spend(len(v))
	case *List:
		return len(v.Items), nil
	case *Dict:
		return v.Len(), nil
	case *dictView:
		return len(v.items), nil
	case rangeValue:
		return int(v.len()), nil
	case *loopState:
		return len(v.items), nil
	}
	return 0, fmt.Errorf("object of type '%s' has no len()", typeName(v))
}

// iterate returns the items that a loop over v yields.
func (in *interp) iterate(v any) ([]any, error) {
	switch v := v.(type) {
	case *undefined:
		return nil, nil
	case *List:
		return v.Items, nil
	case *Dict:
		return v.keys, nil
	case *dictView:
		return v.items, nil
	case *generator:
		items := v.items
		v.items = nil
		return items, nil
	case string:
		if err := in.spend(itemBytes * len(v)); err != nil {
			return nil, err
		}
		items := make([]any, 0, len(v))
		for _, r := range v {
			items = append(items, string(r))
		}
		return items, nil
	case rangeValue:
		n := v.len()
		if err := in.spend(itemBytes * int(n)); err != nil {
			return nil, err
		}
		items := make([]any, n)
		for i := range items {
			items[i] = v.at(int64(i))
		}
		return items, nil
	}
	return nil, fmt.Errorf("'%s' object is not iterable", typeName(v))
}

// asInt takes the integer of an int or bool, as Python does.
func asInt(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// asFloat takes the number of any numeric value.
func asFloat(v any) (float64, bool) {
	if f, ok := v.(float64); ok {
		return f, true
	}
	if i, ok := asInt(v); ok {
		return float64(i), true
	}
	return math.NaN(), false
}
