package jinja

import (
	"errors"
	"strings"
	"testing"
)

// TestParseErrors checks that what cannot be parsed is refused with its line.
func TestParseErrors(t *testing.T) {
	for _, tc := range []struct {
		name, source string
		line         int
		text, cause  string
	}{
		{"unclosed output", "a\n{{ x", 2, "{{ x", "tag is not closed"},
		{"unclosed block", "{% if x %}\nb\n", 2, "b", "expected '{% elif %}' or '{% else %}' or '{% endif %}'"},
		{"stray end", "\n\n  {% endfor %}", 3, "{% endfor %}", "closes nothing"},
		{"wrong end", "{% for x in y %}\n{% endif %}", 2, "{% endif %}", "closes nothing"},
		{"unknown tag", "{% frob %}", 1, "{% frob %}", "tag 'frob' is not supported"},
		{"include", "x\n{% include '/etc/passwd' %}", 2, "{% include '/etc/passwd' %}", "tag 'include' is not supported"},
		{"import", "{% import 'a' as b %}", 1, "{% import 'a' as b %}", "tag 'import' is not supported"},
		{"extends", "{% extends 'a' %}", 1, "{% extends 'a' %}", "tag 'extends' is not supported"},
		{"unknown filter", "{{ a\n | frob }}", 2, "| frob }}", "filter 'frob' is not supported"},
		{"unknown test", "{{ a is frob }}", 1, "{{ a is frob }}", "test 'frob' is not supported"},
		{"safe inside", "{{ (a | safe) + b }}", 1, "{{ (a | safe) + b }}", "filter 'safe' is supported only"},
		{"safe in a block", "{% if a | safe %}{% endif %}", 1, "{% if a | safe %}{% endif %}", "filter 'safe' is supported only"},
		{"bad escape", `{{ "\x4" }}`, 1, `{{ "\x4" }}`, "truncated \\x escape"},
		{"large integer", "{{ 9223372036854775808 }}", 1, "{{ 9223372036854775808 }}", "more than 64 bits"},
		{"assign constant", "{% set none = 1 %}", 1, "{% set none = 1 %}", "cannot assign to 'none'"},
		{"break", "{% if a %}{% break %}{% endif %}", 1, "{% if a %}{% break %}{% endif %}", "outside of a loop"},
		{"bracket", "{{ (a] }}", 1, "{{ (a] }}", "unexpected ']'"},
		{"character", "{{ a ? b }}", 1, "{{ a ? b }}", "unexpected character '?'"},
		{"comment", "a\n{# b", 2, "{# b", "comment without '#}'"},
		{"raw", "{% raw %}\n", 1, "{% raw %}", "raw block without"},
		{"utf-8", "a\xff", 1, "", "not valid UTF-8"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse(tc.source)
			var at *Error
			if !errors.As(err, &at) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if at.Line != tc.line || at.Source != tc.text || !strings.Contains(err.Error(), tc.cause) {
				t.Errorf("got line %d, text %q, %v; want line %d, text %q, cause %q", at.Line, at.Source, err, tc.line, tc.text, tc.cause)
			}
		})
	}
}

// TestRenderErrorLine checks that a failure names the line of the innermost
// expression, not of the tag or macro around it.
func TestRenderErrorLine(t *testing.T) {
	for _, tc := range []struct {
		source string
		line   int
	}{
		{"{% macro m() %}\n{{ 1 + none }}\n{% endmacro %}\n{{ m() }}", 2},
		{"{{ [1,\n 2,\n undef.x] }}", 3},
		{"{% for x in [1] %}\n\n{% if x %}\n{{ x | length }}{% endif %}{% endfor %}", 4},
		{"{% set x %}\n{% filter upper %}\n{{ none < 1 }}{% endfilter %}{% endset %}", 3},
		{"a\r\nb\r\n{{ undef.x }}", 3},
	} {
		tmpl, err := Parse(tc.source)
		if err != nil {
			t.Fatal(err)
		}
		var at *Error
		if _, err = tmpl.Render(nil); !errors.As(err, &at) || at.Line != tc.line {
			t.Errorf("%q: got %v, want an error in line %d", tc.source, err, tc.line)
		}
	}
}

// TestBeyondInt64 checks the one place where numbers differ from Python on
// purpose: an error, never a wrapped result.
func TestBeyondInt64(t *testing.T) {
	for _, source := range []string{
		"{{ 9223372036854775807 + 1 }}", "{{ -9223372036854775807 - 2 }}", "{{ 2 ** 63 }}",
		"{{ 3037000500 * 3037000500 }}", "{{ (-9223372036854775807 - 1) * -1 }}", "{{ -(-9223372036854775807 - 1) }}",
		"{{ (-9223372036854775807 - 1) // -1 }}", "{{ (-9223372036854775807 - 1) | abs }}", "{{ 1e30 | int }}",
	} {
		tmpl, err := Parse(source)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tmpl.Render(nil); !errors.Is(err, errOverflow) {
			t.Errorf("%s: got %q, %v; want an overflow", source, got, err)
		}
	}
}
