package eval

import (
	"errors"
	"math"
	"testing"
)

// FuzzGolden parses arbitrary files: they are refused as malformed, or can be
// compared position by position without running out of their own bounds.
func FuzzGolden(f *testing.F) {
	f.Add([]byte(`{"model":"m","made_by":"x","sequences":{"one":{"tokens":[1],"lse":[2],"argmax":[0],"nll":[],"top":[{"pos":0,"ids":[3,1],"logits":[1.5,-2]}]}}}`))
	f.Add([]byte(`{"sequences":{"a":{"tokens":[1,2],"lse":[1,1],"argmax":[0,0],"nll":[9],"top":[{"pos":1,"ids":[0],"logits":[1e300]}]}}}`))
	f.Add([]byte(`{"sequences":{}} trailing`))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := parseVectors(data)
		if err != nil {
			if !errors.Is(err, ErrGoldenFile) {
				t.Fatalf("error %v does not wrap ErrGoldenFile", err)
			}
			return
		}
		const vocab = 64
		logits := make([]float32, vocab)
		for _, name := range v.names() {
			s := v.Sequences[name]
			if s.checkVocab(vocab) != nil {
				continue
			}
			c := comparison{want: s}
			for pos := range s.Tokens {
				if err := c.position(pos, logits); err != nil {
					t.Fatal(err)
				}
			}
			if math.IsNaN(c.sum.MeanKL) || math.IsNaN(c.sum.MaxLogit) {
				t.Fatalf("mean KL %v, largest difference %v", c.sum.MeanKL, c.sum.MaxLogit)
			}
			if c.sum.Listed != len(s.Top) || c.sum.Scored != len(s.NLL) {
				t.Fatalf("compared %d of %d listed and %d of %d scored positions", c.sum.Listed, len(s.Top), c.sum.Scored, len(s.NLL))
			}
		}
	})
}

func TestDivergence(t *testing.T) {
	for _, c := range []struct {
		p, q []float64
		want float64
	}{
		{[]float64{0.5, 0.25}, []float64{0.5, 0.25}, 0},
		{[]float64{0.5}, []float64{0.25}, 0.5*math.Log(2) + 0.5*math.Log(0.5/0.75)},
		{[]float64{0.75, 0.25 - 9e-6}, []float64{0.75, 0.25}, 0}, // rounded below one
		{[]float64{1}, []float64{0.5}, math.Log(2)},
	} {
		if got := divergence(c.p, c.q); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("divergence(%v, %v) = %v, want %v", c.p, c.q, got, c.want)
		}
	}
}
