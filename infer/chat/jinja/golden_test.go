package jinja

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// snippetGolden is testdata/snippets.json, made by testdata/make_golden.py.
type snippetGolden struct {
	Vars     json.RawMessage `json:"vars"`
	Snippets []struct {
		Source string  `json:"source"`
		Out    *string `json:"out"`
		Error  string  `json:"error"`
	} `json:"snippets"`
}

// TestSnippets demands the output of Jinja2 for every construct, and an error
// wherever Jinja2 gives one.
func TestSnippets(t *testing.T) { testSnippets(t, "testdata/snippets.json") }

func testSnippets(t *testing.T, path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var g snippetGolden
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	decoded, err := DecodeJSON(g.Vars, nil)
	if err != nil {
		t.Fatal(err)
	}
	vars := map[string]any{}
	for i, k := range decoded.(*Dict).keys {
		vars[k.(string)] = decoded.(*Dict).vals[i]
	}
	for _, s := range g.Snippets {
		got, err := "", error(nil)
		tmpl, err := Parse(s.Source)
		if err == nil {
			got, err = tmpl.Render(vars)
		}
		switch {
		case s.Out == nil && err == nil:
			t.Errorf("%q: got %q, want an error like %s", s.Source, got, s.Error)
		case s.Out != nil && err != nil:
			t.Errorf("%q: %v\nwant %q", s.Source, err, *s.Out)
		case s.Out != nil:
			if diff := cmp.Diff(*s.Out, got); diff != "" {
				t.Errorf("%q (-want +got):\n%s", s.Source, diff)
			}
		}
	}
}
