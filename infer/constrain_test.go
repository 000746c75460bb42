package infer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/infer/chat"
)

const personSchema = `{"type":"object","properties":{"name":{"type":"string","maxLength":30},"age":{"type":"integer","minimum":0,"maximum":150},"tags":{"type":"array","items":{"enum":["red","green"]}}},"required":["name","age","tags"]}`

// askWith generates an answer that a grammar constrains.
func askWith(t *testing.T, e *Engine, g *Grammar, maxTokens int, change func(*Request)) (string, Result, error) {
	t.Helper()
	g.Field = "grammar"
	req := &Request{Grammar: g, MaxTokens: maxTokens, Messages: []chat.Message{{Role: "user", Content: "Note: the access code of red-apple is 4711234.\nWhat is the access code of red-apple?"}}}
	if change != nil {
		change(req)
	}
	var text string
	res, err := e.Generate(t.Context(), req, func(d Delta) error {
		text += string(d.Text)
		return nil
	})
	return text, res, err
}

type person struct {
	Name *string
	Age  *int
	Tags *[]string
}

// The shipped model has never seen JSON: whatever it would rather say, its answer
// is what was asked for, at any limit and any temperature.
func TestShippedModelFollowsGrammars(t *testing.T) {
	e := startShipped(t)
	for _, limit := range []int{0, 200, 64, 40, 33} {
		for seed := range uint64(4) {
			hot := func(r *Request) { r.Sampling.Temperature, r.Sampling.Seed = float32(seed)*0.5, &seed }
			text, res, err := askWith(t, e, &Grammar{Schema: json.RawMessage(personSchema)}, limit, hot)
			if err != nil {
				t.Fatal(err)
			}
			var p person
			if err := json.Unmarshal([]byte(text), &p); err != nil || p.Name == nil || p.Age == nil || p.Tags == nil || *p.Age < 0 || *p.Age > 150 {
				t.Errorf("limit %d, seed %d: %q: %v", limit, seed, text, err)
			}
			if limit > 0 && res.Usage.Completion > limit {
				t.Errorf("limit %d, seed %d: %d tokens", limit, seed, res.Usage.Completion)
			}
			if res.Finish != FinishStop { // after the closing brace nothing may follow
				t.Errorf("limit %d, seed %d: finish %q", limit, seed, res.Finish)
			}
			text, _, err = askWith(t, e, &Grammar{AnyObject: true}, max(limit, 20), hot)
			if err != nil || !json.Valid([]byte(text)) || text[0] != '{' {
				t.Errorf("any object, limit %d, seed %d: %q: %v", limit, seed, text, err)
			}
		}
	}
	code := regexp.MustCompile(`^The code is [0-9]{7}\.$`)
	text, _, err := askWith(t, e, &Grammar{GBNF: `root ::= "The code is " [0-9]{7} "."`}, 0, nil)
	if err != nil || !code.MatchString(text) {
		t.Errorf("GBNF: %q: %v", text, err)
	}
}

// A grammar that allows the free answer must not change it.
func TestGrammarOfEverythingChangesNothing(t *testing.T) {
	e := startShipped(t)
	free, _, err := askWith(t, e, &Grammar{GBNF: `root ::= [^\x00]*`}, 60, nil)
	if err != nil {
		t.Fatal(err)
	}
	plain, _, err := askWith(t, e, &Grammar{}, 60, func(r *Request) { r.Grammar = nil })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plain, free); diff != "" {
		t.Errorf("(-free +with a grammar of everything):\n%s", diff)
	}
}

// Bias and stop strings act inside the grammar.
func TestGrammarWithBiasAndStop(t *testing.T) {
	e := startShipped(t)
	ids := map[string]int32{}
	for _, s := range []string{"a", "b"} {
		toks, err := e.Tokenize(t.Context(), "", s, false, false)
		if err != nil || len(toks) != 1 {
			t.Fatalf("tokens of %q: %v: %v", s, toks, err)
		}
		ids[s] = toks[0].ID
	}
	bias := func(m map[int32]float32) func(*Request) {
		return func(r *Request) { r.Sampling.LogitBias = m }
	}
	for name, c := range map[string]struct {
		change func(*Request)
		want   string
	}{
		"one is banned":  {bias(map[int32]float32{ids["a"]: -100}), "bbb"},
		"all are banned": {bias(map[int32]float32{ids["a"]: -100, ids["b"]: -100}), ""},
		"stop":           {func(r *Request) { bias(map[int32]float32{ids["a"]: -100})(r); r.Stop = []string{"bb"} }, "$"},
	} {
		text, _, err := askWith(t, e, &Grammar{GBNF: `root ::= [ab]{3}`}, 0, c.change)
		switch {
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want == "" && len(text) != 3, c.want == "$" && text != "", len(c.want) == 3 && text != c.want:
			t.Errorf("%s: %q", name, text)
		}
	}
}

