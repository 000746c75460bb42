package grammar

import (
	"slices"
	"strings"
)

// Tokens is what a vocabulary is read from.
type Tokens interface {
	Size() int             // ids run from 0 to Size()-1
	Token(id int32) string // the bytes that it adds to the output
	IsControl(id int32) bool
	IsEOG(id int32) bool
}

// Vocabulary is a trie of the bytes of all tokens but the control tokens. It is
// immutable and serves any number of grammars.
type Vocabulary struct {
	rows int // length of a row of logits
	eog  []int32

	// The trie in preorder; node 0 is the root, the empty text.
	bytes []byte     // [nodes] that leads to the node
	depth []uint8    // [nodes] length of the node's text
	skip  []int32    // [nodes] first node that is not below this one
	first []int32    // [nodes+1] first of its tokens in ids
	ids   []int32    // tokens in the order of their bytes
	alone [256]int32 // [bytes] the token that is this byte alone, or -1
	texts []string   // [ids] "" for tokens that a grammar never chooses
}

// maxToken is the longest token that a grammar may choose, bytes. Longer ones
// do not occur in vocabularies that are in use; they are never allowed.
const maxToken = 255

// NewVocabulary indexes tokens for a model whose logits have rows entries.
func NewVocabulary(t Tokens, rows int) *Vocabulary {
	v := &Vocabulary{rows: rows}
	type entry struct {
		text string
		id   int32
	}
	var list []entry
	v.texts = make([]string, t.Size())
	for i := range t.Size() {
		id := int32(i)
		switch text := t.Token(id); {
		case t.IsEOG(id):
			v.eog = append(v.eog, id)
		case !t.IsControl(id) && text != "" && len(text) <= maxToken:
			list = append(list, entry{text, id})
			v.texts[id] = text
		}
	}
	slices.SortFunc(list, func(a, b entry) int {
		if c := strings.Compare(a.text, b.text); c != 0 {
			return c
		}
		return int(a.id - b.id)
	})
	for i := range v.alone {
		v.alone[i] = -1
	}
	open := []int32{v.node(0, 0)} // the path to the last node
	last := ""
	for _, e := range list {
		common := 0
		for common < min(len(last), len(e.text)) && last[common] == e.text[common] {
			common++
		}
		v.close(&open, common+1)
		for i := common; i < len(e.text); i++ {
			open = append(open, v.node(e.text[i], i+1))
		}
		if len(e.text) == 1 && v.alone[e.text[0]] < 0 {
			v.alone[e.text[0]] = e.id
		}
		v.ids = append(v.ids, e.id)
		last = e.text
	}
	v.close(&open, 0)
	v.first = append(v.first, int32(len(v.ids)))
	return v
}

func (v *Vocabulary) node(b byte, depth int) int32 {
	v.bytes, v.depth = append(v.bytes, b), append(v.depth, uint8(depth))
	v.skip, v.first = append(v.skip, 0), append(v.first, int32(len(v.ids)))
	return int32(len(v.bytes) - 1)
}

// close ends the open nodes but the first n.
func (v *Vocabulary) close(open *[]int32, n int) {
	for len(*open) > n {
		v.skip[(*open)[len(*open)-1]] = int32(len(v.bytes))
		*open = (*open)[:len(*open)-1]
	}
}

// tokens lists the tokens whose text is that of a node.
func (v *Vocabulary) tokens(node int32) []int32 {
	// Tokens of nodes below come after those of the node itself.
	return v.ids[v.first[node]:v.first[node+1]]
}

// child returns the node behind a byte, or -1.
func (v *Vocabulary) child(node int32, b byte) int32 {
	for n := node + 1; n < v.skip[node]; n = v.skip[n] {
		if v.bytes[n] == b {
			return n
		}
	}
	return -1
}

// longest returns a token that is the longest possible beginning of text. It
// exists where text begins with a byte that is a token.
func (v *Vocabulary) longest(text []byte) (id int32, length int) {
	id = -1
	node := int32(0)
	for i, b := range text {
		if node = v.child(node, b); node < 0 {
			break
		}
		if t := v.tokens(node); len(t) > 0 {
			id, length = t[0], i+1
		}
	}
	return id, length
}
