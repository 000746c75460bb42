package tok

import "testing"

func TestTrieFind(t *testing.T) {
	tr := newTrie()
	for id, s := range []struct {
		text  string
		class class
	}{{"ab", classUser}, {"abcd", classUser}, {"abcde", classControl}, {"cd", classControl}, {"x", classUser}} {
		tr.insert(s.text, int32(id), s.class)
	}
	const both = classUser | classControl
	for _, c := range []struct {
		text       string
		from       int
		class      class
		start, end int
		id         int32
	}{
		{"abcde", 0, both, 0, 5, 2},         // the longest
		{"abcde", 0, classUser, 0, 4, 1},    // the longest of the class
		{"abcx", 0, both, 0, 2, 0},          // back to the last that was complete
		{"abcx", 0, classControl, 4, 4, -1}, // none
		{"zabcd", 0, classControl, 3, 5, 3}, // others of the class inside
		{"ab ab", 1, both, 3, 5, 0},         // from an offset
		{"zabcd", 0, both, 1, 5, 1},         // the leftmost, before those inside
		{"", 0, both, 0, 0, -1},
	} {
		start, end, id := tr.find(c.text, c.from, c.class)
		if start != c.start || end != c.end || id != c.id {
			t.Errorf("find(%q, %d, %d) = %d, %d, %d, want %d, %d, %d", c.text, c.from, c.class, start, end, id, c.start, c.end, c.id)
		}
	}
}
