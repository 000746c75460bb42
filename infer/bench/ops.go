package bench

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"edged/infer/graph"
)

// Op is what one op of a step takes by itself.
type Op struct {
	graph.OpTime
	BytesPerSec float64 `json:"bytes_per_second"`
	Share       float64 `json:"bandwidth_share"` // of Report.ReadBandwidth
}

// profile says where the time of a step at a row's depth goes.
func (m *machine) profile(ctx context.Context, row *Row) error {
	ops, err := m.run.Profile(ctx, m.token(m.run.Len()))
	if err != nil {
		return fmt.Errorf("measure ops on %s: %w", m.cfg.BackendName, err)
	}
	for _, o := range ops {
		row.Ops = append(row.Ops, Op{OpTime: o, BytesPerSec: float64(o.Bytes) / o.Seconds})
	}
	_, err = m.run.Truncate(row.Depth) // the step's position is not kept
	return err
}

// writeOps prints the ops of every row that has some.
func (r *Report) writeOps(w io.Writer) error {
	for _, row := range r.Rows {
		if len(row.Ops) == 0 {
			continue
		}
		if _, err := fmt.Fprintf(w, "\nops of a step at depth %d, each by itself\n", row.Depth); err != nil {
			return err
		}
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "us\tlaunches\tMB\tGB/s\tof bandwidth\top\t")
		var us, mb float64
		for _, o := range row.Ops {
			us, mb = us+o.Seconds*1e6, mb+float64(o.Bytes)/1e6
			fmt.Fprintf(t, "%.1f\t%d\t%.2f\t%.0f\t%.0f %%\t%s\t\n", o.Seconds*1e6, o.Launches, float64(o.Bytes)/1e6, o.BytesPerSec/1e9, 100*o.Share, o.Name)
		}
		fmt.Fprintf(t, "%.1f\t\t%.2f\t\t\tall; a step takes %.1f us\t\n", us, mb, 1e6/row.TokPerSec)
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}
