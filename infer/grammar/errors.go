package grammar

import "fmt"

// Limits on grammars and on the work that they cause.
const (
	MaxSource   = 256 << 10 // bytes of GBNF or JSON schema
	MaxNesting  = 64        // groups, schemas or values inside one another
	MaxStates   = 1 << 17   // states of all rules together
	MaxRepeat   = 1 << 16   // count of one repetition
	maxItems    = 8192      // (state, stack) pairs that are alive at one byte
	maxEnum     = 10_000    // values of one enum
	maxOptional = 1000      // members of one object that may be left out
)

// Limits on the work for one token, which others wait for: a step takes up to 100
// ns, all of them half a second. Most steps of ordinary grammars are visits, about
// three for each node of the trie at most. Without them a JSON schema of 10 members
// takes 3,000 steps for the most expensive token, 64 tools 13,000 and 100 optional
// members 17,000, a 250th of the limit; 1000 of them or 2000 strings 180,000, and a
// pattern that holds ambiguous text 250,000.
const (
	maxWork  = 4 << 20 // items touched and trie nodes visited for one token,
	maxWalks = 8       // and so many visits more of each node of the trie
	sortWork = 8       // steps to sort an item, to hash it and to keep it in a cache
)

// maxWarmTokens is how many tokens' work [Constraint.Warm] may take: twice of what
// 100 strings of limited length do. What it leaves is found when it is needed.
const maxWarmTokens = 4

// Limits on what one Constraint keeps, bytes, roughly. One token of a JSON schema
// adds up to 2 MB on a vocabulary of 128,000 tokens, of 2000 strings 5 MB.
const (
	maxCacheLen  = 32 << 20        // of walks and steps, between tokens
	maxCachePeak = 4 * maxCacheLen // while it works for one
	maxOpen      = 64 << 20        // of the frames of one output: 500,000 levels, or fewer that are ambiguous
)

// LimitError is a source or an output that exceeds a limit.
type LimitError struct {
	What       string // plural
	Limit, Got int    // Got may be where counting stopped
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%d %s exceed the limit of %d", e.Got, e.What, e.Limit)
}

// SyntaxError is a place in GBNF text.
type SyntaxError struct {
	Line, Column int // from 1; columns count bytes
	Reason       string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Reason)
}

// SchemaError is a part of a JSON schema that cannot be compiled.
type SchemaError struct {
	Pointer string // JSON pointer into the schema, "" for all of it
	Reason  string
	Err     error // cause, may be nil
}

func (e *SchemaError) Error() string {
	at := e.Pointer
	if at == "" {
		at = "the schema"
	}
	if e.Err != nil {
		return at + ": " + e.Err.Error()
	}
	return at + ": " + e.Reason
}

func (e *SchemaError) Unwrap() error { return e.Err }
