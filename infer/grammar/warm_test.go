package grammar

import (
	"runtime"
	"testing"
)

// After Warm, nothing is walked any more for an output of the usual places.
func TestWarm(t *testing.T) {
	for name, source := range map[string]struct {
		schema, output string
		left           int // places inside of a declared key that others may share the beginning of
	}{
		"strings": {`{"type":"object","properties":{"name":{"type":"string"},"n":{"type":"integer"},"list":{"type":"array","items":{"type":"string"}}},"required":["name","n","list"]}`, `{"name":"Anna","n":0,"list":["x"]}`, 0},
		"any":     {`{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":{"type":"string"}}`, `{"a":"b"}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := FromSchema([]byte(source.schema))
			c := mustBind(t, g, err, newTestVocab([]string{"Anna", "name", `":"`}))
			if err := c.Warm(t.Context()); err != nil {
				t.Fatal(err)
			}
			wide := wideWalks(c)
			if wide == 0 {
				t.Fatal("no wide place was walked")
			}
			if !matches(t, c, source.output) {
				t.Fatalf("%s is not allowed", source.output)
			}
			if n := wideWalks(c); n > wide+source.left {
				t.Errorf("%d wide places after the output, %d before; %d may be new", n, wide, source.left)
			}
		})
	}
}

// wideWalks is the number of kept walks that allow a large part of a vocabulary.
func wideWalks(c *Constraint) int {
	n := 0
	for _, w := range c.cache.walks {
		if w.bits != nil || len(w.ids) > 100 {
			n++
		}
	}
	return n
}

// A small schema can ask for more than memory holds. Looking ahead does not write all of it.
func TestWarmOfALongAnswer(t *testing.T) {
	g, err := FromSchema([]byte(`{"type":"array","minItems":400,"items":{"type":"array","minItems":400,"items":{"type":"string","minLength":400}}}`))
	c := mustBind(t, g, err, mixedVocab)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := c.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got, most := after.TotalAlloc-before.TotalAlloc, uint64(16<<20); got > most {
		t.Errorf("%d bytes were allocated, at most %d are expected", got, most)
	}
}
