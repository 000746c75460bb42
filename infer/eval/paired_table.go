package eval

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// WriteTable prints one line per task and length, and one for all.
func (p *Paired) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "task\tlength\tcases\tturns\tbase\tother\twon\tlost\tnet\tdifference\t95 % interval\tsign test p\t")
	for _, r := range p.Rows {
		fmt.Fprintf(t, "%s\t%d\t%s\n", r.Task, r.Length, r.cells())
	}
	fmt.Fprintf(t, "all\t\t%s\n", p.Overall.cells())
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write comparison: %w", err)
	}
	return nil
}

func (r PairedRow) cells() string {
	return fmt.Sprintf("%d\t%d\t%.3f\t%.3f\t%d\t%d\t%+d\t%+.3f\t%+.3f to %+.3f\t%.2g\t",
		r.Cases, r.Turns, r.Base, r.Other, r.Won, r.Lost, r.Net(), r.Diff, r.DiffCI.Low, r.DiffCI.High, r.SignP)
}
