package jinja

// tokenKind classifies a token of the template source.
type tokenKind uint8

const (
	tokEOF tokenKind = iota
	tokText
	tokVarBegin
	tokVarEnd
	tokBlockBegin
	tokBlockEnd
	tokName
	tokString
	tokInt
	tokFloat
	tokOp
)

type token struct {
	kind tokenKind
	text string // text, name, operator, digits, or the value of a string
	line int
}

// is reports whether the token is the operator or name s.
func (t token) is(kind tokenKind, s string) bool { return t.kind == kind && t.text == s }

// String names the token for error messages.
func (t token) String() string {
	switch t.kind {
	case tokEOF:
		return "end of template"
	case tokText:
		return "text"
	case tokVarBegin:
		return "'{{'"
	case tokVarEnd:
		return "'}}'"
	case tokBlockBegin:
		return "'{%'"
	case tokBlockEnd:
		return "'%}'"
	case tokString:
		return "a string"
	default:
		return "'" + t.text + "'"
	}
}
