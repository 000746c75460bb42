package grammar

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// tokenList is a vocabulary; its last token ends a generation.
type tokenList []string

func (t tokenList) Size() int             { return len(t) }
func (t tokenList) Token(id int32) string { return t[id] }
func (t tokenList) IsControl(id int32) bool {
	return t.IsEOG(id)
}
func (t tokenList) IsEOG(id int32) bool { return int(id) == len(t)-1 }

func byteTokens() tokenList {
	var t tokenList
	for b := range 256 {
		t = append(t, string([]byte{byte(b)}))
	}
	return t
}

var (
	// plainVocab has bytes only.
	plainVocab = newTestVocab(nil)
	// mixedVocab has tokens that begin and end in the middle of what a grammar
	// tells apart, and of characters.
	mixedVocab = newTestVocab([]string{`{"`, `":`, `",`, `", "`, `"}`, `":"`, `"]`, `}}`, `]]`, `[[`, `{}`, `[]`, ` {`, ` "`, "  ", "\n ",
		"true", "tr", "ue", "null", "false", "12", "0.", "-1", "e+", `\u`, `\"`, "\\u00", "name", "a\"", "ab", "abc", "é", "\xc3", "\xa9\"", "日本", "\xe6\x97", "\xa5",
		"1,", ",1", "a", "b\"}", "2024", "-0", "T", "x\":", "}]}"})
)

type testVocab struct {
	*Vocabulary
	list tokenList
}

func newTestVocab(more []string) testVocab {
	list := append(append(byteTokens(), more...), "<eos>")
	return testVocab{NewVocabulary(list, len(list)), list}
}

func mustBind(t testing.TB, g *Grammar, err error, v testVocab) *Constraint {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(g, v.Vocabulary)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// matches says whether a grammar has a text as an output, byte by byte.
func matches(t testing.TB, c *Constraint, text string) bool {
	t.Helper()
	m, err := c.Matcher(false)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []byte(text) {
		mask, err := m.Mask()
		if err != nil {
			t.Fatal(err)
		}
		if mask[b/64]>>(b%64)&1 == 0 {
			return false
		}
		if _, err := m.Accept(int32(b), 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	return m.Accepting()
}

// chooser picks a token of a mask.
type chooser func(mask []uint64, allowed []int32) int32

// generate lets choose pick tokens until the output ends, in at most limit
// tokens, and checks on the way what every mask must fulfil.
func generate(c *Constraint, v testVocab, limit int, choose chooser) (string, error) {
	m, err := c.Matcher(false)
	if err != nil {
		return "", err
	}
	if !m.Fits(limit) {
		return "", fmt.Errorf("%w in %d tokens", ErrTokens, limit)
	}
	var out []byte
	for n := range limit {
		mask, err := m.Mask()
		if err != nil {
			return "", err
		}
		var allowed []int32
		for id := range v.list {
			if mask[id/64]>>(id%64)&1 == 1 {
				allowed = append(allowed, int32(id))
			}
		}
		if len(allowed) == 0 {
			return "", fmt.Errorf("no token may follow %q", out)
		}
		id, err := m.Accept(choose(mask, allowed), limit-n-1)
		if err != nil {
			return "", fmt.Errorf("after %q: %w", out, err)
		}
		if v.list.IsEOG(id) {
			return string(out), nil
		}
		out = append(out, v.list[id]...)
		if m.Finished() {
			return string(out), nil
		}
	}
	if !m.Accepting() {
		return "", fmt.Errorf("%q is not complete after %d tokens", out, limit)
	}
	return string(out), nil
}

// chance chooses at random.
func chance(r *rand.Rand) chooser {
	return func(_ []uint64, allowed []int32) int32 { return allowed[r.IntN(len(allowed))] }
}
