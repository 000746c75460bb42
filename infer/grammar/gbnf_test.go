package grammar

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGBNF(t *testing.T) {
	for _, tc := range []struct{ name, src, yes, no string }{ // space-separated texts; _ is the empty one
		{"literal", `root ::= "ab"`, "ab", "_ a abc b"},
		{"alternatives", "root ::= \"a\" | \"b\"\n | \"c\" | \"\"", "a b c _", "ab d"},
		{"class", `root ::= [a-c\]x-]+`, "a ] x - abc]-", "_ d ^"},
		{"negated class", `root ::= [^a-c\n]`, "d é 日 😀", "a b \n _ dd"},
		{"any", `root ::= ..`, "ab é日", "a abc"},
		{"escapes", `root ::= "\x41\u00e9\U0001F600\"\\"`, `Aé😀"\`, "A"},
		{"groups", `root ::= ("a" ("b" | "c"))+ "d"?`, "ab ac abacd", "a d abd0"},
		{"counts", `root ::= "a"{2} "b"{1,3} "c"{ 0 , }`, "aab aabbb aabccc", "ab aa aabbbb aac"},
		{"rules", "# comment\nroot ::= x # more\n\n  x-1 ::= \"q\"\nx ::= x-1 \"r\"\n", "qr", "q r"},
		{"recursion", `root ::= "(" root ")" | "x"`, "x (x) ((x))", "(x ((x) x)"},
		{"right recursion", "root ::= \"a\" root | \"b\"", "b ab aaaaaaab", "a"},
		{"two ways in", "root ::= t | t \"+\" root\nt ::= [0-9] | \"(\" root \")\"", "1 1+2 (1) ((1+2)+3) (((((1)))))+1", "(1 1+ ((1)"},
		{"end here or there", "root ::= x | y \"d\"\ny ::= x\nx ::= \"a\"", "a ad", "d add"},
		{"end there or here", "root ::= y \"d\" | x\ny ::= x\nx ::= \"a\"", "a ad", "d add"},
		{"empty parts", "root ::= a a a \"x\"\na ::= \"b\"?", "x bx bbx bbbx", "bbbbx b"},
		{"empty loop", `root ::= ("a"? "b"?)* "c"`, "c ac bc abababbac", "d ab"},
		{"more ways", "root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"\"", "_ ab ac aabc aacb aaaaaaaaaabcbcbcbcbc", "a aab"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g, err := ParseGBNF(tc.src)
			c := mustBind(t, g, err, plainVocab)
			for _, text := range strings.Split(tc.yes, " ") {
				if text = strings.TrimPrefix(text, "_"); !matches(t, c, text) {
					t.Errorf("%q is refused", text)
				}
			}
			for _, text := range strings.Split(tc.no, " ") {
				if text = strings.TrimPrefix(text, "_"); matches(t, c, text) {
					t.Errorf("%q is accepted", text)
				}
			}
		})
	}
}

func TestGBNFErrors(t *testing.T) {
	for src, want := range map[string]string{
		``:                                     "the grammar has no rule named root",
		`x ::= "a"`:                            "the grammar has no rule named root",
		"root ::= y":                           "line 1, column 10: rule y is used but not defined",
		"root ::= \"a\"\nroot ::= \"b\"":       "line 2, column 1: rule root is defined twice",
		`root = "a"`:                           "line 1, column 6: ::= is expected after the name of a rule",
		`root ::= "a`:                          "line 1, column 10: the string is not closed",
		`root ::= [a`:                          "line 1, column 10: the character class is not closed",
		`root ::= [z-a]`:                       "line 1, column 11: the range 'z'-'a' has its ends in the wrong order",
		`root ::= ("a"`:                        "line 1, column 14: the group is not closed: ) is expected",
		`root ::= "a" )`:                       "line 1, column 14: the end of the line is expected, not ')'",
		`root ::= "a"{3,2}`:                    "line 1, column 13: the repetition {3,2} has its bounds in the wrong order",
		`root ::= "a"{99999999999999999999}`:   "line 1, column 14: the repetition's count exceeds the limit of 65536",
		`root ::= "\q"`:                        `line 1, column 11: the escape \q is not known`,
		`root ::= "\ud800"`:                    "line 1, column 11: U+D800 is no character",
		`root ::= <think>`:                     "line 1, column 10: tokens by name or number ('<') are not supported; only text is",
		"root ::= x\nx ::= \"\" y\ny ::= root": "left recursion: root begins with itself (root -> x -> y -> root)",
		`root ::= root "a" | "b"`:              "left recursion: root begins with itself (root -> root)",
		"root ::= \"a\"? root | \"b\"":         "left recursion: root begins with itself (root -> root)",
		"root ::= " + strings.Repeat("(", 65):  "line 1, column 74: 65 levels of groups exceed the limit of 64",
		`root ::= (("a"{60000}){60000}){60000} | .{60000}`: "rule repetition at byte 29: 131073 states of the grammar exceed the limit of 131072",
	} {
		_, err := ParseGBNF(src)
		if err == nil {
			t.Errorf("%q: no error, want %q", src, want)
		} else if diff := cmp.Diff(want, err.Error()); diff != "" {
			t.Errorf("%q: %s", src, diff)
		}
	}
	var limit *LimitError
	if _, err := ParseGBNF(strings.Repeat("#", MaxSource+1)); !errors.As(err, &limit) {
		t.Errorf("a source of %d bytes: %v", MaxSource+1, err)
	}
}

// A grammar that is refused late, when it is bound, must say why.
func TestUnproductive(t *testing.T) {
	g, err := ParseGBNF("root ::= \"a\" root")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = New(g, plainVocab.Vocabulary); err == nil || !strings.Contains(err.Error(), "rule root never ends") {
		t.Errorf("endless rule: %v", err)
	}
	noB := NewVocabulary(tokenList{"a", "ab", "<eos>"}, 3)
	if g, err = ParseGBNF(`root ::= "ab"`); err != nil {
		t.Fatal(err)
	}
	if _, err = New(g, noB); err == nil || !strings.Contains(err.Error(), "not a token") {
		t.Errorf("a byte that is no token: %v", err)
	}
}

// What blows up other parsers must end in time, with an error or without.
func TestHostileGrammars(t *testing.T) {
	text := strings.Repeat("a", 200)
	for name, src := range map[string]string{
		"same alternatives": `root ::= (("a"|"a")|("a"|"a"))* | ("a"|"a")*`,
		"nested stars":      `root ::= (((((("a"*)*)*)*)*)*)*`,
		"nested pluses":     `root ::= (((((((("a"+)+)+)+)+)+)+)+)+`,
		"optional tower":    `root ::= ("a"?){400}`,
		"two recursions":    "root ::= \"a\" root root | \"a\" | \"a\" \"a\" root",
		"deep nesting":      "root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"a\"* ",
		"big count":         `root ::= [a-z]{0,60000}`,
		"rule per byte":     "root ::= x*\nx ::= y | z\ny ::= \"a\" y2\ny2 ::= x | \"\"\nz ::= \"a\" z2\nz2 ::= y | \"\"",
	} {
		t.Run(name, func(t *testing.T) {
			g, err := ParseGBNF(src)
			if err != nil {
				t.Fatal(err)
			}
			c, err := New(g, mixedVocab.Vocabulary)
			if err != nil {
				t.Fatal(err)
			}
			m, err := c.Matcher(false)
			if err != nil {
				t.Fatal(err)
			}
			for i := range text {
				var limit *LimitError
				_, err := m.Mask()
				if err == nil {
					_, err = m.Accept('a', 1<<20)
				}
				if errors.As(err, &limit) {
					t.Logf("after %d bytes: %v", i, err)
					return
				}
				if err != nil {
					t.Fatalf("after %d bytes: %v", i, err)
				}
			}
		})
	}
}
