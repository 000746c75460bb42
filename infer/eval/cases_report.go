package eval

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// WriteTable prints one line per task and length.
func (r *CasesReport) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "task\tlength\tcases\tturns\tscore\t")
	turns := 0
	for _, row := range r.Rows {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%.3f\t\n", row.Task, row.Length, row.Cases, row.Turns, row.Score)
		turns += row.Turns
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if r.Cache != nil {
		if _, err := fmt.Fprintf(w, "\n%s\n", r.Cache); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "\n%d turns in %.1f s\n", turns, r.Seconds)
	return err
}

// MinScore is the least score of a task, at one length or at every one.
type MinScore struct {
	Task   string
	Length int // 0 = every length
	Score  float64
}

func (m MinScore) name() string {
	if m.Length > 0 {
		return fmt.Sprintf("%s-%d", m.Task, m.Length)
	}
	return m.Task
}

// ParseMinScores reads TASK=SCORE,TASK-LENGTH=SCORE,...
func ParseMinScores(s string) ([]MinScore, error) {
	var mins []MinScore
	seen := map[string]bool{}
	for part := range strings.SplitSeq(s, ",") {
		name, value, ok := strings.Cut(part, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("read least scores: %q is not TASK=SCORE or TASK-LENGTH=SCORE", part)
		}
		m := MinScore{Task: name}
		var err error
		if task, length, ok := strings.Cut(name, "-"); ok {
			m.Task = task
			if m.Length, err = strconv.Atoi(length); err != nil || m.Length < 1 || task == "" {
				return nil, fmt.Errorf("read least scores: %q is not TASK-LENGTH", name)
			}
		}
		if m.Score, err = strconv.ParseFloat(value, 64); err != nil || math.IsNaN(m.Score) || m.Score < 0 || m.Score > 1 {
			return nil, fmt.Errorf("read least scores: %s must be between 0 and 1, got %q", name, value)
		}
		if seen[name] {
			return nil, fmt.Errorf("read least scores: %s is given twice", name)
		}
		seen[name] = true
		mins = append(mins, m)
	}
	return mins, nil
}

// Check lists every row below its least score, and every least score that no
// row was measured for: a check that saw nothing must not pass.
func (r *CasesReport) Check(mins []MinScore) error {
	const rounding = 1e-9 // a mean of exact shares may fall short of them by this
	var errs []error
	for _, m := range mins {
		seen := false
		for _, row := range r.Rows {
			if row.Task != m.Task || m.Length > 0 && row.Length != m.Length {
				continue
			}
			seen = true
			if row.Score < m.Score-rounding {
				errs = append(errs, fmt.Errorf("%s at %d tokens scores %.3f over %d turns, the least is %.3f", row.Task, row.Length, row.Score, row.Turns, m.Score))
			}
		}
		if !seen {
			errs = append(errs, fmt.Errorf("a least score is given for %s, but no such case ran", m.name()))
		}
	}
	return errors.Join(errs...)
}
