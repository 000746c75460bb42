package jinja

import "fmt"

// globals are the functions that every template can call. In Jinja2 their
// values shadow nothing: a variable of the same name wins.
var globals map[string]any

func init() {
	globals = map[string]any{
		"range":     &builtin{"range", globalRange},
		"dict":      &builtin{"dict", globalDict},
		"namespace": &builtin{"namespace", globalNamespace},
	}
}

func globalRange(in *interp, a *args) (any, error) {
	got, err := a.bind("range", 1, "start", "stop", "step")
	if err != nil {
		return nil, err
	}
	var n [3]int64
	for i, def := range []int64{0, 0, 1} {
		if n[i], err = intArg("range", or(got[i], def)); err != nil {
			return nil, err
		}
		// Keeps the arithmetic of rangeValue far from overflow.
		if n[i] > 1<<60 || n[i] < -1<<60 {
			return nil, fmt.Errorf("range: %d is out of range", n[i])
		}
	}
	if got[1] == (absent{}) {
		n[0], n[1] = 0, n[0]
	}
	if n[2] == 0 {
		return nil, fmt.Errorf("range: step must not be zero")
	}
	r := rangeValue{n[0], n[1], n[2]}
	if r.len() > MaxRange {
		return nil, fmt.Errorf("range of %d items: %w", r.len(), &LimitError{"MaxRange", MaxRange, "items"})
	}
	return r, nil
}

// globalDict is dict(mapping or pairs, key=value...).
func globalDict(in *interp, a *args) (any, error) {
	if len(a.pos) > 1 {
		return nil, fmt.Errorf("dict takes at most 1 positional argument, got %d", len(a.pos))
	}
	d := NewDict()
	if len(a.pos) == 1 {
		if err := fillDict(in, d, a.pos[0]); err != nil {
			return nil, err
		}
	}
	for i, name := range a.kwNames {
		d.Set(name, a.kwVals[i])
	}
	return d, nil
}

func fillDict(in *interp, d *Dict, from any) error {
	if src, ok := from.(*Dict); ok {
		from = &dictView{"dict_items", src.pairs()}
	}
	items, err := in.iterate(from)
	if err != nil {
		return err
	}
	if err := in.spend(4 * itemBytes * len(items)); err != nil {
		return err
	}
	for _, item := range items {
		kv, err := in.iterate(item)
		if err != nil {
			return err
		}
		if len(kv) != 2 {
			return fmt.Errorf("dict needs pairs, got %d values", len(kv))
		}
		if err := d.setAny(kv[0], kv[1]); err != nil {
			return err
		}
	}
	return nil
}

func globalNamespace(in *interp, a *args) (any, error) {
	attrs, err := globalDict(in, a)
	if err != nil {
		return nil, err
	}
	ns := &namespace{NewDict()}
	d := attrs.(*Dict)
	for i, k := range d.keys {
		name, ok := k.(string)
		if !ok {
			return nil, fmt.Errorf("namespace attributes must be strings, not '%s'", typeName(k))
		}
		if err := ns.set(name, d.vals[i]); err != nil {
			return nil, err
		}
	}
	return ns, nil
}
