package jinja

import (
	"fmt"
	"strings"
)

// eval evaluates an expression. An error gets the line of the innermost
// expression that failed.
func (in *interp) eval(x expr, sc *scope) (any, error) {
	if err := in.step(); err != nil {
		return nil, located(err, x.pos())
	}
	if err := in.enterEval(); err != nil {
		return nil, located(err, x.pos())
	}
	v, err := in.evalNode(x, sc)
	in.leaveEval()
	if err != nil {
		return nil, located(err, x.pos())
	}
	return v, nil
}

func (in *interp) evalNode(x expr, sc *scope) (any, error) {
	switch x := x.(type) {
	case *constExpr:
		return x.val, nil
	case *nameExpr:
		return sc.lookup(x.name), nil
	case *seqExpr:
		items, err := in.evalAll(x.items, sc)
		return &List{items, x.tuple}, err
	case *dictExpr:
		return in.evalDict(x, sc)
	case *attrExpr:
		obj, err := in.eval(x.obj, sc)
		if err != nil {
			return nil, err
		}
		return getAttr(obj, x.name)
	case *itemExpr:
		return in.evalItem(x, sc)
	case *sliceExpr:
		return in.evalSlice(x, sc)
	case *callExpr:
		return in.evalCallWith(x, sc, nil)
	case *filterExpr:
		return in.evalFilter(x, sc)
	case *testExpr:
		return in.evalTest(x, sc)
	case *unaryExpr:
		return in.evalUnary(x, sc)
	case *binaryExpr:
		l, r, err := in.evalTwo(x.l, x.r, sc)
		if err != nil {
			return nil, err
		}
		return in.binary(x.op, l, r)
	case *logicExpr:
		l, err := in.eval(x.l, sc)
		if err != nil || truth(l) != x.and {
			return l, err
		}
		return in.eval(x.r, sc)
	case *compareExpr:
		return in.evalCompare(x, sc)
	case *concatExpr:
		return in.evalConcat(x, sc)
	case *condExpr:
		return in.evalCond(x, sc)
	}
	return nil, fmt.Errorf("expression %T is not implemented", x)
}