func TestGrammarErrors(t *testing.T) {
	e := startShipped(t)
	for name, c := range map[string]struct {
		g     Grammar
		limit int
		want  string
	}{
		"schema":      {Grammar{Schema: json.RawMessage(`{"properties":{"a":{"not":{}}}}`)}, 0, "grammar: /properties/a/not: the keyword not is not supported"},
		"gbnf":        {Grammar{GBNF: `root ::= "a`}, 0, "grammar: line 1, column 10: the string is not closed"},
		"two":         {Grammar{GBNF: `root ::= "a"`, AnyObject: true}, 0, "exactly one of"},
		"none":        {Grammar{}, 0, "exactly one of"},
		"endless":     {Grammar{GBNF: `root ::= "a" root`}, 0, "rule root never ends"},
		"no room":     {Grammar{GBNF: `root ::= [a]{900}`}, 10, "the shortest answer has 900 bytes, which do not fit in the 10 tokens"},
		"no context":  {Grammar{GBNF: `root ::= [ab]{60000}`}, 0, "the shortest answer has 60000 bytes"},
		"too much":    {Grammar{GBNF: doubling(4000)}, 0, "steps of an ambiguous grammar for one token exceed the limit of "},
		"large count": {Grammar{GBNF: `root ::= .{65536} .{65536}`}, 0, "exceed the limit"},
	} {
		_, _, err := askWith(t, e, &c.g, c.limit, nil)
		var invalid *InvalidError
		if !errors.As(err, &invalid) || invalid.Field != "grammar" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// doubling is a grammar whose first mask takes a time that grows with the square of n.
func doubling(n int) string {
	var b strings.Builder
	b.WriteString("root ::= r0\n")
	for i := range n {
		fmt.Fprintf(&b, "r%d ::= r%d r%d | \"b\"\n", i, i+1, i+1)
	}
	fmt.Fprintf(&b, "r%d ::= \"a\"\n", n)
	return b.String()
}

// A grammar is not worked on for a client that has left, and is not to blame for that.
func TestGrammarOfALeftClient(t *testing.T) {
	e := startShipped(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	req := &Request{Grammar: &Grammar{Field: "grammar", GBNF: doubling(4000)}, Messages: []chat.Message{{Role: "user", Content: "x"}}}
	_, err := e.Generate(ctx, req, func(Delta) error { return nil })
	var invalid *InvalidError
	if !errors.Is(err, gone) || errors.As(err, &invalid) {
		t.Errorf("got %v, want %v", err, gone)
	}
}

// A grammar whose ambiguity grows with the text is the request's fault, also in
// the middle of an answer.
func TestGrammarThatCostsTooMuch(t *testing.T) {
	e := startShipped(t)
	text, _, err := askWith(t, e, &Grammar{GBNF: "root ::= \"a\"{200} ([ab]?){9000}"}, 0, nil)
	var invalid *InvalidError
	if !errors.As(err, &invalid) || !strings.Contains(err.Error(), "8193 states of an ambiguous grammar at one byte exceed the limit of 8192") {
		t.Errorf("after %d bytes: %v", len(text), err)
	}
	// The engine goes on.
	if _, _, err := askWith(t, e, &Grammar{GBNF: `root ::= "a"`}, 0, nil); err != nil {
		t.Error(err)
	}
}

func TestGrammarsAreKept(t *testing.T) {
	e := startShipped(t)
	f, err := e.front("needle")
	if err != nil {
		t.Fatal(err)
	}
	one := &Grammar{GBNF: `root ::= "1"`}
	first, err := f.constraint(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	for n := range maxGrammars - 1 {
		if _, err := f.constraint(t.Context(), &Grammar{GBNF: `root ::= "x"{` + string(rune('1'+n%9)) + `}` + strings.Repeat(" ", n)}); err != nil {
			t.Fatal(err)
		}
	}
	if again, err := f.constraint(t.Context(), one); err != nil || again != first {
		t.Errorf("a grammar in use was compiled again (%v)", err)
	}
	if n := f.grammars.recent.Len(); n != maxGrammars {
		t.Errorf("%d grammars are kept, want %d", n, maxGrammars)
	}
	if _, err := f.constraint(t.Context(), &Grammar{AnyObject: true}); err != nil {
		t.Fatal(err)
	}
	if n := f.grammars.recent.Len(); n != maxGrammars || len(f.grammars.byText) != maxGrammars {
		t.Errorf("%d grammars are kept, want %d", n, maxGrammars)
	}
}
