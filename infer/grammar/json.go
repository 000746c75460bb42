package grammar

// plain is what a JSON string may hold without an escape.
var plain = runes{{' ', '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, maxRune}}

// Digits and hexadecimal digits.
var (
	digit = runes{{'0', '9'}}
	hex   = runes{{'0', '9'}, {'A', 'F'}, {'a', 'f'}}
)

// Most digits of a number: float64 holds what is generated, and a model cannot
// lose itself in digits.
const (
	maxIntDigits  = 16
	maxFracDigits = 16
	maxExpDigits  = 2
)

// basics are rules for JSON without a schema, by index in rules.
type basics struct {
	space, char, str, integer, number, value, object, array call
}

// newBasics appends the rules to list.
func newBasics(list *[]rule) basics {
	add := func(name string, body expr) call {
		*list = append(*list, rule{name, body})
		return call{len(*list) - 1}
	}
	var b basics
	// One space, or a line break with some indentation: whitespace has an end.
	b.space = add("whitespace", opt(alt{literal(" "), seq{literal("\n"), repeat{runes{{'\t', '\t'}, {' ', ' '}}, 0, 32}}}))
	char := charExpr()
	b.char = add("character", char)
	b.str = add("string", seq{literal(`"`), many(char), literal(`"`)})
	integer := seq{opt(literal("-")), natural()}
	b.integer = add("integer", integer)
	b.number = add("number", seq{integer, opt(seq{literal("."), repeat{digit, 1, maxFracDigits}}),
		opt(seq{runes{{'E', 'E'}, {'e', 'e'}}, opt(runes{{'+', '+'}, {'-', '-'}}), repeat{digit, 1, maxExpDigits}})})
	b.value = add("value", nil)
	b.object = add("object", list2("{", "}", seq{b.str, literal(":"), b.space, b.value}, b.space))
	b.array = add("array", list2("[", "]", b.value, b.space))
	(*list)[b.value.rule].body = alt{b.object, b.array, b.str, b.number, literal("true"), literal("false"), literal("null")}
	return b
}

func natural() expr {
	return alt{literal("0"), seq{runes{{'1', '9'}}, repeat{digit, 0, maxIntDigits - 1}}}
}

// list2 is any number of elements between brackets.
func list2(open, end string, element, space expr) expr {
	return seq{literal(open), space, opt(seq{element, many(seq{literal(","), space, element}), space}), literal(end)}
}

// charExpr is one code point of a JSON string. Surrogates are escaped in pairs
// only: half of one is no text.
func charExpr() expr {
	x := func(r ...span) runes { return runes(r) }
	unit := alt{
		seq{runes{{'0', '9'}, {'A', 'C'}, {'E', 'F'}, {'a', 'c'}, {'e', 'f'}}, hex, hex, hex},
		seq{x(span{'D', 'D'}, span{'d', 'd'}), x(span{'0', '7'}), hex, hex},
		seq{x(span{'D', 'D'}, span{'d', 'd'}), x(span{'8', '9'}, span{'A', 'B'}, span{'a', 'b'}), hex, hex,
			literal(`\u`), x(span{'D', 'D'}, span{'d', 'd'}), x(span{'C', 'F'}, span{'c', 'f'}), hex, hex},
	}
	short := x(span{'"', '"'}, span{'/', '/'}, span{'\\', '\\'}, span{'b', 'b'}, span{'f', 'f'}, span{'n', 'n'}, span{'r', 'r'}, span{'t', 't'})
	return alt{plain, seq{literal(`\`), alt{short, seq{literal("u"), unit}}}}
}

// JSONObject is the grammar of any JSON object.
func JSONObject() *Grammar {
	var rules []rule
	b := newBasics(&rules)
	g, err := compile(rules, b.object.rule)
	if err != nil {
		panic(err) // the rules above are constant
	}
	return g
}
