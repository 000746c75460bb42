package jinja

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

func filterList(in *interp, v any, a *args) (any, error) {
	if err := noArgs("list", a); err != nil {
		return nil, err
	}
	items, err := in.iterate(v)
	return &List{Items: items}, err
}

func filterFirst(in *interp, v any, a *args) (any, error) {
	if err := noArgs("first", a); err != nil {
		return nil, err
	}
	if g, ok := v.(*generator); ok && len(g.items) > 0 {
		item := g.items[0]
		g.items = g.items[1:]
		return item, nil
	}
	items, err := in.iterate(v)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return undefinedf("no first item, sequence was empty"), nil
	}
	return items[0], nil
}

func filterLast(in *interp, v any, a *args) (any, error) {
	if err := noArgs("last", a); err != nil {
		return nil, err
	}
	if _, ok := v.(*generator); ok {
		return nil, fmt.Errorf("'generator' object is not reversible")
	}
	items, err := in.iterate(v)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return undefinedf("no last item, sequence was empty"), nil
	}
	return items[len(items)-1], nil
}

func filterReverse(in *interp, v any, a *args) (any, error) {
	if err := noArgs("reverse", a); err != nil {
		return nil, err
	}
	minusOne := int64(-1)
	if s, ok := v.(string); ok {
		return in.slice(s, nil, nil, &minusOne)
	}
	items, err := in.iterate(v)
	if err != nil {
		return nil, err
	}
	reversed, err := in.slice(&List{Items: items}, nil, nil, &minusOne)
	if err != nil {
		return nil, err
	}
	return &generator{reversed.(*List).Items}, nil
}

func filterItems(in *interp, v any, a *args) (any, error) {
	if err := noArgs("items", a); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case *undefined:
		return &generator{}, nil
	case *Dict:
		if err := in.spend(4 * itemBytes * v.Len()); err != nil {
			return nil, err
		}
		return &generator{v.pairs()}, nil
	}
	return nil, fmt.Errorf("can only get item pairs from a mapping, not '%s'", typeName(v))
}

func filterJoin(in *interp, v any, a *args) (any, error) {
	got, err := a.bind("join", 0, "d", "attribute")
	if err != nil {
		return nil, err
	}
	items, err := in.iterate(v)
	if err != nil {
		return nil, err
	}
	sep, err := in.str(or(got[0], ""))
	if err != nil {
		return nil, err
	}
	get, err := in.attrGetter(or(got[1], nil), nil)
	if err != nil {
		return nil, err
	}
	parts := make([]string, len(items))
	for i, item := range items {
		if item, err = get(item); err != nil {
			return nil, err
		}
		if parts[i], err = in.str(item); err != nil {
			return nil, err
		}
	}
	return join(in, parts, sep)
}

// attrGetter returns the function that map(attribute=...) and its relatives
// apply: a dotted path of names and indexes. A nil path is the item itself.
// def, if not nil, replaces an undefined result.
func (in *interp) attrGetter(path any, def func() any) (func(any) (any, error), error) {
	var keys []any
	switch p := path.(type) {
	case nil:
	case int64:
		keys = []any{p}
	case string:
		for _, part := range strings.Split(p, ".") {
			if i, err := strconv.ParseInt(part, 10, 64); err == nil && isASCIIDigits(part) {
				keys = append(keys, i)
			} else {
				keys = append(keys, part)
			}
		}
	default:
		return nil, fmt.Errorf("attribute must be a string or integer, not '%s'", typeName(path))
	}
	return func(v any) (any, error) {
		for _, key := range keys {
			if err := in.step(); err != nil {
				return nil, err
			}
			var err error
			if v, err = in.getItem(v, key); err != nil {
				return nil, err
			}
			if _, missing := v.(*undefined); missing && def != nil {
				v = def()
			}
		}
		return v, nil
	}, nil
}

func isASCIIDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// filterMap is map(attribute=...) or map('filter', arguments...).
func filterMap(in *interp, v any, a *args) (any, error) {
	apply, err := mapFunc(in, a)
	if err != nil {
		return nil, err
	}
	return in.collect(v, func(item any) (any, bool, error) {
		out, err := apply(item)
		return out, true, err
	})
}

