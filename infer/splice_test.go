package infer

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"edged/infer/tok"
)

func toyTokenizer(t testing.TB) *tok.Tokenizer {
	t.Helper()
	tk, err := tok.FromMetadata(toyMetadata{})
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

func TestSplice(t *testing.T) {
	spell := spelling(toyTokenizer(t))
	for name, c := range map[string]struct {
		history, rendered, want []int32
		used                    int
	}{
		"nothing before":      {nil, []int32{toyBOS, 'x'}, []int32{toyBOS, 'x'}, 0},
		"same tokens":         {[]int32{toyBOS, 'x', toyEnd}, []int32{toyBOS, 'x', toyEnd, 'y'}, []int32{toyBOS, 'x', toyEnd, 'y'}, 3},
		"spelled otherwise":   {[]int32{'x', 'a', 'b', toyEnd}, []int32{'x', toyAB, toyEnd, 'y'}, []int32{'x', 'a', 'b', toyEnd, 'y'}, 4},
		"or the other way":    {[]int32{toyAB, toyEnd}, []int32{'a', 'b', toyEnd, 'y'}, []int32{toyAB, toyEnd, 'y'}, 2},
		"end was not said":    {[]int32{'x', 'a'}, []int32{'x', toyAB, toyEnd}, []int32{'x', toyAB, toyEnd}, 1},
		"trimmed":             {[]int32{'x', 'a', ' ', toyEnd}, []int32{'x', 'a', toyEnd, 'y'}, []int32{'x', 'a', toyEnd, 'y'}, 2},
		"left out":            {[]int32{toyUser, 'q', toyAssistant, 't', 'a', toyEnd}, []int32{toyUser, 'q', toyAssistant, 'a', toyEnd, 'y'}, []int32{toyUser, 'q', toyAssistant, 'a', toyEnd, 'y'}, 3},
		"text like a token":   {[]int32{'<', '|', 'e', 'n', 'd', '|', '>'}, []int32{toyEnd, 'y'}, []int32{toyEnd, 'y'}, 0},
		"shorter than it was": {[]int32{'x', 'y', 'z'}, []int32{'x', 'y'}, []int32{'x', 'y'}, 2},
	} {
		ids, used := splice(c.history, c.rendered, spell)
		if d := cmp.Diff(c.want, ids); d != "" || used != c.used {
			t.Errorf("%s: %d tokens used, want %d: %s", name, used, c.used, d)
		}
	}
}

// TestSpliceSpellsTheSame: whatever the history, the result spells what was rendered.
func TestSpliceSpellsTheSame(t *testing.T) {
	tk := toyTokenizer(t)
	text := func(ids []int32) string {
		var b strings.Builder
		for _, id := range ids {
			b.WriteString(spelling(tk)(id))
		}
		return b.String()
	}
	rapid.Check(t, func(t *rapid.T) {
		token := rapid.SampledFrom([]int32{'a', 'b', toyAB, toyEnd})
		history, rendered := rapid.SliceOf(token).Draw(t, "history"), rapid.SliceOf(token).Draw(t, "rendered")
		ids, used := splice(history, rendered, spelling(tk))
		if text(ids) != text(rendered) || !slices.Equal(ids[:used], history[:used]) {
			t.Fatalf("%d of %v before %v became %v", used, history, rendered, ids)
		}
	})
}
