package jinja

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// percentFormat is Python's format % value for the conversions s, r, d, i, f,
// x, X and %.
func (in *interp) percentFormat(format string, value any) (any, error) {
	vals := []any{value}
	if l, ok := value.(*List); ok && l.tuple {
		vals = l.Items
	}
	named, lenient := value.(*Dict)
	if l, ok := value.(*List); ok && !l.tuple {
		lenient = true // Python checks for leftover arguments in tuples and scalars only
	}
	if err := in.spend(len(format)); err != nil {
		return nil, err
	}
	var b strings.Builder
	used := 0
	for {
		text, rest, found := strings.Cut(format, "%")
		b.WriteString(text)
		if !found {
			break
		}
		v, err := parseVerb(&rest)
		if err != nil {
			return nil, err
		}
		format = rest
		if v.conv == '%' {
			b.WriteByte('%')
			continue
		}
		var arg any
		switch {
		case v.key != "":
			if named == nil {
				return nil, fmt.Errorf("format requires a mapping")
			}
			var ok bool
			if arg, ok = named.lookup(v.key); !ok {
				return nil, fmt.Errorf("format key '%s' is missing", v.key)
			}
		case used < len(vals):
			arg = vals[used]
			used++
		default:
			return nil, fmt.Errorf("not enough arguments for format string")
		}
		s, err := in.formatVerb(v, arg)
		if err != nil {
			return nil, err
		}
		b.WriteString(s)
	}
	if used < len(vals) && !lenient {
		return nil, fmt.Errorf("not all arguments converted during string formatting")
	}
	return b.String(), nil
}

// maxPad bounds the width and precision of a conversion.
const maxPad = 1000

// verb is one conversion of a format string.
type verb struct {
	key       string
	flags     string
	width     int
	precision int // -1 if absent
	conv      byte
}

func parseVerb(s *string) (verb, error) {
	v := verb{precision: -1}
	rest := *s
	if strings.HasPrefix(rest, "(") {
		key, after, ok := strings.Cut(rest[1:], ")")
		if !ok {
			return v, fmt.Errorf("incomplete format key")
		}
		v.key, rest = key, after
	}
	n := 0
	for n < len(rest) && strings.IndexByte("-+ 0#", rest[n]) >= 0 {
		n++
	}
	v.flags, rest = rest[:n], rest[n:]
	var err error
	if v.width, rest, err = leadingInt(rest); err != nil {
		return v, err
	}
	if strings.HasPrefix(rest, ".") {
		if v.precision, rest, err = leadingInt(rest[1:]); err != nil {
			return v, err
		}
	}
	if rest == "" {
		return v, fmt.Errorf("incomplete format")
	}
	v.conv = rest[0]
	*s = rest[1:]
	return v, nil
}

func leadingInt(s string) (int, string, error) {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	if n == 0 {
		return 0, s, nil
	}
	v, err := strconv.Atoi(s[:n])
	if err != nil || v > maxPad {
		return 0, s, &LimitError{"maxPad", maxPad, "characters of width or precision"}
	}
	return v, s[n:], nil
}

func (in *interp) formatVerb(v verb, arg any) (string, error) {
	var s string
	var err error
	numeric := true
	switch v.conv {
	case 's', 'r':
		numeric = false
		if v.conv == 'r' {
			var b strings.Builder
			err = in.repr(&b, arg, 0)
			s = b.String()
		} else {
			s, err = in.str(arg)
		}
		if v.precision >= 0 {
			s = s[:runeOffset(s, v.precision)]
		}
	case 'd', 'i', 'x', 'X':
		s, err = formatInt(v, arg)
	case 'f', 'F':
		f, ok := asFloat(arg)
		if !ok {
			return "", fmt.Errorf("a number is required, not '%s'", typeName(arg))
		}
		if v.precision < 0 {
			v.precision = 6
		}
		s = strconv.FormatFloat(f, 'f', v.precision, 64)
	default:
		return "", fmt.Errorf("format character '%c' is not supported", v.conv)
	}
	if err != nil {
		return "", err
	}
	if err := in.spend(len(s) + v.width); err != nil {
		return "", err
	}
	return pad(v, s, numeric), nil
}

func formatInt(v verb, arg any) (string, error) {
	i, ok := asInt(arg)
	if f, isFloat := arg.(float64); isFloat && v.conv != 'x' && v.conv != 'X' && f > -1e18 && f < 1e18 {
		i, ok = int64(f), true
	}
	if !ok {
		return "", fmt.Errorf("an integer is required, not '%s'", typeName(arg))
	}
	if strings.Contains(v.flags, "#") || v.precision >= 0 {
		return "", fmt.Errorf("'#' and precision are not supported for integers")
	}
	s := strconv.FormatInt(i, 10)
	switch v.conv {
	case 'x':
		s = strconv.FormatInt(i, 16)
	case 'X':
		s = strings.ToUpper(strconv.FormatInt(i, 16))
	}
	return s, nil
}

func pad(v verb, s string, numeric bool) string {
	if numeric && !strings.HasPrefix(s, "-") {
		if strings.Contains(v.flags, "+") {
			s = "+" + s
		} else if strings.Contains(v.flags, " ") {
			s = " " + s
		}
	}
	n := v.width - utf8.RuneCountInString(s)
	switch {
	case n <= 0:
		return s
	case strings.Contains(v.flags, "-"):
		return s + strings.Repeat(" ", n)
	case numeric && strings.Contains(v.flags, "0"):
		if strings.IndexByte("+- ", s[0]) >= 0 {
			return s[:1] + strings.Repeat("0", n) + s[1:]
		}
		return strings.Repeat("0", n) + s
	}
	return strings.Repeat(" ", n) + s
}

// strFormat is str.format with plain fields: {}, {0} and {name}.
func strFormat(in *interp, s string, a *args) (any, error) {
	var b strings.Builder
	next := 0
	for s != "" {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			break
		}
		b.WriteString(s[:i])
		if strings.HasPrefix(s[i:], "{{") || strings.HasPrefix(s[i:], "}}") {
			b.WriteByte(s[i])
			s = s[i+2:]
			continue
		}
		field, rest, ok := strings.Cut(s[i+1:], "}")
		if s[i] == '}' || !ok {
			return nil, fmt.Errorf("single '%c' in format string", s[i])
		}
		v, err := a.field(field, &next)
		if err != nil {
			return nil, err
		}
		text, err := in.str(v)
		if err != nil {
			return nil, err
		}
		if err := in.spend(len(text)); err != nil {
			return nil, err
		}
		b.WriteString(text)
		s = rest
	}
	b.WriteString(s)
	return b.String(), nil
}

func (a *args) field(name string, next *int) (any, error) {
	i, err := strconv.Atoi(name)
	switch {
	case name == "":
		i = *next
		*next++
	case strings.ContainsAny(name, ".[!:"):
		return nil, fmt.Errorf("format field '{%s}' is not supported: only {}, {0} and {name}", name)
	case err != nil:
		if v, ok := a.keyword(name); ok {
			return v, nil
		}
		return nil, fmt.Errorf("format has no argument '%s'", name)
	}
	if i < 0 || i >= len(a.pos) {
		return nil, fmt.Errorf("format has no argument %d", i)
	}
	return a.pos[i], nil
}
