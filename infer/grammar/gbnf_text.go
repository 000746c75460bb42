package grammar

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// quoted reads a string in double quotes.
func (p *gbnf) quoted() (expr, error) {
	at := p.pos
	p.pos++
	var out strings.Builder
	for p.peek() != '"' {
		if p.pos == len(p.src) {
			return nil, p.errorAt(at, "the string is not closed")
		}
		r, err := p.char()
		if err != nil {
			return nil, err
		}
		out.WriteRune(r)
	}
	p.pos++
	return literal(out.String()), nil
}

// class reads a set of characters in brackets.
func (p *gbnf) class() (expr, error) {
	at := p.pos
	p.pos++
	not := p.peek() == '^'
	if not {
		p.pos++
	}
	var spans []span
	for p.peek() != ']' {
		if p.pos == len(p.src) {
			return nil, p.errorAt(at, "the character class is not closed")
		}
		from := p.pos
		lo, err := p.char()
		if err != nil {
			return nil, err
		}
		s := span{lo, lo}
		if p.peek() == '-' && p.pos+1 < len(p.src) && p.src[p.pos+1] != ']' {
			p.pos++
			if p.pos == len(p.src) {
				return nil, p.errorAt(at, "the character class is not closed")
			}
			if s.hi, err = p.char(); err != nil {
				return nil, err
			}
		}
		if s.lo > s.hi {
			return nil, p.errorAt(from, "the range %q-%q has its ends in the wrong order", s.lo, s.hi)
		}
		spans = append(spans, s)
	}
	p.pos++
	out := normal(spans)
	if not {
		out = out.complement()
	}
	return out, nil
}

// char reads a character or an escape.
func (p *gbnf) char() (rune, error) {
	if p.peek() != '\\' {
		r, n := utf8.DecodeRuneInString(p.src[p.pos:])
		p.pos += n
		return r, nil
	}
	at := p.pos
	if p.pos += 2; p.pos > len(p.src) {
		p.pos = len(p.src)
		return 0, p.errorAt(at, "the escape is not finished")
	}
	switch c := p.src[p.pos-1]; c {
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case '\\', '"', '[', ']', '-', '^':
		return rune(c), nil
	case 'x':
		return p.hex(at, 2)
	case 'u':
		return p.hex(at, 4)
	case 'U':
		return p.hex(at, 8)
	default:
		return 0, p.errorAt(at, "the escape \\%c is not known", c)
	}
}

// hex reads the digits of an escape.
func (p *gbnf) hex(at, digits int) (rune, error) {
	if p.pos+digits > len(p.src) {
		return 0, p.errorAt(at, "the escape needs %d hexadecimal digits", digits)
	}
	text := p.src[p.pos : p.pos+digits]
	n, err := strconv.ParseUint(text, 16, 32)
	if err != nil {
		return 0, p.errorAt(at, "the escape needs %d hexadecimal digits, not %q", digits, text)
	}
	if n > maxRune || !utf8.ValidRune(rune(n)) {
		return 0, p.errorAt(at, "U+%04X is no character", n)
	}
	p.pos += digits
	return rune(n), nil
}
