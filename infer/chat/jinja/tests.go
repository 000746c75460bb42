package jinja

import (
	"fmt"
	"strings"
	"unicode"
)

type testFunc func(in *interp, v any, a *args) (bool, error)

// tests are the tests of Jinja2 behind "is", by name. Filled in by init,
// because the tests "filter" and "test" look names up in these tables.
var tests map[string]testFunc

func init() {
	tests = map[string]testFunc{
		"defined":   is(func(v any) bool { _, u := v.(*undefined); return !u }),
		"undefined": is(func(v any) bool { _, u := v.(*undefined); return u }),
		"none":      is(func(v any) bool { return v == nil }),
		"true":      is(func(v any) bool { b, ok := v.(bool); return ok && b }),
		"false":     is(func(v any) bool { b, ok := v.(bool); return ok && !b }),
		"boolean":   is(func(v any) bool { _, ok := v.(bool); return ok }),
		"string":    is(func(v any) bool { _, ok := v.(string); return ok }),
		"mapping":   is(func(v any) bool { _, ok := v.(*Dict); return ok }),
		"float":     is(func(v any) bool { _, ok := v.(float64); return ok }),
		"integer":   is(isInteger),
		"number":    is(isNumber),
		"sequence":  is(isSequence),
		"iterable":  is(isIterable),
		"callable":  is(isCallable),
		"lower":     isCase(unicode.IsLower, unicode.IsUpper),
		"upper":     isCase(unicode.IsUpper, unicode.IsLower),
		"odd":       isRemainder(1),
		"even":      isRemainder(0),
		"divisibleby": func(in *interp, v any, a *args) (bool, error) {
			got, err := a.bind("divisibleby", 1, "num")
			if err != nil {
				return false, err
			}
			m, err := in.binary("%", v, got[0])
			return err == nil && !truth(m), err
		},
		"in": func(in *interp, v any, a *args) (bool, error) {
			got, err := a.bind("in", 1, "seq")
			if err != nil {
				return false, err
			}
			return in.contains(got[0], v)
		},
		"sameas": func(in *interp, v any, a *args) (bool, error) {
			got, err := a.bind("sameas", 1, "other")
			if err != nil {
				return false, err
			}
			return sameAs(v, got[0])
		},
		"filter": isName(func(name string) bool { _, ok := filters[name]; return ok }),
		"test":   isName(func(name string) bool { _, ok := tests[name]; return ok }),
	}
	for op, names := range map[string][]string{
		"==": {"eq", "equalto"},
		"!=": {"ne"},
		"<":  {"lt", "lessthan"},
		"<=": {"le"},
		">":  {"gt", "greaterthan"},
		">=": {"ge"},
	} {
		for _, name := range names {
			tests[name] = isCompared(op)
		}
		tests[op] = isCompared(op)
	}
}

func is(f func(any) bool) testFunc {
	return func(_ *interp, v any, a *args) (bool, error) {
		return f(v), noArgs("test", a)
	}
}

func isInteger(v any) bool {
	switch v.(type) {
	case int64, bigInt:
		return true
	}
	return false
}

func isNumber(v any) bool {
	switch v.(type) {
	case bool, int64, bigInt, float64:
		return true
	}
	return false
}

func isSequence(v any) bool {
	switch v.(type) {
	case string, *List, *Dict, rangeValue, *undefined:
		return true
	}
	return false
}

func isIterable(v any) bool {
	switch v.(type) {
	case *generator, *dictView, *loopState:
		return true
	}
	return isSequence(v)
}

func isCallable(v any) bool {
	switch v.(type) {
	case Func, *builtin, *macro, *method, *loopState, *undefined:
		return true
	}
	return false
}

// sameAs is Python's "is", as far as it does not depend on its memory layout.
func sameAs(l, r any) (bool, error) {
	switch l.(type) {
	case nil, bool:
		return l == r, nil
	}
	switch r.(type) {
	case nil, bool:
		return false, nil
	}
	return false, fmt.Errorf("is defined only against none, true and false here")
}

func isCase(want, not func(rune) bool) testFunc {
	return func(in *interp, v any, a *args) (bool, error) {
		s, err := in.str(v)
		if err != nil {
			return false, err
		}
		if err := in.spend(len(s)); err != nil {
			return false, err
		}
		return strings.IndexFunc(s, want) >= 0 && strings.IndexFunc(s, not) < 0, noArgs("test", a)
	}
}

func isRemainder(want int64) testFunc {
	return func(in *interp, v any, a *args) (bool, error) {
		m, err := in.binary("%", v, int64(2))
		if err != nil {
			return false, err
		}
		eq, err := in.equal(m, want, 0)
		if err != nil {
			return false, err
		}
		return eq, noArgs("test", a)
	}
}

func isCompared(op string) testFunc {
	return func(in *interp, v any, a *args) (bool, error) {
		got, err := a.bind("test", 1, "other")
		if err != nil {
			return false, err
		}
		return in.compareOp(op, v, got[0])
	}
}

func isName(known func(string) bool) testFunc {
	return func(_ *interp, v any, a *args) (bool, error) {
		s, ok := v.(string)
		return ok && known(s), noArgs("test", a)
	}
}
