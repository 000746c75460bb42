package jinja

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// str is Python's str(v), which is how values are printed.
func (in *interp) str(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case *undefined:
		return "", nil
	}
	var b strings.Builder
	if err := in.repr(&b, v, 0); err != nil {
		return "", err
	}
	return b.String(), nil
}

// repr appends Python's repr(v).
func (in *interp) repr(b *strings.Builder, v any, depth int) error {
	if err := checkDepth(depth); err != nil {
		return err
	}
	if err := in.step(); err != nil {
		return err
	}
	switch v := v.(type) {
	case *List:
		if v.tuple {
			return in.reprTuple(b, v.Items, depth)
		}
		return in.reprItems(b, "[", v.Items, "]", depth)
	case *Dict:
		return in.reprDict(b, v, depth)
	case *dictView:
		return in.reprItems(b, v.kind+"([", v.items, "])", depth)
	case *namespace:
		return in.wrap(b, "<Namespace ", v.attrs, ">", depth)
	}
	s, err := reprScalar(v)
	if err != nil {
		return err
	}
	if err := in.spend(len(s)); err != nil {
		return err
	}
	b.WriteString(s)
	return nil
}

func reprScalar(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "None", nil
	case bool:
		if v {
			return "True", nil
		}
		return "False", nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case bigInt:
		return string(v), nil
	case float64:
		return reprFloat(v), nil
	case string:
		return reprString(v), nil
	case *undefined:
		return "Undefined", nil
	case rangeValue:
		if v.step == 1 {
			return fmt.Sprintf("range(%d, %d)", v.start, v.stop), nil
		}
		return fmt.Sprintf("range(%d, %d, %d)", v.start, v.stop, v.step), nil
	case *macro:
		return fmt.Sprintf("<Macro '%s'>", v.def.name), nil
	case *loopState:
		return fmt.Sprintf("<LoopContext %d/%d>", v.index+1, len(v.items)), nil
	}
	// Python prints an address here, which no prompt can be meant to contain.
	return "", fmt.Errorf("a value of type '%s' cannot be printed", typeName(v))
}

func (in *interp) reprTuple(b *strings.Builder, items []any, depth int) error {
	if len(items) == 1 {
		return in.wrap(b, "(", items[0], ",)", depth)
	}
	return in.reprItems(b, "(", items, ")", depth)
}

func (in *interp) wrap(b *strings.Builder, open string, v any, end string, depth int) error {
	b.WriteString(open)
	err := in.repr(b, v, depth+1)
	b.WriteString(end)
	return err
}

func (in *interp) reprItems(b *strings.Builder, open string, items []any, end string, depth int) error {
	if err := in.spend(2 + 2*len(items)); err != nil {
		return err
	}
	b.WriteString(open)
	for i, item := range items {
		if i > 0 {
			b.WriteString(", ")
		}
		if err := in.repr(b, item, depth+1); err != nil {
			return err
		}
	}
	b.WriteString(end)
	return nil
}

func (in *interp) reprDict(b *strings.Builder, d *Dict, depth int) error {
	if err := in.spend(2 + 4*d.Len()); err != nil {
		return err
	}
	b.WriteByte('{')
	for i, k := range d.keys {
		if i > 0 {
			b.WriteString(", ")
		}
		if err := in.repr(b, k, depth+1); err != nil {
			return err
		}
		b.WriteString(": ")
		if err := in.repr(b, d.vals[i], depth+1); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

// reprFloat prints the shortest digits that give the same number, with an
// exponent below 1e-4 and from 1e16 on.
func reprFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// reprString quotes a string as Python does: single quotes unless only those
// occur in it, and escapes for what is not printable.
func reprString(s string) string {
	quote := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, "\"") {
		quote = '"'
	}
	var b strings.Builder
	b.WriteRune(quote)
	for _, r := range s {
		switch {
		case r == quote || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString("\\n")
		case r == '\r':
			b.WriteString("\\r")
		case r == '\t':
			b.WriteString("\\t")
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xff:
			fmt.Fprintf(&b, "\\x%02x", r)
		case r <= 0xffff:
			fmt.Fprintf(&b, "\\u%04x", r)
		default:
			fmt.Fprintf(&b, "\\U%08x", r)
		}
	}
	b.WriteRune(quote)
	return b.String()
}
