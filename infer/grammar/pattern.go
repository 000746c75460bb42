package grammar

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"strings"
)

// What \s means differs between validators. sureSpace is a space for all of
// them, and what is not in maybeSpace, ECMA-262's set, is one for none. The other
// two are what \S is for all of them, and for some.
const sureSpace = `\t\n\f\r `
const maybeSpace = `\t\n\x0b\f\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}`
const sureNoSpace = `\x00-\x08\x0e-\x1f!-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{fefe}\x{ff00}-\x{10ffff}`
const maybeNoSpace = `\x00-\x08\x0b\x0e-\x1f!-\x{10ffff}`

// maxPatternRepeat is regexp/syntax's limit on the product of counts that are
// inside one another.
const maxPatternRepeat = 1000

// compilePattern compiles the part of ECMA-262's regular expressions that Go's
// parser reads with the same meaning. The result matches the content of JSON
// strings: a character that JSON must escape stands for its escape.
func compilePattern(pattern string) (expr, error) {
	if len(pattern) > MaxSource {
		return nil, &LimitError{What: "bytes of pattern", Limit: MaxSource, Got: len(pattern)}
	}
	source, err := goPattern(pattern)
	if err != nil {
		return nil, err
	}
	re, err := syntax.Parse(source, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("pattern %.80q: %w", pattern, repeatError(err))
	}
	return searched(re, true, true)
}

// repeatError names the limit behind an error of Go's parser that does not.
func repeatError(err error) error {
	var bad *syntax.Error
	if !errors.As(err, &bad) || bad.Code != syntax.ErrInvalidRepeatSize {
		return err
	}
	var lo, hi int
	if n, _ := fmt.Sscanf(bad.Expr, "{%d,%d}", &lo, &hi); n == 2 && lo > hi {
		return fmt.Errorf("the repetition %s has its bounds in the wrong order", bad.Expr)
	}
	return fmt.Errorf("the repetition %s, multiplied by those inside of it, exceeds the limit of %d", bad.Expr, maxPatternRepeat)
}

// goPattern spells what the two languages spell differently and refuses what
// only one of them has.
func goPattern(p string) (string, error) {
	var out strings.Builder
	inClass, classStart, negated := false, false, false
	for i := 0; i < len(p); i++ {
		c := p[i]
		begins := classStart
		classStart = false
		switch {
		case c == '\\' && i+1 < len(p):
			i++
			s, n, err := escape(p[i:], inClass, negated)
			if err != nil {
				return "", err
			}
			out.WriteString(s)
			i += n
			if inClass && strings.IndexByte("dDwWsS", p[i-n]) >= 0 && strings.HasPrefix(p[i+1:], "-") {
				out.WriteString(`\-`) // a set begins no range
				i++
			}
			continue
		case !inClass && (strings.HasPrefix(p[i:], `[\s\S]`) || strings.HasPrefix(p[i:], `[\S\s]`)):
			out.WriteString(`[\x00-\x{10ffff}]`) // whatever a space is, each character is one or none
			i += len(`[\s\S]`) - 1
			continue
		case inClass && c == ']':
			if begins {
				return "", errors.New("the empty character class is not supported")
			}
			inClass = false
		case inClass && c == '[':
			out.WriteByte('\\') // in Go, [: begins a class by name
		case inClass && c == '^' && begins:
			negated = p[i-1] == '['
			classStart = negated
		case !inClass && c == '[':
			inClass, classStart, negated = true, true, false
		case !inClass && c == '(' && strings.HasPrefix(p[i+1:], "?") && !strings.HasPrefix(p[i+1:], "?:"):
			return "", fmt.Errorf("the group %.4s is not supported", p[i:])
		}
		out.WriteByte(c)
	}
	return out.String(), nil
}

