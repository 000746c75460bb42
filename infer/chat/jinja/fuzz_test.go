package jinja

import (
	"encoding/json"
	"errors"
	"os"
	"testing"
)

// fuzzVars are variables of every kind for a fuzzed template to work on.
func fuzzVars(f *testing.F) map[string]any {
	data, err := os.ReadFile("testdata/snippets.json")
	if err != nil {
		f.Fatal(err)
	}
	var g snippetGolden
	if err := json.Unmarshal(data, &g); err != nil {
		f.Fatal(err)
	}
	v, err := DecodeJSON(g.Vars, nil)
	if err != nil {
		f.Fatal(err)
	}
	vars := map[string]any{}
	for i, k := range v.(*Dict).keys {
		vars[k.(string)] = v.(*Dict).vals[i]
	}
	for _, s := range g.Snippets {
		f.Add(s.Source)
	}
	return vars
}

// FuzzTemplate parses and renders arbitrary sources: they must end in output or
// in an *Error, and rendering twice must give the same.
func FuzzTemplate(f *testing.F) {
	vars := fuzzVars(f)
	f.Fuzz(func(t *testing.T, source string) {
		tmpl, err := Parse(source)
		if err == nil {
			var out, again string
			out, err = tmpl.Render(vars)
			if err == nil {
				if again, err = tmpl.Render(vars); again != out {
					t.Fatalf("rendered %q, then %q", out, again)
				}
			}
		}
		var at *Error
		if err != nil && !errors.As(err, &at) {
			t.Fatalf("error without a place: %v", err)
		}
		if at != nil && at.Line < 1 {
			t.Fatalf("error in line %d: %v", at.Line, err)
		}
	})
}

func FuzzDecodeJSON(f *testing.F) {
	f.Add(`{"a": [1, 2.5, "x", null, {"b": true}]}`)
	f.Fuzz(func(t *testing.T, data string) {
		v, err := DecodeJSON([]byte(data), nil)
		if (err == nil) != json.Valid([]byte(data)) {
			var limit *LimitError
			if !errors.As(err, &limit) {
				t.Fatalf("%q: got %v, encoding/json says valid = %v", data, err, json.Valid([]byte(data)))
			}
		}
		if err != nil {
			return
		}
		w := &jsonWriter{in: &interp{}, itemSep: ", ", keySep: ": "}
		if err := w.value(v, 0); err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		again, err := DecodeJSON([]byte(w.b.String()), nil)
		if errors.As(err, new(*json.SyntaxError)) {
			return // NaN and Infinity, which Python prints but JSON does not have
		}
		eq, err := w.in.equal(v, again, 0)
		if err != nil || !eq {
			t.Fatalf("%q printed as %s decodes to something else (%v)", data, w.b.String(), err)
		}
	})
}
