package jinja

import (
	"errors"
	"strings"
	"testing"
)

// TestLimits runs templates that would hang, exhaust memory or overflow the
// stack, and demands the limit that stops each.
func TestLimits(t *testing.T) {
	nested := func(n int, open, mid, end string) string {
		return strings.Repeat(open, n) + mid + strings.Repeat(end, n)
	}
	manyArgs := "{{ m(" + strings.Repeat("1,", 60000) + ") }}"
	for _, tc := range []struct{ name, source, limit string }{
		{"source", strings.Repeat("x", MaxSourceBytes+1), "MaxSourceBytes"},
		{"parentheses", "{{ " + nested(100_000, "(", "1", ")") + " }}", "MaxNesting"},
		{"lists", "{{ " + nested(100_000, "[", "1", "]") + " }}", "MaxNesting"},
		{"subscripts", "{{ a" + nested(80_000, "[a", "", "]") + " }}", "MaxNesting"},
		{"not", "{{ " + strings.Repeat("not ", 60_000) + "1 }}", "MaxNesting"},
		{"minus", "{{ " + strings.Repeat("-", 100_000) + "1 }}", "MaxNesting"},
		{"else", "{{ " + strings.Repeat("1 if 0 else ", 20_000) + "1 }}", "MaxNesting"},
		{"blocks", nested(10_000, "{% if 1 %}", "", "{% endif %}"), "MaxNesting"},
		{"targets", "{% set " + nested(100_000, "(", "a", ")") + " = 1 %}", "MaxNesting"},
		{"long sum", "{{ 1" + strings.Repeat("+1", 100_000) + " }}", "MaxEvalDepth"},
		{"long chain", "{{ a" + strings.Repeat("|list", 40_000) + " }}", "MaxEvalDepth"},
		{"macro recursion", "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "MaxCallDepth"},
		{"mutual recursion", "{% macro f(g) %}{{ g(g) }}{% endmacro %}{{ f(f) }}", "MaxCallDepth"},
		{"caller recursion", "{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{{ caller() }}{% endmacro %}{% call f() %}{% endcall %}", "MaxCallDepth"},
		{"recursive loop", "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "MaxCallDepth"},
		{"empty loops", "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", "MaxSteps"},
		{"many names", "{% for a in range(100000) %}{% for b in range(100000) %}{% set c = a %}{% set d = b %}{% endfor %}{% endfor %}", "MaxSteps"},
		{"busy loops", "{% set l = range(99999) | list %}{% for a in l %}{% for b in l %}{% endfor %}{% endfor %}", "MaxSteps"},
		{"range", "{{ range(100001) }}", "MaxRange"},
		{"repeat", "{{ 'a' * 1000000000000 }}", "MaxWorkBytes"},
		{"repeat list", "{{ [1] * 9223372036854775807 }}", "MaxWorkBytes"},
		{"doubling", "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}", "MaxWorkBytes"},
		{"doubling list", "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}", "MaxWorkBytes"},
		{"replace", "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}", "MaxWorkBytes"},
		{"join", "{{ range(100000) | join('x' * 100000) }}", "MaxWorkBytes"},
		{"indent", "{{ ('\\n' * 100000) | indent(100000) }}", "MaxWorkBytes"},
		{"strip set", "{{ ('a' * 100000).strip('b' * 100000) }}", "MaxWorkBytes"},
		{"scans", "{% set s = 'a' * 1000000 %}{% for i in range(99999) %}{{ s | length }}{% endfor %}", "MaxWorkBytes"},
		{"compare", "{% set s = 'a' * 1000000 %}{% set t = 'a' * 1000000 %}{% for i in range(99999) %}{{ s == t }}{% endfor %}", "MaxWorkBytes"},
		{"contains", "{% set s = 'a' * 1000000 %}{% for i in range(99999) %}{{ 'b' in s }}{% endfor %}", "MaxWorkBytes"},
		{"find", "{% set s = 'a' * 1000000 %}{% for i in range(99999) %}{{ s.find('b') }}{% endfor %}", "MaxWorkBytes"},
		{"slice", "{% set s = 'a' * 1000000 %}{% for i in range(99999) %}{{ s[1:] | length }}{% endfor %}", "MaxWorkBytes"},
		{"output", "{% set s = 'a' * 1000000 %}{% for i in range(99) %}{{ s }}{% endfor %}", "MaxOutputBytes"},
		{"captured output", "{% set s = 'a' * 1000000 %}{% for i in range(99) %}{% set t %}{{ s }}{% endset %}{% endfor %}", "MaxOutputBytes"},
		{"deep value", "{% set ns = namespace(v=[]) %}{% for i in range(1000) %}{% set ns.v = [ns.v] %}{% endfor %}{{ ns.v }}", "MaxValueDepth"},
		{"deep json", "{% set ns = namespace(v=[]) %}{% for i in range(1000) %}{% set ns.v = [ns.v] %}{% endfor %}{{ ns.v | tojson }}", "MaxValueDepth"},
		{"deep equal", "{% set ns = namespace(v=[], w=[]) %}{% for i in range(1000) %}{% set ns.v = [ns.v] %}{% set ns.w = [ns.w] %}{% endfor %}{{ ns.v == ns.w }}", "MaxValueDepth"},
		{"deep order", "{% set ns = namespace(v=[], w=[1]) %}{% for i in range(1000) %}{% set ns.v = [ns.v] %}{% set ns.w = [ns.w] %}{% endfor %}{{ ns.v < ns.w }}", "MaxValueDepth"},
		{"cyclic namespace", "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}", "MaxValueDepth"},
		{"shared json", "{% set ns = namespace(v=[1, 1]) %}{% for i in range(60) %}{% set ns.v = [ns.v, ns.v] %}{% endfor %}{{ ns.v | tojson }}", "MaxSteps"},
		{"shared equal", "{% set ns = namespace(v=[1], w=[1]) %}{% for i in range(60) %}{% set ns.v = [ns.v, ns.v] %}{% set ns.w = [ns.w, ns.w] %}{% endfor %}{{ ns.v == ns.w }}", "MaxWorkBytes"},
		{"shared repr", "{% set ns = namespace(v=[1]) %}{% for i in range(60) %}{% set ns.v = [ns.v, ns.v] %}{% endfor %}{{ ns.v }}", "MaxSteps"},
		{"json indent", "{{ range(99999) | list | tojson(indent='x' * 100000) }}", "MaxWorkBytes"},
		{"format width", "{{ '%999999999d' % 1 }}", "maxPad"},
		{"json spaces", "{{ 1 | tojson(indent=999999999) }}", "maxPad"},
		{"zfill", "{{ '1'.zfill(999999999999) }}", "MaxWorkBytes"},
		{"keywords", "{% set ns = namespace(d={}) %}{% for i in range(300) %}{% set ns.d = dict([('k' ~ i, 1)], **ns.d) %}{% endfor %}", "maxKeywords"},
		{"arguments", "{% macro m() %}{{ varargs }}{% endmacro %}" + manyArgs + "{{ 'a' * 1000000000000 }}", "MaxWorkBytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tmpl, err := Parse(tc.source)
			if err == nil {
				_, err = tmpl.Render(nil)
			}
			var limit *LimitError
			if !errors.As(err, &limit) {
				t.Fatalf("got %v, want a *LimitError", err)
			}
			if limit.Limit != tc.limit || !strings.Contains(err.Error(), tc.limit) {
				t.Errorf("got %v, want %s", err, tc.limit)
			}
		})
	}
}
