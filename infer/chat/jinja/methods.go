package jinja

import (
	"fmt"
)

// methodFunc implements a method of T.
type methodFunc[T any] func(in *interp, self T, a *args) (any, error)

// mutators are the methods that Jinja2's immutable sandbox forbids.
var mutators = map[string][]string{
	"list": {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"},
	"dict": {"clear", "pop", "popitem", "setdefault", "update"},
}

// hasMethod reports whether name is a method that may be called on the value.
func hasMethod(obj any, name string) bool {
	var ok bool
	switch obj.(type) {
	case string:
		_, ok = strMethods[name]
	case *Dict:
		_, ok = dictMethods[name]
	case *List:
		_, ok = listMethods[name]
	case *loopState:
		ok = name == "cycle" || name == "changed"
	}
	return ok
}

func (in *interp) callMethod(obj any, name string, a *args) (any, error) {
	v, err := in.dispatch(obj, name, a)
	if err != nil {
		return nil, fmt.Errorf("call %s.%s: %w", typeName(obj), name, err)
	}
	return v, nil
}

func (in *interp) dispatch(obj any, name string, a *args) (any, error) {
	switch obj := obj.(type) {
	case string:
		if f, ok := strMethods[name]; ok {
			if err := in.spend(len(obj)); err != nil {
				return nil, err
			}
			return f(in, obj, a)
		}
	case *Dict:
		if f, ok := dictMethods[name]; ok {
			return f(in, obj, a)
		}
	case *List:
		if f, ok := listMethods[name]; ok {
			return f(in, obj, a)
		}
	case *loopState:
		return obj.call(in, name, a)
	}
	return nil, fmt.Errorf("no such method")
}

var dictMethods = map[string]methodFunc[*Dict]{
	"items": func(in *interp, d *Dict, a *args) (any, error) {
		return d.view(in, a, "dict_items")
	},
	"keys": func(in *interp, d *Dict, a *args) (any, error) {
		return d.view(in, a, "dict_keys")
	},
	"values": func(in *interp, d *Dict, a *args) (any, error) {
		return d.view(in, a, "dict_values")
	},
	"get": func(in *interp, d *Dict, a *args) (any, error) {
		got, err := a.bind("get", 1, "key", "default")
		if err != nil {
			return nil, err
		}
		if v, ok := d.lookup(got[0]); ok {
			return v, nil
		}
		return or(got[1], nil), nil
	},
	"copy": func(in *interp, d *Dict, a *args) (any, error) {
		if _, err := a.bind("copy", 0); err != nil {
			return nil, err
		}
		return copyDict(in, d)
	},
}

func copyDict(in *interp, d *Dict) (*Dict, error) {
	if err := in.spend(4 * itemBytes * d.Len()); err != nil {
		return nil, err
	}
	out := NewDict()
	for i, k := range d.keys {
		if err := out.setAny(k, d.vals[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (d *Dict) view(in *interp, a *args, kind string) (any, error) {
	if _, err := a.bind(kind, 0); err != nil {
		return nil, err
	}
	switch kind {
	case "dict_keys":
		return &dictView{kind, d.keys}, nil
	case "dict_values":
		return &dictView{kind, d.vals}, nil
	}
	if err := in.spend(4 * itemBytes * d.Len()); err != nil {
		return nil, err
	}
	return &dictView{kind, d.pairs()}, nil
}

var listMethods = map[string]methodFunc[*List]{
	"count": func(in *interp, l *List, a *args) (any, error) {
		got, err := a.bind("count", 1, "value")
		if err != nil {
			return nil, err
		}
		n := int64(0)
		for _, item := range l.Items {
			if err := in.step(); err != nil {
				return nil, err
			}
			eq, err := in.equal(item, got[0], 0)
			if err != nil {
				return nil, err
			}
			if eq {
				n++
			}
		}
		return n, nil
	},
	"index": func(in *interp, l *List, a *args) (any, error) {
		got, err := a.bind("index", 1, "value")
		if err != nil {
			return nil, err
		}
		for i, item := range l.Items {
			if err := in.step(); err != nil {
				return nil, err
			}
			if eq, err := in.equal(item, got[0], 0); err != nil || eq {
				return int64(i), err
			}
		}
		return nil, fmt.Errorf("value is not in the list")
	},
	"copy": func(in *interp, l *List, a *args) (any, error) {
		_, err := a.bind("copy", 0)
		return l, err
	},
}
