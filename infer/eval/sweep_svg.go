package eval

import (
	"fmt"
	"io"
	"slices"
)

// Pixels of the chart's parts.
const (
	svgWidth    = 1000
	panelWidth  = 400
	panelHeight = 260
	panelLeft   = 78  // from the picture's edge to the first panel
	panelStepX  = 500 // from one panel to the next
	panelStepY  = 340
	legendTop   = 78
	legendStep  = 20
)

// WriteSVG draws the quality of every setting against the bytes that it moves
// and against the bytes that it keeps in fast memory: the retrieval score and
// the change of the NLL, as far as measured, with their intervals. The picture
// stands alone and is legible on light and dark ground.
func (s *Sweep) WriteSVG(w io.Writer) error {
	if err := s.check(); err != nil {
		return fmt.Errorf("draw sweep: %w", err)
	}
	qualities := s.qualities()
	if len(qualities) == 0 {
		return fmt.Errorf("draw sweep: none of %d rows has a measure of quality", len(s.Rows))
	}
	policies := s.policies()
	legendRows := (len(policies) + legendColumns - 1) / legendColumns
	top := float64(legendTop + legendRows*legendStep + 24)
	p := newPicture(svgWidth, top+float64(len(qualities)*panelStepY), s.Model)
	s.drawHead(p)
	drawLegend(p, policies)
	for row, q := range qualities {
		y := top + float64(row*panelStepY)
		for column, cost := range costs() {
			x := float64(panelLeft + column*panelStepX)
			s.drawPanel(p, policies, cost, q, x, y)
		}
	}
	if _, err := io.WriteString(w, p.end()); err != nil {
		return fmt.Errorf("draw sweep: %w", err)
	}
	return nil
}

// cost is a horizontal axis.
type cost struct {
	title string
	of    func(SweepRow) float64
}

func costs() []cost {
	return []cost{
		{"Bytes moved per generated token", func(r SweepRow) float64 { return r.MovedBytesPerTok }},
		{"Bytes resident in fast memory", func(r SweepRow) float64 { return float64(r.FastBytes) }},
	}
}

// quality is a vertical axis. Its estimates have an interval.
type quality struct {
	rows  []SweepRow // those measured
	of    func(SweepRow) (value float64, ci Interval)
	axis  func(values []float64, from, to float64) axis
	exact float64 // what the exact cache reaches
}

// qualities are those that a row measures.
func (s *Sweep) qualities() []quality {
	score := quality{
		of: func(r SweepRow) (float64, Interval) {
			p := r.Retrieval // the interval is of the difference from base
			return p.Other, Interval{max(0, p.Base+p.DiffCI.Low), min(1, p.Base+p.DiffCI.High)}
		},
		axis: func(v []float64, from, to float64) axis {
			return linearAxis("Retrieval score (share of values found)", "", v, from, to)
		},
	}
	nll := quality{
		of: func(r SweepRow) (float64, Interval) { return r.NLL.Percent, r.NLL.PercentCI },
		axis: func(v []float64, from, to float64) axis {
			return changeAxis("NLL increase", v, from, to)
		},
	}
	for _, r := range s.Rows {
		if r.Retrieval != nil {
			score.rows = append(score.rows, r)
			score.exact = r.Retrieval.Base
		}
		if r.NLL != nil {
			nll.rows = append(nll.rows, r)
		}
	}
	return slices.DeleteFunc([]quality{score, nll}, func(q quality) bool { return len(q.rows) == 0 })
}

// policies lists the names in the order of their first rows.
func (s *Sweep) policies() []string {
	var names []string
	for _, r := range s.Rows {
		if !slices.Contains(names, r.Policy) {
			names = append(names, r.Policy)
		}
	}
	return names
}

func (s *Sweep) drawHead(p *picture) {
	p.text(svgWidth/2, 28, "middle", `font-size="17" font-weight="600"`, fmt.Sprintf("%s at %d tokens: quality against traffic and memory", s.Model, s.Context))
	p.text(svgWidth/2, 48, "middle", "", fmt.Sprintf("%s, %s. Bars are 95 %% intervals; the dashed line is the exact cache.", s.Machine, s.Date))
}
