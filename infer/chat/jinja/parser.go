package jinja

import (
	"fmt"
	"slices"
	"strings"
)

// parser turns tokens into statements by recursive descent, with the grammar
// and the precedences of Jinja2.
type parser struct {
	toks   []token
	pos    int
	depth  int
	loops  int // for bodies open in the current function, for break and continue
	macros []*macroDef
	safes  []int // lines of safe filters not yet known to end an output tag
}

func (p *parser) peek() token { return p.toks[p.pos] }

func (p *parser) peek2() token { return p.toks[min(p.pos+1, len(p.toks)-1)] }

func (p *parser) next() token {
	t := p.toks[p.pos]
	if p.pos < len(p.toks)-1 {
		p.pos++
	}
	return t
}

func (p *parser) errorf(format string, args ...any) error {
	return located(fmt.Errorf(format, args...), p.peek().line)
}

// accept consumes the next token if it is the given one.
func (p *parser) accept(kind tokenKind, text string) bool {
	if !p.peek().is(kind, text) {
		return false
	}
	p.next()
	return true
}

func (p *parser) expect(kind tokenKind, text string) error {
	if p.accept(kind, text) {
		return nil
	}
	return p.errorf("expected %v, found %v", token{kind: kind, text: text}, p.peek())
}

func (p *parser) name() (string, error) {
	if p.peek().kind != tokName {
		return "", p.errorf("expected a name, found %v", p.peek())
	}
	return p.next().text, nil
}

// nest guards the Go stack against deep sources. Every caller defers unnest.
func (p *parser) nest() error {
	p.depth++
	if p.depth > MaxNesting {
		return located(&LimitError{"MaxNesting", MaxNesting, "nested blocks and brackets"}, p.peek().line)
	}
	return nil
}

func (p *parser) unnest() { p.depth-- }

// body parses statements up to a block tag with one of the names in ends and
// consumes that name; the rest of the tag is left to the caller.
func (p *parser) body(ends ...string) ([]stmt, string, error) {
	if err := p.nest(); err != nil {
		return nil, "", err
	}
	defer p.unnest()
	var out []stmt
	for {
		t := p.next()
		switch t.kind {
		case tokEOF:
			if len(ends) > 0 {
				return nil, "", p.errorf("end of template, expected '{%% %s %%}'", strings.Join(ends, " %}' or '{% "))
			}
			return out, "", nil
		case tokText:
			out = append(out, &textStmt{at{t.line}, t.text})
		case tokVarBegin:
			x, err := p.output()
			if err != nil {
				return nil, "", err
			}
			if err := p.expect(tokVarEnd, ""); err != nil {
				return nil, "", err
			}
			out = append(out, &outputStmt{at{t.line}, x})
		case tokBlockBegin:
			if w := p.peek(); w.kind == tokName && slices.Contains(ends, w.text) {
				return out, p.next().text, nil
			}
			s, err := p.statement()
			if err != nil {
				return nil, "", err
			}
			out = append(out, s)
			if err := p.expect(tokBlockEnd, ""); err != nil {
				return nil, "", err
			}
		}
	}
}

// block parses "%} body {% end": the rest of an opening tag, and a body up to
// its only end tag.
func (p *parser) block(end string) ([]stmt, error) {
	if err := p.expect(tokBlockEnd, ""); err != nil {
		return nil, err
	}
	b, _, err := p.body(end)
	return b, err
}

// function parses a block that becomes a function of its own in Jinja2, so
// that a break inside it cannot leave a loop outside.
func (p *parser) function(end string) ([]stmt, error) {
	loops := p.loops
	p.loops = 0
	defer func() { p.loops = loops }()
	return p.block(end)
}

// statement parses a block tag behind '{%', up to but not including its '%}'.
func (p *parser) statement() (stmt, error) {
	line := at{p.peek().line}
	tag, err := p.name()
	if err != nil {
		return nil, err
	}
	switch tag {
	case "if":
		return p.ifTag(line)
	case "for":
		return p.forTag(line)
	case "set":
		return p.setTag(line)
	case "macro":
		return p.macroTag(line)
	case "call":
		return p.callTag(line)
	case "filter":
		return p.filterTag(line)
	case "with":
		return p.withTag(line)
	case "generation":
		b, err := p.function("endgeneration")
		return &scopeStmt{line, b}, err
	case "break", "continue":
		if p.loops == 0 {
			return nil, p.errorf("'%s' outside of a loop", tag)
		}
		to := jumpBreak
		if tag == "continue" {
			to = jumpContinue
		}
		return &jumpStmt{line, to}, nil
	}
	if strings.HasPrefix(tag, "end") || tag == "else" || tag == "elif" {
		return nil, located(fmt.Errorf("'{%% %s %%}' closes nothing that is open here", tag), line.line)
	}
	return nil, located(fmt.Errorf("tag '%s' is not supported", tag), line.line)
}

func (p *parser) ifTag(line at) (stmt, error) {
	s := &ifStmt{at: line}
	for {
		test, err := p.tuple(false)
		if err != nil {
			return nil, err
		}
		if err := p.expect(tokBlockEnd, ""); err != nil {
			return nil, err
		}
		body, end, err := p.body("elif", "else", "endif")
		if err != nil {
			return nil, err
		}
		s.tests = append(s.tests, test)
		s.bodies = append(s.bodies, body)
		switch end {
		case "endif":
			return s, nil
		case "else":
			s.orElse, err = p.block("endif")
			return s, err
		}
	}
}

