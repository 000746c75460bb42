package eval

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// pairedStratum are the cases of one task and length.
type pairedStratum struct {
	task   string
	length int
	cases  []pairedCase
	ids    map[string]int // index of each case
}

// pairedCase adds up the turns of one case.
type pairedCase struct {
	turns, won, lost int
	base, other      float64
}

type turnKey struct {
	id   string
	turn int
}

// pairTurns finds every turn of base in other, and nothing else there.
func pairTurns(base, other *CasesReport) ([]*pairedStratum, error) {
	if len(base.Turns) == 0 {
		return nil, errors.New("the base has no turns")
	}
	rest, err := indexTurns(other)
	if err != nil {
		return nil, fmt.Errorf("other: %w", err)
	}
	if _, err := indexTurns(base); err != nil {
		return nil, fmt.Errorf("base: %w", err)
	}
	var strata []*pairedStratum
	for _, b := range base.Turns {
		key := turnKey{b.Case, b.Turn}
		o, ok := rest[key]
		if !ok {
			return nil, fmt.Errorf("case %s, turn %d is in the base alone", b.Case, b.Turn)
		}
		if !slices.Equal(b.Values, o.Values) {
			return nil, fmt.Errorf("case %s, turn %d has the values %q in the base and %q in the other", b.Case, b.Turn, b.Values, o.Values)
		}
		delete(rest, key)
		strata = addPair(strata, b, o)
	}
	for _, o := range other.Turns {
		if _, left := rest[turnKey{o.Case, o.Turn}]; left {
			return nil, fmt.Errorf("case %s, turn %d is in the other alone", o.Case, o.Turn)
		}
	}
	return strata, nil
}

// indexTurns checks the turns of a report, which may come from a file.
func indexTurns(r *CasesReport) (map[turnKey]Turn, error) {
	turns := make(map[turnKey]Turn, len(r.Turns))
	for _, t := range r.Turns {
		key := turnKey{t.Case, t.Turn}
		if _, dup := turns[key]; dup {
			return nil, fmt.Errorf("case %s, turn %d is listed twice", t.Case, t.Turn)
		}
		if caseID.FindStringSubmatch(t.Case) == nil {
			return nil, fmt.Errorf("case %q is not TASK-LENGTH-NUMBER", t.Case)
		}
		if math.IsNaN(t.Score) || t.Score < 0 || t.Score > 1 {
			return nil, fmt.Errorf("case %s, turn %d has the score %g, want 0 to 1", t.Case, t.Turn, t.Score)
		}
		turns[key] = t
	}
	return turns, nil
}

func addPair(strata []*pairedStratum, base, other Turn) []*pairedStratum {
	id := caseID.FindStringSubmatch(base.Case)
	length, _ := strconv.Atoi(id[2]) // nine digits at most
	i := slices.IndexFunc(strata, func(s *pairedStratum) bool { return s.task == id[1] && s.length == length })
	if i < 0 {
		i = len(strata)
		strata = append(strata, &pairedStratum{task: id[1], length: length, ids: map[string]int{}})
	}
	s := strata[i]
	k, ok := s.ids[base.Case]
	if !ok {
		k = len(s.cases)
		s.ids[base.Case] = k
		s.cases = append(s.cases, pairedCase{})
	}
	c := &s.cases[k]
	c.turns++
	c.base += base.Score
	c.other += other.Score
	switch {
	case other.Score > base.Score:
		c.won++
	case other.Score < base.Score:
		c.lost++
	}
	return strata
}
