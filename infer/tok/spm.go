package tok

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// spaceMark is SentencePiece's spelling of a space in its vocabulary.
const spaceMark = "\u2581"

// spm is SentencePiece BPE with byte fallback: neighbours merge when their text is a token, highest score first.
// Texts are kept with plain spaces, both in the vocabulary and while merging.
type spm struct {
	vocab       *vocab
	priority    []uint32   // [size] by descending score
	byteID      [256]int32 // byte tokens, or the unknown token
	spacePrefix bool       // a space is put before each text
	glue        [256]bool  // bytes after which some token goes on with a space
	scratch     scratchPool
}

func newSPM(m Metadata) (*Tokenizer, error) {
	s := &spm{spacePrefix: true}
	if add, ok := m.Bool(keySpacePrefix); ok {
		s.spacePrefix = add
	}
	var err error
	if s.vocab, err = readVocab(m, decodeSPM); err != nil {
		return nil, err
	}
	if err := s.readScores(m); err != nil {
		return nil, err
	}
	t := &Tokenizer{vocab: s.vocab, model: s, spacePrefix: s.spacePrefix}
	if t.missing, err = s.indexBytes(m); err != nil {
		return nil, err
	}
	if t.special, err = s.vocab.specialTrie(); err != nil {
		return nil, err
	}
	s.findGlue()
	t.roles, err = readRoles(m, s.vocab, t.special, true)
	return t, err
}

func decodeSPM(dst []byte, text string, c class) ([]byte, class, error) {
	if c != classByte {
		if strings.Contains(text, " ") { // merges meet spaces spelled as marks only
			return append(dst, text...), classInert, nil
		}
		return append(dst, strings.ReplaceAll(text, spaceMark, " ")...), c, nil
	}
	if len(text) != len("<0x00>") || text[:3] != "<0x" || text[5] != '>' {
		return nil, c, fmt.Errorf("byte token %.80q is not of the form <0xNN>", text)
	}
	b, err := strconv.ParseUint(text[3:5], 16, 8)
	if err != nil {
		return nil, c, fmt.Errorf("byte token %.80q: %w", text, err)
	}
	return append(dst, byte(b)), c, nil
}

// readScores turns scores into priorities that order as unsigned integers, highest score first.
func (s *spm) readScores(m Metadata) error {
	scores, ok := m.Floats(keyScores)
	if !ok {
		return fmt.Errorf("key %s is missing or not an array of 32-bit floats", keyScores)
	}
	if len(scores) != s.vocab.size() {
		return fmt.Errorf("%s has %d entries for %d tokens", keyScores, len(scores), s.vocab.size())
	}
	s.priority = make([]uint32, len(scores))
	for i, score := range scores {
		if score != score {
			return fmt.Errorf("token %d: score is not a number", i)
		}
		bits := math.Float32bits(score + 0) // -0 becomes +0, which it equals
		if bits>>31 == 0 {
			bits = ^bits &^ (1 << 31)
		}
		s.priority[i] = bits
	}
	return nil
}

// indexBytes fills byteID and returns the bytes that only the unknown token can stand for.
func (s *spm) indexBytes(m Metadata) (missing []byte, err error) {
	unknown, err := readID(m, s.vocab, keyUnknown)
	if err != nil {
		return nil, err
	}
	for b := range s.byteID {
		s.byteID[b] = NoToken
	}
	for i, c := range s.vocab.class {
		if c == classByte {
			s.byteID[s.vocab.piece(int32(i))[0]] = int32(i)
		}
	}
	for b, id := range s.byteID {
		if id != NoToken {
			continue
		}
		if unknown == NoToken {
			return nil, fmt.Errorf("byte 0x%02X has no token and %s is missing", b, keyUnknown)
		}
		s.byteID[b] = unknown
		missing = append(missing, byte(b))
	}
	return missing, nil
}

func (s *spm) encode(dst []int32, text string) []int32 {
	if strings.Contains(text, spaceMark) {
		text = strings.ReplaceAll(text, spaceMark, " ")
	}
	if s.spacePrefix {
		text = " " + text
	}
	sc := s.scratch.get()
	for text != "" {
		n := s.pieceEnd(text)
		dst = sc.encode(dst, text[:n], s)
		text = text[n:]
	}
	s.scratch.put(sc)
	return dst
}

// findGlue fills glue. Few vocabularies have tokens that reach over the end of a word, and those have few.
func (s *spm) findGlue() {
	for i, c := range s.vocab.class {
		if c != classOrdinary {
			continue
		}
		text := s.vocab.piece(int32(i))
		for j := 1; j < len(text); j++ {
			if text[j] == ' ' && text[j-1] != ' ' {
				s.glue[text[j-1]] = true
			}
		}
	}
}

// pieceEnd returns the length of the text's first piece: up to the first space that no merge can join to what stands
// before it. Merging such pieces one by one gives what merging the whole text would.
func (s *spm) pieceEnd(text string) int {
	for i := 1; i < min(len(text), maxPiece); i++ {
		if text[i] == ' ' && text[i-1] != ' ' && !s.glue[text[i-1]] {
			return i
		}
	}
	if len(text) <= maxPiece {
		return len(text)
	}
	end := maxPiece
	for end > maxPiece-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return end
}

func (s *spm) encodePiece(dst []int32, m *merger, piece string) []int32 {
	m.reset(len(piece))
	for i := 0; i < len(piece); {
		_, n := utf8.DecodeRuneInString(piece[i:])
		m.add(i, i+n, NoToken)
		i += n
	}
	m.run(s, piece)
	for i := int32(0); i >= 0; i = m.syms[i].next {
		sym := &m.syms[i]
		text := piece[sym.start:sym.end]
		id := sym.id
		if id == NoToken { // not merged: a single character
			var ok bool
			if id, ok = s.vocab.ordinary[text]; !ok {
				dst = s.appendBytes(dst, text)
				continue
			}
		}
		dst = append(dst, id)
	}
	return dst
}

func (s *spm) appendBytes(dst []int32, text string) []int32 {
	for i := range len(text) {
		dst = append(dst, s.byteID[text[i]])
	}
	return dst
}

func (s *spm) pair(text string, left, right *symbol) (uint32, int32, bool) {
	if int(right.end-left.start) > s.vocab.maxLen {
		return 0, NoToken, false
	}
	id, ok := s.vocab.ordinary[text[left.start:right.end]]
	if !ok {
		return 0, NoToken, false
	}
	return s.priority[id], id, true
}
