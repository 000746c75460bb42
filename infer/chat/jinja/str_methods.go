package jinja

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// strMethods are the methods of Python's str, by name.
var strMethods = map[string]methodFunc[string]{
	"upper":        strMap(upper),
	"lower":        strMap(lower),
	"casefold":     strMap(lower),
	"capitalize":   strMap(capitalize),
	"title":        strMap(titleCase),
	"swapcase":     strMap(swapCase),
	"strip":        strStrip(true, true),
	"lstrip":       strStrip(true, false),
	"rstrip":       strStrip(false, true),
	"split":        strSplit(split),
	"rsplit":       strSplit(rsplit),
	"splitlines":   strSplitLines,
	"partition":    strPartition(strings.Index, false),
	"rpartition":   strPartition(strings.LastIndex, true),
	"startswith":   strAffix(strings.HasPrefix),
	"endswith":     strAffix(strings.HasSuffix),
	"removeprefix": strCut(strings.TrimPrefix),
	"removesuffix": strCut(strings.TrimSuffix),
	"replace":      strReplace,
	"find":         strFind(strings.Index, false),
	"rfind":        strFind(strings.LastIndex, false),
	"index":        strFind(strings.Index, true),
	"rindex":       strFind(strings.LastIndex, true),
	"count":        strCount,
	"join":         strJoin,
	"format":       strFormat,
	"zfill":        strZfill,
	"ljust":        strJustify(0, 1),
	"rjust":        strJustify(1, 0),
	"isdigit":      strAll(unicode.IsDigit),
	"isdecimal":    strAll(unicode.IsDigit),
	"isnumeric":    strAll(unicode.IsNumber),
	"isalpha":      strAll(unicode.IsLetter),
	"isalnum":      strAll(func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }),
	"isspace":      strAll(isSpace),
	"isascii":      func(in *interp, s string, a *args) (any, error) { return isASCII(s), noArgs("isascii", a) },
	"isupper":      strCased(unicode.IsUpper, unicode.IsLower),
	"islower":      strCased(unicode.IsLower, unicode.IsUpper),
}

func noArgs(name string, a *args) error {
	_, err := a.bind(name, 0)
	return err
}

func strMap(f func(string) string) methodFunc[string] {
	return func(in *interp, s string, a *args) (any, error) {
		if err := noArgs("method", a); err != nil {
			return nil, err
		}
		return f(s), in.spend(2 * len(s))
	}
}

func strStrip(left, right bool) methodFunc[string] {
	return func(in *interp, s string, a *args) (any, error) {
		got, err := a.bind("strip", 0, "chars")
		if err != nil {
			return nil, err
		}
		return strip(in, s, or(got[0], nil), left, right)
	}
}

// strip removes the characters in chars, or whitespace if chars is nil.
func strip(in *interp, s string, chars any, left, right bool) (any, error) {
	drop := isSpace
	if chars != nil {
		set, err := strArg("strip", chars)
		if err != nil {
			return nil, err
		}
		if err := in.spendTimes(len(set), int64(len(s))); err != nil {
			return nil, err
		}
		drop = func(r rune) bool { return strings.ContainsRune(set, r) }
	}
	if left {
		s = strings.TrimLeftFunc(s, drop)
	}
	if right {
		s = strings.TrimRightFunc(s, drop)
	}
	return s, nil
}

func strSplit(f func(s, sep string, limit int) []string) methodFunc[string] {
	return func(in *interp, s string, a *args) (any, error) {
		got, err := a.bind("split", 0, "sep", "maxsplit")
		if err != nil {
			return nil, err
		}
		limit, err := intArg("split", or(got[1], int64(-1)))
		if err != nil {
			return nil, err
		}
		sep := ""
		if v := or(got[0], nil); v != nil {
			if sep, err = strArg("split", v); err != nil {
				return nil, err
			}
			if sep == "" {
				return nil, fmt.Errorf("empty separator")
			}
		}
		// Charged for the worst case, one piece per byte.
		if err := in.spend(itemBytes * len(s)); err != nil {
			return nil, err
		}
		if limit < 0 || limit > int64(len(s)) {
			limit = int64(len(s))
		}
		return stringList(f(s, sep, int(limit))), nil
	}
}

func stringList(parts []string) *List {
	items := make([]any, len(parts))
	for i, p := range parts {
		items[i] = p
	}
	return &List{Items: items}
}

