package jinja

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

type filterFunc func(in *interp, v any, a *args) (any, error)

// filters are the filters behind "|", by name. Filled in by init, because map
// looks other filters up in it.
var filters map[string]filterFunc

func init() {
	filters = map[string]filterFunc{
		"abs":        filterAbs,
		"capitalize": textFilter(capitalize),
		"count":      filterLength,
		"d":          filterDefault,
		"default":    filterDefault,
		"dictsort":   filterDictSort,
		"first":      filterFirst,
		"float":      filterFloat,
		"format":     filterFormat,
		"indent":     filterIndent,
		"int":        filterInt,
		"items":      filterItems,
		"join":       filterJoin,
		"last":       filterLast,
		"length":     filterLength,
		"list":       filterList,
		"lower":      textFilter(lower),
		"map":        filterMap,
		"max":        filterExtreme(">"),
		"min":        filterExtreme("<"),
		"reject":     filterSelect(false),
		"rejectattr": filterSelectAttr(false),
		"replace":    filterReplace,
		"reverse":    filterReverse,
		"round":      filterRound,
		"select":     filterSelect(true),
		"selectattr": filterSelectAttr(true),
		"sort":       filterSort,
		"string":     textFilter(func(s string) string { return s }),
		"sum":        filterSum,
		"title":      textFilter(titleFilter),
		"tojson":     filterToJSON,
		"trim":       filterTrim,
		"unique":     filterUnique,
		"upper":      textFilter(upper),
	}
}

// textFilter makes a filter of a function on the printed value.
func textFilter(f func(string) string) filterFunc {
	return func(in *interp, v any, a *args) (any, error) {
		s, err := in.str(v)
		if err != nil {
			return nil, err
		}
		if err := in.spend(2 * len(s)); err != nil {
			return nil, err
		}
		return f(s), noArgs("filter", a)
	}
}

func filterTrim(in *interp, v any, a *args) (any, error) {
	got, err := a.bind("trim", 0, "chars")
	if err != nil {
		return nil, err
	}
	s, err := in.str(v)
	if err != nil {
		return nil, err
	}
	if err := in.spend(len(s)); err != nil {
		return nil, err
	}
	return strip(in, s, or(got[0], nil), true, true)
}

func filterReplace(in *interp, v any, a *args) (any, error) {
	got, err := a.bind("replace", 2, "old", "new", "count")
	if err != nil {
		return nil, err
	}
	count := int64(-1)
	if n := or(got[2], nil); n != nil {
		if count, err = intArg("replace", n); err != nil {
			return nil, err
		}
	}
	var text [3]string
	for i, x := range []any{v, got[0], got[1]} {
		if text[i], err = in.str(x); err != nil {
			return nil, err
		}
	}
	return replace(in, text[0], text[1], text[2], count)
}

func filterDefault(in *interp, v any, a *args) (any, error) {
	got, err := a.bind("default", 0, "default_value", "boolean")
	if err != nil {
		return nil, err
	}
	if _, missing := v.(*undefined); missing || truth(or(got[1], false)) && !truth(v) {
		return or(got[0], ""), nil
	}
	return v, nil
}

func filterLength(in *interp, v any, a *args) (any, error) {
	if err := noArgs("length", a); err != nil {
		return nil, err
	}
	n, err := in.length(v)
	return int64(n), err
}

func filterIndent(in *interp, v any, a *args) (any, error) {
	got, err := a.bind("indent", 0, "width", "first", "blank")
	if err != nil {
		return nil, err
	}
	s, err := strArg("indent", v)
	if err != nil {
		return nil, operandError(v, err)
	}
	pre, ok := or(got[0], int64(4)).(string)
	if !ok {
		n, err := intArg("indent", or(got[0], int64(4)))
		if err != nil {
			return nil, err
		}
		if err := in.spendTimes(1, max(n, 0)); err != nil {
			return nil, err
		}
		pre = strings.Repeat(" ", int(max(n, 0)))
	}
	if err := in.spend(itemBytes * len(s)); err != nil {
		return nil, err
	}
	lines := splitLines(s+"\n", false)
	if err := in.spendTimes(len(pre)+1, int64(len(lines))); err != nil {
		return nil, err
	}
	for i, line := range lines {
		if i == 0 && !truth(or(got[1], false)) || i > 0 && line == "" && !truth(or(got[2], false)) {
			continue
		}
		lines[i] = pre + line
	}
	return strings.Join(lines, "\n"), nil
}

func filterFormat(in *interp, v any, a *args) (any, error) {
	s, err := in.str(v)
	if err != nil {
		return nil, err
	}
	if len(a.kwNames) == 0 {
		return in.percentFormat(s, newTuple(a.pos...))
	}
	if len(a.pos) > 0 {
		return nil, fmt.Errorf("positional and keyword arguments cannot be mixed")
	}
	d := NewDict()
	for i, name := range a.kwNames {
		d.Set(name, a.kwVals[i])
	}
	return in.percentFormat(s, d)
}

