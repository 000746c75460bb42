package jinja

import (
	"fmt"
	"strings"
)

// interp is one render in progress.
type interp struct {
	meter
	out *strings.Builder
}

// jump is how a list of statements ended.
type jump uint8

const (
	jumpNone jump = iota
	jumpBreak
	jumpContinue
)

// run executes statements in the scope.
func (in *interp) run(body []stmt, sc *scope) (jump, error) {
	for _, s := range body {
		if err := in.step(); err != nil {
			return jumpNone, located(err, s.pos())
		}
		j, err := in.exec(s, sc)
		if err != nil {
			return jumpNone, located(err, s.pos())
		}
		if j != jumpNone {
			return j, nil
		}
	}
	return jumpNone, nil
}

func (in *interp) exec(s stmt, sc *scope) (jump, error) {
	switch s := s.(type) {
	case *textStmt:
		return jumpNone, in.write(s.text)
	case *outputStmt:
		return jumpNone, in.output(s.x, sc)
	case *ifStmt:
		return in.execIf(s, sc)
	case *forStmt:
		return jumpNone, in.execFor(s, sc)
	case *setStmt:
		v, err := in.eval(s.val, sc)
		if err != nil {
			return jumpNone, err
		}
		return jumpNone, in.assign(s.target, v, sc)
	case *setBlockStmt:
		v, err := in.captureFiltered(s.body, s.filter, sc)
		if err != nil {
			return jumpNone, err
		}
		return jumpNone, in.assign(s.target, v, sc)
	case *filterStmt:
		v, err := in.captureFiltered(s.body, s.filter, sc)
		if err != nil {
			return jumpNone, err
		}
		return jumpNone, in.print(v)
	case *macroStmt:
		sc.set(s.name, &macro{s.macroDef, sc})
		return jumpNone, nil
	case *callStmt:
		return jumpNone, in.execCall(s, sc)
	case *withStmt:
		return in.execWith(s, sc)
	case *scopeStmt:
		return in.run(s.body, sc.child())
	case *jumpStmt:
		return s.to, nil
	}
	return jumpNone, fmt.Errorf("statement %T is not implemented", s)
}

func (in *interp) write(s string) error {
	if err := in.emit(len(s)); err != nil {
		return err
	}
	in.out.WriteString(s)
	return nil
}

func (in *interp) output(x expr, sc *scope) error {
	v, err := in.eval(x, sc)
	if err != nil {
		return err
	}
	return in.print(v)
}

func (in *interp) print(v any) error {
	s, err := in.str(v)
	if err != nil {
		return err
	}
	return in.write(s)
}

// capture runs a body and returns its text instead of printing it.
func (in *interp) capture(body []stmt, sc *scope) (string, error) {
	return in.captureWith(func() error {
		_, err := in.run(body, sc)
		return err
	})
}

func (in *interp) captureWith(run func() error) (string, error) {
	outer := in.out
	in.out = &strings.Builder{}
	err := run()
	text := in.out.String()
	in.out = outer
	if err != nil {
		return "", err
	}
	return text, in.spend(len(text))
}

func (in *interp) captureFiltered(body []stmt, filter expr, sc *scope) (any, error) {
	text, err := in.capture(body, sc.child())
	if err != nil || filter == nil {
		return text, err
	}
	inner := sc.child()
	inner.set(blockText, text)
	return in.eval(filter, inner)
}

// blockText is the name under which a filter chain without an object finds the
// text of its block. It is not an identifier, so templates cannot read it.
const blockText = "\x00block"

func (in *interp) execIf(s *ifStmt, sc *scope) (jump, error) {
	for i, test := range s.tests {
		v, err := in.eval(test, sc)
		if err != nil {
			return jumpNone, err
		}
		if truth(v) {
			return in.run(s.bodies[i], sc)
		}
	}
	return in.run(s.orElse, sc)
}

func (in *interp) execWith(s *withStmt, sc *scope) (jump, error) {
	inner := sc.child()
	for i, t := range s.targets {
		v, err := in.eval(s.vals[i], sc)
		if err != nil {
			return jumpNone, err
		}
		if err := in.assign(t, v, inner); err != nil {
			return jumpNone, err
		}
	}
	return in.run(s.body, inner)
}

func (in *interp) assign(t target, v any, sc *scope) error {
	switch {
	case t.tuple != nil:
		items, err := in.iterate(v)
		if err != nil {
			return err
		}
		if len(items) != len(t.tuple) {
			return located(fmt.Errorf("cannot unpack %d values into %d names", len(items), len(t.tuple)), t.line)
		}
		for i, sub := range t.tuple {
			if err := in.assign(sub, items[i], sc); err != nil {
				return err
			}
		}
	case t.attr != "":
		ns, ok := sc.lookup(t.name).(*namespace)
		if !ok {
			return located(fmt.Errorf("cannot set attribute '%s': '%s' is not a namespace", t.attr, t.name), t.line)
		}
		return ns.set(t.attr, v)
	default:
		sc.set(t.name, v)
	}
	return nil
}

// set stores an attribute. transformers forbids leading underscores.
func (ns *namespace) set(name string, v any) error {
	if strings.HasPrefix(name, "_") {
		return fmt.Errorf("namespace attribute '%s' must not start with an underscore", name)
	}
	ns.attrs.Set(name, v)
	return nil
}
