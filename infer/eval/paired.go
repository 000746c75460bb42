package eval

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// Paired compares the scores of two runs of the same cases, turn by turn.
type Paired struct {
	Base    PairedSide  `json:"base"`
	Other   PairedSide  `json:"other"`
	Rows    []PairedRow `json:"rows"`    // by task and length, in base's order
	Overall PairedRow   `json:"overall"` // of all turns, without task and length
}

// PairedSide names a run.
type PairedSide struct {
	File  string `json:"file"`
	Model string `json:"model"`
}

// PairedRow is the comparison of one task at one length.
//
// Turns of one case share a document, so the interval resamples whole cases,
// each task and length for itself; with one case of a row it has no width and
// says nothing. The sign test asks whether the turns that differ favour one
// side, as if each were a case of its own.
type PairedRow struct {
	Task   string   `json:"task,omitempty"`
	Length int      `json:"length,omitempty"`
	Cases  int      `json:"cases"`
	Turns  int      `json:"turns"`
	Base   float64  `json:"base"`  // mean score over turns
	Other  float64  `json:"other"` // the same
	Won    int      `json:"won"`   // turns in which other scores higher
	Lost   int      `json:"lost"`  // turns in which it scores lower
	Diff   float64  `json:"diff"`  // Other - Base
	DiffCI Interval `json:"diff_ci"`
	SignP  float64  `json:"sign_p"` // two-sided exact sign test of Won against Lost
}

// Net is the turns won less those lost.
func (r PairedRow) Net() int { return r.Won - r.Lost }

// Compare pairs the turns of two reports, in any order. Reports of different
// cases, or of different values of one, cannot be compared.
func Compare(base, other *CasesReport) (*Paired, error) {
	p := &Paired{Base: PairedSide{base.File, base.Model}, Other: PairedSide{other.File, other.Model}}
	strata, err := pairTurns(base, other)
	if err != nil {
		return nil, fmt.Errorf("compare reports: %w", err)
	}
	for _, s := range strata {
		row := summarizePairs([]*pairedStratum{s})
		row.Task, row.Length = s.task, s.length
		p.Rows = append(p.Rows, row)
	}
	p.Overall = summarizePairs(strata)
	return p, nil
}

// summarizePairs compares the turns of some tasks and lengths.
func summarizePairs(strata []*pairedStratum) PairedRow {
	var row PairedRow
	for _, s := range strata {
		row.Cases += len(s.cases)
		for _, c := range s.cases {
			row.Turns += c.turns
			row.Won += c.won
			row.Lost += c.lost
			row.Base += c.base
			row.Other += c.other
		}
	}
	row.Base /= float64(row.Turns)
	row.Other /= float64(row.Turns)
	row.Diff = row.Other - row.Base
	row.DiffCI = bootstrap(func(r *rand.Rand) float64 { return resampleDiff(strata, r) })
	row.SignP = signTest(row.Won, row.Lost)
	return row
}

// resampleDiff draws as many cases of every stratum as it has.
func resampleDiff(strata []*pairedStratum, r *rand.Rand) float64 {
	var diff float64
	turns := 0
	for _, s := range strata {
		for range s.cases {
			c := &s.cases[r.IntN(len(s.cases))]
			diff += c.other - c.base
			turns += c.turns
		}
	}
	return diff / float64(turns)
}

// signTest is the probability, if wins and losses were equally likely, of a
// count as uneven as this one or more. It is McNemar's exact test where scores
// are 0 or 1.
func signTest(won, lost int) float64 {
	n, few := won+lost, min(won, lost)
	var tail float64
	all, _ := math.Lgamma(float64(n + 1))
	for k := range few + 1 {
		a, _ := math.Lgamma(float64(k + 1))
		b, _ := math.Lgamma(float64(n - k + 1))
		tail += math.Exp(all - a - b - float64(n)*math.Ln2)
	}
	return min(1, 2*tail)
}
