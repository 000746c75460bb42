package jinja

import (
	"errors"
	"fmt"
	"strconv"
)

// postfix parses attribute access, subscripts and calls behind x.
func (p *parser) postfix(x expr) (expr, error) {
	var err error
	for err == nil {
		t := p.peek()
		switch {
		case t.is(tokOp, "."):
			p.next()
			x, err = p.attribute(x, t.line)
		case t.is(tokOp, "["):
			p.next()
			x, err = p.subscript(x, t.line)
		case t.is(tokOp, "("):
			x, err = p.call(x)
		default:
			return x, nil
		}
	}
	return nil, err
}

func (p *parser) attribute(x expr, line int) (expr, error) {
	t := p.next()
	switch t.kind {
	case tokName:
		return &attrExpr{at{line}, x, t.text}, nil
	case tokInt:
		v, err := strconv.ParseInt(t.text, 10, 64)
		if err == nil {
			return &itemExpr{at{line}, x, &constExpr{at{line}, v}}, nil
		}
	}
	return nil, located(fmt.Errorf("expected a name or number behind '.', found %v", t), t.line)
}

func (p *parser) subscript(x expr, line int) (expr, error) {
	s := &sliceExpr{at: at{line}, obj: x}
	var key expr
	var err error
	if !p.peek().is(tokOp, ":") {
		if key, err = p.expression(); err != nil {
			return nil, err
		}
		if !p.peek().is(tokOp, ":") {
			return &itemExpr{at{line}, x, key}, p.expect(tokOp, "]")
		}
	}
	s.lo = key
	for _, part := range []*expr{&s.hi, &s.step} {
		if !p.accept(tokOp, ":") {
			break
		}
		if t := p.peek(); t.is(tokOp, ":") || t.is(tokOp, "]") {
			continue
		}
		if *part, err = p.expression(); err != nil {
			return nil, err
		}
	}
	return s, p.expect(tokOp, "]")
}

func (p *parser) call(fn expr) (expr, error) {
	line := at{p.peek().line}
	args, err := p.arguments()
	return &callExpr{line, fn, args}, err
}

// arguments parses "(a, b=c, *d, **e)".
func (p *parser) arguments() (argExprs, error) {
	var a argExprs
	if err := p.expect(tokOp, "("); err != nil {
		return a, err
	}
	for first := true; !p.accept(tokOp, ")"); first = false {
		if !first {
			if err := p.expect(tokOp, ","); err != nil {
				return a, err
			}
			if p.accept(tokOp, ")") {
				break
			}
		}
		if err := p.argument(&a); err != nil {
			return a, err
		}
	}
	return a, nil
}

func (p *parser) argument(a *argExprs) error {
	bad := func() error { return p.errorf("arguments in the wrong order") }
	switch {
	case p.accept(tokOp, "*"):
		if a.star != nil || a.starStar != nil {
			return bad()
		}
		var err error
		a.star, err = p.expression()
		return err
	case p.accept(tokOp, "**"):
		if a.starStar != nil {
			return bad()
		}
		var err error
		a.starStar, err = p.expression()
		return err
	case p.peek().kind == tokName && p.peek2().is(tokOp, "="):
		if a.starStar != nil {
			return bad()
		}
		name := p.next().text
		p.next()
		x, err := p.expression()
		a.kwNames = append(a.kwNames, name)
		a.kwVals = append(a.kwVals, x)
		return err
	}
	if a.star != nil || a.starStar != nil || len(a.kwNames) > 0 {
		return bad()
	}
	x, err := p.expression()
	a.pos = append(a.pos, x)
	return err
}

// filtersAndTests parses "| filter", "is test" and calls behind x.
func (p *parser) filtersAndTests(x expr) (expr, error) {
	var err error
	for err == nil {
		t := p.peek()
		switch {
		case t.is(tokOp, "|"):
			p.next()
			x, err = p.filter(x)
		case t.is(tokName, "is"):
			x, err = p.test(x)
		case t.is(tokOp, "("):
			x, err = p.call(x)
		default:
			return x, nil
		}
	}
	return nil, err
}

// filterChain parses any number of "| filter" behind x, which may be nil for
// the text of a block.
func (p *parser) filterChain(x expr) (expr, error) {
	var err error
	for err == nil && p.accept(tokOp, "|") {
		x, err = p.filter(x)
	}
	return x, err
}

// filter parses "name(args)"; the '|' is consumed.
func (p *parser) filter(x expr) (expr, error) {
	line := at{p.peek().line}
	name, err := p.name()
	if err != nil {
		return nil, err
	}
	if _, ok := filters[name]; !ok && name != safeFilter {
		return nil, located(fmt.Errorf("filter '%s' is not supported", name), line.line)
	}
	f := &filterExpr{at: line, obj: x, name: name}
	if name == safeFilter {
		p.safes = append(p.safes, line.line)
	}
	if p.peek().is(tokOp, "(") {
		f.args, err = p.arguments()
	}
	return f, err
}

// test parses "is [not] name [args]".
func (p *parser) test(x expr) (expr, error) {
	line := at{p.next().line}
	negated := p.accept(tokName, "not")
	name, err := p.name()
	if err != nil {
		return nil, err
	}
	if _, ok := tests[name]; !ok {
		return nil, located(fmt.Errorf("test '%s' is not supported", name), line.line)
	}
	t := &testExpr{at: line, obj: x, name: name}
	if p.peek().is(tokOp, "(") {
		t.args, err = p.arguments()
	} else if p.peek().is(tokName, "is") {
		return nil, p.errorf("tests cannot be chained with 'is'")
	} else if p.startsTestArg() {
		var arg expr
		if arg, err = p.primary(); err == nil {
			arg, err = p.postfix(arg)
		}
		t.args.pos = []expr{arg}
	}
	if err != nil {
		return nil, err
	}
	if negated {
		return &unaryExpr{line, "not", t}, nil
	}
	return t, nil
}

// startsTestArg reports whether a test is followed by an argument without
// parentheses, as in "is divisibleby 3".
func (p *parser) startsTestArg() bool {
	t := p.peek()
	switch t.kind {
	case tokName:
		switch t.text {
		case "else", "or", "and":
			return false
		}
		return true
	case tokString, tokInt, tokFloat:
		return true
	}
	return t.is(tokOp, "[") || t.is(tokOp, "{")
}

// safeFilter marks text as HTML-safe. Without autoescaping that changes nothing
// about output, but in Jinja2 joining marked text with '+' would escape the
// other side; so it is accepted only where nothing can follow it: as the last
// filter of an output tag.
const safeFilter = "safe"

var errSafePlace = errors.New("filter 'safe' is supported only at the end of an output tag")

// output parses the expression of an output tag, without safe filters at its
// end.
func (p *parser) output() (expr, error) {
	x, err := p.tuple(true)
	for err == nil {
		f, ok := x.(*filterExpr)
		if !ok || f.name != safeFilter {
			break
		}
		p.safes = p.safes[:len(p.safes)-1]
		x = f.obj
	}
	if err == nil && len(p.safes) > 0 {
		err = located(errSafePlace, p.safes[0])
	}
	return x, err
}
