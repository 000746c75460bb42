package tok

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Guarded text carries escapes that begin with U+FDD0, a noncharacter that has no use in interchanged text. Control
// tokens may not contain characters of this range (the vocabulary is refused), so that no escape can be part of one.
const (
	escape      = "\uFDD0"
	escBreak    = escape + "\uFDD1" // stands for nothing: it separates what must not join
	escLiteral  = escape + "\uFDD2" // stands for U+FDD0 itself
	escByte     = escape + "\uFDD3" // with two nibbles stands for a byte: it hides a control token of one character
	nibbleZero  = '\uFDE0'          // the nibbles are U+FDE0..U+FDEF
	escByteSize = len(escByte) + 2*len(escape)
)

func reserved(r rune) bool { return 0xFDD0 <= r && r <= 0xFDEF }

// guardTables answer how text may join with a template's to form a control token.
type guardTables struct {
	suffixes *trie           // control tokens spelled backwards
	inside   [256]bool       // bytes of control tokens
	pairs    [1 << 16]bool   // neighbouring bytes of control tokens
	size     int             // bytes of the longest control token
	single   map[string]bool // control tokens of one character
}

func (t *Tokenizer) guardTables() *guardTables {
	t.guardOnce.Do(func() {
		g := &guardTables{suffixes: newTrie(), single: map[string]bool{}}
		for i, c := range t.vocab.class {
			if text := t.vocab.piece(int32(i)); c == classControl && text != "" {
				g.add(text, int32(i))
			}
		}
		t.guard = g
	})
	return t.guard
}

func (g *guardTables) add(text string, id int32) {
	backwards := []byte(text)
	slices.Reverse(backwards)
	g.suffixes.insert(string(backwards), id, classControl)
	for i := range len(text) {
		g.inside[text[i]] = true
		if i > 0 {
			g.pairs[uint16(text[i-1])<<8|uint16(text[i])] = true
		}
	}
	g.size = max(g.size, len(text))
	if _, n := utf8.DecodeRuneInString(text); n == len(text) {
		g.single[text] = true
	}
}

// Guard makes text of strangers safe to be put into a chat template whose output goes to
// [Tokenizer.EncodeRendered]: no control token is parsed out of it, nor out of its joining with the template's text.
// The text comes back exactly when it is encoded.
//
// The template must copy the code points as they are. It may trim white space, and cut the text at user-defined
// tokens, as templates do to remove a model's reasoning; one that removes other text from within may join what
// Guard looked at apart. Apply Guard after a conversion such as JSON encoding, not before. Text that the template
// completes to a control token on purpose, such as a role in '<|' + role + '|>', must not be guarded but checked
// against a list.
func (t *Tokenizer) Guard(user string) string {
	g := t.guardTables()
	cuts := t.controlCuts(user)
	for _, s := range t.segments(user) {
		cuts = t.edgeCuts(cuts, g, user, s)
	}
	if len(cuts) == 0 && !t.needsEscape(g, user) {
		return user
	}
	slices.Sort(cuts)
	return g.mark(user, slices.Compact(cuts))
}

func (t *Tokenizer) needsEscape(g *guardTables, user string) bool {
	if strings.Contains(user, escape) {
		return true
	}
	for text := range g.single {
		if strings.Contains(user, text) {
			return true
		}
	}
	return false
}

// mark inserts breaks at the given offsets and escapes what cannot stay.
func (g *guardTables) mark(user string, cuts []int) string {
	var b strings.Builder
	b.Grow(len(user) + len(cuts)*len(escBreak))
	done := 0
	for _, cut := range cuts {
		g.escape(&b, user[done:cut])
		b.WriteString(escBreak)
		done = cut
	}
	g.escape(&b, user[done:])
	return b.String()
}

// escape writes text with the characters replaced that could be taken for an escape or a control token.
func (g *guardTables) escape(b *strings.Builder, text string) {
	for i := 0; i < len(text); {
		end := afterRune(text, i)
		switch char := text[i:end]; {
		case char == escape:
			b.WriteString(escLiteral)
		case len(g.single) > 0 && g.single[char]:
			hide(b, char)
		default:
			b.WriteString(char)
		}
		i = end
	}
}

func hide(b *strings.Builder, char string) {
	for i := range len(char) {
		b.WriteString(escByte)
		b.WriteRune(nibbleZero + rune(char[i]>>4))
		b.WriteRune(nibbleZero + rune(char[i]&15))
	}
}