// split cuts s at most limit times, at runs of whitespace if sep is empty.
func split(s, sep string, limit int) []string {
	if sep != "" {
		return strings.SplitN(s, sep, limit+1)
	}
	var out []string
	s = strings.TrimLeftFunc(s, isSpace)
	for s != "" {
		i := strings.IndexFunc(s, isSpace)
		if i < 0 || len(out) == limit {
			return append(out, s)
		}
		out = append(out, s[:i])
		s = strings.TrimLeftFunc(s[i:], isSpace)
	}
	return out
}

// rsplit is split from the right.
func rsplit(s, sep string, limit int) []string {
	var out []string
	if sep != "" {
		for len(out) < limit {
			i := strings.LastIndex(s, sep)
			if i < 0 {
				break
			}
			out = append(out, s[i+len(sep):])
			s = s[:i]
		}
		out = append(out, s)
	} else {
		s = strings.TrimRightFunc(s, isSpace)
		for s != "" {
			i := strings.LastIndexFunc(s, isSpace)
			if i < 0 || len(out) == limit {
				out = append(out, s)
				break
			}
			_, size := utf8.DecodeRuneInString(s[i:])
			out = append(out, s[i+size:])
			s = strings.TrimRightFunc(s[:i], isSpace)
		}
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}

func strSplitLines(in *interp, s string, a *args) (any, error) {
	got, err := a.bind("splitlines", 0, "keepends")
	if err != nil {
		return nil, err
	}
	if err := in.spend(itemBytes * len(s)); err != nil {
		return nil, err
	}
	return stringList(splitLines(s, truth(or(got[0], false)))), nil
}

// splitLines cuts at every line end that Python knows.
func splitLines(s string, keep bool) []string {
	var out []string
	start := 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		end := i
		i += size
		if !isLineEnd(r) {
			continue
		}
		if r == '\r' && i < len(s) && s[i] == '\n' {
			i++
		}
		if keep {
			end = i
		}
		out = append(out, s[start:end])
		start = i
	}
	if start < len(s) {
		out = append(out, s[start:])
	}
	return out
}

func isLineEnd(r rune) bool {
	return r >= '\n' && r <= '\r' || r >= 0x1c && r <= 0x1e || r == 0x85 || r == 0x2028 || r == 0x2029
}

func strPartition(find func(s, sep string) int, fromRight bool) methodFunc[string] {
	return func(in *interp, s string, a *args) (any, error) {
		got, err := a.bind("partition", 1, "sep")
		if err != nil {
			return nil, err
		}
		sep, err := strArg("partition", got[0])
		if err != nil {
			return nil, err
		}
		if sep == "" {
			return nil, fmt.Errorf("empty separator")
		}
		i := find(s, sep)
		switch {
		case i >= 0:
			return newTuple(s[:i], sep, s[i+len(sep):]), nil
		case fromRight:
			return newTuple("", "", s), nil
		}
		return newTuple(s, "", ""), nil
	}
}

// strAffix is startswith or endswith; the argument may be a tuple.
func strAffix(has func(s, affix string) bool) methodFunc[string] {
	return func(in *interp, s string, a *args) (any, error) {
		got, err := a.bind("startswith", 1, "prefix", "start", "end")
		if err != nil {
			return nil, err
		}
		if got[1] != (absent{}) {
			return nil, fmt.Errorf("start and end are not supported")
		}
		options := []any{got[0]}
		if l, ok := got[0].(*List); ok && l.tuple {
			options = l.Items
		}
		for _, o := range options {
			affix, err := strArg("startswith", o)
			if err != nil {
				return nil, err
			}
			if has(s, affix) {
				return true, nil
			}
		}
		return false, nil
	}
}

func strCut(cut func(s, affix string) string) methodFunc[string] {
	return func(in *interp, s string, a *args) (any, error) {
		got, err := a.bind("removeprefix", 1, "affix")
		if err != nil {
			return nil, err
		}
		affix, err := strArg("removeprefix", got[0])
		return cut(s, affix), err
	}
}

func strReplace(in *interp, s string, a *args) (any, error) {
	got, err := a.bind("replace", 2, "old", "new", "count")
	if err != nil {
		return nil, err
	}
	old, err := strArg("replace", got[0])
	if err != nil {
		return nil, err
	}
	repl, err := strArg("replace", got[1])
	if err != nil {
		return nil, err
	}
	count, err := intArg("replace", or(got[2], int64(-1)))
	if err != nil {
		return nil, err
	}
	return replace(in, s, old, repl, count)
}

