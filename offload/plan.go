package offload

import (
	"errors"
	"fmt"
	"math"

	"edged/pinnedmem"
)

// Ask is what a cache is wanted for.
type Ask struct {
	Layers   []LayerSpec
	Policy   string
	Options  Options
	Context  int // tokens that one sequence may hold
	Tokens   int // tokens of all sequences together; 0: Context for each session
	Sessions int // sequences at once; 0: one
	Decoding int // of them, those that may decode at once; 0: all
	// Fast and Host are the bytes that the cache may take in each tier, and Total in
	// both, where these share memory; 0 is no limit. Prompts are staged in the host
	// tier.
	Fast, Host, Total int64
	// Lockable is the bytes of host memory that may be locked; 0 is no limit. The fast
	// tier is host memory too, unless it is a device's. Page tables are never locked.
	Lockable int64
	Device   bool // the fast tier is a device's
}

// Plan is how a cache is kept, and exactly what it takes.
type Plan struct {
	Policy   Policy
	Resolved string // what the policy came to: "exact f16", "q8 resident", "paged q8"
	Config   Config // of the pool
	Bytes    Bytes  // per tier and purpose, as the pool's accounts will say
	Rows     []PlanRow
	Notes    []string // what was taken otherwise than it was asked for
}

// ContextError refuses a context above the model's own, which a planner
// cannot know.
type ContextError struct{ Context, Model int } // tokens

func (e *ContextError) Error() string {
	return fmt.Sprintf("context of %d tokens > %d tokens, the model's own", e.Context, e.Model)
}

// MakePlan finds the first way of a policy's that fits both tiers. It fails
// with a [NoFitError] when there is none.
func MakePlan(a Ask) (*Plan, error) {
	p, err := a.resolve()
	var no *NoFitError
	if errors.As(err, &no) {
		no.Fits = a.whatFits()
	}
	if err != nil {
		return nil, fmt.Errorf("plan cache: %w", err)
	}
	if p.Rows, err = p.Config.rows(); err != nil {
		return nil, fmt.Errorf("plan cache: %w", err)
	}
	return p, nil
}

// resolve tries a policy's candidates in their order. If none fits, the error
// is about the last one, which wants the least of the fast tier.
func (a Ask) resolve() (*Plan, error) {
	policy, err := PolicyByName(a.Policy)
	if err != nil {
		return nil, err
	}
	if a, err = a.check(); err != nil {
		return nil, err
	}
	s, err := a.Options.settle(policy, a.Layers, a.Context)
	if err != nil {
		return nil, err
	}
	var b Bytes
	for _, c := range policy.place(a, s) {
		p := &Plan{Policy: policy, Resolved: c.name, Config: a.config(c.layers), Notes: c.notes}
		if b, err = p.Config.Bytes(); err != nil {
			return nil, err
		}
		if a.fits(b) {
			return p, p.fillSets(a, c.most)
		}
	}
	return nil, &NoFitError{Policy: policy.Name, Context: a.Context, Sessions: a.Sessions,
		NeedFast: b.Fast.Total(), NeedHost: b.Host.Total(), Fast: a.Fast, Host: a.Host, Total: a.Total, NeedLock: a.locks(b), Lockable: a.Lockable}
}

// maxTokens keeps page ids within 32 bits, and sums of bytes within 64.
const maxTokens = 1 << 36

// check fills in defaults.
func (a Ask) check() (Ask, error) {
	if a.Sessions == 0 {
		a.Sessions = 1
	}
	if a.Tokens == 0 && a.Context > 0 && a.Sessions <= maxTokens/a.Context {
		a.Tokens = a.Context * a.Sessions
	}
	for _, x := range []struct {
		what        string
		n, low, top int64
	}{
		{"layers", int64(len(a.Layers)), 1, math.MaxInt64}, {"a context in tokens", int64(a.Context), 1, math.MaxInt32}, {"sessions", int64(a.Sessions), 1, maxTokens / int64(max(a.Context, 1))},
		{"tokens of all sessions", int64(a.Tokens), int64(a.Context), maxTokens}, {"sessions that decode", int64(a.Decoding), 0, math.MaxInt64},
		{"bytes of the fast tier", a.Fast, 0, math.MaxInt64}, {"bytes of the host tier", a.Host, 0, math.MaxInt64}, {"bytes of both tiers", a.Total, 0, math.MaxInt64},
		{"bytes that may be locked", a.Lockable, 0, math.MaxInt64},
	} {
		if x.n < x.low {
			return a, fmt.Errorf("%w: %s: %d, must be at least %d", ErrPlan, x.what, x.n, x.low)
		}
		if x.n > x.top {
			return a, fmt.Errorf("%w: %s: %d, must be at most %d", ErrPlan, x.what, x.n, x.top)
		}
	}
	return a, nil
}

func (a Ask) config(layers []LayerPlan) Config {
	return Config{Layers: layers, Context: a.Context, Tokens: a.Tokens, MaxSeqs: a.Sessions, Decoding: min(a.Decoding, a.Sessions)}
}

func (a Ask) fits(b Bytes) bool {
	fast, host := b.Fast.Total(), b.Host.Total()
	return (a.Fast == 0 || fast <= a.Fast) && (a.Host == 0 || host <= a.Host) && (a.Total == 0 || fast+host <= a.Total) &&
		(a.Lockable == 0 || a.locks(b) <= a.Lockable)
}

// locks is the bytes that a pool would lock.
func (a Ask) locks(b Bytes) int64 {
	n := b.Host.Total() - b.Host[pinnedmem.PageTables]
	if !a.Device {
		n += b.Fast.Total() - b.Fast[pinnedmem.PageTables]
	}
	return n
}
