package jinja

import (
	"fmt"
	"slices"
)

// macro is a macro with the scope it was defined in.
type macro struct {
	def   *macroDef
	scope *scope
}

// call binds the arguments as Python would and renders the body.
func (m *macro) call(in *interp, a *args) (any, error) {
	if err := in.enterCall(); err != nil {
		return nil, err
	}
	defer in.leaveCall()
	sc := m.scope.child()
	if err := m.bind(in, a, sc); err != nil {
		return nil, err
	}
	return in.capture(m.def.body, sc)
}

func (m *macro) bind(in *interp, a *args, sc *scope) error {
	def := m.def
	for i, name := range def.params {
		switch v, given := a.keyword(name); {
		case i < len(a.pos) && given:
			return fmt.Errorf("macro '%s' got two values for '%s'", def.name, name)
		case i < len(a.pos):
			sc.set(name, a.pos[i])
		case given:
			sc.set(name, v)
		default:
			if err := m.bindDefault(in, i, sc); err != nil {
				return err
			}
		}
	}
	return m.bindExtra(a, sc)
}

func (m *macro) bindDefault(in *interp, i int, sc *scope) error {
	def := m.def
	d := i - (len(def.params) - len(def.defaults))
	if d < 0 {
		sc.set(def.params[i], undefinedf("parameter '%s' was not provided", def.params[i]))
		return nil
	}
	v, err := in.eval(def.defaults[d], sc)
	if err == nil {
		sc.set(def.params[i], v)
	}
	return err
}

// bindExtra binds what no parameter takes to the implied variables.
func (m *macro) bindExtra(a *args, sc *scope) error {
	def := m.def
	if def.usesVarargs {
		sc.set("varargs", newTuple(a.pos[min(len(a.pos), len(def.params)):]...))
	} else if len(a.pos) > len(def.params) {
		return fmt.Errorf("macro '%s' takes not more than %d argument(s)", def.name, len(def.params))
	}
	if def.usesCaller && !slices.Contains(def.params, "caller") {
		sc.set("caller", undefinedf("no caller defined"))
	}
	kwargs := NewDict()
	for i, name := range a.kwNames {
		switch {
		case slices.Contains(def.params, name):
		case name == "caller" && def.usesCaller:
			sc.set(name, a.kwVals[i])
		case def.usesKwargs:
			kwargs.Set(name, a.kwVals[i])
		default:
			return fmt.Errorf("macro '%s' takes no keyword argument '%s'", def.name, name)
		}
	}
	if def.usesKwargs {
		sc.set("kwargs", kwargs)
	}
	return nil
}

// execCall runs a call block: the call gets the block's body as caller().
func (in *interp) execCall(s *callStmt, sc *scope) error {
	v, err := in.evalCallWith(s.call, sc, &macro{s.caller, sc})
	if err != nil {
		return err
	}
	return in.print(v)
}
