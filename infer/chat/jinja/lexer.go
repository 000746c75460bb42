package jinja

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// lexer splits a source into tokens. Whitespace control happens here, because
// it depends on the raw text around a tag: '-' strips all whitespace beside the
// tag, '+' keeps it; without a sign, trim_blocks drops one newline after a
// block or comment and lstrip_blocks drops the indentation before one.
type lexer struct {
	src  string
	pos  int
	line int
	toks []token
}

func lex(src string) ([]token, error) {
	lx := &lexer{src: src, line: 1}
	for lx.pos < len(lx.src) {
		if err := lx.lexRoot(); err != nil {
			return nil, located(err, lx.line)
		}
	}
	lx.add(tokEOF, "")
	return lx.toks, nil
}

// normalizeSource applies what Jinja2 does to a source before lexing: all line
// ends become "\n" and one trailing newline is dropped.
func normalizeSource(src string) string {
	src = strings.ReplaceAll(src, "\r\n", "\n")
	src = strings.ReplaceAll(src, "\r", "\n")
	return strings.TrimSuffix(src, "\n")
}

func (lx *lexer) add(kind tokenKind, text string) {
	lx.toks = append(lx.toks, token{kind, text, lx.line})
}

// advance moves to the absolute offset to and keeps the line count.
func (lx *lexer) advance(to int) {
	lx.line += strings.Count(lx.src[lx.pos:to], "\n")
	lx.pos = to
}

func (lx *lexer) rest() string { return lx.src[lx.pos:] }

// lexRoot consumes literal text up to the next tag, and the tag.
func (lx *lexer) lexRoot() error {
	open := findOpen(lx.src, lx.pos)
	if open < 0 {
		lx.addText(lx.rest())
		lx.advance(len(lx.src))
		return nil
	}
	delim := lx.src[open+1]
	after := open + 2
	var sign byte
	if after < len(lx.src) && (lx.src[after] == '-' || lx.src[after] == '+') {
		sign = lx.src[after]
		after++
	}
	lx.addText(lx.stripBefore(lx.src[lx.pos:open], sign, delim != '{'))
	lx.advance(after)
	switch delim {
	case '#':
		return lx.lexComment()
	case '{':
		lx.add(tokVarBegin, "")
		return lx.lexTag(tokVarEnd)
	}
	if end := matchRaw(lx.src, after, "raw"); end >= 0 {
		return lx.lexRaw(end)
	}
	lx.add(tokBlockBegin, "")
	return lx.lexTag(tokBlockEnd)
}

func findOpen(src string, from int) int {
	for i := from; ; i++ {
		j := strings.IndexByte(src[i:], '{')
		if j < 0 || i+j+1 >= len(src) {
			return -1
		}
		i += j
		if c := src[i+1]; c == '%' || c == '{' || c == '#' {
			return i
		}
	}
}

func (lx *lexer) addText(text string) {
	if text != "" {
		lx.add(tokText, text)
	}
}

// stripBefore applies a tag's left whitespace control to the text before it.
func (lx *lexer) stripBefore(text string, sign byte, lstrip bool) string {
	if sign == '-' {
		return strings.TrimRightFunc(text, isSpace)
	}
	if sign == '+' || !lstrip {
		return text
	}
	lineStart := strings.LastIndexByte(text, '\n') + 1
	atLineStart := lx.pos == 0 || lx.src[lx.pos-1] == '\n'
	if (lineStart > 0 || atLineStart) && strings.TrimLeftFunc(text[lineStart:], isSpace) == "" {
		return text[:lineStart]
	}
	return text
}

// skipAfter applies a closing delimiter's right whitespace control. end is the
// offset behind the delimiter.
func (lx *lexer) skipAfter(end int, sign byte) int {
	switch {
	case sign == '-':
		rest := lx.src[end:]
		return end + len(rest) - len(strings.TrimLeftFunc(rest, isSpace))
	case sign != '+' && end < len(lx.src) && lx.src[end] == '\n':
		return end + 1
	}
	return end
}

func (lx *lexer) lexComment() error {
	i := strings.Index(lx.rest(), "#}")
	if i < 0 {
		return fmt.Errorf("comment without '#}'")
	}
	var sign byte
	if i > 0 && (lx.rest()[i-1] == '-' || lx.rest()[i-1] == '+') {
		sign = lx.rest()[i-1]
	}
	lx.advance(lx.skipAfter(lx.pos+i+2, sign))
	return nil
}

