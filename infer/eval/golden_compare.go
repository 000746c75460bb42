package eval

import (
	"fmt"
	"math"
)

// comparison adds up the differences of one sequence.
type comparison struct {
	want vectorSequence
	sum  GoldenSequence
	next int // index of the next listed position
}

func (c *comparison) position(pos int, logits []float32) error {
	lse, best, err := summarize(logits)
	if err != nil {
		return fmt.Errorf("position %d: %w", pos, err)
	}
	c.sum.Tokens++
	if best == c.want.Argmax[pos] {
		c.sum.ArgmaxSame++
	}
	if pos < len(c.want.NLL) {
		n := float64(c.sum.Scored)
		c.sum.NLL = (c.sum.NLL*n + lse - float64(logits[c.want.Tokens[pos+1]])) / (n + 1)
		c.sum.WantNLL = (c.sum.WantNLL*n + c.want.NLL[pos]) / (n + 1)
		c.sum.Scored++
	}
	if c.next < len(c.want.Top) && c.want.Top[c.next].Pos == pos {
		c.listed(c.want.Top[c.next], c.want.LSE[pos], logits, lse)
		c.next++
	}
	return nil
}

// listed compares one position's listed logits.
func (c *comparison) listed(want vectorTop, wantLSE float64, logits []float32, lse float64) {
	p, q := make([]float64, len(want.IDs)), make([]float64, len(want.IDs))
	for i, id := range want.IDs {
		got := float64(logits[id])
		c.sum.MaxLogit = math.Max(c.sum.MaxLogit, math.Abs(got-want.Logits[i]))
		p[i], q[i] = math.Exp(want.Logits[i]-wantLSE), math.Exp(got-lse)
	}
	n := float64(c.sum.Listed)
	c.sum.MeanKL = (c.sum.MeanKL*n + divergence(p, q)) / (n + 1)
	c.sum.Listed++
}

// goldenRounding is how far the probabilities of a golden file, computed from
// numbers of five digits, may be from summing to one.
const goldenRounding = 1e-5

// divergence is KL(p || q) in nats over the listed outcomes and one more, the
// rest. What rounding leaves of p's rest is none.
func divergence(p, q []float64) float64 {
	p, q = withRest(p, goldenRounding), withRest(q, 0)
	var kl float64
	for i := range p {
		if p[i] > 0 {
			kl += p[i] * math.Log(p[i]/q[i])
		}
	}
	return kl
}

// withRest appends the probability of all other outcomes, none if it is no
// more than noise, and makes the sum one.
func withRest(p []float64, noise float64) []float64 {
	var sum float64
	for _, x := range p {
		sum += x
	}
	rest := 1 - sum
	if rest <= noise {
		rest = 0
	}
	out := append(append([]float64(nil), p...), rest)
	for i := range out {
		out[i] /= sum + rest
	}
	return out
}

// summarize gives the logsumexp of the logits and the id of the largest.
func summarize(logits []float32) (lse float64, best int32, err error) {
	for i, v := range logits {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return 0, 0, fmt.Errorf("logit of token %d is %g", i, v)
		}
		if v > logits[best] {
			best = int32(i)
		}
	}
	var sum float64
	for _, v := range logits {
		sum += math.Exp(float64(v) - float64(logits[best]))
	}
	return float64(logits[best]) + math.Log(sum), best, nil
}
