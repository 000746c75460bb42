package grammar

import (
	"math/big"
	"strings"
)

// bound is one end of a range of numbers that are not negative.
type bound struct {
	whole, frac string // decimal digits; frac without trailing zeros
	open        bool   // the number itself is outside
}

var zero = bound{whole: "0"}

// maxBoundDigits is how many digits float64 tells apart for certain.
const maxBoundDigits = 15

// numberOf compiles the number keywords of a schema.
func (c *schemaCompiler) numberOf(v value, at string, integer bool) (expr, error) {
	lo, err := rangeEnd(v, at, "minimum", "exclusiveMinimum", 1)
	if err != nil {
		return nil, err
	}
	hi, err := rangeEnd(v, at, "maximum", "exclusiveMaximum", -1)
	switch {
	case err != nil:
		return nil, err
	case lo == nil && hi == nil && integer:
		return c.integer, nil
	case lo == nil && hi == nil:
		return c.number, nil
	case lo != nil && hi != nil && (lo.at.Cmp(hi.at) > 0 || lo.at.Cmp(hi.at) == 0 && (lo.open || hi.open)):
		return alt{}, nil
	}
	var out alt
	// From zero up.
	from := zero
	if lo != nil && lo.at.Sign() >= 0 {
		if from, err = lo.digits(at); err != nil {
			return nil, err
		}
	}
	if hi == nil {
		out = append(out, between(from, nil, integer))
	} else if hi.at.Sign() >= 0 {
		to, err := hi.digits(at)
		if err != nil {
			return nil, err
		}
		out = append(out, between(from, &to, integer))
	}
	// Below zero: the same, mirrored.
	if lo != nil && lo.at.Sign() >= 0 {
		return out, nil
	}
	from = bound{whole: "0", open: true}
	if hi != nil && hi.at.Sign() < 0 {
		if from, err = hi.digits(at); err != nil {
			return nil, err
		}
	}
	var to *bound
	if lo != nil {
		b, err := lo.digits(at)
		if err != nil {
			return nil, err
		}
		to = &b
	}
	return append(out, seq{literal("-"), between(from, to, integer)}), nil
}

// end is a bound as the schema gives it.
type end struct {
	at   *big.Rat
	open bool
}

// rangeEnd reads the two keywords for one end of a range; the tighter one
// counts. It returns nil for an end that no number that is generated exceeds.
func rangeEnd(v value, at, closed, open string, direction int) (*end, error) {
	var out *end
	for _, k := range []string{closed, open} {
		x, ok := v.get(k)
		if !ok {
			continue
		}
		r, ok := parseNumber(x.text)
		if x.kind != kindNumber || !ok {
			return nil, refuse(at+"/"+k, "must be a number with an exponent of at most %d, not %.40s", maxExponent, x.json(nil))
		}
		e := &end{at: r, open: k == open}
		if out == nil || e.at.Cmp(out.at)*direction > 0 || e.at.Cmp(out.at) == 0 {
			out = e
		}
	}
	if out == nil {
		return nil, nil
	}
	limit := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(maxIntDigits), nil))
	if new(big.Rat).Abs(out.at).Cmp(limit) >= 0 {
		if out.at.Sign() == direction {
			return nil, refuse(at, "%s lies beyond numbers of %d digits, which are the longest that are generated", closed, maxIntDigits)
		}
		return nil, nil
	}
	return out, nil
}

// digits writes the distance from zero in decimal.
func (e *end) digits(at string) (bound, error) {
	text := new(big.Rat).Abs(e.at).FloatString(maxBoundDigits + 1)
	if r, _ := new(big.Rat).SetString(text); r.Cmp(new(big.Rat).Abs(e.at)) == 0 {
		whole, frac, _ := strings.Cut(text, ".")
		frac = strings.TrimRight(frac, "0")
		if len(frac) == 0 || len(whole)+len(frac) < maxBoundDigits {
			return bound{whole, frac, e.open}, nil
		}
	}
	return bound{}, refuse(at, "a bound has more than %d digits", maxBoundDigits-1)
}

// between matches the numbers from lo to hi, nil for no end.
func between(lo bound, hi *bound, integer bool) expr {
	out := alt{wholeNumbers(lo, hi)}
	longest := len(lo.whole)
	if hi != nil {
		longest = max(longest, len(hi.whole))
	}
	room := maxBoundDigits - longest // digits behind the point
	if integer || room < 1 {
		return out
	}
	point := literal(".")
	if hi != nil && lo.whole == hi.whole {
		return append(out, seq{literal(lo.whole), point, fracBetween(lo, *hi, room, false)})
	}
	out = append(out, seq{literal(lo.whole), point, fracAtLeast(lo, room, false)})
	from := bound{whole: increment(lo.whole, 1)}
	if hi == nil {
		return append(out, seq{wholeNumbers(from, nil), point, repeat{digit, 1, room}})
	}
	out = append(out, seq{literal(hi.whole), point, fracAtMost(*hi, room, false)})
	to := bound{whole: increment(hi.whole, -1)}
	return append(out, seq{wholeNumbers(from, &to), point, repeat{digit, 1, room}})
}

