package infer

import (
	"errors"
	"fmt"
	"math"
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
	slots   int  // sequences
	running int  // of them, those that decode at once
	whole   bool // each may hold a whole context
	Memory
	// size is what a program takes beside a cache; nil counts nothing.
	size func(context int, kv []offload.LayerPlan) (graph.Footprint, error)
}

// program is what a program takes beside a cache.
func (p kvPlan) program(context int, kv []offload.LayerPlan) (graph.Footprint, error) {
	if p.size == nil {
		return graph.Footprint{}, nil
	}
	return p.size(context, kv)
}

// least is what it takes beside an exact cache.
func (p kvPlan) least(context int) (graph.Footprint, error) {
	return p.program(context, offload.ExactLayers(p.layers, offload.F16))
}

// ask is for a cache beside a program that takes so much.
func (p kvPlan) ask(context, nTok int, device, host int64) offload.Ask {
	a := offload.Ask{Layers: p.layers, Policy: p.policy, Options: p.options, Context: context, Tokens: nTok, Sessions: p.slots, Decoding: p.running,
		Fast: p.fastBeside(device), Lockable: p.Lockable, Device: p.Device > 0}
	left := max(p.Host-host, 1) // 0 is no limit
	if a.Fast > 0 {
		a.Host = left
	} else {
		a.Total = left
	}
	return a
}

// plan plans for sequences of up to context tokens, nTok in all.
func (p kvPlan) plan(context, nTok int) (*offload.Plan, error) {
	program, err := p.least(context)
	if err != nil {
		return nil, err
	}
	// The more a cache saves, the more the program that reads it takes.
	device, host := program.Device.Total(), program.Host.Total()
	for {
		ask := p.ask(context, nTok, device, host)
		plan, err := offload.MakePlan(ask)
		if err != nil {
			return nil, err
		}
		if host > p.Host || p.Device > 0 && device > p.Device {
			return nil, noRoom(ask, plan) // a cache of 0 bytes in a tier fits anything
		}
		need, err := p.program(context, plan.Config.Layers)
		if err != nil {
			return nil, err
		}
		if need.Device.Total() <= device && need.Host.Total() <= host {
			return plan, nil
		}
		device, host = max(device, need.Device.Total()), max(host, need.Host.Total())
	}
}

// noRoom refuses a plan whose program alone is too large.
func noRoom(a offload.Ask, p *offload.Plan) error {
	return &offload.NoFitError{Policy: p.Policy.Name, Context: a.Context, Sessions: a.Sessions,
		NeedFast: p.Bytes.Fast.Total(), NeedHost: p.Bytes.Host.Total(), Fast: a.Fast, Host: a.Host, Total: a.Total}
}

// tokens is the least that all sequences together have room for.
func (p kvPlan) tokens(context int) int {
	if p.whole {
		return p.slots * context
	}
	return context
}

// context plans for the longest context up to want that the memory carries. Unless
// shorter is allowed, anything below want is an error.
func (p kvPlan) context(want int, shorter bool) (*offload.Plan, error) {
	if want < MinContext {
		return nil, fmt.Errorf("a context of %d tokens is too short, the least is %d", want, MinContext)
	}
	plan, err := p.plan(want, p.tokens(want))
	if err == nil || !errors.Is(err, offload.ErrNoFit) {
		return plan, err
	}
	pages := sort.Search(want/offload.PageTok+1, func(i int) bool {
		if i == 0 {
			return false
		}
		_, err := p.plan(i*offload.PageTok, p.tokens(i*offload.PageTok))
		return err != nil
	}) - 1
	n := pages * offload.PageTok
	if shorter && n >= MinContext {
		return p.plan(n, p.tokens(n))
	}
	return nil, p.refusal(err, want, n)
}

// leastSeqs is one sequence that runs, and one that is kept.
const leastSeqs = 2

// fits says whether a plan with something changed does.
func (p kvPlan) fits(context int, change func(*kvPlan)) bool {
	change(&p)
	_, err := p.plan(context, p.tokens(context))
	return err == nil
}

