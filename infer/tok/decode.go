package tok

import (
	"strings"
	"unicode/utf8"
)

// replacement stands for an id that is out of range and, in a [Stream], for bytes that are not UTF-8.
const replacement = "\uFFFD"

// Decode returns the bytes that ids stand for, without control tokens. The result is exact: it is not valid UTF-8
// if the tokens do not spell valid UTF-8. An id out of range gives U+FFFD.
func (t *Tokenizer) Decode(ids []int32) string { return t.decode(ids, false) }

// DecodeSpecial is [Tokenizer.Decode] with the literal texts of control tokens.
func (t *Tokenizer) DecodeSpecial(ids []int32) string { return t.decode(ids, true) }

func (t *Tokenizer) decode(ids []int32, control bool) string {
	var b strings.Builder
	s := t.NewStream(NoToken, control)
	for _, id := range ids {
		b.WriteString(s.bytes(id))
	}
	return b.String()
}

// Stream decodes token by token and emits valid UTF-8 only: bytes of a character that is not complete yet are held
// back, and bytes that can no longer become one are emitted as U+FFFD, one for each maximal invalid part as the
// Unicode Standard recommends. Use [Tokenizer.NewStream] to make one.
type Stream struct {
	t       *Tokenizer
	control bool
	atStart bool // the next ordinary token may carry the space that encoding put there
	held    [utf8.UTFMax]byte
	nHeld   int
}

// NewStream starts decoding after the token prev; NoToken means at the beginning of a text, as [Tokenizer.Decode]
// does. Vocabularies that put a space before the text at such places need to know, so as to remove it; for the
// others prev makes no difference. control says whether control tokens are rendered.
func (t *Tokenizer) NewStream(prev int32, control bool) *Stream {
	return &Stream{t: t, control: control, atStart: t.DropsSpace(prev)}
}

// DropsSpace reports whether decoding leaves out a space that begins the token after prev; NoToken means at the
// beginning of a text.
func (t *Tokenizer) DropsSpace(prev int32) bool {
	return t.spacePrefix && (prev == NoToken || t.isSpecial(prev))
}

func (t *Tokenizer) isSpecial(id int32) bool {
	return t.vocab.valid(id) && t.vocab.class[id]&(classControl|classUser) != 0
}

// bytes returns what id adds to the text.
func (s *Stream) bytes(id int32) string {
	v := s.t.vocab
	if !v.valid(id) {
		s.atStart = false
		return replacement
	}
	text := v.piece(id)
	if s.t.isSpecial(id) {
		s.atStart = s.t.spacePrefix
		if v.class[id] == classControl && !s.control {
			return ""
		}
		return text
	}
	if s.atStart {
		text = strings.TrimPrefix(text, " ")
		s.atStart = false
	}
	return text
}

// Push decodes one token and returns the text that is complete. It allocates only around characters that are split
// over several tokens.
func (s *Stream) Push(id int32) string {
	text := s.bytes(id)
	if s.nHeld == 0 && utf8.ValidString(text) {
		return text
	}
	return string(s.append(nil, text))
}

// Append is [Stream.Push] into a buffer of the caller.
func (s *Stream) Append(dst []byte, id int32) []byte { return s.append(dst, s.bytes(id)) }

// Flush ends the stream and returns U+FFFD if an incomplete character was held back, else nothing. The stream may be
// used for further tokens of the same text.
func (s *Stream) Flush() string {
	if s.nHeld == 0 {
		return ""
	}
	s.nHeld = 0
	return replacement
}

func (s *Stream) append(dst []byte, text string) []byte {
	for text != "" {
		if s.nHeld == 0 {
			n := validPrefix(text)
			dst, text = append(dst, text[:n]...), text[n:]
			if text == "" {
				break
			}
		}
		s.held[s.nHeld] = text[0]
		s.nHeld++
		held := s.held[:s.nHeld]
		if !utf8.FullRune(held) {
			text = text[1:]
			continue
		}
		s.nHeld = 0
		if r, n := utf8.DecodeRune(held); r != utf8.RuneError || n > 1 {
			dst, text = append(dst, held...), text[1:]
			continue
		}
		dst = append(dst, replacement...)
		if len(held) == 1 { // else the byte that broke the character may begin another
			text = text[1:]
		}
	}
	return dst
}

// validPrefix returns the length of the longest valid UTF-8 prefix of text.
func validPrefix(text string) int {
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(text)
}
