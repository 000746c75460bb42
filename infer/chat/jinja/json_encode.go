package jinja

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonWriter is Python's json.dumps.
type jsonWriter struct {
	in       *interp
	b        strings.Builder
	ascii    bool
	sortKeys bool
	indent   string // one level; meaningful if pretty
	pretty   bool
	itemSep  string
	keySep   string
}

func (w *jsonWriter) write(s string) error {
	w.b.WriteString(s)
	return w.in.spend(len(s))
}

func (w *jsonWriter) newline(depth int) error {
	if !w.pretty {
		return nil
	}
	if err := w.in.spendTimes(len(w.indent)+1, int64(depth)+1); err != nil {
		return err
	}
	w.b.WriteByte('\n')
	w.b.WriteString(strings.Repeat(w.indent, depth))
	return nil
}

func (w *jsonWriter) value(v any, depth int) error {
	if err := checkDepth(depth); err != nil {
		return err
	}
	if err := w.in.step(); err != nil {
		return err
	}
	switch v := v.(type) {
	case string:
		if err := w.in.spend(len(v)); err != nil {
			return err
		}
		return w.write(quoteJSON(v, w.ascii))
	case *List:
		return w.list(v, depth)
	case *Dict:
		return w.dict(v, depth)
	}
	s, err := jsonScalar(v)
	if err != nil {
		return err
	}
	return w.write(s)
}

func jsonScalar(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "null", nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case bigInt:
		return string(v), nil
	case float64:
		switch {
		case math.IsNaN(v):
			return "NaN", nil
		case math.IsInf(v, 1):
			return "Infinity", nil
		case math.IsInf(v, -1):
			return "-Infinity", nil
		}
		return reprFloat(v), nil
	}
	return "", fmt.Errorf("object of type '%s' is not JSON serializable", typeName(v))
}

func (w *jsonWriter) list(l *List, depth int) error {
	if len(l.Items) == 0 {
		return w.write("[]")
	}
	if err := w.write("["); err != nil {
		return err
	}
	for i, item := range l.Items {
		if err := w.separate(i, depth); err != nil {
			return err
		}
		if err := w.value(item, depth+1); err != nil {
			return err
		}
	}
	if err := w.newline(depth); err != nil {
		return err
	}
	return w.write("]")
}

func (w *jsonWriter) separate(i, depth int) error {
	if i > 0 {
		if err := w.write(w.itemSep); err != nil {
			return err
		}
	}
	return w.newline(depth + 1)
}

func (w *jsonWriter) dict(d *Dict, depth int) error {
	if d.Len() == 0 {
		return w.write("{}")
	}
	order := make([]int, d.Len())
	for i := range order {
		order[i] = i
	}
	if w.sortKeys {
		if err := w.sort(d, order); err != nil {
			return err
		}
	}
	if err := w.write("{"); err != nil {
		return err
	}
	for n, i := range order {
		if err := w.separate(n, depth); err != nil {
			return err
		}
		key, ok := d.keys[i].(string)
		if !ok {
			var err error
			if key, err = jsonScalar(d.keys[i]); err != nil {
				return err
			}
		}
		if err := w.write(quoteJSON(key, w.ascii) + w.keySep); err != nil {
			return err
		}
		if err := w.value(d.vals[i], depth+1); err != nil {
			return err
		}
	}
	if err := w.newline(depth); err != nil {
		return err
	}
	return w.write("}")
}

// sort orders the indexes of a dict by key.
func (w *jsonWriter) sort(d *Dict, order []int) error {
	var failed error
	slices.SortStableFunc(order, func(a, b int) int {
		c, _, err := w.in.order("<", d.keys[a], d.keys[b], 0)
		if failed == nil {
			failed = err
		}
		return c
	})
	return failed
}

// quoteJSON quotes a string as json.dumps does.
func quoteJSON(s string, ascii bool) string {
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('"')
	start := 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if esc := jsonEscape(r, ascii); esc != "" {
			b.WriteString(s[start:i])
			b.WriteString(esc)
			start = i + size
		}
		i += size
	}
	b.WriteString(s[start:])
	b.WriteByte('"')
	return b.String()
}

// jsonEscape is the escape for r, or "" where r stands for itself.
func jsonEscape(r rune, ascii bool) string {
	switch r {
	case '"':
		return `\"`
	case '\\':
		return `\\`
	case '\n':
		return `\n`
	case '\r':
		return `\r`
	case '\t':
		return `\t`
	case '\f':
		return `\f`
	case '\b':
		return `\b`
	}
	switch {
	case r < 0x20 || ascii && r > 0x7e && r <= 0xffff:
		return fmt.Sprintf(`\u%04x`, r)
	case ascii && r > 0xffff:
		hi, lo := utf16.EncodeRune(r)
		return fmt.Sprintf(`\u%04x\u%04x`, hi, lo)
	}
	return ""
}
