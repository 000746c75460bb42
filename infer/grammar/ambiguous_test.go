package grammar

import (
	"errors"
	"testing"
)

// TestAmbiguousGrammarIsBounded: rules that can all end in the same places must
// not make a mask take the machine's memory, but an error or a mask.
func TestAmbiguousGrammarIsBounded(t *testing.T) {
	g, err := ParseGBNF(`root ::= ([a-z]* [a-z ]*){50} "."`)
	c := mustBind(t, g, err, largeVocab())
	m, err := c.Matcher(false)
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Mask()
	var limit *LimitError
	if err != nil && !errors.As(err, &limit) {
		t.Fatal(err)
	}
	if n := c.cache.size; n > maxCacheLen {
		t.Errorf("the cache takes %d bytes after one mask, the limit is %d", n, maxCacheLen)
	}
}