func (in *interp) evalAll(xs []expr, sc *scope) ([]any, error) {
	if err := in.spend(itemBytes * len(xs)); err != nil {
		return nil, err
	}
	out := make([]any, len(xs))
	for i, x := range xs {
		var err error
		if out[i], err = in.eval(x, sc); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (in *interp) evalTwo(l, r expr, sc *scope) (any, any, error) {
	lv, err := in.eval(l, sc)
	if err != nil {
		return nil, nil, err
	}
	rv, err := in.eval(r, sc)
	return lv, rv, err
}

func (in *interp) evalDict(x *dictExpr, sc *scope) (any, error) {
	if err := in.spend(4 * itemBytes * len(x.keys)); err != nil {
		return nil, err
	}
	d := NewDict()
	for i, kx := range x.keys {
		k, v, err := in.evalTwo(kx, x.vals[i], sc)
		if err != nil {
			return nil, err
		}
		if err := d.setAny(k, v); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (in *interp) evalUnary(x *unaryExpr, sc *scope) (any, error) {
	v, err := in.eval(x.x, sc)
	if err != nil {
		return nil, err
	}
	if x.op == "not" {
		return !truth(v), nil
	}
	if f, ok := v.(float64); ok {
		if x.op == "-" {
			f = -f
		}
		return f, nil
	}
	i, ok := asInt(v)
	if !ok {
		return nil, operandError(v, fmt.Errorf("bad operand type for unary %s: '%s'", x.op, typeName(v)))
	}
	if x.op == "-" {
		return intBinary("-", 0, i)
	}
	return i, nil
}

// operandError prefers the message of an undefined operand.
func operandError(v any, err error) error {
	if u, ok := v.(*undefined); ok {
		return u.err()
	}
	return err
}

func (in *interp) evalCompare(x *compareExpr, sc *scope) (any, error) {
	l, err := in.eval(x.first, sc)
	if err != nil {
		return nil, err
	}
	for i, op := range x.ops {
		r, err := in.eval(x.rest[i], sc)
		if err != nil {
			return nil, err
		}
		ok, err := in.compareOp(op, l, r)
		if err != nil || !ok {
			return false, err
		}
		l = r
	}
	return true, nil
}

func (in *interp) evalConcat(x *concatExpr, sc *scope) (any, error) {
	var b strings.Builder
	for _, part := range x.parts {
		v, err := in.eval(part, sc)
		if err != nil {
			return nil, err
		}
		s, err := in.str(v)
		if err != nil {
			return nil, err
		}
		if err := in.spend(len(s)); err != nil {
			return nil, err
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

func (in *interp) evalCond(x *condExpr, sc *scope) (any, error) {
	test, err := in.eval(x.test, sc)
	if err != nil {
		return nil, err
	}
	if truth(test) {
		return in.eval(x.then, sc)
	}
	if x.orElse == nil {
		return undefinedf("the inline if-expression was false and has no else part"), nil
	}
	return in.eval(x.orElse, sc)
}

func (in *interp) evalFilter(x *filterExpr, sc *scope) (any, error) {
	var obj any
	var err error
	if x.obj == nil {
		obj = sc.lookup(blockText)
	} else if obj, err = in.eval(x.obj, sc); err != nil {
		return nil, err
	}
	a, err := in.evalArgs(&x.args, sc)
	if err != nil {
		return nil, err
	}
	return in.applyFilter(x.name, obj, a)
}

func (in *interp) applyFilter(name string, obj any, a *args) (any, error) {
	f, ok := filters[name]
	if !ok {
		return nil, fmt.Errorf("filter '%s' is not supported here", name)
	}
	v, err := f(in, obj, a)
	if err != nil {
		return nil, fmt.Errorf("apply filter '%s': %w", name, err)
	}
	return v, nil
}

func (in *interp) evalTest(x *testExpr, sc *scope) (any, error) {
	obj, err := in.eval(x.obj, sc)
	if err != nil {
		return nil, err
	}
	a, err := in.evalArgs(&x.args, sc)
	if err != nil {
		return nil, err
	}
	return in.applyTest(x.name, obj, a)
}

func (in *interp) applyTest(name string, obj any, a *args) (bool, error) {
	f, ok := tests[name]
	if !ok {
		return false, fmt.Errorf("test '%s' is not supported", name)
	}
	v, err := f(in, obj, a)
	if err != nil {
		return false, fmt.Errorf("apply test '%s': %w", name, err)
	}
	return v, nil
}

// evalCallWith evaluates a call; caller, if not nil, is passed as the caller
// of a call block.
func (in *interp) evalCallWith(x *callExpr, sc *scope, caller *macro) (any, error) {
	fn, err := in.eval(x.fn, sc)
	if err != nil {
		return nil, err
	}
	a, err := in.evalArgs(&x.args, sc)
	if err != nil {
		return nil, err
	}
	if caller != nil {
		if err := a.addKeyword("caller", caller); err != nil {
			return nil, err
		}
	}
	return in.call(fn, a)
}

func (in *interp) call(fn any, a *args) (any, error) {
	switch fn := fn.(type) {
	case *undefined:
		return nil, fn.err()
	case *macro:
		return fn.call(in, a)
	case *method:
		return in.callMethod(fn.obj, fn.name, a)
	case *loopState:
		return fn.recurse(in, a)
	case *builtin:
		return fn.fn(in, a)
	case Func:
		kw := NewDict()
		for i, name := range a.kwNames {
			kw.Set(name, a.kwVals[i])
		}
		return fn(a.pos, kw)
	}
	return nil, fmt.Errorf("'%s' object is not callable", typeName(fn))
}
