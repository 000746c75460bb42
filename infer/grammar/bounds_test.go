package grammar

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// doubling is a grammar of n rules that each call the next one twice, the second
// time as a tail call: every end of the innermost rule is one of all of them.
func doubling(n int, root string) string {
	var b strings.Builder
	b.WriteString("root ::= " + root + "\n")
	for i := range n {
		fmt.Fprintf(&b, "r%d ::= r%d r%d | \"b\"\n", i, i+1, i+1)
	}
	fmt.Fprintf(&b, "r%d ::= \"a\"\n", n)
	return b.String()
}

// follows takes masks along a text, and the error of the first that failed.
func follows(t *testing.T, c *Constraint, text string) error {
	t.Helper()
	m, err := c.Matcher(false)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		if _, err := m.Mask(); err != nil || i == len(text) {
			return err
		}
		if _, err := m.Accept(int32(text[i]), 1<<20); err != nil {
			return err
		}
	}
}

// What closures copy, sort and hash is work too: a chain of tail calls makes it
// grow with the square of the rules.
func TestInheritedFramesAreWork(t *testing.T) {
	for name, src := range map[string]string{
		"at the root": doubling(4000, "r0"), "behind a literal": doubling(4000, `"q" | "zxwzxwzxw" r0`),
	} {
		t.Run(name, func(t *testing.T) {
			g, err := ParseGBNF(src)
			c := mustBind(t, g, err, mixedVocab)
			var limit *LimitError
			if err := follows(t, c, "zxwzxwzxw"[:9*strings.Count(src, "zxwzxwzxw")]); !errors.As(err, &limit) {
				t.Fatalf("got %v, want a LimitError", err)
			}
			if limit.Limit != c.mostWork() || limit.Got > limit.Limit+limit.Limit/8 {
				t.Errorf("stopped late: %v", limit)
			}
			if c.cache.size > maxCacheLen {
				t.Errorf("the cache keeps %d bytes of an output that was given up, the limit is %d", c.cache.size, maxCacheLen)
			}
		})
	}
}

// A state with many calls, alive in many frames: neither is much, their product is.
func TestCallsAreWork(t *testing.T) {
	g, err := ParseGBNF(`root ::= "[" root (` + strings.Repeat("y | ", 5000) + "\"\") | \"x\"\ny ::= \"y\"")
	c := mustBind(t, g, err, plainVocab)
	var limit *LimitError
	if err := follows(t, c, strings.Repeat("[", 1000)+"x"); !errors.As(err, &limit) {
		t.Errorf("got %v, want a LimitError", err)
	}
}

// A cache may not outgrow its limit by much within one mask either. Here every
// beginning of a token has a stack of its own, and a config has room for as many
// classes as there are bytes.
func TestCacheIsBoundedWithinAToken(t *testing.T) {
	src := "root ::= \"a\" root \"1\" | \"b\" root \"2\" | \"c\" root \"3\" | \".\"\nclasses ::= \"\""
	for r := 0; r < 0x800; r += 2 {
		src += fmt.Sprintf(" | [\\u%04x]", r)
	}
	words := []string{""}
	for i := 0; i < 88_000; i++ { // all of up to 10 letters
		words = append(words, words[i]+"a", words[i]+"b", words[i]+"c")
	}
	g, err := ParseGBNF(src)
	c := mustBind(t, g, err, newTestVocab(words[1:]))
	var limit *LimitError
	if err := follows(t, c, ""); !errors.As(err, &limit) || limit.Limit != maxCachePeak || limit.Got > maxCachePeak+maxCachePeak/8 {
		t.Errorf("got %v, want the limit of %d bytes", err, maxCachePeak)
	}
	if c.cache.size > maxCacheLen {
		t.Errorf("the cache keeps %d bytes, the limit is %d", c.cache.size, maxCacheLen)
	}
}

// What an output itself keeps outlives the cache and has a limit too: 500 places
// where each of the rules that are open may go on.
func TestOpenRulesAreBounded(t *testing.T) {
	src := "root ::= \"[\" ("
	for i := range 500 {
		src += fmt.Sprintf("x \"%d\" | ", i)
	}
	g, err := ParseGBNF(src + "\".\")\nx ::= root | \"x\"")
	c := mustBind(t, g, err, plainVocab)
	var limit *LimitError
	if err := follows(t, c, strings.Repeat("[", 20_000)); !errors.As(err, &limit) || limit.Limit != maxOpen || limit.Got > 2*maxOpen {
		t.Errorf("got %v, want the limit of %d bytes", err, maxOpen)
	}
}

func TestWarmIsBounded(t *testing.T) {
	g, err := ParseGBNF(doubling(4000, "r0"))
	c := mustBind(t, g, err, mixedVocab)
	var limit *LimitError
	if err := c.Warm(t.Context()); !errors.As(err, &limit) {
		t.Errorf("got %v, want the error of the first mask", err)
	}
}

func TestWarmStops(t *testing.T) {
	g, err := FromSchema([]byte(benchSchema))
	c := mustBind(t, g, err, mixedVocab)
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	if err := c.Warm(ctx); !errors.Is(err, gone) {
		t.Errorf("got %v, want %v", err, gone)
	}
	if len(c.cache.walks) > 0 {
		t.Errorf("%d walks after the client had left", len(c.cache.walks))
	}
}

// The work for all masks that are found ahead has one limit.
func TestWarmHasOneLimit(t *testing.T) {
	g, err := FromSchema([]byte(benchSchema))
	c := mustBind(t, g, err, mixedVocab)
	m, err := c.Matcher(false)
	if err != nil {
		t.Fatal(err)
	}
	const most = 2000 // steps; the first masks take some hundred each
	w := warming{ctx: t.Context(), steps: maxWarm, work: most}
	w.along(m, func(*Matcher) {})
	if masks := maxWarm - w.steps; masks < 2 || masks > 100 || w.work > 0 || w.work < -most {
		t.Errorf("%d masks took %d steps of %d", masks, most-w.work, most)
	}
}
