package jinja

import (
	"errors"
	"fmt"
	"math"
	"strings"
)

var errOverflow = errors.New("integer result needs more than 64 bits")

// binary applies an arithmetic operator with Python's types: nothing is
// converted, except bool and int to a wider number.
func (in *interp) binary(op string, l, r any) (any, error) {
	for _, v := range []any{l, r} {
		if u, ok := v.(*undefined); ok {
			return nil, u.err()
		}
	}
	li, lok := asInt(l)
	ri, rok := asInt(r)
	if lok && rok {
		return intBinary(op, li, ri)
	}
	lf, lok := asFloat(l)
	rf, rok := asFloat(r)
	if lok && rok {
		return floatBinary(op, lf, rf)
	}
	switch op {
	case "+":
		if v, ok, err := in.add(l, r); ok || err != nil {
			return v, err
		}
	case "*":
		if v, ok, err := in.repeat(l, r); ok || err != nil {
			return v, err
		}
	case "%":
		if format, ok := l.(string); ok {
			return in.percentFormat(format, r)
		}
	}
	return nil, fmt.Errorf("unsupported operand types for %s: '%s' and '%s'", op, typeName(l), typeName(r))
}

func (in *interp) add(l, r any) (any, bool, error) {
	switch l := l.(type) {
	case string:
		if r, ok := r.(string); ok {
			return l + r, true, in.spend(len(l) + len(r))
		}
	case *List:
		if r, ok := r.(*List); ok && l.tuple == r.tuple {
			if err := in.spend(itemBytes * (len(l.Items) + len(r.Items))); err != nil {
				return nil, true, err
			}
			items := make([]any, 0, len(l.Items)+len(r.Items))
			return &List{append(append(items, l.Items...), r.Items...), l.tuple}, true, nil
		}
	}
	return nil, false, nil
}

// repeat is sequence * count.
func (in *interp) repeat(l, r any) (any, bool, error) {
	n, ok := asInt(r)
	if !ok {
		if n, ok = asInt(l); !ok {
			return nil, false, nil
		}
		l = r
	}
	n = max(n, 0)
	switch l := l.(type) {
	case string:
		if err := in.spendTimes(len(l), n); err != nil {
			return nil, true, err
		}
		return strings.Repeat(l, int(n)), true, nil
	case *List:
		if err := in.spendTimes(itemBytes*len(l.Items), n); err != nil {
			return nil, true, err
		}
		var items []any
		if len(l.Items) > 0 {
			items = make([]any, 0, len(l.Items)*int(n))
			for range n {
				items = append(items, l.Items...)
			}
		}
		return &List{items, l.tuple}, true, nil
	}
	return nil, false, nil
}

// spendTimes charges size bytes n times without overflowing.
func (m *meter) spendTimes(size int, n int64) error {
	if size > 0 && n > int64(MaxWorkBytes/size) {
		return m.spend(MaxWorkBytes + 1)
	}
	return m.spend(size * int(n))
}

func intBinary(op string, l, r int64) (any, error) {
	switch op {
	case "+":
		if s := l + r; (s > l) == (r > 0) {
			return s, nil
		}
		return nil, errOverflow
	case "-":
		if d := l - r; (d < l) == (r > 0) {
			return d, nil
		}
		return nil, errOverflow
	case "*":
		if l == 0 || r == 0 {
			return int64(0), nil
		}
		p := l * r
		if p/r != l || (l == -1 && r == math.MinInt64) || (r == -1 && l == math.MinInt64) {
			return nil, errOverflow
		}
		return p, nil
	case "**":
		return intPower(l, r)
	case "/":
		if r == 0 {
			return nil, errors.New("division by zero")
		}
		return float64(l) / float64(r), nil
	}
	if r == 0 {
		return nil, errors.New("integer division or modulo by zero")
	}
	if l == math.MinInt64 && r == -1 {
		if op == "%" {
			return int64(0), nil
		}
		return nil, errOverflow
	}
	q, m := l/r, l%r
	if m != 0 && (m < 0) != (r < 0) { // Python rounds towards minus infinity
		q, m = q-1, m+r
	}
	if op == "%" {
		return m, nil
	}
	return q, nil
}

func intPower(base, exp int64) (any, error) {
	if exp < 0 {
		if base == 0 {
			return nil, errors.New("zero cannot be raised to a negative power")
		}
		return math.Pow(float64(base), float64(exp)), nil
	}
	if base == 0 || base == 1 || base == -1 {
		switch {
		case exp == 0:
			return int64(1), nil
		case base == -1 && exp%2 == 0:
			return int64(1), nil
		}
		return base, nil
	}
	var out any = int64(1)
	for range exp { // overflows, and so ends, within 64 rounds
		var err error
		if out, err = intBinary("*", out.(int64), base); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func floatBinary(op string, l, r float64) (any, error) {
	switch op {
	case "+":
		return l + r, nil
	case "-":
		return l - r, nil
	case "*":
		return l * r, nil
	case "**":
		if l < 0 && r != math.Trunc(r) {
			return nil, errors.New("power of a negative number is complex")
		}
		if l == 0 && r < 0 {
			return nil, errors.New("zero cannot be raised to a negative power")
		}
		out := math.Pow(l, r)
		if math.IsInf(out, 0) && !math.IsInf(l, 0) && !math.IsInf(r, 0) {
			return nil, errors.New("result of ** is out of range")
		}
		return out, nil
	}
	if r == 0 {
		return nil, errors.New("float division by zero")
	}
	if op == "/" {
		return l / r, nil
	}
	m := math.Mod(l, r)
	if m != 0 && (m < 0) != (r < 0) {
		m += r
	} else if m == 0 {
		m = math.Copysign(0, r)
	}
	if op == "%" {
		return m, nil
	}
	return math.Floor((l-m)/r + 0.5), nil
}