// escape translates what follows a backslash. n is how many bytes were read
// beyond the first.
func escape(p string, inClass, negated bool) (s string, n int, err error) {
	switch c := p[0]; {
	case strings.IndexByte("dDwWnrtfv", c) >= 0:
		return `\` + string(c), 0, nil
	case c == 's' && negated && inClass:
		return maybeSpace, 0, nil
	case c == 's' && inClass:
		return sureSpace, 0, nil
	case c == 's':
		return "[" + sureSpace + "]", 0, nil
	case c == 'S' && negated && inClass:
		return maybeNoSpace, 0, nil
	case c == 'S' && inClass:
		return sureNoSpace, 0, nil
	case c == 'S':
		return "[^" + maybeSpace + "]", 0, nil
	case c == 'x' && len(p) >= 3 && isHex(p[1:3]):
		return `\x` + p[1:3], 2, nil
	case c == 'u' && len(p) >= 5 && isHex(p[1:5]):
		return `\x{` + p[1:5] + `}`, 4, nil
	case strings.IndexByte(`^$\.*+?()[]{}|/-`, c) >= 0:
		return `\` + string(c), 0, nil
	default:
		return "", 0, fmt.Errorf(`the escape \%c is not supported`, c)
	}
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdefABCDEF") == "" }

// anything is any text in a JSON string.
var anything = many(stringRunes(runes{{0, maxRune}}))

// searched compiles a pattern, or the part of one that stands at its left or
// right end. It may match anywhere in a string where ^ and $ do not say
// otherwise.
func searched(re *syntax.Regexp, left, right bool) (expr, error) {
	switch {
	case !left && !right:
		return matched(re)
	case re.Op == syntax.OpCapture:
		return searched(re.Sub[0], left, right)
	case re.Op == syntax.OpAlternate:
		var out alt
		for _, sub := range re.Sub {
			e, err := searched(sub, left, right)
			if err != nil {
				return nil, err
			}
			out = append(out, e)
		}
		return out, nil
	}
	subs := []*syntax.Regexp{re}
	if re.Op == syntax.OpConcat {
		subs = re.Sub
	}
	if left && subs[0].Op == syntax.OpBeginText {
		subs, left = subs[1:], false
	}
	if n := len(subs); right && n > 0 && subs[n-1].Op == syntax.OpEndText {
		subs, right = subs[:n-1], false
	}
	if len(subs) > 1 || re.Op == syntax.OpConcat && len(subs) == 1 {
		return searchedAll(subs, left, right)
	}
	var out seq
	if left {
		out = append(out, anything)
	}
	for _, sub := range subs {
		e, err := matched(sub)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	if right {
		out = append(out, anything)
	}
	return out, nil
}

// searchedAll compiles parts that follow one another.
func searchedAll(subs []*syntax.Regexp, left, right bool) (expr, error) {
	var out seq
	for i, sub := range subs {
		e, err := searched(sub, left && i == 0, right && i == len(subs)-1)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// matched compiles a part of a pattern without anchors.
func matched(re *syntax.Regexp) (expr, error) {
	var parts []expr
	for _, sub := range re.Sub {
		e, err := matched(sub)
		if err != nil {
			return nil, err
		}
		parts = append(parts, e)
	}
	switch re.Op {
	case syntax.OpNoMatch:
		return alt{}, nil
	case syntax.OpEmptyMatch:
		return seq{}, nil
	case syntax.OpLiteral:
		var out strings.Builder
		for _, r := range re.Rune {
			out.WriteString(escaped(r))
		}
		return literal(out.String()), nil
	case syntax.OpCharClass:
		var r runes
		for i := 0; i < len(re.Rune); i += 2 {
			r = append(r, span{re.Rune[i], re.Rune[i+1]})
		}
		return stringRunes(r), nil
	case syntax.OpAnyChar: // no dot, but classes that are everything together
		return stringRunes(runes{{0, maxRune}}), nil
	case syntax.OpAnyCharNotNL:
		return stringRunes(runes{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}.complement()), nil
	case syntax.OpCapture:
		return parts[0], nil
	case syntax.OpConcat:
		return seq(parts), nil
	case syntax.OpAlternate:
		return alt(parts), nil
	case syntax.OpStar:
		return many(parts[0]), nil
	case syntax.OpPlus:
		return repeat{parts[0], 1, -1}, nil
	case syntax.OpQuest:
		return opt(parts[0]), nil
	case syntax.OpRepeat:
		return repeat{parts[0], re.Min, re.Max}, nil
	case syntax.OpBeginText, syntax.OpEndText, syntax.OpBeginLine, syntax.OpEndLine:
		return nil, errors.New("^ and $ are supported at the ends of the pattern or of its outermost alternatives only")
	}
	return nil, fmt.Errorf("%v is not supported in patterns", re)
}

// stringRunes is one character of a set in a JSON string.
func stringRunes(r runes) expr {
	out := alt{r.intersect(plain)}
	var short words
	for _, s := range r {
		for c := s.lo; c <= min(s.hi, '\\'); c++ {
			if e := escaped(c); e[0] == '\\' {
				short = append(short, e)
			}
		}
	}
	if len(short) == 0 {
		return out[0]
	}
	return append(out, short)
}