// matchRaw returns the offset behind `raw %}` (the inside of a raw or endraw
// tag that begins at from), or -1.
func matchRaw(src string, from int, word string) int {
	rest := strings.TrimLeftFunc(src[from:], isSpace)
	rest, ok := strings.CutPrefix(rest, word)
	if !ok {
		return -1
	}
	rest = strings.TrimLeftFunc(rest, isSpace)
	if after, ok := strings.CutPrefix(rest, "-%}"); ok {
		return len(src) - len(strings.TrimLeftFunc(after, isSpace))
	}
	if after, ok := strings.CutPrefix(rest, "%}"); ok {
		return len(src) - len(after)
	}
	return -1
}

// lexRaw emits the text between {% raw %} and {% endraw %} untouched.
func (lx *lexer) lexRaw(start int) error {
	lx.advance(start)
	for i := start; ; {
		j := strings.Index(lx.src[i:], "{%")
		if j < 0 {
			return fmt.Errorf("raw block without '{%% endraw %%}'")
		}
		i += j
		inner := i + 2
		var sign byte
		if inner < len(lx.src) && (lx.src[inner] == '-' || lx.src[inner] == '+') {
			sign = lx.src[inner]
			inner++
		}
		if end := matchEndRaw(lx, inner); end >= 0 {
			lx.addText(lx.stripBefore(lx.src[start:i], sign, true))
			lx.advance(end)
			return nil
		}
		i += 2
	}
}

func matchEndRaw(lx *lexer, from int) int {
	rest := strings.TrimLeftFunc(lx.src[from:], isSpace)
	rest, ok := strings.CutPrefix(rest, "endraw")
	if !ok {
		return -1
	}
	rest = strings.TrimLeftFunc(rest, isSpace)
	var sign byte
	if rest != "" && (rest[0] == '-' || rest[0] == '+') {
		sign, rest = rest[0], rest[1:]
	}
	if rest, ok = strings.CutPrefix(rest, "%}"); !ok {
		return -1
	}
	return lx.skipAfter(len(lx.src)-len(rest), sign)
}

// lexTag consumes the inside of {{ }} or {% %}, closing delimiter included.
func (lx *lexer) lexTag(end tokenKind) error {
	var brackets []byte
	for lx.pos < len(lx.src) {
		if len(brackets) == 0 && lx.closeTag(end) {
			return nil
		}
		c := lx.src[lx.pos]
		r, size := utf8.DecodeRuneInString(lx.rest())
		switch {
		case isSpace(r):
			lx.advance(lx.pos + size)
		case c >= '0' && c <= '9':
			lx.lexNumber()
		case isNameRune(r):
			lx.lexName()
		case c == '\'' || c == '"':
			if err := lx.lexString(c); err != nil {
				return err
			}
		default:
			op := matchOp(lx.rest())
			if op == "" {
				return fmt.Errorf("unexpected character %q", r)
			}
			var err error
			if brackets, err = balance(brackets, op[0]); err != nil {
				return err
			}
			lx.add(tokOp, op)
			lx.pos += len(op)
		}
	}
	return fmt.Errorf("tag is not closed before the end of the template")
}

// closeTag consumes the closing delimiter if it is next.
func (lx *lexer) closeTag(end tokenKind) bool {
	rest := lx.rest()
	var sign byte
	if rest[0] == '-' || (rest[0] == '+' && end == tokBlockEnd) {
		sign, rest = rest[0], rest[1:]
	}
	delim := "%}"
	if end == tokVarEnd {
		delim = "}}"
	}
	if !strings.HasPrefix(rest, delim) {
		return false
	}
	lx.add(end, "")
	to := len(lx.src) - len(rest) + len(delim)
	// An output tag keeps the newline behind it: trim_blocks is for blocks.
	if end == tokBlockEnd || sign == '-' {
		to = lx.skipAfter(to, sign)
	}
	lx.advance(to)
	return true
}

func balance(open []byte, c byte) ([]byte, error) {
	pairs := map[byte]byte{')': '(', ']': '[', '}': '{'}
	switch c {
	case '(', '[', '{':
		return append(open, c), nil
	case ')', ']', '}':
		if len(open) == 0 || open[len(open)-1] != pairs[c] {
			return nil, fmt.Errorf("unexpected '%c'", c)
		}
		return open[:len(open)-1], nil
	}
	return open, nil
}

var operators = []string{
	"//", "**", "==", "!=", ">=", "<=",
	"+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";",
}

func matchOp(s string) string {
	for _, op := range operators {
		if strings.HasPrefix(s, op) {
			return op
		}
	}
	return ""
}

func (lx *lexer) lexName() {
	n := 0
	for _, r := range lx.rest() {
		if !isNameRune(r) {
			break
		}
		n += utf8.RuneLen(r)
	}
	lx.add(tokName, lx.rest()[:n])
	lx.pos += n
}

func isNameRune(r rune) bool {
	return r == '_' || (r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r)))
}

// isSpace is Python's str.isspace for one character.
func isSpace(r rune) bool { return unicode.IsSpace(r) || (r >= 0x1c && r <= 0x1f) }
