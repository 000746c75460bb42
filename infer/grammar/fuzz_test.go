package grammar

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"testing"
)

// outputs follows a grammar that a fuzzer has made. It may be refused or reach a
// limit, but it must not get stuck, and what it generates must end in time.
func outputs(t *testing.T, g *Grammar, seed uint64) (texts []string) {
	t.Helper()
	c, err := New(g, mixedVocab.Vocabulary)
	if err != nil {
		return nil // unproductive
	}
	for _, limit := range []int{20, 60} {
		text, err := generate(c, mixedVocab, limit, chance(rand.New(rand.NewPCG(seed, 0))))
		var over *LimitError
		switch {
		case errors.Is(err, ErrTokens), errors.As(err, &over):
		case err != nil:
			t.Fatal(err)
		default:
			texts = append(texts, text)
		}
	}
	return texts
}

func FuzzGBNF(f *testing.F) {
	for _, s := range []string{
		"root ::= \"a\" | [b-z]+ .? (\"x\" | y){2,5}\n# c\ny ::= \"\\n\\x41\\u00e9\" root | \"\"",
		"root ::= t | t \"+\" root\nt ::= [0-9] | \"(\" root \")\"",
		"root ::= ((\"a\"?){3,}){2}", "root ::= root", "root ::= [^\\]\\-^", "root ::= \"\\U0010ffff\" [😀-😂]",
	} {
		f.Add(s, uint64(1))
	}
	f.Fuzz(func(t *testing.T, src string, seed uint64) {
		g, err := ParseGBNF(src)
		if err != nil {
			return
		}
		plain := mustBindOrNil(g)
		for _, text := range outputs(t, g, seed) {
			if plain != nil && !matches(t, plain, text) {
				t.Errorf("%q is an output of %q, but does not match it", text, src)
			}
		}
	})
}

func mustBindOrNil(g *Grammar) *Constraint {
	c, err := New(g, plainVocab.Vocabulary)
	if err != nil {
		return nil
	}
	return c
}

func FuzzSchema(f *testing.F) {
	for _, s := range []string{
		benchSchema, personFuzz, `{"pattern":"^a[^\\s\"]|\\u0041{2}$"}`, `{"prefixItems":[true,false],"items":{"$ref":"#"},"minItems":1}`,
		`{"type":["number","string"],"exclusiveMinimum":-0.25,"maximum":1e3,"format":"date"}`, `{"oneOf":[{"const":1},{"type":"string"}]}`,
		`{"required":["a","b"],"additionalProperties":{"enum":[{"a":[1]},null]},"maxProperties":3}`,
	} {
		f.Add([]byte(s), uint64(1))
	}
	f.Fuzz(func(t *testing.T, src []byte, seed uint64) {
		g, err := FromSchema(src)
		if err != nil {
			return
		}
		texts := outputs(t, g, seed)
		check, err := newValidator(src)
		for _, text := range texts {
			if !json.Valid([]byte(text)) {
				t.Errorf("%s: %s is no JSON", src, text)
			} else if err == nil {
				if err := check(text); err != nil {
					t.Errorf("%s: %s: %v", src, text, err)
				}
			}
		}
	})
}

const personFuzz = `{"type":"object","properties":{"name":{"type":"string","maxLength":3},"n":{"type":"integer","minimum":-5,"maximum":150}},"required":["n"],"additionalProperties":{"type":"null"}}`

func FuzzPattern(f *testing.F) {
	for _, s := range []string{`^a+$`, `a|^b$`, `[^\s\d"]{2,3}`, `\u00e9\x41\/`, `(?:a|(b))*?`, `[]a]`, `[^^-]`, `.\n\\`, `^$`} {
		f.Add(s, uint64(1))
	}
	f.Fuzz(func(t *testing.T, pattern string, seed uint64) {
		schema, err := json.Marshal(map[string]any{"type": "string", "pattern": pattern})
		if err != nil {
			return
		}
		g, err := FromSchema(schema)
		if err != nil {
			return
		}
		check, err := newValidator(schema)
		if err != nil {
			return // the validator reads patterns as Go does, without \u
		}
		for _, text := range outputs(t, g, seed) {
			if err := check(text); err != nil {
				t.Errorf("%s: %s: %v", schema, text, err)
			}
		}
	})
}