func mapFunc(in *interp, a *args) (func(any) (any, error), error) {
	if len(a.pos) == 0 {
		got, err := a.bind("map", 1, "attribute", "default")
		if err != nil {
			return nil, err
		}
		var def func() any
		if or(got[1], nil) != nil {
			def = func() any { return got[1] }
		}
		return in.attrGetter(got[0], def)
	}
	name, err := strArg("map", a.pos[0])
	if err != nil {
		return nil, err
	}
	rest := &args{a.pos[1:], a.kwNames, a.kwVals}
	return func(item any) (any, error) { return in.applyFilter(name, item, rest) }, nil
}

// collect makes a generator of the items that f keeps. What is false counts as
// empty, whether it can be iterated or not.
func (in *interp) collect(v any, f func(any) (any, bool, error)) (any, error) {
	if !truth(v) {
		return &generator{}, nil
	}
	items, err := in.iterate(v)
	if err != nil {
		return nil, err
	}
	if err := in.spend(itemBytes * len(items)); err != nil {
		return nil, err
	}
	out := make([]any, 0, len(items))
	for _, item := range items {
		if err := in.step(); err != nil {
			return nil, err
		}
		item, keep, err := f(item)
		if err != nil {
			return nil, err
		}
		if keep {
			out = append(out, item)
		}
	}
	return &generator{out}, nil
}

// filterSelect is select or reject: by a test, or by truth.
func filterSelect(want bool) filterFunc {
	return func(in *interp, v any, a *args) (any, error) {
		return in.selectItems(v, a, func(item any) (any, error) { return item, nil }, want)
	}
}

// filterSelectAttr is selectattr or rejectattr.
func filterSelectAttr(want bool) filterFunc {
	return func(in *interp, v any, a *args) (any, error) {
		if len(a.pos) == 0 {
			return nil, fmt.Errorf("the attribute's name is missing")
		}
		get, err := in.attrGetter(a.pos[0], nil)
		if err != nil {
			return nil, err
		}
		return in.selectItems(v, &args{a.pos[1:], a.kwNames, a.kwVals}, get, want)
	}
}

func (in *interp) selectItems(v any, a *args, get func(any) (any, error), want bool) (any, error) {
	test := func(x any) (bool, error) { return truth(x), nil }
	if len(a.pos) > 0 {
		name, err := strArg("select", a.pos[0])
		if err != nil {
			return nil, err
		}
		rest := &args{a.pos[1:], a.kwNames, a.kwVals}
		test = func(x any) (bool, error) { return in.applyTest(name, x, rest) }
	}
	return in.collect(v, func(item any) (any, bool, error) {
		x, err := get(item)
		if err != nil {
			return nil, false, err
		}
		ok, err := test(x)
		return item, ok == want, err
	})
}

// foldCase is how sort, unique, min and max see strings unless they are asked
// to be case-sensitive.
func foldCase(v any) any {
	if s, ok := v.(string); ok {
		return lower(s)
	}
	return v
}

// keyed is an item with the value it is compared by.
type keyed struct{ key, item any }

func (in *interp) keyItems(items []any, attribute any, caseSensitive bool) ([]keyed, error) {
	get, err := in.attrGetter(attribute, nil)
	if err != nil {
		return nil, err
	}
	if err := in.spend(2 * itemBytes * len(items)); err != nil {
		return nil, err
	}
	out := make([]keyed, len(items))
	for i, item := range items {
		key, err := get(item)
		if err != nil {
			return nil, err
		}
		if !caseSensitive {
			key = foldCase(key)
		}
		out[i] = keyed{key, item}
	}
	return out, nil
}

// sortKeyed sorts by key and stays stable when reversed, as Python does.
func (in *interp) sortKeyed(ks []keyed, reverse bool) error {
	var failed error
	slices.SortStableFunc(ks, func(a, b keyed) int {
		if failed != nil {
			return 0
		}
		if failed = in.step(); failed != nil {
			return 0
		}
		c, _, err := in.order("<", a.key, b.key, 0)
		failed = err
		if reverse {
			c = -c
		}
		return c
	})
	return failed
}

