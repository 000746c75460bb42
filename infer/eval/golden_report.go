package eval

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"text/tabwriter"
)

// GoldenReport says how far logits lie from the golden ones.
type GoldenReport struct {
	Model     string           `json:"model"`
	MadeBy    string           `json:"made_by"`
	Sequences []GoldenSequence `json:"sequences"`
	Overall   GoldenSequence   `json:"overall"`
}

// GoldenSequence are the differences of one sequence, or of all together.
type GoldenSequence struct {
	Name       string  `json:"name"`
	Tokens     int     `json:"tokens"`
	Listed     int     `json:"listed"`      // positions whose largest logits are known
	Scored     int     `json:"scored"`      // positions whose next token is known
	ArgmaxSame int     `json:"argmax_same"` // positions with the golden argmax
	MaxLogit   float64 `json:"max_logit"`   // largest |difference| of a listed logit
	MeanKL     float64 `json:"mean_kl"`     // nats, KL(golden || ours), over listed positions
	NLL        float64 `json:"nll"`         // nats per scored token
	WantNLL    float64 `json:"want_nll"`    // the golden one
	Seconds    float64 `json:"seconds"`
}

// ArgmaxShare is the share of positions with the golden argmax.
func (s GoldenSequence) ArgmaxShare() float64 { return float64(s.ArgmaxSame) / float64(s.Tokens) }

// NLLChange is the relative difference of the mean NLL.
func (s GoldenSequence) NLLChange() float64 {
	if s.Scored == 0 {
		return 0
	}
	return (s.NLL - s.WantNLL) / s.WantNLL
}

func overall(seqs []GoldenSequence) GoldenSequence {
	all := GoldenSequence{Name: "overall"}
	for _, s := range seqs {
		all.MaxLogit = math.Max(all.MaxLogit, s.MaxLogit)
		all.MeanKL = mean(all.MeanKL, all.Listed, s.MeanKL, s.Listed)
		all.NLL = mean(all.NLL, all.Scored, s.NLL, s.Scored)
		all.WantNLL = mean(all.WantNLL, all.Scored, s.WantNLL, s.Scored)
		all.Tokens += s.Tokens
		all.Listed += s.Listed
		all.Scored += s.Scored
		all.ArgmaxSame += s.ArgmaxSame
		all.Seconds += s.Seconds
	}
	return all
}

// mean joins the means a of n and b of m values.
func mean(a float64, n int, b float64, m int) float64 {
	if n+m == 0 {
		return 0
	}
	return (a*float64(n) + b*float64(m)) / float64(n+m)
}

// GoldenBars are what a report must reach over all sequences together.
type GoldenBars struct {
	MaxLogit float64 // largest |difference| of a listed logit
	MeanKL   float64 // largest mean KL, nats
	Argmax   float64 // smallest share of positions with the golden argmax
	NLL      float64 // largest relative difference of the mean NLL
}

// ReferenceBars hold for float32 arithmetic with a float32 cache. Golden files
// round to five digits, which alone makes a KL of some 1e-6.
func ReferenceBars() GoldenBars {
	return GoldenBars{MaxLogit: 2e-3, MeanKL: 1e-5, Argmax: 0.995, NLL: 1e-4}
}

// QuantizedBars hold for backends that round activations or cached keys and
// values. Single logits may move; what is predicted may not.
func QuantizedBars() GoldenBars {
	return GoldenBars{MaxLogit: math.Inf(1), MeanKL: 1e-3, Argmax: 0.99, NLL: 2e-3}
}

// ErrGoldenBars is wrapped by Check's error.
var ErrGoldenBars = errors.New("logits differ too much from the golden ones")

// Check names every bar that the report misses. Bars that are not numbers,
// and measurements that are none, are missed.
func (r GoldenReport) Check(b GoldenBars) error {
	o := r.Overall
	var missed []string
	miss := func(ok bool, format string, args ...any) {
		if !ok {
			missed = append(missed, fmt.Sprintf(format, args...))
		}
	}
	miss(o.MaxLogit <= b.MaxLogit, "largest logit difference %.3g > %.3g", o.MaxLogit, b.MaxLogit)
	miss(o.MeanKL <= b.MeanKL, "mean KL %.3g > %.3g nats", o.MeanKL, b.MeanKL)
	miss(o.ArgmaxShare() >= b.Argmax, "argmax agrees at %d of %d positions, %.4f < %.4f", o.ArgmaxSame, o.Tokens, o.ArgmaxShare(), b.Argmax)
	miss(math.Abs(o.NLLChange()) <= b.NLL, "mean NLL %.5f against %.5f, %.3g relative > %.3g", o.NLL, o.WantNLL, math.Abs(o.NLLChange()), b.NLL)
	if len(missed) > 0 {
		return fmt.Errorf("%w: %s: %s", ErrGoldenBars, r.Model, strings.Join(missed, "; "))
	}
	return nil
}

// String is a table with a line per sequence.
func (r GoldenReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s against %s\n", r.Model, r.MadeBy)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "sequence\ttokens\tmax |dlogit|\tmean KL\targmax\tNLL\tgolden NLL\tseconds\t")
	for _, s := range append(r.Sequences, r.Overall) {
		fmt.Fprintf(w, "%s\t%d\t%.3g\t%.3g\t%.2f %%\t%.5f\t%.5f\t%.1f\t\n", s.Name, s.Tokens, s.MaxLogit, s.MeanKL, 100*s.ArgmaxShare(), s.NLL, s.WantNLL, s.Seconds)
	}
	_ = w.Flush() // a Builder takes everything
	return b.String()
}
