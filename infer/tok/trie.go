package tok

// trie finds the longest of a set of strings at a position. It keeps no failure links: the strings are short
// (tens of bytes), so that a search costs at most their length per byte of text.
type trie struct {
	root  [256]int32       // node after a string's first byte, or 0
	edge  map[uint64]int32 // node<<8 | byte -> node
	node  []trieNode
	depth int // bytes of the longest string
}

type trieNode struct {
	id    int32 // token that ends here, or NoToken
	class class // of the token that ends here
	below class // classes of the tokens that end here or further down
}

func newTrie() *trie {
	return &trie{edge: map[uint64]int32{}, node: []trieNode{{id: NoToken}}}
}

func (t *trie) insert(text string, id int32, c class) {
	n := int32(0)
	for i := range len(text) {
		next := t.step(n, text[i])
		if next == 0 {
			next = int32(len(t.node))
			t.node = append(t.node, trieNode{id: NoToken})
			if n == 0 {
				t.root[text[i]] = next
			} else {
				t.edge[uint64(n)<<8|uint64(text[i])] = next
			}
		}
		n = next
		t.node[n].below |= c
	}
	t.node[n].id, t.node[n].class = id, c
	t.depth = max(t.depth, len(text))
}

// step returns the node that b leads to from node n (0 is the root), or 0 if none.
func (t *trie) step(n int32, b byte) int32 {
	if n == 0 {
		return t.root[b]
	}
	return t.edge[uint64(n)<<8|uint64(b)]
}

func (t *trie) lookup(text string) (int32, bool) {
	n := int32(0)
	for i := range len(text) {
		if n = t.step(n, text[i]); n == 0 {
			return NoToken, false
		}
	}
	id := t.node[n].id
	return id, id != NoToken
}

func (t *trie) has(text []byte) bool {
	_, ok := t.lookup(string(text))
	return ok
}

// longest returns the longest string of the given classes that text begins with, and its length in bytes, or
// NoToken.
func (t *trie) longest(text string, c class) (id int32, length int) {
	id = NoToken
	n := int32(0)
	for i := range len(text) {
		n = t.step(n, text[i])
		if n == 0 || t.node[n].below&c == 0 {
			break
		}
		if t.node[n].class&c != 0 {
			id, length = t.node[n].id, i+1
		}
	}
	return id, length
}

// find returns the leftmost string of the given classes at or after from, the longest of those that start there.
// Without one, start is len(text) and id is NoToken.
func (t *trie) find(text string, from int, c class) (start, end int, id int32) {
	for i := from; i < len(text); i++ {
		if t.node[t.root[text[i]]].below&c == 0 {
			continue
		}
		if id, n := t.longest(text[i:], c); id != NoToken {
			return i, i + n, id
		}
	}
	return len(text), len(text), NoToken
}

// holds reports whether text is a prefix of a string of the given classes, or such a string itself.
func (t *trie) holds(text string, c class) bool {
	n := int32(0)
	for i := range len(text) {
		if n = t.step(n, text[i]); n == 0 || t.node[n].below&c == 0 {
			return false
		}
	}
	return n != 0
}
