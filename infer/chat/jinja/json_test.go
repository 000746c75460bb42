package jinja

import (
	"errors"
	"strings"
	"testing"
)

func TestDecodeJSON(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{`{"z": 1, "a": [true, null, "x"], "z": 2}`, `{'z': 2, 'a': [True, None, 'x']}`},
		{`[1, -0, 1.0, 1e2, -0.0, 9223372036854775808, -9223372036854775809]`, `[1, 0, 1.0, 100.0, -0.0, 9223372036854775808, -9223372036854775809]`},
		{`1e999`, `inf`},
		{` "\u00e9\ud83d\ude00" `, `é😀`},
	} {
		v, err := DecodeJSON([]byte(tc.in), nil)
		if err != nil {
			t.Errorf("%s: %v", tc.in, err)
			continue
		}
		if got, err := (&interp{}).str(v); err != nil || got != tc.want {
			t.Errorf("%s: got %s, %v; want %s", tc.in, got, err, tc.want)
		}
	}
}

func TestDecodeJSONErrors(t *testing.T) {
	for _, in := range []string{"", "[", "[1", "{", `{"a"`, `{"a":`, `{"a":1`, "[1] 2", "nul", "[1,]", `{1: 2}`, `"a`} {
		if v, err := DecodeJSON([]byte(in), nil); err == nil {
			t.Errorf("%q: got %v, want an error", in, v)
		}
	}
	var limit *LimitError
	deep := strings.Repeat("[", MaxValueDepth+2) + strings.Repeat("]", MaxValueDepth+2)
	if _, err := DecodeJSON([]byte(deep), nil); !errors.As(err, &limit) || limit.Limit != "MaxValueDepth" {
		t.Errorf("deep value: got %v, want MaxValueDepth", err)
	}
}

// TestDecodeJSONGuard checks that keys and values pass through the guard, in
// their decoded form.
func TestDecodeJSONGuard(t *testing.T) {
	v, err := DecodeJSON([]byte(`{"<\u007ca|>": ["<|b|>", {"c": "<|"}]}`), func(s string) string {
		return strings.ReplaceAll(s, "<|", "< |")
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := (&interp{}).str(v)
	if want := `{'< |a|>': ['< |b|>', {'c': '< |'}]}`; err != nil || got != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}
