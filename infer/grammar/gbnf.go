package grammar

import (
	"fmt"
	"unicode/utf8"
)

// ParseGBNF compiles a grammar in llama.cpp's notation, whose rule root is what
// the output matches. Beyond that notation, names may hold underscores and a
// line may begin with the | that continues a rule. Token references such as
// <think> are refused.
func ParseGBNF(src string) (*Grammar, error) {
	if len(src) > MaxSource {
		return nil, &LimitError{What: "bytes of grammar", Limit: MaxSource, Got: len(src)}
	}
	if !utf8.ValidString(src) {
		return nil, fmt.Errorf("the grammar is not valid UTF-8")
	}
	p := &gbnf{src: src, index: map[string]int{}}
	if err := p.grammar(); err != nil {
		return nil, err
	}
	for i, r := range p.rules {
		if r.body == nil {
			return nil, p.errorAt(p.used[i], "rule %s is used but not defined", r.name)
		}
	}
	root, ok := p.index["root"]
	if !ok {
		return nil, fmt.Errorf("the grammar has no rule named root")
	}
	return compile(p.rules, root)
}

// gbnf is a recursive-descent parser.
type gbnf struct {
	src   string
	pos   int // bytes
	depth int // open groups
	rules []rule
	used  []int // [rules] position of the first use
	index map[string]int
}

func (p *gbnf) errorAt(pos int, format string, args ...any) error {
	line, column := 1, 1
	for _, c := range []byte(p.src[:pos]) {
		column++
		if c == '\n' {
			line, column = line+1, 1
		}
	}
	return &SyntaxError{Line: line, Column: column, Reason: fmt.Sprintf(format, args...)}
}

func (p *gbnf) error(format string, args ...any) error { return p.errorAt(p.pos, format, args...) }

// peek returns the next byte, 0 at the end.
func (p *gbnf) peek() byte {
	if p.pos == len(p.src) {
		return 0
	}
	return p.src[p.pos]
}

// space skips blanks and comments, and line ends too when they do not matter.
func (p *gbnf) space(lines bool) {
	for ; p.pos < len(p.src); p.pos++ {
		switch c := p.src[p.pos]; {
		case c == '#':
			for p.pos+1 < len(p.src) && p.src[p.pos+1] != '\n' && p.src[p.pos+1] != '\r' {
				p.pos++
			}
		case c == ' ' || c == '\t' || lines && (c == '\n' || c == '\r'):
		default:
			return
		}
	}
}

func (p *gbnf) rule(name string) int {
	i, ok := p.index[name]
	if !ok {
		i = len(p.rules)
		p.index[name] = i
		p.rules, p.used = append(p.rules, rule{name: name}), append(p.used, p.pos)
	}
	return i
}

// anonymous makes a rule of an expression, so that its copies share states.
func (p *gbnf) anonymous(of string, body expr) call {
	p.rules, p.used = append(p.rules, rule{fmt.Sprintf("%s at byte %d", of, p.pos), body}), append(p.used, p.pos)
	return call{len(p.rules) - 1}
}

func (p *gbnf) grammar() error {
	for p.space(true); p.pos < len(p.src); p.space(true) {
		at := p.pos
		name, err := p.name()
		if err != nil {
			return err
		}
		i := p.rule(name)
		if p.rules[i].body != nil {
			return p.errorAt(at, "rule %s is defined twice", name)
		}
		p.space(false)
		if len(p.src)-p.pos < 3 || p.src[p.pos:p.pos+3] != "::=" {
			return p.error("::= is expected after the name of a rule")
		}
		p.pos += 3
		p.space(true)
		body, err := p.alternatives()
		if err != nil {
			return err
		}
		if c := p.peek(); c != 0 && c != '\n' && c != '\r' {
			return p.error("the end of the line is expected, not %q", c)
		}
		p.rules[i].body = body
	}
	return nil
}

