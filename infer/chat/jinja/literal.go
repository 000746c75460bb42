package jinja

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// lexNumber consumes an integer or float literal.
func (lx *lexer) lexNumber() {
	rest := lx.rest()
	if len(rest) > 2 && rest[0] == '0' {
		if set := baseDigits(rest[1]); set != "" {
			if n := digitRun(rest[2:], set); n > 0 {
				lx.add(tokInt, strings.ReplaceAll(rest[:2+n], "_", ""))
				lx.pos += 2 + n
				return
			}
		}
	}
	const dec = "0123456789"
	n := digitRun(rest, dec)
	end, isFloat := n, false
	// A number behind a dot is an index, as in a.0.1: never a fraction.
	if lx.pos == 0 || lx.src[lx.pos-1] != '.' {
		if end < len(rest) && rest[end] == '.' {
			if m := digitRun(rest[end+1:], dec); m > 0 {
				end, isFloat = end+1+m, true
			}
		}
		if m := exponentRun(rest[end:]); m > 0 {
			end, isFloat = end+m, true
		}
	}
	kind := tokInt
	if isFloat {
		kind = tokFloat
	}
	lx.add(kind, strings.ReplaceAll(rest[:end], "_", ""))
	lx.pos += end
}

func baseDigits(c byte) string {
	switch c {
	case 'b', 'B':
		return "01"
	case 'o', 'O':
		return "01234567"
	case 'x', 'X':
		return "0123456789abcdefABCDEF"
	}
	return ""
}

// digitRun is the length of a run of digits of set with single underscores
// inside it.
func digitRun(s, set string) int {
	n := 0
	for n < len(s) {
		if strings.IndexByte(set, s[n]) >= 0 {
			n++
		} else if s[n] == '_' && n > 0 && n+1 < len(s) && strings.IndexByte(set, s[n+1]) >= 0 {
			n += 2
		} else {
			break
		}
	}
	return n
}

func exponentRun(s string) int {
	if s == "" || (s[0] != 'e' && s[0] != 'E') {
		return 0
	}
	n := 1
	if n < len(s) && (s[n] == '+' || s[n] == '-') {
		n++
	}
	if m := digitRun(s[n:], "0123456789"); m > 0 {
		return n + m
	}
	return 0
}

func (lx *lexer) lexString(quote byte) error {
	rest := lx.rest()
	for i := 1; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			i++
		case quote:
			val, err := unescape(rest[1:i])
			if err != nil {
				return err
			}
			lx.add(tokString, val)
			lx.advance(lx.pos + i + 1)
			return nil
		}
	}
	return fmt.Errorf("string is not closed")
}

var simpleEscapes = map[byte]string{
	'\n': "", '\\': "\\", '\'': "'", '"': "\"", 'a': "\a", 'b': "\b", 'f': "\f",
	'n': "\n", 'r': "\r", 't': "\t", 'v': "\v",
}

// unescape applies the escapes of a Python string literal. Unknown escapes
// keep their backslash, as in Python.
func unescape(s string) (string, error) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		n, err := writeEscape(&b, s[i:])
		if err != nil {
			return "", err
		}
		i += n - 1
	}
	return b.String(), nil
}

// writeEscape writes what the escape s (behind its backslash) stands for and
// returns the bytes consumed.
func writeEscape(b *strings.Builder, s string) (int, error) {
	c := s[0]
	if out, ok := simpleEscapes[c]; ok {
		b.WriteString(out)
		return 1, nil
	}
	switch {
	case c >= '0' && c <= '7':
		n := min(3, digitRun(strings.ReplaceAll(s[:min(3, len(s))], "_", "."), "01234567"))
		v, _ := strconv.ParseUint(s[:n], 8, 32)
		b.WriteRune(rune(v))
		return n, nil
	case c == 'x' || c == 'u' || c == 'U':
		n := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
		if len(s) < 1+n {
			return 0, fmt.Errorf("truncated \\%c escape", c)
		}
		v, err := strconv.ParseUint(s[1:1+n], 16, 32)
		if err != nil || !utf8.ValidRune(rune(v)) {
			return 0, fmt.Errorf("escape \\%s is not a character", s[:1+n])
		}
		b.WriteRune(rune(v))
		return 1 + n, nil
	case c == 'N':
		return 0, fmt.Errorf("\\N{...} escapes are not supported")
	case c >= utf8.RuneSelf:
		// Jinja2 turns a non-ASCII character into an escape of its own before it
		// decodes, so that the backslash in front quotes that escape's backslash.
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r <= 0xff:
			fmt.Fprintf(b, "\\x%02x", r)
		case r <= 0xffff:
			fmt.Fprintf(b, "\\u%04x", r)
		default:
			fmt.Fprintf(b, "\\U%08x", r)
		}
		return n, nil
	}
	b.WriteByte('\\')
	b.WriteByte(c)
	return 1, nil
}
