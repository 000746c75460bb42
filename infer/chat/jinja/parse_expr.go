package jinja

import (
	"fmt"
	"math"
	"strconv"
)

// constants are the names that cannot be assigned.
var constants = map[string]any{
	"true": true, "True": true, "false": false, "False": false, "none": nil, "None": nil,
}

// expression parses a full expression, inline if included.
func (p *parser) expression() (expr, error) {
	if err := p.nest(); err != nil {
		return nil, err
	}
	defer p.unnest()
	x, err := p.or()
	for err == nil && p.peek().is(tokName, "if") {
		c := &condExpr{at: at{p.next().line}, then: x}
		if c.test, err = p.or(); err != nil {
			return nil, err
		}
		if p.accept(tokName, "else") {
			if c.orElse, err = p.expression(); err != nil {
				return nil, err
			}
		}
		x = c
	}
	return x, err
}

// tuple parses one expression, or several with commas as a tuple.
func (p *parser) tuple(cond bool) (expr, error) {
	one := p.or
	if cond {
		one = p.expression
	}
	if err := p.nest(); err != nil {
		return nil, err
	}
	defer p.unnest()
	line := at{p.peek().line}
	first, err := one()
	if err != nil || !p.peek().is(tokOp, ",") {
		return first, err
	}
	items := []expr{first}
	for p.accept(tokOp, ",") {
		if p.endsTuple() {
			break
		}
		x, err := one()
		if err != nil {
			return nil, err
		}
		items = append(items, x)
	}
	return &seqExpr{line, items, true}, nil
}

func (p *parser) endsTuple() bool {
	t := p.peek()
	return t.kind == tokVarEnd || t.kind == tokBlockEnd || t.is(tokOp, ")") || t.is(tokName, "recursive")
}

func (p *parser) or() (expr, error)  { return p.logic("or", p.and) }
func (p *parser) and() (expr, error) { return p.logic("and", p.not) }

func (p *parser) logic(word string, sub func() (expr, error)) (expr, error) {
	l, err := sub()
	for err == nil && p.peek().is(tokName, word) {
		line := at{p.next().line}
		var r expr
		if r, err = sub(); err == nil {
			l = &logicExpr{line, word == "and", l, r}
		}
	}
	return l, err
}

func (p *parser) not() (expr, error) {
	if !p.peek().is(tokName, "not") {
		return p.compare()
	}
	if err := p.nest(); err != nil {
		return nil, err
	}
	defer p.unnest()
	line := at{p.next().line}
	x, err := p.not()
	return &unaryExpr{line, "not", x}, err
}

func (p *parser) compare() (expr, error) {
	line := at{p.peek().line}
	first, err := p.sum()
	if err != nil {
		return nil, err
	}
	c := &compareExpr{at: line, first: first}
	for {
		op := p.compareOp()
		if op == "" {
			break
		}
		x, err := p.sum()
		if err != nil {
			return nil, err
		}
		c.ops = append(c.ops, op)
		c.rest = append(c.rest, x)
	}
	if len(c.ops) == 0 {
		return first, nil
	}
	return c, nil
}

func (p *parser) compareOp() string {
	t := p.peek()
	if t.kind == tokOp {
		switch t.text {
		case "==", "!=", "<", "<=", ">", ">=":
			return p.next().text
		}
	}
	if t.is(tokName, "in") {
		return p.next().text
	}
	if t.is(tokName, "not") && p.peek2().is(tokName, "in") {
		p.next()
		p.next()
		return "not in"
	}
	return ""
}

// binary parses a left-associative chain of the operators in ops.
func (p *parser) binary(sub func() (expr, error), ops ...string) (expr, error) {
	l, err := sub()
	for err == nil {
		op := ""
		for _, o := range ops {
			if p.peek().is(tokOp, o) {
				op = o
			}
		}
		if op == "" {
			break
		}
		line := at{p.next().line}
		var r expr
		if r, err = sub(); err == nil {
			l = &binaryExpr{line, op, l, r}
		}
	}
	return l, err
}

func (p *parser) sum() (expr, error)     { return p.binary(p.concat, "+", "-") }
func (p *parser) product() (expr, error) { return p.binary(p.power, "*", "/", "//", "%") }
func (p *parser) power() (expr, error) {
	return p.binary(func() (expr, error) { return p.unary(true) }, "**")
}