// controlCuts returns an offset within each control token that the text spells out.
func (t *Tokenizer) controlCuts(text string) (cuts []int) {
	for at := 0; ; {
		start, _, id := t.special.find(text, at, classControl)
		if id == NoToken {
			return cuts
		}
		at = afterRune(text, start) // tokens may overlap
		cuts = append(cuts, at)
	}
}

func afterRune(text string, i int) int {
	_, n := utf8.DecodeRuneInString(text[i:])
	return i + n
}

// span is the byte range [from, to).
type span struct{ from, to int }

// segments returns the stretches of text whose ends may come to stand beside other text: the whole, the whole
// without surrounding white space, and what lies between user-defined tokens that are not white space.
func (t *Tokenizer) segments(text string) []span {
	from := len(text) - len(strings.TrimLeftFunc(text, unicode.IsSpace))
	to := max(from, len(strings.TrimRightFunc(text, unicode.IsSpace)))
	spans := []span{{0, len(text)}, {from, to}}
	begin := 0
	for at := 0; ; {
		start, end, id := t.special.find(text, at, classUser)
		if id == NoToken {
			break
		}
		if at = end; strings.TrimSpace(text[start:end]) != "" {
			spans = append(spans, span{begin, start})
			begin = end
		}
	}
	if begin > 0 {
		spans = append(spans, span{begin, len(text)})
	}
	return spans
}

// edgeCuts appends offsets that keep a segment's ends from joining with other text to a control token: within the
// shortest end that begins one, within the shortest beginning that ends one, and anywhere if the whole segment may
// be the inside of one. Any longer end or beginning that matters contains the shortest.
func (t *Tokenizer) edgeCuts(cuts []int, g *guardTables, text string, s span) []int {
	if s.from >= s.to {
		return cuts
	}
	for i := s.to - 1; i >= max(s.from, s.to-g.size); i-- {
		if t.special.holds(text[i:s.to], classControl) {
			cuts = append(cuts, min(afterRune(text, i), s.to))
			break
		}
	}
	for i := s.from + 1; i <= min(s.to, s.from+g.size); i++ {
		if g.endsControl(text[s.from:i]) {
			_, n := utf8.DecodeLastRuneInString(text[s.from:i])
			cuts = append(cuts, i-n)
			break
		}
	}
	if g.mayBeInside(text[s.from:s.to]) {
		cuts = append(cuts, min(afterRune(text, s.from), s.to))
	}
	return cuts
}

// endsControl reports whether some control token ends with text.
func (g *guardTables) endsControl(text string) bool {
	n := int32(0)
	for i := len(text) - 1; i >= 0; i-- {
		if n = g.suffixes.step(n, text[i]); n == 0 {
			return false
		}
	}
	return true
}

// mayBeInside reports whether text may be part of a control token. It may err on the safe side.
func (g *guardTables) mayBeInside(text string) bool {
	if len(text) > g.size {
		return false
	}
	for i := range len(text) {
		if !g.inside[text[i]] || i > 0 && !g.pairs[uint16(text[i-1])<<8|uint16(text[i])] {
			return false
		}
	}
	return true
}

// unguard undoes Guard. An escape character that is not part of an escape stays.
func unguard(text string) string {
	i := strings.Index(text, escape)
	if i < 0 {
		return text
	}
	var b strings.Builder
	b.Grow(len(text))
	for ; i >= 0; i = strings.Index(text, escape) {
		b.WriteString(text[:i])
		text = text[i:]
		switch {
		case strings.HasPrefix(text, escBreak):
			text = text[len(escBreak):]
		case strings.HasPrefix(text, escLiteral):
			b.WriteString(escape)
			text = text[len(escLiteral):]
		case hiddenByte(&b, text):
			text = text[escByteSize:]
		default:
			b.WriteString(escape)
			text = text[len(escape):]
		}
	}
	b.WriteString(text)
	return b.String()
}

// hiddenByte writes the byte that text begins with in hidden form, if it does.
func hiddenByte(b *strings.Builder, text string) bool {
	if len(text) < escByteSize || !strings.HasPrefix(text, escByte) {
		return false
	}
	high, n := utf8.DecodeRuneInString(text[len(escByte):])
	low, _ := utf8.DecodeRuneInString(text[len(escByte)+n:])
	high, low = high-nibbleZero, low-nibbleZero
	if high < 0 || high > 15 || low < 0 || low > 15 {
		return false
	}
	b.WriteByte(byte(high<<4 | low))
	return true
}
