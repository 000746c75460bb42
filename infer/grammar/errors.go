package grammar

import "fmt"

// Limits on grammars and on the work that they cause.
const (
	MaxSource   = 256 << 10 // bytes of GBNF or JSON schema
	MaxNesting  = 64        // groups, schemas or values inside one another
	MaxStates   = 1 << 17   // states of all rules together
	MaxRepeat   = 1 << 16   // count of one repetition
	maxItems    = 8192      // (state, stack) pairs that are alive at one byte
	maxWork     = 4 << 20   // items touched and trie nodes visited for one token,
	maxWalks    = 8         // and so many visits more of each node of the trie
	maxEnum     = 10_000    // values of one enum
	maxOptional = 1000      // members of one object that may be left out
	maxCacheLen = 32 << 20  // bytes of cached walks and steps of one Constraint, roughly
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