func (p *parser) concat() (expr, error) {
	line := at{p.peek().line}
	first, err := p.product()
	if err != nil || !p.peek().is(tokOp, "~") {
		return first, err
	}
	c := &concatExpr{line, []expr{first}}
	for p.accept(tokOp, "~") {
		x, err := p.product()
		if err != nil {
			return nil, err
		}
		c.parts = append(c.parts, x)
	}
	return c, nil
}

func (p *parser) unary(withFilter bool) (expr, error) {
	if err := p.nest(); err != nil {
		return nil, err
	}
	defer p.unnest()
	var x expr
	var err error
	t := p.peek()
	if t.is(tokOp, "-") || t.is(tokOp, "+") {
		p.next()
		x, err = p.unary(false)
		x = &unaryExpr{at{t.line}, t.text, x}
	} else {
		x, err = p.primary()
	}
	if err != nil {
		return nil, err
	}
	if x, err = p.postfix(x); err != nil || !withFilter {
		return x, err
	}
	return p.filtersAndTests(x)
}

func (p *parser) primary() (expr, error) {
	t := p.next()
	line := at{t.line}
	switch t.kind {
	case tokName:
		if v, ok := constants[t.text]; ok {
			return &constExpr{line, v}, nil
		}
		p.noteName(t.text)
		return &nameExpr{line, t.text}, nil
	case tokString:
		s := t.text
		for p.peek().kind == tokString {
			s += p.next().text
		}
		return &constExpr{line, s}, nil
	case tokInt:
		v, err := strconv.ParseInt(t.text, 0, 64)
		if err != nil {
			v, err = strconv.ParseInt(t.text, 10, 64)
		}
		if err != nil {
			return nil, located(fmt.Errorf("integer %s needs more than 64 bits", t.text), t.line)
		}
		return &constExpr{line, v}, nil
	case tokFloat:
		v, err := strconv.ParseFloat(t.text, 64)
		if err != nil && !math.IsInf(v, 0) { // too large is infinite, as in Python
			return nil, located(err, t.line)
		}
		return &constExpr{line, v}, nil
	case tokOp:
		switch t.text {
		case "(":
			return p.parenthesis(line)
		case "[":
			items, err := p.items("]")
			return &seqExpr{line, items, false}, err
		case "{":
			return p.dict(line)
		}
	}
	return nil, located(fmt.Errorf("unexpected %v", t), t.line)
}

// noteName records which of the implied variables a macro body reads.
func (p *parser) noteName(name string) {
	if len(p.macros) == 0 {
		return
	}
	m := p.macros[len(p.macros)-1]
	switch name {
	case "varargs":
		m.usesVarargs = true
	case "kwargs":
		m.usesKwargs = true
	case "caller":
		m.usesCaller = true
	}
}

func (p *parser) parenthesis(line at) (expr, error) {
	if p.accept(tokOp, ")") {
		return &seqExpr{line, nil, true}, nil
	}
	x, err := p.tuple(true)
	if err != nil {
		return nil, err
	}
	return x, p.expect(tokOp, ")")
}

// items parses comma-separated expressions up to the closing bracket.
func (p *parser) items(end string) ([]expr, error) {
	var items []expr
	for !p.accept(tokOp, end) {
		if len(items) > 0 {
			if err := p.expect(tokOp, ","); err != nil {
				return nil, err
			}
			if p.accept(tokOp, end) {
				break
			}
		}
		x, err := p.expression()
		if err != nil {
			return nil, err
		}
		items = append(items, x)
	}
	return items, nil
}

func (p *parser) dict(line at) (expr, error) {
	d := &dictExpr{at: line}
	for !p.accept(tokOp, "}") {
		if len(d.keys) > 0 {
			if err := p.expect(tokOp, ","); err != nil {
				return nil, err
			}
			if p.accept(tokOp, "}") {
				break
			}
		}
		k, err := p.expression()
		if err != nil {
			return nil, err
		}
		if err := p.expect(tokOp, ":"); err != nil {
			return nil, err
		}
		v, err := p.expression()
		if err != nil {
			return nil, err
		}
		d.keys = append(d.keys, k)
		d.vals = append(d.vals, v)
	}
	return d, nil
}
