package eval

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edged/infer/graph"
	"edged/infer/solo"
	"edged/offload"
)

// TextOptions say how a text is read by two caches.
type TextOptions struct {
	Backend graph.Backend
	Threads int
	Chunk   int // most prompt tokens of one step
	// From is the tokens that are read as a prompt, Tokens those that are then
	// given one by one: what they are predicted with has passed the cache.
	From, Tokens int
	Base, Other  *offload.Plan // of one sequence
	Progress     func(done, total int)
}

// TextReport compares two caches over a text.
type TextReport struct {
	Model      string           `json:"model"`
	Base       string           `json:"base"`  // how tokens are kept
	Other      string           `json:"other"` // how tokens are kept
	Prompt     int              `json:"prompt_tokens"`
	Divergence DivergenceReport `json:"divergence"`
	Cache      CacheUse         `json:"cache"` // of the other
	BaseSec    float64          `json:"base_seconds_per_token"`
	OtherSec   float64          `json:"other_seconds_per_token"`
}

// Text reads tokens with both caches and compares their logits position by
// position. Both decode in turn, so that their times are paired.
func Text(ctx context.Context, prog *graph.Program, tok []int32, o TextOptions) (r *TextReport, err error) {
	if o.From < 1 || o.Tokens < divergenceBlock+1 || o.From+o.Tokens+1 > len(tok) {
		return nil, fmt.Errorf("evaluate text: %d tokens after a prompt of %d: at least %d after at least 1 are needed, and the text has %d", o.Tokens, o.From, divergenceBlock+1, len(tok))
	}
	base, err := o.runner(prog, o.Base)
	if err != nil {
		return nil, fmt.Errorf("evaluate text: %w", err)
	}
	defer func() { err = errors.Join(err, base.Close()) }()
	other, err := o.runner(prog, o.Other)
	if err != nil {
		return nil, fmt.Errorf("evaluate text: %w", err)
	}
	defer func() { err = errors.Join(err, other.Close()) }()
	for _, run := range []*solo.Runner{base, other} {
		if err := run.Prefill(ctx, tok[:o.From]); err != nil {
			return nil, fmt.Errorf("evaluate text: prompt: %w", err)
		}
	}
	r = &TextReport{Model: prog.Name, Base: o.Base.Resolved, Other: o.Other.Resolved, Prompt: o.From}
	return r, o.compare(ctx, base, other, tok, r)
}

func (o TextOptions) runner(prog *graph.Program, p *offload.Plan) (*solo.Runner, error) {
	return solo.New(prog, solo.Config{Backend: o.Backend, Layers: p.Config.Layers, Context: p.Config.Context, ChunkTok: o.Chunk, Threads: o.Threads})
}

func (o TextOptions) compare(ctx context.Context, base, other *solo.Runner, tok []int32, r *TextReport) error {
	var d Divergence
	var baseTime, otherTime time.Duration
	for i := o.From; i < o.From+o.Tokens; i++ {
		start := time.Now()
		a, err := base.Decode(ctx, tok[i])
		if err != nil {
			return fmt.Errorf("evaluate text: token %d: %w", i, err)
		}
		middle := time.Now()
		b, err := other.Decode(ctx, tok[i])
		if err != nil {
			return fmt.Errorf("evaluate text: token %d: %w", i, err)
		}
		baseTime, otherTime = baseTime+middle.Sub(start), otherTime+time.Since(middle)
		if err := d.Add(a, b, tok[i+1]); err != nil {
			return err
		}
		if o.Progress != nil {
			o.Progress(i+1-o.From, o.Tokens)
		}
	}
	var err error
	if r.Divergence, err = d.Report(); err != nil {
		return err
	}
	use, err := other.Cache()
	if err != nil {
		return err
	}
	n := float64(o.Tokens)
	r.BaseSec, r.OtherSec = baseTime.Seconds()/n, otherTime.Seconds()/n
	r.Cache = CacheUse{Kept: r.Other, FastBytes: use.Fast.Total(), ExactBytes: offload.ExactBytes(layersOf(o.Other), o.Other.Config.Context), Traffic: other.Traffic()}
	return nil
}

func layersOf(p *offload.Plan) []offload.LayerSpec {
	var specs []offload.LayerSpec
	for _, l := range p.Config.Layers {
		specs = append(specs, l.LayerSpec)
	}
	return specs
}

// String is the report for people.
func (r *TextReport) String() string {
	d := r.Divergence
	return fmt.Sprintf("%s against %s, %d tokens behind a prompt of %d\nNLL %.4f against %.4f: %+.3f %% (95 %%: %+.3f to %+.3f)\nKL mean %.5f, max %.3f nats; the same most probable token at %.2f %%\n%s\n%.2f ms a token against %.2f, in turn\n",
		r.Other, r.Base, d.Positions, r.Prompt, d.OtherNLL, d.BaseNLL, d.Percent, d.PercentCI.Low, d.PercentCI.High, d.MeanKL, d.MaxKL, 100*d.Top1, &r.Cache, 1e3*r.OtherSec, 1e3*r.BaseSec)
}
