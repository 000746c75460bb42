package grammar

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// object is a schema under construction; Go writes its keys sorted, which is an
// order like any other.
type object = map[string]any

var names = []string{"a", "ab", "b", "name", "x y", "é", "\"", "日本"}

// drawSchema draws a schema of the supported subset. Those that turn out to be
// refused are few and are skipped.
func drawSchema(t *rapid.T, depth int) any {
	kinds := []string{"string", "length", "pattern", "format", "integer", "number", "range", "boolean", "null", "enum", "any"}
	if depth > 0 {
		kinds = append(kinds, "object", "object", "open object", "array", "tuple", "anyOf", "oneOf", "allOf", "ref", "types")
	}
	sub := func() any { return drawSchema(t, depth-1) }
	small := func(label string) int { return rapid.IntRange(0, 4).Draw(t, label) }
	switch k := rapid.SampledFrom(kinds).Draw(t, "kind"); k {
	case "length":
		n := small("minLength")
		return object{"type": "string", "minLength": n, "maxLength": n + small("more")}
	case "pattern":
		return object{"type": "string", "pattern": rapid.SampledFrom([]string{`^[a-z]+$`, `b{2,3}`, `^"`, `\n$|^\\`, `^(a|bc)*\d\s?$`, `[^a-z]`, `^.$`}).Draw(t, "pattern")}
	case "format":
		return object{"type": "string", "format": rapid.SampledFrom([]string{"date", "uuid", "ipv4", "date-time"}).Draw(t, "format")}
	case "range":
		lo := rapid.IntRange(-1200, 1200).Draw(t, "min")
		hi := lo + rapid.IntRange(0, 2000).Draw(t, "span")
		scale := rapid.SampledFrom([]float64{1, 10, 1000}).Draw(t, "scale")
		s := object{"type": rapid.SampledFrom([]string{"number", "integer"}).Draw(t, "type")}
		s[rapid.SampledFrom([]string{"minimum", "exclusiveMinimum"}).Draw(t, "low")] = float64(lo) / scale
		if rapid.Bool().Draw(t, "two-sided") {
			s[rapid.SampledFrom([]string{"maximum", "exclusiveMaximum"}).Draw(t, "high")] = float64(hi) / scale
		}
		return s
	case "enum":
		return object{"enum": rapid.SliceOfN(rapid.SampledFrom([]any{"a", "ab", "é\n", 1, -2.5, nil, true, object{"k": []int{1}}}), 1, 4).Draw(t, "values")}
	case "any":
		return rapid.SampledFrom([]any{true, object{}}).Draw(t, "any")
	case "object", "open object":
		props, required := object{}, []string{}
		for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 4, rapid.ID).Draw(t, "names") {
			props[n] = sub()
			if rapid.Bool().Draw(t, "required") {
				required = append(required, n)
			}
		}
		s := object{"type": "object", "properties": props, "required": required}
		if k == "open object" {
			s["additionalProperties"] = sub()
		}
		return s
	case "array":
		n := small("minItems")
		return object{"type": "array", "items": sub(), "minItems": n, "maxItems": n + small("more")}
	case "tuple":
		return object{"type": "array", "prefixItems": []any{sub(), sub()}, "minItems": small("minItems")}
	case "anyOf":
		return object{"anyOf": []any{sub(), sub()}}
	case "oneOf":
		return object{"oneOf": []any{object{"type": "string"}, object{"type": "array", "items": sub()},
			object{"type": "object", "properties": object{"k": object{"const": "p"}, "v": sub()}, "required": []string{"k"}},
			object{"type": "object", "properties": object{"k": object{"const": "q"}}, "required": []string{"k"}}}}
	case "allOf":
		return object{"allOf": []any{sub()}}
	case "ref":
		return object{"$ref": rapid.SampledFrom([]string{"#", "#/$defs/list"}).Draw(t, "ref")}
	case "types":
		return object{"type": []string{"string", "null", "integer", "array"}, "items": sub(), "maxLength": small("maxLength")}
	default:
		return object{"type": k}
	}
}

