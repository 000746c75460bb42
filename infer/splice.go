package infer

import (
	"encoding/binary"
	"slices"

	"edged/infer/tok"
)

// splice joins the tokens of a conversation so far, as they were generated, with
// what its messages and the new ones are rendered as: as much of the former as
// spells the same, then the latter. A model does not always write a text in the
// tokens that the tokenizer would choose for it, and templates leave out or trim
// some of an answer. It returns how many tokens of history are used.
//
// The joint lies between two tokens of both, so that nothing is tokenized anew.
func splice(history, rendered []int32, spell func(int32) string) (ids []int32, used int) {
	a, b := speller{ids: history, spell: spell}, speller{ids: rendered, spell: spell}
	from := 0 // rendered's tokens that are replaced
	for {
		if a.left == "" && b.left == "" {
			used, from = a.read, b.read
		}
		if !a.fill() || !b.fill() {
			break
		}
		n := min(len(a.left), len(b.left))
		if a.left[:n] != b.left[:n] {
			break
		}
		a.left, b.left = a.left[n:], b.left[n:]
	}
	return slices.Concat(history[:used], rendered[from:]), used
}

// speller reads tokens as text.
type speller struct {
	ids   []int32
	spell func(int32) string
	read  int    // tokens
	left  string // of the last one
}

// fill makes left not empty, and returns false at the end.
func (s *speller) fill() bool {
	for s.left == "" {
		if s.read == len(s.ids) {
			return false
		}
		s.left = s.spell(s.ids[s.read])
		s.read++
	}
	return true
}

// spelling spells tokens so that a control token and text that looks like it
// differ: no text has the byte 0xff.
func spelling(t *tok.Tokenizer) func(int32) string {
	return func(id int32) string {
		if t.IsControl(id) {
			return string(binary.LittleEndian.AppendUint32([]byte{0xff}, uint32(id)))
		}
		return t.Token(id)
	}
}