// replace charges for the exact result before it makes it.
func replace(in *interp, s, old, repl string, count int64) (any, error) {
	n := int64(strings.Count(s, old))
	if count >= 0 {
		n = min(n, count)
	}
	if err := in.spendTimes(len(repl), n); err != nil {
		return nil, err
	}
	return strings.Replace(s, old, repl, int(n)), in.spend(2 * len(s))
}

func strFind(find func(s, sub string) int, must bool) methodFunc[string] {
	return func(in *interp, s string, a *args) (any, error) {
		got, err := a.bind("find", 1, "sub")
		if err != nil {
			return nil, err
		}
		sub, err := strArg("find", got[0])
		if err != nil {
			return nil, err
		}
		i := find(s, sub)
		if i < 0 {
			if must {
				return nil, fmt.Errorf("substring not found")
			}
			return int64(-1), nil
		}
		return int64(utf8.RuneCountInString(s[:i])), nil
	}
}

func strCount(in *interp, s string, a *args) (any, error) {
	got, err := a.bind("count", 1, "sub")
	if err != nil {
		return nil, err
	}
	sub, err := strArg("count", got[0])
	return int64(strings.Count(s, sub)), err
}

func strJoin(in *interp, s string, a *args) (any, error) {
	got, err := a.bind("join", 1, "iterable")
	if err != nil {
		return nil, err
	}
	items, err := in.iterate(got[0])
	if err != nil {
		return nil, err
	}
	parts := make([]string, len(items))
	for i, item := range items {
		if parts[i], err = strArg("join", item); err != nil {
			return nil, err
		}
	}
	return join(in, parts, s)
}

func join(in *interp, parts []string, sep string) (any, error) {
	if err := in.spendTimes(len(sep)+itemBytes, int64(len(parts))); err != nil {
		return nil, err
	}
	for _, p := range parts {
		if err := in.spend(len(p)); err != nil {
			return nil, err
		}
	}
	return strings.Join(parts, sep), nil
}

func strZfill(in *interp, s string, a *args) (any, error) {
	got, err := a.bind("zfill", 1, "width")
	if err != nil {
		return nil, err
	}
	width, err := intArg("zfill", got[0])
	if err != nil {
		return nil, err
	}
	sign := ""
	if s != "" && (s[0] == '+' || s[0] == '-') {
		sign, s = s[:1], s[1:]
	}
	n := width - int64(utf8.RuneCountInString(s)+len(sign))
	if err := in.spendTimes(1, max(n, 0)); err != nil {
		return nil, err
	}
	return sign + strings.Repeat("0", int(max(n, 0))) + s, nil
}

// strJustify pads to a width, on the left or on the right.
func strJustify(left, right int64) methodFunc[string] {
	return func(in *interp, s string, a *args) (any, error) {
		got, err := a.bind("ljust", 1, "width", "fillchar")
		if err != nil {
			return nil, err
		}
		width, err := intArg("ljust", got[0])
		if err != nil {
			return nil, err
		}
		fill, err := strArg("ljust", or(got[1], " "))
		if err != nil {
			return nil, err
		}
		if utf8.RuneCountInString(fill) != 1 {
			return nil, fmt.Errorf("the fill character must be one character")
		}
		n := max(width-int64(utf8.RuneCountInString(s)), 0)
		if err := in.spendTimes(len(fill), n); err != nil {
			return nil, err
		}
		return strings.Repeat(fill, int(left*n)) + s + strings.Repeat(fill, int(right*n)), nil
	}
}

// strAll tests that every character has a property and that there is one.
func strAll(is func(rune) bool) methodFunc[string] {
	return func(in *interp, s string, a *args) (any, error) {
		if err := noArgs("method", a); err != nil {
			return nil, err
		}
		return s != "" && strings.IndexFunc(s, func(r rune) bool { return !is(r) }) < 0, nil
	}
}

// strCased tests that there are letters of one case and none of the other.
func strCased(want, not func(rune) bool) methodFunc[string] {
	return func(in *interp, s string, a *args) (any, error) {
		if err := noArgs("method", a); err != nil {
			return nil, err
		}
		return strings.IndexFunc(s, want) >= 0 && strings.IndexFunc(s, not) < 0, nil
	}
}
