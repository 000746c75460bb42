package chat

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestThoughts(t *testing.T) {
	for _, c := range []struct {
		name, answer, thought, text string
		opened                      bool
	}{
		{"none", "The answer.", "", "The answer.", false},
		{"empty", "", "", "", false},
		{"space alone", " \n", "", " \n", false},
		{"usual", "<think>\nWell, 6 times 7.\n</think>\n\nIt is 42.\n", "Well, 6 times 7.", "It is 42.\n", false},
		{"space in front", "\n <think>a</think>b", "a", "b", false},
		{"no thought in it", "<think>\n\n</think>\n\nIt is 42.", "", "It is 42.", false},
		{"cut off", "<think>\nWell, 6", "Well, 6", "", false},
		{"cut off in its end", "<think>Well.\n</thi", "Well.\n</thi", "", false},
		{"cut off in its begin", "<thin", "", "<thin", false},
		{"another tag", "<thing>x</think>", "", "<thing>x</think>", false},
		{"later in the text", "I <think>so</think>.", "", "I <think>so</think>.", false},
		{"several", "<think>a</think>b<think>c</think>d", "a", "b<think>c</think>d", false},
		{"tags within", "<think>a <b> </b> <</think>c", "a <b> </b> <", "c", false},
		{"space within", "<think>a \n\n b</think>c", "a \n\n b", "c", false},
		{"opened", "Well.\n</think>\n\nYes.", "Well.", "Yes.", true},
		{"opened and begun again", "<think>\nWell.</think>Yes.", "Well.", "Yes.", true},
		{"opened and cut off", "Well", "Well", "", true},
		{"opened, cut off at once", " <thi", "<thi", "", true},
		{"opened and ended at once", "</think>Yes.", "", "Yes.", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for size := 1; size <= len(c.answer)+1; size++ {
				thought, text := think(c.answer, c.opened, func() int { return size })
				if thought != c.thought || text != c.text {
					t.Errorf("pieces of %d: thought %q, text %q; want %q, %q", size, thought, text, c.thought, c.text)
				}
			}
		})
	}
}

// think parses an answer in pieces.
func think(answer string, opened bool, size func() int) (thought, text string) {
	p := NewThoughtParser(opened)
	for len(answer) > 0 {
		n := min(size(), len(answer))
		a, b := p.Push([]byte(answer[:n]))
		thought, text, answer = thought+string(a), text+string(b), answer[n:]
	}
	a, b := p.Close()
	return thought + string(a), text + string(b)
}

// What comes out depends on the answer, and not on its pieces; nothing but tags and
// space is lost.
func TestThoughtsInAnyPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOf(rapid.SampledFrom([]string{"<think>", "</think>", "<", "</", "think>", " ", "\n", "a", "bc", "ü"})).Draw(t, "answer")
		answer, opened := strings.Join(parts, ""), rapid.Bool().Draw(t, "opened")
		thought, text := think(answer, opened, func() int { return rapid.IntRange(1, 5).Draw(t, "piece") })
		whole, rest := think(answer, opened, func() int { return len(answer) })
		if thought != whole || text != rest {
			t.Fatalf("%q in pieces: %q, %q; whole: %q, %q", answer, thought, text, whole, rest)
		}
		bare := strings.NewReplacer("<think>", "", "</think>", "", " ", "", "\n", "")
		if got, want := bare.Replace(thought)+bare.Replace(text), bare.Replace(answer); got != want { // together they may be a tag that was none
			t.Fatalf("%q became %q and %q", answer, thought, text)
		}
	})
}

func TestThoughtOpened(t *testing.T) {
	for prompt, want := range map[string]bool{
		"<|im_start|>assistant\n": false, "<|im_start|>assistant\n<think>\n": true, "<think>\n\n</think>\n\n": false, "": false,
	} {
		if got := ThoughtOpened(prompt); got != want {
			t.Errorf("%q: %v, want %v", prompt, got, want)
		}
	}
}