// filterToJSON is json.dumps with the options that transformers passes on.
func filterToJSON(in *interp, v any, a *args) (any, error) {
	got, err := a.bind("tojson", 0, "ensure_ascii", "indent", "separators", "sort_keys")
	if err != nil {
		return nil, err
	}
	w := &jsonWriter{in: in, ascii: truth(or(got[0], false)), sortKeys: truth(or(got[3], false)), itemSep: ", ", keySep: ": "}
	switch indent := or(got[1], nil).(type) {
	case nil:
	case string:
		w.pretty, w.indent = true, indent
	default:
		n, err := intArg("tojson", indent)
		if err != nil {
			return nil, err
		}
		if n > maxPad {
			return nil, &LimitError{"maxPad", maxPad, "spaces of indent"}
		}
		w.pretty, w.indent = true, strings.Repeat(" ", int(max(n, 0)))
	}
	if w.pretty {
		w.itemSep = ","
	}
	if sep := or(got[2], nil); sep != nil {
		l, ok := sep.(*List)
		if !ok || len(l.Items) != 2 {
			return nil, fmt.Errorf("separators must be a pair of strings")
		}
		if w.itemSep, err = strArg("tojson", l.Items[0]); err != nil {
			return nil, err
		}
		if w.keySep, err = strArg("tojson", l.Items[1]); err != nil {
			return nil, err
		}
	}
	if err := w.value(v, 0); err != nil {
		return nil, err
	}
	return w.b.String(), nil
}

func filterAbs(in *interp, v any, a *args) (any, error) {
	if err := noArgs("abs", a); err != nil {
		return nil, err
	}
	if f, ok := v.(float64); ok {
		return math.Abs(f), nil
	}
	i, ok := asInt(v)
	if !ok {
		return nil, operandError(v, fmt.Errorf("bad operand type for abs(): '%s'", typeName(v)))
	}
	if i < 0 {
		return intBinary("-", 0, i)
	}
	return i, nil
}

func filterInt(in *interp, v any, a *args) (any, error) {
	got, err := a.bind("int", 0, "default", "base")
	if err != nil {
		return nil, err
	}
	if base := or(got[1], int64(10)); base != int64(10) {
		return nil, fmt.Errorf("only base 10 is supported")
	}
	def := or(got[0], int64(0))
	switch v := v.(type) {
	case bigInt:
		return v, nil
	case string:
		text := strings.TrimFunc(v, isSpace)
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			return i, nil
		}
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			return floatToInt(f, def)
		}
		return def, nil
	case float64:
		return floatToInt(v, def)
	}
	if i, ok := asInt(v); ok {
		return i, nil
	}
	if u, ok := v.(*undefined); ok {
		return nil, u.err()
	}
	return def, nil
}

func floatToInt(f float64, def any) (any, error) {
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return def, nil
	case f >= math.MaxInt64 || f <= math.MinInt64:
		return nil, errOverflow
	}
	return int64(f), nil
}

func filterFloat(in *interp, v any, a *args) (any, error) {
	got, err := a.bind("float", 0, "default")
	if err != nil {
		return nil, err
	}
	if f, ok := asFloat(v); ok {
		return f, nil
	}
	switch v := v.(type) {
	case string:
		if f, err := strconv.ParseFloat(strings.TrimFunc(v, isSpace), 64); err == nil || math.IsInf(f, 0) {
			return f, nil
		}
	case *undefined:
		return nil, v.err()
	}
	return or(got[0], 0.0), nil
}

func filterRound(in *interp, v any, a *args) (any, error) {
	got, err := a.bind("round", 0, "precision", "method")
	if err != nil {
		return nil, err
	}
	f, ok := asFloat(v)
	if !ok {
		return nil, operandError(v, fmt.Errorf("cannot round '%s'", typeName(v)))
	}
	digits, err := intArg("round", or(got[0], int64(0)))
	if err != nil {
		return nil, err
	}
	if digits < 0 || digits > 15 {
		return nil, fmt.Errorf("precision must be 0 to 15, got %d", digits)
	}
	scale := math.Pow(10, float64(digits))
	var out float64
	switch method := or(got[1], "common"); method {
	case "common":
		// Rounds the exact decimal value, ties to even, as Python's round does.
		out, err = strconv.ParseFloat(strconv.FormatFloat(f, 'f', int(digits), 64), 64)
		if err != nil {
			return nil, err
		}
	case "ceil":
		out = math.Ceil(f*scale) / scale
	case "floor":
		out = math.Floor(f*scale) / scale
	default:
		return nil, fmt.Errorf("method must be common, ceil or floor")
	}
	if i, isInt := asInt(v); isInt && or(got[1], "common") == "common" {
		return i, nil // Python's round keeps an integer
	}
	return out, nil
}
