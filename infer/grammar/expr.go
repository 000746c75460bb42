package grammar

// expr is the right-hand side of a rule before it becomes states: one of the
// types below. Expressions are built by the two parsers and never changed.
type expr interface{}

type (
	literal string   // these bytes
	runes   []span   // one character out of sorted, disjoint ranges
	seq     []expr   // one after the other
	alt     []expr   // one of them; none: nothing matches
	call    struct { // another rule
		rule int
	}
	words  []string // one of many strings, compiled to a trie
	repeat struct {
		of       expr
		min, max int // max < 0: without end
	}
)

// span is a range of code points, both ends included.
type span struct{ lo, hi rune }

// rule is a named expression.
type rule struct {
	name string
	body expr
}

func opt(e expr) expr  { return repeat{e, 0, 1} }
func many(e expr) expr { return repeat{e, 0, -1} }