func (p *parser) forTag(line at) (stmt, error) {
	s := &forStmt{at: line}
	var err error
	if s.target, err = p.targets(false); err != nil {
		return nil, err
	}
	if err = p.expect(tokName, "in"); err != nil {
		return nil, err
	}
	if s.iter, err = p.tuple(false); err != nil {
		return nil, err
	}
	if p.accept(tokName, "if") {
		if s.test, err = p.expression(); err != nil {
			return nil, err
		}
	}
	s.recursive = p.accept(tokName, "recursive")
	if err = p.expect(tokBlockEnd, ""); err != nil {
		return nil, err
	}
	var end string
	p.loops++
	s.body, end, err = p.body("endfor", "else")
	p.loops--
	if err == nil && end == "else" {
		s.orElse, err = p.block("endfor")
	}
	return s, err
}

func (p *parser) setTag(line at) (stmt, error) {
	t, err := p.targets(true)
	if err != nil {
		return nil, err
	}
	if p.accept(tokOp, "=") {
		val, err := p.tuple(true)
		return &setStmt{line, t, val}, err
	}
	filter, err := p.filterChain(nil)
	if err != nil {
		return nil, err
	}
	body, err := p.function("endset")
	return &setBlockStmt{line, t, filter, body}, err
}

func (p *parser) filterTag(line at) (stmt, error) {
	first, err := p.filter(nil)
	if err != nil {
		return nil, err
	}
	chain, err := p.filterChain(first)
	if err != nil {
		return nil, err
	}
	body, err := p.function("endfilter")
	return &filterStmt{line, chain, body}, err
}

func (p *parser) withTag(line at) (stmt, error) {
	s := &withStmt{at: line}
	for p.peek().kind != tokBlockEnd {
		if len(s.targets) > 0 {
			if err := p.expect(tokOp, ","); err != nil {
				return nil, err
			}
		}
		t, err := p.oneTarget(false)
		if err != nil {
			return nil, err
		}
		if err := p.expect(tokOp, "="); err != nil {
			return nil, err
		}
		val, err := p.expression()
		if err != nil {
			return nil, err
		}
		s.targets = append(s.targets, t)
		s.vals = append(s.vals, val)
	}
	var err error
	s.body, err = p.block("endwith")
	return s, err
}

func (p *parser) macroTag(line at) (stmt, error) {
	name, err := p.name()
	if err != nil {
		return nil, err
	}
	def := &macroDef{line: line.line, name: name}
	if err := p.signature(def); err != nil {
		return nil, err
	}
	return &macroStmt{line, def}, p.macroBody(def, "endmacro")
}

func (p *parser) callTag(line at) (stmt, error) {
	def := &macroDef{line: line.line, name: "caller"}
	if p.peek().is(tokOp, "(") {
		if err := p.signature(def); err != nil {
			return nil, err
		}
	}
	x, err := p.expression()
	if err != nil {
		return nil, err
	}
	call, ok := x.(*callExpr)
	if !ok {
		return nil, located(fmt.Errorf("expected a call behind 'call'"), line.line)
	}
	return &callStmt{line, call, def}, p.macroBody(def, "endcall")
}

func (p *parser) macroBody(def *macroDef, end string) error {
	p.macros = append(p.macros, def)
	defer func() { p.macros = p.macros[:len(p.macros)-1] }()
	var err error
	def.body, err = p.function(end)
	return err
}

// signature parses "(a, b=1)".
func (p *parser) signature(def *macroDef) error {
	if err := p.expect(tokOp, "("); err != nil {
		return err
	}
	for !p.accept(tokOp, ")") {
		if len(def.params) > 0 {
			if err := p.expect(tokOp, ","); err != nil {
				return err
			}
		}
		name, err := p.name()
		if err != nil {
			return err
		}
		if slices.Contains(def.params, name) {
			return p.errorf("parameter '%s' is given twice", name)
		}
		def.params = append(def.params, name)
		if p.accept(tokOp, "=") {
			val, err := p.expression()
			if err != nil {
				return err
			}
			def.defaults = append(def.defaults, val)
		} else if len(def.defaults) > 0 {
			return p.errorf("parameter '%s' without a default behind one with a default", name)
		}
	}
	return nil
}

// targets parses an assignment target: one, or several with commas.
func (p *parser) targets(attrs bool) (target, error) {
	line := p.peek().line
	first, err := p.oneTarget(attrs)
	if err != nil || !p.peek().is(tokOp, ",") {
		return first, err
	}
	all := []target{first}
	for p.accept(tokOp, ",") {
		if p.peek().is(tokOp, ")") {
			break
		}
		t, err := p.oneTarget(attrs)
		if err != nil {
			return t, err
		}
		all = append(all, t)
	}
	return target{line: line, tuple: all}, nil
}

func (p *parser) oneTarget(attrs bool) (target, error) {
	line := p.peek().line
	if p.accept(tokOp, "(") {
		if err := p.nest(); err != nil {
			return target{}, err
		}
		defer p.unnest()
		t, err := p.targets(attrs)
		if err != nil {
			return t, err
		}
		return t, p.expect(tokOp, ")")
	}
	name, err := p.name()
	if err != nil {
		return target{}, err
	}
	if _, reserved := constants[name]; reserved {
		return target{}, located(fmt.Errorf("cannot assign to '%s'", name), line)
	}
	t := target{line: line, name: name}
	if attrs && p.accept(tokOp, ".") {
		t.attr, err = p.name()
	}
	return t, err
}