func itemsOf(ks []keyed) []any {
	out := make([]any, len(ks))
	for i, k := range ks {
		out[i] = k.item
	}
	return out
}

func filterSort(in *interp, v any, a *args) (any, error) {
	got, err := a.bind("sort", 0, "reverse", "case_sensitive", "attribute")
	if err != nil {
		return nil, err
	}
	items, err := in.iterate(v)
	if err != nil {
		return nil, err
	}
	if s, ok := or(got[2], nil).(string); ok && strings.Contains(s, ",") {
		return nil, fmt.Errorf("sorting by several attributes is not supported")
	}
	ks, err := in.keyItems(items, or(got[2], nil), truth(or(got[1], false)))
	if err != nil {
		return nil, err
	}
	err = in.sortKeyed(ks, truth(or(got[0], false)))
	return &List{Items: itemsOf(ks)}, err
}

func filterDictSort(in *interp, v any, a *args) (any, error) {
	got, err := a.bind("dictsort", 0, "case_sensitive", "by", "reverse")
	if err != nil {
		return nil, err
	}
	d, ok := v.(*Dict)
	if !ok {
		return nil, operandError(v, fmt.Errorf("needs a dict, not '%s'", typeName(v)))
	}
	at := int64(0)
	switch by := or(got[1], "key"); by {
	case "key":
	case "value":
		at = 1
	default:
		return nil, fmt.Errorf("you can only sort by either 'key' or 'value'")
	}
	ks, err := in.keyItems(d.pairs(), at, truth(or(got[0], false)))
	if err != nil {
		return nil, err
	}
	err = in.sortKeyed(ks, truth(or(got[2], false)))
	return &List{Items: itemsOf(ks)}, err
}

func filterUnique(in *interp, v any, a *args) (any, error) {
	got, err := a.bind("unique", 0, "case_sensitive", "attribute")
	if err != nil {
		return nil, err
	}
	items, err := in.iterate(v)
	if err != nil {
		return nil, err
	}
	ks, err := in.keyItems(items, or(got[1], nil), truth(or(got[0], false)))
	if err != nil {
		return nil, err
	}
	seen := NewDict()
	var out []any
	for _, k := range ks {
		if _, dup := seen.lookup(k.key); dup {
			continue
		}
		if err := seen.setAny(k.key, nil); err != nil {
			return nil, err
		}
		out = append(out, k.item)
	}
	return &generator{out}, nil
}

// filterExtreme is min or max: the first of the items that op puts in front.
func filterExtreme(op string) filterFunc {
	return func(in *interp, v any, a *args) (any, error) {
		got, err := a.bind("min", 0, "case_sensitive", "attribute")
		if err != nil {
			return nil, err
		}
		items, err := in.iterate(v)
		if err != nil {
			return nil, err
		}
		ks, err := in.keyItems(items, or(got[1], nil), truth(or(got[0], false)))
		if err != nil {
			return nil, err
		}
		if len(ks) == 0 {
			return undefinedf("no aggregated item, sequence was empty"), nil
		}
		best := ks[0]
		for _, k := range ks[1:] {
			better, err := in.compareOp(op, k.key, best.key)
			if err != nil {
				return nil, err
			}
			if better {
				best = k
			}
		}
		return best.item, nil
	}
}

func filterSum(in *interp, v any, a *args) (any, error) {
	got, err := a.bind("sum", 0, "attribute", "start")
	if err != nil {
		return nil, err
	}
	get, err := in.attrGetter(or(got[0], nil), nil)
	if err != nil {
		return nil, err
	}
	items, err := in.iterate(v)
	if err != nil {
		return nil, err
	}
	total := or(got[1], int64(0))
	if _, ok := total.(string); ok {
		return nil, fmt.Errorf("sum cannot add strings")
	}
	for _, item := range items {
		if item, err = get(item); err != nil {
			return nil, err
		}
		if total, err = in.binary("+", total, item); err != nil {
			return nil, err
		}
	}
	return total, nil
}
