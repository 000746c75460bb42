package task

import (
	"fmt"
	"strings"
)

// trace hides chains of assignments, two to four variables each, interleaved.
func (g *generator) trace(s Spec) plan {
	values := make([]string, s.Turns)
	chains := make([][]string, s.Turns) // variables so far
	var order []int                     // whose assignment comes next in the document
	for c := range values {
		values[c] = g.fresh(g.number)
		for range 2 + g.IntN(3) {
			order = append(order, c)
		}
	}
	g.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	facts := make([]fact, len(order))
	for i, depth := range g.depths(len(order)) {
		c := order[i]
		from := "The value " + values[c]
		if n := len(chains[c]); n > 0 {
			from = "VAR " + chains[c][n-1]
		}
		to := g.fresh(g.variable)
		chains[c] = append(chains[c], to)
		facts[i] = fact{depth, fmt.Sprintf("%s goes to VAR %s.", from, to)}
	}
	turns := make([]turn, s.Turns)
	for c := range values {
		turns[c] = turn{
			question: fmt.Sprintf("Which variables hold %s?", values[c]),
			answer:   fmt.Sprintf("The variables are %s.", strings.Join(chains[c], ", ")),
			values:   chains[c],
		}
	}
	return g.inHaystack(turns, facts)
}

// variable is three capitals that no other text of a document contains, such
// as VAR or the LOR of LORD: an answer that quotes it would count as right.
func (g *generator) variable() string {
	for {
		v := string([]byte{g.letter(), g.letter(), g.letter()})
		if v != "VAR" && !strings.Contains(haystackText, v) {
			return v
		}
	}
}

func (g *generator) letter() byte { return byte('A' + g.IntN(26)) }
