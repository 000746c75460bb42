package task

import (
	"fmt"
	"strings"
)

// note is what the tasks of access codes hide.
type note struct{ key, value string }

func (n note) line() string {
	return fmt.Sprintf("Note: the access code of %s is %s.", n.key, n.value)
}

func (n note) turn() turn {
	return turn{
		question: fmt.Sprintf("What is the access code of %s?", n.key),
		answer:   fmt.Sprintf("The access code of %s is %s.", n.key, n.value),
		values:   []string{n.value},
	}
}

func (g *generator) note(words []string, value func() string) note {
	return note{key: g.fresh(func() string { return g.key(words) }), value: g.fresh(value)}
}

// key is two different words.
func (g *generator) key(words []string) string {
	a, b := g.IntN(len(words)), g.IntN(len(words)-1)
	if b >= a {
		b++
	}
	return words[a] + "-" + words[b]
}

func (g *generator) number() string { return fmt.Sprintf("%07d", g.IntN(10_000_000)) }

func (g *generator) uuid() string {
	u := g.Uint64()
	return fmt.Sprintf("%04x-%04x-%04x-%04x", u>>48, u>>32&0xffff, u>>16&0xffff, u&0xffff)
}

// notes hides a few notes in a haystack: those that are asked for and, the
// longer the document, the more others.
func (g *generator) notes(s Spec, value func() string) plan {
	all := make([]note, s.Turns+g.IntN(min(16, s.Tokens/512)+1))
	facts := make([]fact, len(all))
	dict := words()
	for i, depth := range g.depths(len(all)) {
		all[i] = g.note(dict, value)
		facts[i] = fact{depth, all[i].line()}
	}
	var turns []turn
	for i := range s.Turns { // one of each part of the document
		from, to := i*len(all)/s.Turns, (i+1)*len(all)/s.Turns
		turns = append(turns, all[from+g.IntN(to-from)].turn())
	}
	return g.inHaystack(turns, facts)
}

// inHaystack finishes a plan whose filler is prose.
func (g *generator) inHaystack(turns []turn, facts []fact) plan {
	g.Shuffle(len(turns), func(i, j int) { turns[i], turns[j] = turns[j], turns[i] })
	hay := g.haystack()
	return plan{turns: turns, unit: "word", text: func(n int) string { return place(facts, hay.take(n)) }}
}

// onlyNotes makes the filler notes as well.
func (g *generator) onlyNotes(s Spec, value func() string) plan {
	dict := words()
	facts := make([]fact, s.Turns)
	turns := make([]turn, s.Turns)
	for i, depth := range g.depths(s.Turns) {
		n := g.note(dict, value)
		facts[i], turns[i] = fact{depth, n.line()}, n.turn()
	}
	g.Shuffle(len(turns), func(i, j int) { turns[i], turns[j] = turns[j], turns[i] })
	var filler []string // drawn once, however often the document is made
	return plan{turns: turns, least: 1, unit: "note", text: func(n int) string {
		for len(filler) < n {
			filler = append(filler, g.note(dict, value).line())
		}
		return place(facts, filler[:n])
	}}
}

// multivalue hides two to four notes of every key.
func (g *generator) multivalue(s Spec) plan {
	dict := words()
	keys := make([]string, s.Turns)
	values := make([][]string, s.Turns)
	var order []int // whose note comes next in the document
	for k := range keys {
		keys[k] = g.fresh(func() string { return g.key(dict) })
		for range 2 + g.IntN(3) {
			order = append(order, k)
		}
	}
	g.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	facts := make([]fact, len(order))
	for i, depth := range g.depths(len(order)) {
		n := note{keys[order[i]], g.fresh(g.number)}
		values[order[i]] = append(values[order[i]], n.value)
		facts[i] = fact{depth, n.line()}
	}
	turns := make([]turn, s.Turns)
	for k := range keys {
		turns[k] = turn{
			question: fmt.Sprintf("List every access code of %s.", keys[k]),
			answer:   fmt.Sprintf("The access codes of %s are %s.", keys[k], strings.Join(values[k], ", ")),
			values:   values[k],
		}
	}
	return g.inHaystack(turns, facts)
}
