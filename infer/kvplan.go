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
	// size is what a program takes of the host's memory beside a cache, where the
	// backend knows; else nil.
	size func(context int, kv []offload.LayerPlan) (int64, error)
}

// program is what a program takes of the host's memory beside a cache, 0 where that is
// not known.
func (p kvPlan) program(context int, kv []offload.LayerPlan) (int64, error) {
	if p.size == nil {
		return 0, nil
	}
	return p.size(context, kv)
}

// least is what it takes beside an exact cache.
func (p kvPlan) least(context int) (int64, error) {
	return p.program(context, offload.ExactLayers(p.layers, offload.F16))
}

// plan plans for sequences of up to context tokens, nTok in all, within room
// bytes of host memory.
func (p kvPlan) plan(context, nTok int, room int64) (*offload.Plan, error) {
	ask := offload.Ask{Layers: p.layers, Policy: p.policy, Options: p.options, Context: context, Tokens: nTok, Sessions: p.slots, Decoding: p.running}
	program, err := p.least(context)
	if err != nil {
		return nil, err
	}
	// The more a cache saves, the more the program that reads it takes.
	for {
		left := max(room-program, 1)
		if p.fast > 0 {
			ask.Fast, ask.Host = p.fast, left
		} else {
			ask.Total = left
		}
		plan, err := offload.MakePlan(ask)
		if err != nil {
			return nil, err
		}
		need, err := p.program(context, plan.Config.Layers)
		if err != nil {
			return nil, err
		}
		if need <= program {
			return plan, nil
		}
		program = need
	}
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
	n := pages * offload.PageTok
	if shorter && n >= MinContext {
		return p.plan(n, n, budget-used)
	}
	err = p.refusal(err, want, n, budget-used)
	if p.fast > 0 {
		return nil, fmt.Errorf("a context of %d tokens beside the weights, in %d bytes of fast memory: %w: %w", want, p.fast, pinnedmem.ErrBudget, err)
	}
	least, sizeErr := p.least(want)
	beside := used + least
	if no := (*offload.NoFitError)(nil); errors.As(err, &no) {
		beside = max(beside, budget-no.Total)
	}
	return nil, errors.Join(fmt.Errorf("a context of %d tokens beside %d bytes of weights and activations: %w of %d bytes: %w", want, beside, pinnedmem.ErrBudget, budget, err), sizeErr)
}

// leastSeqs is one sequence that runs, and one that is kept.
const leastSeqs = 2

// refusal says what fits in place of a context: the longest one, fewer sequences, or
// another policy, with the program that each needs.
func (p kvPlan) refusal(err error, context, longest int, room int64) error {
	var no *offload.NoFitError
	if !errors.As(err, &no) {
		return err
	}
	fits := func(change func(*kvPlan)) bool {
		q := p
		change(&q)
		_, err := q.plan(context, context, room)
		return err == nil
	}
	known := no.Fits
	if no.Fits = nil; longest >= MinContext {
		no.Fits = append(no.Fits, offload.Fit{Context: longest})
	}
	if n := sort.Search(p.slots, func(n int) bool {
		return n >= leastSeqs && !fits(func(q *kvPlan) { q.slots, q.running = n, min(n, q.running) })
	}) - 1; n >= leastSeqs {
		no.Fits = append(no.Fits, offload.Fit{Sessions: n})
	}
	for _, f := range known {
		if f.Elem != "" && fits(func(q *kvPlan) { q.options.Elem = f.Elem }) || f.Policy != "" && fits(func(q *kvPlan) { q.policy, q.options = f.Policy, offload.Options{} }) {
			no.Fits = append(no.Fits, f)
		}
	}
	return fmt.Errorf("plan cache: %w", no)
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
