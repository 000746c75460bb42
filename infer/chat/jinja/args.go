package jinja

import (
	"fmt"
	"slices"
)

// args are evaluated arguments.
type args struct {
	pos     []any
	kwNames []string
	kwVals  []any
}

func (a *args) keyword(name string) (any, bool) {
	if i := slices.Index(a.kwNames, name); i >= 0 {
		return a.kwVals[i], true
	}
	return nil, false
}

// absent marks an optional argument that was not given.
type absent struct{}

// bind matches the arguments to parameter names, of which the first required
// must be given. Missing ones are absent{}.
func (a *args) bind(fn string, required int, params ...string) ([]any, error) {
	if len(a.pos) > len(params) {
		return nil, fmt.Errorf("%s takes at most %d argument(s), got %d", fn, len(params), len(a.pos))
	}
	out := make([]any, len(params))
	for i := range out {
		out[i] = absent{}
	}
	copy(out, a.pos)
	for i, name := range a.kwNames {
		at := slices.Index(params, name)
		if at < 0 {
			return nil, fmt.Errorf("%s has no argument '%s'", fn, name)
		}
		if at < len(a.pos) {
			return nil, fmt.Errorf("%s got two values for '%s'", fn, name)
		}
		out[at] = a.kwVals[i]
	}
	for i := range required {
		if out[i] == (absent{}) {
			return nil, fmt.Errorf("%s needs the argument '%s'", fn, params[i])
		}
	}
	return out, nil
}

// or replaces an absent argument by its default.
func or(v, def any) any {
	if v == (absent{}) {
		return def
	}
	return v
}

// intArg takes an integer argument.
func intArg(fn string, v any) (int64, error) {
	if i, ok := asInt(v); ok {
		return i, nil
	}
	return 0, fmt.Errorf("%s needs an integer, got '%s'", fn, typeName(v))
}

// strArg takes a string argument.
func strArg(fn string, v any) (string, error) {
	if s, ok := v.(string); ok {
		return s, nil
	}
	return "", fmt.Errorf("%s needs a string, got '%s'", fn, typeName(v))
}

// evalArgs evaluates the arguments of a call.
func (in *interp) evalArgs(x *argExprs, sc *scope) (*args, error) {
	a := &args{}
	var err error
	if a.pos, err = in.evalAll(x.pos, sc); err != nil {
		return nil, err
	}
	if x.star != nil {
		v, err := in.eval(x.star, sc)
		if err != nil {
			return nil, err
		}
		items, err := in.iterate(v)
		if err != nil {
			return nil, err
		}
		if err := in.spend(itemBytes * len(items)); err != nil {
			return nil, err
		}
		a.pos = append(a.pos, items...)
	}
	for i, name := range x.kwNames {
		v, err := in.eval(x.kwVals[i], sc)
		if err != nil {
			return nil, err
		}
		if err := a.addKeyword(name, v); err != nil {
			return nil, err
		}
	}
	if x.starStar != nil {
		return a, in.spreadKeywords(a, x.starStar, sc)
	}
	return a, nil
}

// maxKeywords bounds the keyword arguments of a call, which are matched one by
// one.
const maxKeywords = 256

func (a *args) addKeyword(name string, v any) error {
	if slices.Contains(a.kwNames, name) {
		return fmt.Errorf("keyword argument '%s' is given twice", name)
	}
	if len(a.kwNames) == maxKeywords {
		return &LimitError{"maxKeywords", maxKeywords, "keyword arguments in a call"}
	}
	a.kwNames = append(a.kwNames, name)
	a.kwVals = append(a.kwVals, v)
	return nil
}

func (in *interp) spreadKeywords(a *args, x expr, sc *scope) error {
	v, err := in.eval(x, sc)
	if err != nil {
		return err
	}
	d, ok := v.(*Dict)
	if !ok {
		return fmt.Errorf("argument behind ** must be a dict, not '%s'", typeName(v))
	}
	for i, k := range d.keys {
		name, ok := k.(string)
		if !ok {
			return fmt.Errorf("keywords must be strings, not '%s'", typeName(k))
		}
		if err := a.addKeyword(name, d.vals[i]); err != nil {
			return err
		}
	}
	return nil
}
