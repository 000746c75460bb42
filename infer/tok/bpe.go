package tok

import (
	"fmt"
	"strings"
)

// byteAlphabet is GPT-2's spelling of bytes as printable characters, in which vocabularies and merges are written:
// bytes that are printable in Latin-1 stand for themselves, the others are numbered from U+0100.
type byteAlphabet [0x144]int16 // character -> byte, or -1

func newByteAlphabet() *byteAlphabet {
	a := new(byteAlphabet)
	for i := range a {
		a[i] = -1
	}
	next := 0x100
	for b := range 256 {
		if '!' <= b && b <= '~' || 0xA1 <= b && b <= 0xAC || 0xAE <= b {
			a[b] = int16(b)
			continue
		}
		a[next] = int16(b)
		next++
	}
	return a
}

// appendBytes appends the bytes that text spells; ok is false if a character is outside the alphabet.
func (a *byteAlphabet) appendBytes(dst []byte, text string) (out []byte, ok bool) {
	n := len(dst)
	for _, r := range text {
		if r >= rune(len(a)) || a[r] < 0 {
			return dst[:n], false
		}
		dst = append(dst, byte(a[r]))
	}
	return dst, true
}

// bpe is byte-level BPE.
type bpe struct {
	vocab      *vocab
	splitter   *splitter
	wholeWords bool
	byteID     [256]int32 // token of each byte, or NoToken
	ranks      map[idPair]mergeRule
	scratch    scratchPool
}

type idPair struct{ left, right int32 }

type mergeRule struct {
	rank uint32
	id   int32
}

func newBPE(m Metadata) (*Tokenizer, error) {
	pre, err := readPreTokenizer(m)
	if err != nil {
		return nil, err
	}
	b := &bpe{wholeWords: pre.wholeWords}
	if b.splitter, err = newSplitter(pre.pattern); err != nil {
		return nil, err
	}
	alphabet := newByteAlphabet()
	b.vocab, err = readVocab(m, func(dst []byte, text string, c class) ([]byte, class, error) {
		out, ok := alphabet.appendBytes(dst, text)
		if !ok { // an added token, written as it is
			return append(dst, text...), classInert, nil
		}
		return out, c, nil
	})
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{vocab: b.vocab, model: b, missing: b.indexBytes()}
	if t.special, err = b.vocab.specialTrie(); err != nil {
		return nil, err
	}
	if err := b.readMerges(m, alphabet, t.special); err != nil {
		return nil, err
	}
	t.roles, err = readRoles(m, b.vocab, t.special, pre.addBOS)
	return t, err
}

// indexBytes fills byteID and returns the bytes without a token.
func (b *bpe) indexBytes() (missing []byte) {
	for i := range b.byteID {
		id, ok := b.vocab.ordinary[string([]byte{byte(i)})]
		if !ok {
			id = NoToken
			missing = append(missing, byte(i))
		}
		b.byteID[i] = id
	}
	return missing
}

// readMerges reads merges of the form "left right", best first. Both parts and the result must be tokens, as every
// BPE trainer makes them. Merges from or to special tokens are left out: text that merges see does not contain those.
func (b *bpe) readMerges(m Metadata, alphabet *byteAlphabet, special *trie) error {
	merges, ok := m.Strings(keyMerges)
	if !ok {
		return fmt.Errorf("key %s is missing or not an array of strings", keyMerges)
	}
	b.ranks = make(map[idPair]mergeRule, len(merges))
	var buf []byte
	for i, merge := range merges {
		left, right, ok := strings.Cut(merge, " ")
		if !ok || left == "" || right == "" {
			return fmt.Errorf("merge %d (%.80q) is not two texts with a space between", i, merge)
		}
		buf, ok = alphabet.appendBytes(buf[:0], left)
		n := len(buf)
		if ok {
			buf, ok = alphabet.appendBytes(buf, right)
		}
		if !ok {
			return fmt.Errorf("merge %d (%.80q) has a character outside the byte alphabet", i, merge)
		}
		l, okL := b.vocab.ordinary[string(buf[:n])]
		r, okR := b.vocab.ordinary[string(buf[n:])]
		id, okID := b.vocab.ordinary[string(buf)]
		if !okL || !okR || !okID {
			if special.has(buf[:n]) || special.has(buf[n:]) || special.has(buf) {
				continue
			}
			return fmt.Errorf("merge %d (%.80q): a part or the result is not a token", i, merge)
		}
		if _, dup := b.ranks[idPair{l, r}]; !dup { // of equal merges the first counts
			b.ranks[idPair{l, r}] = mergeRule{rank: uint32(i), id: id}
		}
	}
	return nil
}

func (b *bpe) encode(dst []int32, text string) []int32 {
	s := b.scratch.get()
	s.runes = b.splitter.split(text, s.runes, func(piece string) { dst = s.encode(dst, piece, b) })
	b.scratch.put(s)
	return dst
}

// encodePiece appends the ids of a piece as the pre-tokenizer cut it.
func (b *bpe) encodePiece(dst []int32, m *merger, piece string) []int32 {
	if b.wholeWords {
		if id, ok := b.vocab.ordinary[piece]; ok {
			return append(dst, id)
		}
	}
	for len(piece) > maxPiece {
		dst = b.mergePiece(dst, m, piece[:maxPiece])
		piece = piece[maxPiece:]
	}
	return b.mergePiece(dst, m, piece)
}

func (b *bpe) mergePiece(dst []int32, m *merger, piece string) []int32 {
	m.reset(len(piece))
	for i := range len(piece) {
		m.add(i, i+1, b.byteID[piece[i]])
	}
	m.run(b, piece)
	for i := int32(0); i >= 0; i = m.syms[i].next {
		if id := m.syms[i].id; id != NoToken { // a byte without a token: see MissingBytes
			dst = append(dst, id)
		}
	}
	return dst
}

func (b *bpe) pair(_ string, left, right *symbol) (uint32, int32, bool) {
	rule, ok := b.ranks[idPair{left.id, right.id}]
	return rule.rank, rule.id, ok
}
