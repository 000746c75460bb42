// Package health keeps the list of what is wrong with the daemon now: named
// conditions, each with a severity, a sentence with the numbers, the time since
// which it holds, and what can be done about it. Whatever shows how the daemon is
// (the API, the metrics, the service manager's status line) reads this one list.
//
// # Ownership
//
// The package that notices a condition declares it, as a value that nobody
// changes, and hands all it declares to [New]. A Registry holds no resources.
//
// # Goroutine-safety
//
// All methods may be called from any goroutine.
//
// # Failure modes
//
// None. Setting a condition that was not given to New panics: it would be
// missing in every list of what may happen.
package health

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Severity says how much a condition matters.
type Severity int

// Severities, the least one first.
const (
	Info    Severity = iota // worth knowing; nothing is lost
	Warning                 // something works less well than it could
	Error                   // something that was asked for does not work
)

func (s Severity) String() string { return [...]string{"info", "warning", "error"}[s] }

// Condition is something that may be wrong.
type Condition struct {
	Code     string // lower case words with hyphens; never changes its meaning
	Title    string // what is wrong, without numbers
	Severity Severity
	Remedy   string // what a person can do
}

// Finding is a condition that holds.
type Finding struct {
	*Condition
	Text  string // what is wrong here, with the numbers
	Since time.Time
}

// Registry knows which conditions hold.
type Registry struct {
	now      func() time.Time
	declared []*Condition

	mu    sync.Mutex // guards everything that follows
	holds map[*Condition]Finding
}

// New returns a registry in which none of the conditions holds. now gives the time.
func New(now func() time.Time, conditions ...*Condition) *Registry {
	return &Registry{now: now, declared: conditions, holds: map[*Condition]Finding{}}
}

// Set says that c holds, with a text for people. It reports whether that is new.
// Since stays as it was while only the text changes.
func (r *Registry) Set(c *Condition, text string) (news bool) {
	if !slices.Contains(r.declared, c) {
		panic("health: condition " + c.Code + " was not declared")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f, held := r.holds[c]
	if !held {
		f = Finding{Condition: c, Since: r.now()}
	}
	f.Text = text
	r.holds[c] = f
	return !held
}

// Clear says that c does not hold, and reports whether it did.
func (r *Registry) Clear(c *Condition) (held bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, held = r.holds[c]
	delete(r.holds, c)
	return held
}

// Findings lists what holds, the worst first, of equals the oldest.
func (r *Registry) Findings() []Finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Finding
	for _, f := range r.holds {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), a.Since.Compare(b.Since), cmp.Compare(a.Code, b.Code))
	})
	return out
}

// Conditions lists all that may hold, in the order of New.
func (r *Registry) Conditions() []*Condition { return slices.Clone(r.declared) }
