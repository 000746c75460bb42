package eval

import (
	"errors"
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

// Sweep compares settings of a cache policy: what each costs in memory and
// traffic, and what is left of the answers.
type Sweep struct {
	Model   string     `json:"model"`
	Context int        `json:"context"` // tokens
	Date    string     `json:"date"`
	Machine string     `json:"machine"`
	Rows    []SweepRow `json:"rows"`
}

// SweepRow is one setting. Its quality is measured against the exact cache.
type SweepRow struct {
	Policy  string `json:"policy"`
	Setting string `json:"setting"` // within the policy, such as "25 %"

	FastBytes        int64   `json:"fast_bytes"`          // keys and values in the accelerator's memory
	FastShare        float64 `json:"fast_share"`          // of the exact cache's bytes
	ColdBytes        int64   `json:"cold_bytes"`          // keys and values elsewhere
	MovedBytesPerTok float64 `json:"moved_bytes_per_tok"` // between the two, for each token generated
	MovedShare       float64 `json:"moved_share"`         // of the exact cache's bytes

	Retrieval *PairedRow        `json:"retrieval,omitempty"` // nil = not measured
	NLL       *DivergenceReport `json:"nll,omitempty"`       // nil = not measured
	TokPerSec float64           `json:"tok_per_sec,omitempty"`
}

// WriteTable prints one line per setting; "-" stands for what was not measured.
func (s *Sweep) WriteTable(w io.Writer) error {
	if err := s.check(); err != nil {
		return fmt.Errorf("write sweep: %w", err)
	}
	if _, err := fmt.Fprintf(w, "%s, %d tokens of context, %s, %s\n\n", s.Model, s.Context, s.Machine, s.Date); err != nil {
		return fmt.Errorf("write sweep: %w", err)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "policy\tsetting\tfast\tshare\tcold\tmoved/token\tshare\tscore\twon-lost\tdifference, 95 %\tNLL change, 95 %\tKL (nats)\ttop-1\ttoken/s\t")
	for _, r := range s.Rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s%s%s\n",
			r.Policy, r.Setting, formatBytes(float64(r.FastBytes)), formatShare(r.FastShare),
			formatBytes(float64(r.ColdBytes)), formatBytes(r.MovedBytesPerTok), formatShare(r.MovedShare),
			r.retrievalCells(), r.nllCells(), r.speedCell())
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write sweep: %w", err)
	}
	return nil
}

func (r SweepRow) retrievalCells() string {
	p := r.Retrieval
	if p == nil {
		return "-\t-\t-\t"
	}
	return fmt.Sprintf("%.3f\t%d-%d\t%+.3f (%+.3f to %+.3f)\t", p.Other, p.Won, p.Lost, p.Diff, p.DiffCI.Low, p.DiffCI.High)
}

func (r SweepRow) nllCells() string {
	d := r.NLL
	if d == nil {
		return "-\t-\t-\t"
	}
	return fmt.Sprintf("%+.2f %% (%+.2f to %+.2f)\t%.2g\t%.1f %%\t", d.Percent, d.PercentCI.Low, d.PercentCI.High, d.MeanKL, 100*d.Top1)
}

func (r SweepRow) speedCell() string {
	if r.TokPerSec == 0 {
		return "-\t"
	}
	return fmt.Sprintf("%.1f\t", r.TokPerSec)
}

func formatShare(s float64) string { return fmt.Sprintf("%.1f %%", 100*s) }

// formatBytes gives three digits and a binary unit.
func formatBytes(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	u := 0
	for n >= 1023.5 && u < len(units)-1 {
		n /= 1024
		u++
	}
	decimals := 0
	switch {
	case u > 0 && n < 9.995:
		decimals = 2
	case u > 0 && n < 99.95:
		decimals = 1
	}
	return fmt.Sprintf("%.*f %s", decimals, n, units[u])
}

// check refuses numbers that no measurement gives and no chart can show.
func (s *Sweep) check() error {
	if len(s.Rows) == 0 {
		return errors.New("no rows")
	}
	for i, r := range s.Rows {
		if r.FastBytes < 0 || r.ColdBytes < 0 {
			return fmt.Errorf("row %d (%s %s): %d fast and %d cold bytes must not be negative", i, r.Policy, r.Setting, r.FastBytes, r.ColdBytes)
		}
		for _, v := range r.numbers() {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return fmt.Errorf("row %d (%s %s): %g is no measurement", i, r.Policy, r.Setting, v)
			}
		}
		if r.MovedBytesPerTok < 0 {
			return fmt.Errorf("row %d (%s %s): %g bytes moved per token must not be negative", i, r.Policy, r.Setting, r.MovedBytesPerTok)
		}
	}
	return nil
}

func (r SweepRow) numbers() []float64 {
	n := []float64{r.FastShare, r.MovedBytesPerTok, r.MovedShare, r.TokPerSec}
	if p := r.Retrieval; p != nil {
		n = append(n, p.Base, p.Other, p.Diff, p.DiffCI.Low, p.DiffCI.High)
	}
	if d := r.NLL; d != nil {
		n = append(n, d.Percent, d.PercentCI.Low, d.PercentCI.High, d.MeanKL, d.Top1)
	}
	return n
}
