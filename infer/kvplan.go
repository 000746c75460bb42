package infer

import (
	"errors"
	"fmt"
	"sort"

	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

// MinContext is the shortest context that a model is served with, in tokens:
// room for a short question and its answer.
const MinContext = 16

// kvPlan plans a model's KV cache.
type kvPlan struct {
	layers  []offload.LayerSpec
	policy  string
	options offload.Options
	slots   int // sequences
	running int // of them, those that decode at once
	// fast is the bytes of the fast tier; 0 when both tiers share the host's.
	fast int64
}

// plan plans for sequences of up to context tokens, nTok in all, within room
// bytes of host memory.
func (p kvPlan) plan(context, nTok int, room int64) (*offload.Plan, error) {
	ask := offload.Ask{Layers: p.layers, Policy: p.policy, Options: p.options, Context: context, Tokens: nTok, Sessions: p.slots, Decoding: p.running}
	if room = max(room, 1); p.fast > 0 {
		ask.Fast, ask.Host = p.fast, room
	} else {
		ask.Total = room
	}
	return offload.MakePlan(ask)
}

// context plans for the longest context up to want that the budget carries
// beside used bytes. Unless shorter is allowed, anything below want is an error.
func (p kvPlan) context(want int, shorter bool, budget, used int64) (*offload.Plan, error) {
	if want < MinContext {
		return nil, fmt.Errorf("a context of %d tokens is too short, the least is %d", want, MinContext)
	}
	plan, err := p.plan(want, want, budget-used)
	if err == nil || !errors.Is(err, offload.ErrNoFit) {
		return plan, err
	}
	pages := sort.Search(want/offload.PageTok+1, func(i int) bool {
		if i == 0 {
			return false
		}
		_, err := p.plan(i*offload.PageTok, i*offload.PageTok, budget-used)
		return err != nil
	}) - 1
	if n := pages * offload.PageTok; shorter && n >= MinContext {
		return p.plan(n, n, budget-used)
	}
	if p.fast > 0 {
		return nil, fmt.Errorf("a context of %d tokens beside the weights, in %d bytes of fast memory: %w: %w", want, p.fast, pinnedmem.ErrBudget, err)
	}
	return nil, fmt.Errorf("a context of %d tokens beside %d bytes of weights and activations: %w of %d bytes: %w", want, used, pinnedmem.ErrBudget, budget, err)
}

// widen grows a plan's pool for all sequences together to want tokens, or
// without a wish to up to twice the context, as far as it stays the same plan.
func (p kvPlan) widen(plan *offload.Plan, want int, budget, used int64) (*offload.Plan, error) {
	context := plan.Config.Context
	if want != 0 {
		if want < context {
			return nil, fmt.Errorf("a KV cache of %d tokens is smaller than the context of %d", want, context)
		}
		wide, err := p.plan(context, want, budget-used)
		if err != nil {
			return nil, fmt.Errorf("a KV cache of %d tokens beside %d bytes of weights and activations: %w of %d bytes: %w", want, used, pinnedmem.ErrBudget, budget, err)
		}
		return wide, nil
	}
	same := func(pages int) *offload.Plan {
		wide, err := p.plan(context, context+pages*offload.PageTok, budget-used)
		if err != nil || wide.Resolved != plan.Resolved {
			return nil
		}
		return wide
	}
	// Where pages are fetched, memory serves better as a cache of them.
	for _, l := range plan.Config.Layers {
		if l.Class.Cold() {
			return plan, nil
		}
	}
	more := sort.Search(context/offload.PageTok, func(i int) bool { return same(i+1) == nil })
	if wide := same(more); wide != nil {
		return wide, nil
	}
	return plan, nil
}

// workingBytes is about what a compiled program takes beside its weights'
// bytes: what is known before it is compiled.
func workingBytes(p *graph.Program, rows int) int64 {
	var width, weights int64
	for _, b := range p.Buffers {
		width += int64(b.Width)
	}
	for _, w := range p.Weights {
		weights += int64(len(w.Data))
	}
	return weights + weights/25 + int64(rows)*width*8
}

// shrink fits a plan's pool into what a compiled program has left: fewer tokens
// for all sequences together first, then, if that is allowed, a shorter context.
func shrink(c offload.Config, shorter bool, fast, room int64) (offload.Config, error) {
	fits := func(c offload.Config) bool {
		b, err := c.Bytes()
		if fast > 0 {
			return err == nil && b.Fast.Total() <= fast && b.Host.Total() <= room
		}
		return err == nil && b.Fast.Total()+b.Host.Total() <= room
	}
	if fits(c) {
		return c, nil
	}
	wide := c
	if wide.Tokens = c.Context; fits(wide) {
		wide.Tokens += (sort.Search((c.Tokens-c.Context)/offload.PageTok, func(i int) bool {
			try := wide
			try.Tokens += (i + 1) * offload.PageTok
			return !fits(try)
		})) * offload.PageTok
		return wide, nil
	}
	pages := sort.Search(c.Context/offload.PageTok+1, func(i int) bool {
		try := c
		try.Context, try.Tokens = i*offload.PageTok, i*offload.PageTok
		return i > 0 && !fits(try)
	}) - 1
	n := pages * offload.PageTok
	if shorter && n >= MinContext {
		c.Context, c.Tokens = n, n
		return c, nil
	}
	b, err := wide.Bytes()
	if err != nil {
		return c, err
	}
	return c, fmt.Errorf("a context of %d tokens needs %s of KV cache: %w: %s", c.Context, sizes(fast, b.Fast.Total(), b.Host.Total()), pinnedmem.ErrBudget, left(fast, room, n))
}

// sizes names bytes by tier, where there are two.
func sizes(tier, fast, host int64) string {
	if tier == 0 {
		return fmt.Sprintf("%d bytes", fast+host)
	}
	return fmt.Sprintf("%d bytes of device memory and %d of host memory", fast, host)
}

// left says what there is, and what would fit into it.
func left(fast, room int64, context int) string {
	s := fmt.Sprintf("%s are left", sizes(fast, fast, room))
	if fast == 0 {
		s = fmt.Sprintf("%d bytes are left", room)
	}
	if context < MinContext {
		return s + ", and no shorter context fits either"
	}
	return fmt.Sprintf("%s; what fits: a context of %d tokens", s, context)
}
