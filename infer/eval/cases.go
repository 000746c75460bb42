package eval

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxAnswerTok is where an answer is cut, in tokens: several times the longest
// right one.
const maxAnswerTok = 80

// Message is one turn of a conversation.
type Message struct {
	Role    string `json:"role"` // user or assistant
	Content string `json:"content"`
}

// Answerer continues a conversation that ends with a user's turn: greedily, by
// at most maxTok tokens or until the model ends its turn. An engine in this
// process and a client of a daemon both are one.
type Answerer interface {
	Answer(ctx context.Context, messages []Message, maxTok int) (string, error)
}

// CasesOptions choose what runs.
type CasesOptions struct {
	Tasks   []string // empty = all
	Lengths []int    // empty = all
	Limit   int      // cases of each task and length; 0 = all
	// Progress is told after every turn; it may be nil.
	Progress func(done, total int)
}

// Turn is one answer and its score.
type Turn struct {
	Case   string   `json:"case"`
	Turn   int      `json:"turn"` // from 0
	Score  float64  `json:"score"`
	Answer string   `json:"answer"`
	Values []string `json:"values"` // what it should contain
}

// CasesRow is one task at one length.
type CasesRow struct {
	Task   string  `json:"task"`
	Length int     `json:"length"` // nominal tokens of the conversation
	Cases  int     `json:"cases"`
	Turns  int     `json:"turns"`
	Score  float64 `json:"score"` // mean over turns
}

// CasesReport is the outcome of Cases.
type CasesReport struct {
	File    string     `json:"file"`
	Model   string     `json:"model"`
	Seconds float64    `json:"seconds"`
	Rows    []CasesRow `json:"rows"` // by task in the file's order, then by length
	Turns   []Turn     `json:"turns"`
	Cache   *CacheUse  `json:"cache,omitempty"` // of an engine in this process
}

// Cases asks every selected case and scores the answers. A turn's score is the
// share of its values that the answer contains. Earlier turns are given with
// their right answers, so that one mistake does not spoil the next turn.
func Cases(ctx context.Context, a Answerer, cases []Case, opt CasesOptions) (*CasesReport, error) {
	chosen, err := opt.choose(cases)
	if err != nil {
		return nil, fmt.Errorf("choose cases: %w", err)
	}
	total := 0
	for _, c := range chosen {
		total += len(c.Values)
	}
	r := &CasesReport{}
	start := time.Now()
	for _, c := range chosen {
		row := r.row(c)
		row.Cases++
		for i, values := range c.Values {
			answer, err := a.Answer(ctx, c.Messages[:2*i+1], maxAnswerTok)
			if err != nil {
				return nil, fmt.Errorf("case %s, turn %d: %w", c.ID, i, err)
			}
			t := Turn{Case: c.ID, Turn: i, Score: score(answer, values), Answer: answer, Values: values}
			r.Turns = append(r.Turns, t)
			row.Turns++
			row.Score += (t.Score - row.Score) / float64(row.Turns)
			if opt.Progress != nil {
				opt.Progress(len(r.Turns), total)
			}
		}
	}
	r.Seconds = time.Since(start).Seconds()
	return r, nil
}

// score is the share of values that the answer contains.
func score(answer string, values []string) float64 {
	found := 0
	for _, v := range values {
		if strings.Contains(answer, v) {
			found++
		}
	}
	return float64(found) / float64(len(values))
}

// row finds or adds the row of a case.
func (r *CasesReport) row(c Case) *CasesRow {
	for i := range r.Rows {
		if r.Rows[i].Task == c.Task && r.Rows[i].Length == c.Length {
			return &r.Rows[i]
		}
	}
	r.Rows = append(r.Rows, CasesRow{Task: c.Task, Length: c.Length})
	return &r.Rows[len(r.Rows)-1]
}

// choose applies the filters. One that matches nothing is a mistake of the
// caller, not an empty success.
func (o CasesOptions) choose(cases []Case) ([]Case, error) {
	if o.Limit < 0 {
		return nil, fmt.Errorf("limit must not be negative, got %d", o.Limit)
	}
	var errs []error
	for _, t := range o.Tasks {
		if !slices.ContainsFunc(cases, func(c Case) bool { return c.Task == t }) {
			errs = append(errs, fmt.Errorf("no case has task %q", t))
		}
	}
	for _, n := range o.Lengths {
		if !slices.ContainsFunc(cases, func(c Case) bool { return c.Length == n }) {
			errs = append(errs, fmt.Errorf("no case has length %d", n))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	type group struct {
		task   string
		length int
	}
	taken := map[group]int{}
	var chosen []Case
	for _, c := range cases {
		g := group{c.Task, c.Length}
		if !o.wants(c) || o.Limit > 0 && taken[g] == o.Limit {
			continue
		}
		taken[g]++
		chosen = append(chosen, c)
	}
	if len(chosen) == 0 {
		return nil, errors.New("no case has both a wanted task and a wanted length")
	}
	return chosen, nil
}

func (o CasesOptions) wants(c Case) bool {
	return (len(o.Tasks) == 0 || slices.Contains(o.Tasks, c.Task)) &&
		(len(o.Lengths) == 0 || slices.Contains(o.Lengths, c.Length))
}