func isName(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

func (p *gbnf) name() (string, error) {
	start := p.pos
	for isName(p.peek()) {
		p.pos++
	}
	if p.pos == start {
		return "", p.error("the name of a rule is expected")
	}
	return p.src[start:p.pos], nil
}

func (p *gbnf) alternatives() (expr, error) {
	var out alt
	for {
		s, err := p.sequence()
		if err != nil {
			return nil, err
		}
		out = append(out, s)
		if !p.bar() {
			break
		}
	}
	if len(out) == 1 {
		return out[0], nil
	}
	return out, nil
}

// bar reads a |, which may also begin the next line.
func (p *gbnf) bar() bool {
	start := p.pos
	p.space(true)
	if p.peek() != '|' {
		p.pos = start
		return false
	}
	p.pos++
	p.space(true)
	return true
}

func (p *gbnf) sequence() (expr, error) {
	var out seq
	for {
		e, err := p.item()
		if err != nil {
			return nil, err
		}
		if e == nil {
			return out, nil
		}
		p.space(p.depth > 0)
		if e, err = p.repetitions(e); err != nil {
			return nil, err
		}
		out = append(out, e)
	}
}

// item reads one element of a sequence, nil where there is none.
func (p *gbnf) item() (expr, error) {
	switch c := p.peek(); {
	case c == '"':
		return p.quoted()
	case c == '[':
		return p.class()
	case c == '.':
		p.pos++
		return runes{{0, maxRune}}, nil
	case c == '(':
		return p.group()
	case isName(c):
		at := p.pos
		name, err := p.name()
		if err != nil {
			return nil, err
		}
		end := p.pos
		p.pos = at // where a new rule is first used
		i := p.rule(name)
		p.pos = end
		return call{i}, nil
	case c == '<' || c == '!':
		return nil, p.error("tokens by name or number (%q) are not supported; only text is", c)
	}
	return nil, nil
}

func (p *gbnf) group() (expr, error) {
	if p.depth++; p.depth > MaxNesting {
		return nil, p.error("%s", (&LimitError{What: "levels of groups", Limit: MaxNesting, Got: p.depth}).Error())
	}
	p.pos++
	p.space(true)
	e, err := p.alternatives()
	if err != nil {
		return nil, err
	}
	p.space(true)
	if p.peek() != ')' {
		return nil, p.error("the group is not closed: ) is expected")
	}
	p.pos++
	p.depth--
	return e, nil
}

// repetitions reads the operators behind an element.
func (p *gbnf) repetitions(e expr) (expr, error) {
	for stars := 0; ; p.space(p.depth > 0) {
		r := repeat{of: e}
		switch p.peek() {
		case '*':
			r.max = -1
		case '+':
			r.min, r.max = 1, -1
		case '?':
			r.max = 1
		case '{':
			var err error
			if r.min, r.max, err = p.bounds(); err != nil {
				return nil, err
			}
		default:
			return e, nil
		}
		p.pos++
		if stars++; stars > MaxNesting {
			return nil, p.error("%s", (&LimitError{What: "operators on one element", Limit: MaxNesting, Got: stars}).Error())
		}
		if _, plain := r.of.(literal); !plain && (r.min > 1 || r.max > 1) {
			r.of = p.anonymous("repetition", r.of)
		}
		e = r
	}
}

// bounds reads {n}, {n,} or {n,m} up to the closing brace.
func (p *gbnf) bounds() (lo, hi int, err error) {
	at := p.pos
	p.pos++
	p.space(p.depth > 0)
	if lo, err = p.number(); err != nil {
		return 0, 0, err
	}
	hi = lo
	p.space(p.depth > 0)
	if p.peek() == ',' {
		p.pos++
		p.space(p.depth > 0)
		hi = -1
		if c := p.peek(); c >= '0' && c <= '9' {
			if hi, err = p.number(); err != nil {
				return 0, 0, err
			}
		}
		p.space(p.depth > 0)
	}
	if p.peek() != '}' {
		return 0, 0, p.error("the repetition is not closed: } is expected")
	}
	if hi >= 0 && lo > hi {
		return 0, 0, p.errorAt(at, "the repetition {%d,%d} has its bounds in the wrong order", lo, hi)
	}
	return lo, hi, nil
}

func (p *gbnf) number() (int, error) {
	start, n := p.pos, 0
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		if n = 10*n + int(c-'0'); n > MaxRepeat {
			return 0, p.errorAt(start, "the repetition's count exceeds the limit of %d", MaxRepeat)
		}
		p.pos++
	}
	if p.pos == start {
		return 0, p.error("a number is expected")
	}
	return n, nil
}