// Whatever tokens a model prefers, and wherever the limit is, its answer parses and
// is valid for an independent validator.
func TestRandomSchemas(t *testing.T) {
	used := 0
	rapid.Check(t, func(t *rapid.T) {
		root := object{"type": "object", "properties": object{"v": drawSchema(t, 3)}, "required": []string{"v"},
			"$defs": object{"list": object{"anyOf": []any{object{"type": "null"}, object{"type": "array", "items": object{"$ref": "#/$defs/list"}}}}}}
		schema, err := json.Marshal(root)
		if err != nil {
			t.Fatal(err)
		}
		g, err := FromSchema(schema)
		var refused *SchemaError
		if errors.As(err, &refused) {
			t.Skipf("%s: %v", schema, err)
		}
		c, err := New(g, mixedVocab.Vocabulary)
		if err != nil {
			t.Fatal(err)
		}
		used++
		check := validatorOf(t, schema)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for _, limit := range []int{shortest(t, c), 40, 400} {
			text, err := generate(c, mixedVocab, limit, chance(r))
			if errors.Is(err, ErrTokens) && limit != 400 {
				continue // 40 may be too few
			}
			if err != nil {
				t.Fatalf("%s: %v", schema, err)
			}
			if err := check(text); err != nil {
				t.Fatalf("%s: %s: %v", schema, text, err)
			}
		}
	})
	if used < 20 {
		t.Errorf("only %d schemas were used", used)
	}
}

// shortest returns the fewest tokens that a constraint says it needs.
func shortest(t *rapid.T, c *Constraint) int {
	m, err := c.Matcher(false)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 400 {
		if m.Fits(n) {
			return n
		}
	}
	t.Fatalf("no answer of at most 400 tokens")
	return 0
}

// A mask must not depend on what was cached: the walks of frames put together
// allow exactly the tokens whose bytes the automaton takes one after the other.
func TestMaskIsWhatBytesSay(t *testing.T) {
	sources := []string{
		"root ::= t | t \"+\" root\nt ::= [0-9]+ | \"(\" root \")\" | \"é\"",
		"root ::= \"a\" root \"b\" | \"a\" root \"ab\" | \"\"",
		"root ::= (x | y)* \"]}\"?\nx ::= \"{\\\"\" [a-z]{2,5} \"\\\":\" root \",\"\ny ::= [^\\x00-\\x7f] y | \"[\" root \"]\"",
	}
	rapid.Check(t, func(t *rapid.T) {
		var g *Grammar
		var err error
		if i := rapid.IntRange(0, len(sources)).Draw(t, "grammar"); i < len(sources) {
			g, err = ParseGBNF(sources[i])
		} else {
			g = JSONObject()
		}
		if err != nil {
			t.Fatal(err)
		}
		c, err := New(g, mixedVocab.Vocabulary)
		if err != nil {
			t.Fatal(err)
		}
		bytes, err := New(g, plainVocab.Vocabulary)
		if err != nil {
			t.Fatal(err)
		}
		m, err := c.Matcher(false)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.closure([]item{{g.starts[g.root], bytes.cache.bottom}}, false)
		var text string
		for range 25 {
			if rapid.IntRange(0, 9).Draw(t, "forget") == 0 {
				c.cache.reset()
			}
			mask, err := m.Mask()
			if err != nil {
				t.Fatal(err)
			}
			var allowed []int32
			for id, piece := range mixedVocab.list {
				want := follow(bytes, at, piece) != failed
				if mixedVocab.list.IsEOG(int32(id)) {
					want = bytes.cache.configs[at].accept
				}
				got := mask[id/64]>>(id%64)&1 == 1
				if got != want {
					t.Fatalf("after %q: token %q allowed: %t, want %t", text, piece, got, want)
				}
				if got && !mixedVocab.list.IsEOG(int32(id)) {
					allowed = append(allowed, int32(id))
				}
			}
			if len(allowed) == 0 {
				return
			}
			id := rapid.SampledFrom(allowed).Draw(t, "token")
			if _, err := m.Accept(id, 1<<20); err != nil {
				t.Fatal(err)
			}
			text += mixedVocab.list[id]
			at = follow(bytes, at, mixedVocab.list[id])
		}
	})
}

// follow steps through a text byte by byte.
func follow(c *Constraint, at int32, text string) int32 {
	for _, b := range []byte(text) {
		at = c.step(at, c.class[b])
	}
	return at
}

func validatorOf(t *rapid.T, schema []byte) func(string) error {
	check, err := newValidator(schema)
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", schema, err))
	}
	return check
}
