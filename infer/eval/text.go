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
	// From is the tokens of a passage that are read as a prompt, Tokens those that
	// are then given one by one: what they are predicted with has passed the cache.
	From, Tokens int
	Base, Other  *offload.Plan // of one sequence
	Progress     func(done, total int)
}

// TextReport compares two caches over a text.
type TextReport struct {
	Model      string           `json:"model"`
	Base       string           `json:"base"`  // how tokens are kept
	Other      string           `json:"other"` // how tokens are kept
	Passages   int              `json:"passages"`
	Prompt     int              `json:"prompt_tokens"` // of each
	Divergence DivergenceReport `json:"divergence"`
	Cache      CacheUse         `json:"cache"` // of the other
	BaseSec    float64          `json:"base_seconds_per_token"`
	OtherSec   float64          `json:"other_seconds_per_token"`
}

// Text reads passages with both caches and compares their logits position by
// position. Both decode in turn, so that their times are paired.
func Text(ctx context.Context, prog *graph.Program, passages [][]int32, o TextOptions) (r *TextReport, err error) {
	for _, tok := range passages {
		switch {
		case o.From < 1 || o.Tokens <= divergenceBlock:
			return nil, fmt.Errorf("evaluate text: %d tokens after a prompt of %d: an interval needs at least %d after at least 1", o.Tokens, o.From, divergenceBlock+1)
		case o.From+o.Tokens+1 > len(tok):
			return nil, fmt.Errorf("evaluate text: %d tokens after a prompt of %d, and the next one: the text has %d", o.Tokens, o.From, len(tok))
		}
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
	c := textRun{TextOptions: o, base: base, other: other}
	for i, tok := range passages {
		progress := o.Progress
		if o.Progress != nil {
			progress = func(done, _ int) { o.Progress(i*o.Tokens+done, len(passages)*o.Tokens) }
		}
		if err := c.passage(ctx, tok, progress); err != nil {
			return nil, fmt.Errorf("evaluate text: passage %d: %w", i+1, err)
		}
	}
	r = &TextReport{Model: prog.Name, Base: o.Base.Resolved, Other: o.Other.Resolved, Passages: len(passages), Prompt: o.From}
	return r, c.report(r)
}

func (o TextOptions) runner(prog *graph.Program, p *offload.Plan) (*solo.Runner, error) {
	return solo.New(prog, solo.Config{Backend: o.Backend, Layers: p.Config.Layers, Context: p.Config.Context, ChunkTok: o.Chunk, Threads: o.Threads})
}

// textRun is what passages have shown so far.
type textRun struct {
	TextOptions
	base, other         *solo.Runner
	d                   Divergence
	baseTime, otherTime time.Duration
}

// passage reads one, from nothing.
func (c *textRun) passage(ctx context.Context, tok []int32, progress func(done, total int)) error {
	for _, run := range []*solo.Runner{c.base, c.other} {
		if _, err := run.Truncate(0); err != nil {
			return err
		}
		if err := run.Prefill(ctx, tok[:c.From]); err != nil {
			return fmt.Errorf("prompt: %w", err)
		}
	}
	for i := c.From; i < c.From+c.Tokens; i++ {
		start := time.Now()
		a, err := c.base.Decode(ctx, tok[i])
		if err != nil {
			return fmt.Errorf("token %d: %w", i, err)
		}
		middle := time.Now()
		b, err := c.other.Decode(ctx, tok[i])
		if err != nil {
			return fmt.Errorf("token %d: %w", i, err)
		}
		c.baseTime, c.otherTime = c.baseTime+middle.Sub(start), c.otherTime+time.Since(middle)
		if err := c.d.Add(a, b, tok[i+1]); err != nil {
			return err
		}
		if progress != nil {
			progress(i+1-c.From, c.Tokens)
		}
	}
	return nil
}

func (c *textRun) report(r *TextReport) (err error) {
	if r.Divergence, err = c.d.Report(); err != nil {
		return err
	}
	use, err := c.other.Cache()
	if err != nil {
		return err
	}
	n := float64(r.Divergence.Positions)
	r.BaseSec, r.OtherSec = c.baseTime.Seconds()/n, c.otherTime.Seconds()/n
	plan := c.TextOptions.Other
	r.Cache = CacheUse{Kept: r.Other, FastBytes: use.Fast.Total(), ExactBytes: offload.ExactBytes(layersOf(plan), plan.Config.Context), Traffic: c.other.Traffic()}
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
	return fmt.Sprintf("%s against %s, %d tokens behind a prompt of %d, passages: %d\nNLL %.4f against %.4f: %+.3f %% (95 %%: %+.3f to %+.3f)\nKL mean %.5f, max %.3f nats; the same most probable token at %.2f %%\n%s\n%.2f ms a token against %.2f, in turn\n",
		r.Other, r.Base, d.Positions, r.Prompt, r.Passages, d.OtherNLL, d.BaseNLL, d.Percent, d.PercentCI.Low, d.PercentCI.High, d.MeanKL, d.MaxKL, 100*d.Top1, &r.Cache, 1e3*r.OtherSec, 1e3*r.BaseSec)
}