func increment(digits string, by int64) string {
	n, _ := new(big.Int).SetString(digits, 10)
	return n.Add(n, big.NewInt(by)).String()
}

// wholeNumbers matches the integers from lo to hi.
func wholeNumbers(lo bound, hi *bound) expr {
	from, to := lo.whole, strings.Repeat("9", maxIntDigits)
	if lo.frac != "" || lo.open {
		from = increment(from, 1)
	}
	if hi != nil {
		if to = hi.whole; hi.open && hi.frac == "" {
			to = increment(to, -1)
		}
	}
	var out alt
	for n := len(from); n <= len(to) && to[0] != '-'; n++ {
		a, b := from, to
		if n > len(from) {
			a = "1" + strings.Repeat("0", n-1)
		}
		if n < len(to) {
			b = strings.Repeat("9", n)
		}
		if a <= b {
			out = append(out, digitsBetween(a, b))
		}
	}
	return out
}

func digits(from, to byte) expr { return runes{{rune(from), rune(to)}} }

// digitsBetween matches the digit strings from a to b, all of equal length.
func digitsBetween(a, b string) expr {
	if a == "" {
		return seq{}
	}
	rest := len(a) - 1
	if strings.Trim(a, "0") == "" && strings.Trim(b, "9") == "" {
		return repeat{digit, len(a), len(a)}
	}
	if a[0] == b[0] {
		return seq{literal(a[:1]), digitsBetween(a[1:], b[1:])}
	}
	out := alt{
		seq{literal(a[:1]), digitsBetween(a[1:], strings.Repeat("9", rest))},
		seq{literal(b[:1]), digitsBetween(strings.Repeat("0", rest), b[1:])},
	}
	if a[0]+1 < b[0] {
		out = append(out, seq{digits(a[0]+1, b[0]-1), repeat{digit, rest, rest}})
	}
	return out
}

// The functions below match digits behind a point, at most room of them. begun
// says that there is one already, so that no more need to follow.

func fewest(begun bool) int {
	if begun {
		return 0
	}
	return 1
}

// next is the bound behind its first digit, c, which is 0 where there is none.
func (b bound) next() (c byte, rest bound) {
	if b.frac == "" {
		return '0', b
	}
	return b.frac[0], bound{frac: b.frac[1:], open: b.open}
}

func fracAtLeast(lo bound, room int, begun bool) expr {
	if lo.frac == "" && !lo.open {
		return repeat{digit, fewest(begun), room}
	}
	if room == 0 {
		return alt{}
	}
	c, rest := lo.next()
	out := alt{seq{literal(string(c)), fracAtLeast(rest, room-1, true)}}
	if c < '9' {
		out = append(out, seq{digits(c+1, '9'), repeat{digit, 0, room - 1}})
	}
	return out
}

func fracAtMost(hi bound, room int, begun bool) expr {
	if hi.frac == "" {
		if hi.open {
			return alt{}
		}
		return repeat{literal("0"), fewest(begun), room}
	}
	if room == 0 {
		return seq{}
	}
	c, rest := hi.next()
	out := alt{seq{literal(string(c)), fracAtMost(rest, room-1, true)}}
	if c > '0' {
		out = append(out, seq{digits('0', c-1), repeat{digit, 0, room - 1}})
	}
	if begun {
		out = append(out, seq{})
	}
	return out
}

func fracBetween(lo, hi bound, room int, begun bool) expr {
	if lo.frac == "" && !lo.open {
		return fracAtMost(hi, room, begun)
	}
	if hi.frac == "" || room == 0 {
		return alt{}
	}
	a, lo := lo.next()
	b, hi := hi.next()
	switch {
	case a > b:
		return alt{}
	case a == b:
		return seq{literal(string(a)), fracBetween(lo, hi, room-1, true)}
	}
	out := alt{
		seq{literal(string(a)), fracAtLeast(lo, room-1, true)},
		seq{literal(string(b)), fracAtMost(hi, room-1, true)},
	}
	if a+1 < b {
		out = append(out, seq{digits(a+1, b-1), repeat{digit, 0, room - 1}})
	}
	return out
}
