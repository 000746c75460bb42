package task

import (
	_ "embed"
	"strings"
)

//go:embed haystack.txt
var haystackText string

//go:embed words.txt
var wordsText string

// repeated is the filler of the cases without prose.
const repeated = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."

func words() []string { return strings.Fields(wordsText) }

// haystack is filler whose unit is a word.
type haystack struct {
	lines [][]string // words of each line
	start int        // line that the document begins with
}

func (g *generator) haystack() haystack {
	if g.IntN(2) == 0 {
		return haystack{lines: [][]string{strings.Fields(repeated)}}
	}
	var h haystack
	for line := range strings.Lines(haystackText) {
		h.lines = append(h.lines, strings.Fields(line))
	}
	h.start = g.IntN(len(h.lines))
	return h
}

// take returns lines of n words in all. The beginning is cut, not the end: a
// text reads on from there, and it is far from the question.
func (h haystack) take(n int) []string {
	var lines [][]string
	excess := -n
	for i := h.start; excess < 0; i++ {
		lines = append(lines, h.lines[i%len(h.lines)])
		excess += len(lines[len(lines)-1])
	}
	for excess > 0 {
		cut := min(excess, len(lines[0]))
		excess -= cut
		if lines[0] = lines[0][cut:]; len(lines[0]) == 0 {
			lines = lines[1:]
		}
	}
	texts := make([]string, len(lines))
	for i, l := range lines {
		texts[i] = strings.Join(l, " ")
	}
	return texts
}

// fact is a line of the document that is not filler.
type fact struct {
	depth uint64 // in 1/2^32 of the document; integers are alike everywhere
	line  string
}

// depths draws n ascending depths, one in each n-th of the document.
func (g *generator) depths(n int) []uint64 {
	d := make([]uint64, n)
	for i := range d {
		d[i] = (uint64(i)<<32 + uint64(g.Uint32())) / uint64(n)
	}
	return d
}

// place puts facts of ascending depth among lines of filler.
func place(facts []fact, filler []string) string {
	lines := make([]string, 0, len(facts)+len(filler))
	next := 0
	for i := range len(filler) + 1 {
		for ; next < len(facts) && int(facts[next].depth*uint64(len(filler)+1)>>32) == i; next++ {
			lines = append(lines, facts[next].line)
		}
		if i < len(filler) {
			lines = append(lines, filler[i])
		}
	}
	return strings.Join(lines, "\n")
}
