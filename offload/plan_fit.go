package offload

import (
	"errors"
	"fmt"
	"sort"
	"strings"
)

// ErrNoFit is wrapped when no way of a policy's fits the tiers.
var ErrNoFit = errors.New("the cache does not fit")

// NoFitError says what a cache needs at least, and what would fit instead.
type NoFitError struct {
	Policy             string
	Context, Sessions  int
	NeedFast, NeedHost int64 // bytes
	Fast, Host, Total  int64 // bytes that were given; 0: no limit
	NeedLock, Lockable int64 // bytes that are to be locked, and that may be; 0: no limit
	Fits               []Fit
}

// Fit is one change that makes a cache fit; its other fields are zero.
type Fit struct {
	Context  int    `json:"context,omitempty"` // tokens, the most
	Sessions int    `json:"sessions,omitempty"`
	Budget   int    `json:"budget,omitempty"` // tokens, the most
	Elem     string `json:"elem,omitempty"`   // of records
	Policy   string `json:"policy,omitempty"`
}

// Unwrap is ErrNoFit.
func (e *NoFitError) Unwrap() error { return ErrNoFit }

func (e *NoFitError) Error() string {
	s := fmt.Sprintf("%v: policy %s for %d x %d tokens needs at least %s; ", ErrNoFit, e.Policy, e.Sessions, e.Context, e.need())
	if len(e.Fits) == 0 {
		return s + "no shorter context fits either"
	}
	var fits []string
	for _, f := range e.Fits {
		fits = append(fits, f.String())
	}
	return s + "what fits: " + strings.Join(fits, ", or ")
}

func (e *NoFitError) need() string {
	s := e.needTiers()
	if e.Lockable > 0 {
		s += fmt.Sprintf(", %d of these locked, of which %d may be", e.NeedLock, e.Lockable)
	}
	return s
}

func (e *NoFitError) needTiers() string {
	if e.Total > 0 && e.Fast == 0 && e.Host == 0 {
		return fmt.Sprintf("%d bytes of %d", e.NeedFast+e.NeedHost, e.Total)
	}
	s := fmt.Sprintf("%d bytes in the fast tier%s and %d bytes in the host tier%s", e.NeedFast, limit(e.Fast), e.NeedHost, limit(e.Host))
	if e.Total > 0 {
		s += fmt.Sprintf(", %d in all%s", e.NeedFast+e.NeedHost, limit(e.Total))
	}
	return s
}

func limit(bytes int64) string {
	if bytes == 0 {
		return " (no limit)"
	}
	return fmt.Sprintf(" of %d", bytes)
}

func (f Fit) String() string {
	switch {
	case f.Context > 0:
		return fmt.Sprintf("a context of %d tokens", f.Context)
	case f.Sessions > 0:
		return fmt.Sprintf("sessions: %d", f.Sessions)
	case f.Budget > 0:
		return fmt.Sprintf("a budget of %d tokens", f.Budget)
	case f.Elem != "":
		return "policy auto+" + f.Elem
	}
	return "policy " + f.Policy
}

// whatFits changes one thing of an ask at a time.
func (a Ask) whatFits() []Fit {
	var fits []Fit
	if n := PageTok * a.most(a.Context/PageTok, func(b *Ask, n int) { b.shorten(n * PageTok) }); n > 0 && n < a.Context {
		fits = append(fits, Fit{Context: n})
	}
	if n := a.most(a.Sessions, func(b *Ask, n int) { b.Sessions, b.Tokens = n, 0 }); n > 0 && n < a.Sessions {
		fits = append(fits, Fit{Sessions: n})
	}
	if n := PageTok * a.most(a.budget()/2, func(b *Ask, n int) { b.Options.Budget = n * PageTok }); n > 0 {
		fits = append(fits, Fit{Budget: n})
	}
	for _, name := range []string{"q8", "q4", "auto"} {
		b := a
		b.Policy, b.Options = name, Options{}
		if name != a.Policy && !strings.HasPrefix(a.Policy, "auto") && b.works() {
			fits = append(fits, Fit{Policy: name})
		}
	}
	if b := a; strings.HasPrefix(a.Policy, "auto") && a.Options.Elem == "" {
		if b.Options.Elem = Q4.String(); b.works() {
			fits = append(fits, Fit{Elem: b.Options.Elem})
		}
	}
	return fits
}

func (a Ask) works() bool {
	_, err := a.resolve()
	return err == nil
}

// most is the largest n up to limit with which the ask fits; 0 for none. More
// never takes less.
func (a Ask) most(limit int, set func(*Ask, int)) int {
	return sort.Search(max(limit, 0), func(i int) bool {
		b := a
		set(&b, i+1)
		return !b.works()
	})
}

// shorten sets a shorter context; tokens that all sequences share stay as they
// were where they can.
func (a *Ask) shorten(context int) {
	if a.Tokens > 0 {
		a.Tokens = min(a.Tokens, context*max(a.Sessions, 1))
	}
	a.Context = context
}

// budget is the cold pages that were asked for; 0 where the plan chooses.
func (a Ask) budget() int {
	p, err := PolicyByName(a.Policy)
	if err != nil || p.Granularity != ByPage {
		return 0
	}
	s, err := a.Options.settle(p, a.Layers, a.Context)
	if err != nil {
		return 0
	}
	return s.budget
}
