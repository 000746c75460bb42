package infer

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"edged/infer/sample"
	"edged/infer/tok"
)

// However text is held back for stop strings and split characters, what comes
// out is the text up to the first stop string, and the log probabilities are
// those of the tokens that begin in it.
func TestTextStream(t *testing.T) {
	toy, err := tok.FromMetadata(toyMetadata{})
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		words := []string{"a", "b", "ab", "é", "€", "\U0001F600", " "}
		text := strings.Join(rapid.SliceOfN(rapid.SampledFrom(words), 1, 30).Draw(rt, "text"), "")
		stops := rapid.SliceOfN(rapid.SampledFrom([]string{"ba", "aab", "é€", "€b", " a b", "zz"}), 0, 3).Draw(rt, "stops")
		s := textStream{decoder: toy.NewStream(tok.NoToken, false)}
		if len(stops) > 0 {
			if s.stops, err = sample.NewStops(stops); err != nil {
				rt.Fatal(err)
			}
		}
		want := text
		end := len(text) + 1 // where the first stop string is complete
		for _, stop := range stops {
			if i := strings.Index(text, stop); i >= 0 && (i+len(stop) < end || i+len(stop) == end && i < len(want)) {
				want, end = text[:i], i+len(stop)
			}
		}
		logits := make([]float32, toyVocab)
		var got []byte
		var probs []prob
		nTops := 0
		take := func() {
			b, p, tops := s.take()
			got, probs, nTops = append(got, b...), append(probs, p...), nTops+len(tops)
			if nTops != 2*len(probs) {
				rt.Fatalf("%d alternatives for %d tokens", nTops, len(probs))
			}
		}
		begins, all := 0, 0 // tokens that begin in want, tokens
		at := 0
		stopped := false
		for _, id := range toy.Encode(nil, text) {
			if all++; at < len(want) {
				begins++
			}
			at += len(toy.Token(id))
			s.note(&pick{Choice: sample.Choice{ID: id}, row: logits}, 2)
			stopped = s.push(id)
			take()
			if stopped {
				break
			}
		}
		if !stopped {
			s.flush()
			take()
		}
		if string(got) != want || stopped != (want != text) {
			rt.Fatalf("%q stopped at %q: got %q, want %q", text, stops, got, want)
		}
		if !stopped {
			begins = all
		}
		if len(probs) != begins {
			rt.Fatalf("%q stopped at %q: %d log probabilities, want %d", text, stops, len(probs), begins)
		}
	})
}