// refusal names the memory that a context does not fit, and what fits in place of it.
func (p kvPlan) refusal(err error, context, longest int) error {
	least, sizeErr := p.least(context)
	if sizeErr != nil {
		return errors.Join(err, sizeErr)
	}
	var no *offload.NoFitError
	if !errors.As(err, &no) {
		return err
	}
	err = p.whatFits(no, context, longest)
	switch device := least.Device.Total(); {
	case p.limit(context) == LockLimit:
		return fmt.Errorf("a context of %d tokens: %d bytes of its KV cache are to be locked (engine.lock_memory), RLIMIT_MEMLOCK lets %d bytes be: raise it (LimitMEMLOCK= of the unit, or ulimit -l), or set engine.lock_memory = false: %w: %w",
			context, no.NeedLock, p.Lockable, pinnedmem.ErrBudget, err)
	case p.Device > 0 && device >= p.Device:
		return fmt.Errorf("weights and activations of %d bytes of device memory: %w: %d may be taken; what fits: a model of fewer or more strongly quantized weights", device, pinnedmem.ErrBudget, p.Device)
	case p.Device > 0:
		return fmt.Errorf("a context of %d tokens beside %d bytes of weights and activations on the device, of which %d may be taken, and %d of %d bytes of host memory: %w: %w",
			context, device, p.Device, least.Host.Total(), p.Host, pinnedmem.ErrBudget, err)
	case p.Fast > 0:
		return fmt.Errorf("a context of %d tokens beside the weights, in %d bytes of fast memory: %w: %w", context, p.Fast, pinnedmem.ErrBudget, err)
	}
	return fmt.Errorf("a context of %d tokens beside %d bytes of weights and activations: %w of %d bytes: %w",
		context, max(least.Host.Total(), p.Host-no.Total), pinnedmem.ErrBudget, p.Host, err)
}

// Memory that may be what a context does not fit.
const (
	HostLimit   = "engine.host_memory"
	DeviceLimit = "the device's memory"
	LockLimit   = "RLIMIT_MEMLOCK"
)

// limit is the memory but for which a context would fit, "" when it does. Where each of
// several is too small, it is the host's.
func (p kvPlan) limit(context int) string {
	switch {
	case p.fits(context, func(*kvPlan) {}):
		return ""
	case p.Lockable > 0 && p.fits(context, func(q *kvPlan) { q.Lockable = 0 }):
		return LockLimit
	case p.Device > 0 && p.fits(context, func(q *kvPlan) { q.Device = math.MaxInt64 }):
		return DeviceLimit
	}
	return HostLimit
}

// whatFits says what fits in place of a context: the longest one, fewer sequences, or
// another policy, with the program that each needs.
func (p kvPlan) whatFits(no *offload.NoFitError, context, longest int) error {
	fits := func(change func(*kvPlan)) bool { return p.fits(context, change) }
	known := no.Fits
	if no.Fits = nil; longest >= MinContext {
		no.Fits = append(no.Fits, offload.Fit{Context: longest})
	}
	least := leastSeqs
	if p.whole {
		least = 1
	}
	if n := sort.Search(p.slots, func(n int) bool {
		return n >= least && !fits(func(q *kvPlan) { q.slots, q.running = n, min(n, q.running) })
	}) - 1; n >= least {
		no.Fits = append(no.Fits, offload.Fit{Sessions: n})
	}
	for _, f := range known {
		if f.Budget > 0 && fits(func(q *kvPlan) { q.options.Budget = f.Budget }) || f.Elem != "" && fits(func(q *kvPlan) { q.options.Elem = f.Elem }) ||
			f.Policy != "" && fits(func(q *kvPlan) { q.policy, q.options = f.Policy, offload.Options{} }) {
			no.Fits = append(no.Fits, f)
		}
	}
	return fmt.Errorf("plan cache: %w", no)
}

// widen grows a plan's pool for all sequences together to want tokens, or
// without a wish to up to twice the context, as far as it stays the same plan.
func (p kvPlan) widen(plan *offload.Plan, want int) (*offload.Plan, error) {
	context := plan.Config.Context
	if want != 0 {
		if want < context {
			return nil, fmt.Errorf("a KV cache of %d tokens is smaller than the context of %d", want, context)
		}
		wide, err := p.plan(context, want)
		if err != nil {
			return nil, fmt.Errorf("a KV cache of %d tokens: %w of %d bytes: %w", want, pinnedmem.ErrBudget, p.Host, err)
		}
		return wide, nil
	}
	same := func(pages int) *offload.Plan {
		wide, err := p.plan(context, context+pages*offload.PageTok)
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
