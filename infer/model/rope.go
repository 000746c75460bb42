package model

import (
	"fmt"
	"math"
)

// ropeParams are the keys ARCH.rope.*.
type ropeParams struct {
	base     float64
	kind     string  // "", "linear", "yarn"
	factor   float64 // context extension
	original int     // tokens of the trained context
	attn     float64 // YaRN's attention factor, multiplies cos and sin
	betaFast float64 // rotations above which a frequency stays as it is
	betaSlow float64 // rotations below which it is divided by factor
}

// localRopeBase is the base of Gemma 3's sliding-window layers, which files
// may leave out (Gemma 3 technical report, arXiv:2503.19786).
const localRopeBase = 10000

func readRope(r *reader) ropeParams {
	p := ropeParams{base: r.float("rope.freq_base", 10000), factor: 1}
	kind, ok := r.f.String(r.key("rope.scaling.type"))
	if !ok {
		r.absent("rope.scaling.type", "text")
	}
	if kind == "" {
		// Old files give a factor only.
		if p.factor = r.float("rope.scale_linear", 1); p.factor != 1 {
			p.kind = "linear"
		}
		return p
	}
	switch kind {
	case "none":
	case "linear":
		p.kind, p.factor = kind, r.float("rope.scaling.factor", 1)
	case "yarn":
		p.kind, p.factor = kind, r.float("rope.scaling.factor", 1)
		p.readYarn(r)
	default:
		r.fail("rope scaling %.80q is %w; supported: none, linear, yarn, and llama3 by its tensor rope_freqs", kind, ErrUnsupported)
	}
	return p
}

// readYarn reads the keys that only YaRN has. The attention factor follows
// from the scaling factor (equation 22) unless the model states its own;
// rope.scaling.attn_factor multiplies either.
func (p *ropeParams) readYarn(r *reader) {
	p.original = r.need("rope.scaling.original_context_length", maxContext)
	p.attn = r.float("rope.scaling.yarn_attn_factor", 1+0.1*math.Log(math.Max(p.factor, 1)))
	p.attn *= r.float("rope.scaling.attn_factor", 1)
	p.betaFast = r.float("rope.scaling.yarn_beta_fast", 32)
	p.betaSlow = r.float("rope.scaling.yarn_beta_slow", 1)
	if v := r.float("rope.scaling.yarn_ext_factor", 1); v != 1 {
		r.fail("rope.scaling.yarn_ext_factor %g is %w; supported: 1", v, ErrUnsupported)
	}
	if v, ok := r.number("rope.scaling.yarn_log_multiplier"); ok && v != 0 {
		r.fail("rope.scaling.yarn_log_multiplier %g is %w", v, ErrUnsupported)
	}
}

// invFreq computes the angular frequencies [dims/2] and the factor for cos and
// sin. divisors, from tensor rope_freqs (Llama 3's scaling), may be nil.
func (p ropeParams) invFreq(dims int, divisors []float32) ([]float64, float32, error) {
	if divisors != nil && len(divisors) != dims/2 {
		return nil, 0, fmt.Errorf("rope_freqs has %d factors for %d channel pairs", len(divisors), dims/2)
	}
	f := make([]float64, dims/2)
	for i := range f {
		f[i] = math.Pow(p.base, -2*float64(i)/float64(dims))
		if divisors != nil {
			if !(divisors[i] > 0) || divisors[i] > math.MaxFloat32 {
				return nil, 0, fmt.Errorf("rope_freqs factor %d is %g, must be positive and finite", i, divisors[i])
			}
			f[i] /= float64(divisors[i])
		}
	}
	switch p.kind {
	case "linear":
		for i := range f {
			f[i] /= p.factor
		}
	case "yarn":
		return p.yarn(f, dims)
	}
	return f, 1, nil
}

// yarn blends interpolated and unchanged frequencies between two rotation
// counts (Peng et al., arXiv:2309.00071, section 3.2).
func (p ropeParams) yarn(f []float64, dims int) ([]float64, float32, error) {
	// pair is the channel pair that turns `rotations` times in the trained context.
	pair := func(rotations float64) float64 {
		return float64(dims) * math.Log(float64(p.original)/(rotations*2*math.Pi)) / (2 * math.Log(p.base))
	}
	low := math.Max(math.Floor(pair(p.betaFast)), 0)
	high := math.Min(math.Ceil(pair(p.betaSlow)), float64(dims-1))
	for i := range f {
		ramp := math.Min(math.Max((float64(i)-low)/math.Max(high-low, 0.001), 0), 1)
		f[i] = f[i]*(1-ramp) + f[i]/p.factor*ramp
	}
	return f, float32(p.attn), nil
}
