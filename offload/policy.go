package offload

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is what the literature calls the class of a policy: what it does to the
// cache to make it smaller, or cheaper to read.
type Kind uint8

// The kinds. Complete keeps every token as it was computed and reads all.
const (
	Complete     Kind = iota
	Selection         // keeps every token, reads those that matter to a query
	Budget            // keeps a fixed number of tokens
	Merging           // makes one token of several
	Quantization      // keeps tokens in fewer bits
	LowRank           // keeps tokens in fewer dimensions
)

func (k Kind) String() string {
	return [...]string{"complete", "selection", "budget", "merging", "quantization", "low rank"}[k]
}

// Granularity is the unit in which a policy decides.
type Granularity string

// The granularities.
const (
	ByToken Granularity = "token"
	ByPage  Granularity = "page"
	ByLayer Granularity = "layer"
)

// Needs is what a policy wants beside keys and values.
type Needs struct {
	Scores      bool // attention weights of past queries
	Calibration bool // figures measured once per model
	Weights     bool // a model whose weights were converted for it
}

// Policy says what a cache keeps of each token and how attention may read it.
type Policy struct {
	Name        string
	Kind        Kind
	Granularity Granularity
	Needs       Needs
	Permanent   bool   // what it evicts cannot be read again
	Composes    []Kind // kinds of policies that may stand behind it, as in auto+q4
	Elem        Elem   // of pages or records, unless options say otherwise

	fixed bool     // Elem was chosen by a composition
	takes []option // options that mean something to it
	place func(Ask, settings) []candidate
}

// registry lists the policies. Every one is compared with "full".
func registry() []Policy {
	return []Policy{
		{Name: "full", Kind: Complete, Granularity: ByLayer, Elem: F16, takes: []option{optElem, optExact}, place: placeFull},
		{Name: "q8", Kind: Quantization, Granularity: ByLayer, Elem: Q8, place: placeResident},
		{Name: "q4", Kind: Quantization, Granularity: ByLayer, Elem: Q4, place: placeResident},
		{Name: "auto", Kind: Selection, Granularity: ByPage, Composes: []Kind{Quantization}, Elem: Q8,
			takes: []option{optBudget, optElem, optDense, optDenseElem, optExchange, optSparse, optEstimate}, place: placeAuto},
		{Name: "tailorkv", Kind: Selection, Granularity: ByToken, Needs: Needs{Calibration: true}, Elem: F16,
			takes: []option{optBudget, optDense, optDenseElem, optChannels, optSink}, place: placeTailor},
	}
}

// Policies lists the registered policies.
func Policies() []Policy { return registry() }

// PolicyByName finds a registered policy, or composes several that are joined
// by "+". The error lists the known ones, or says what does not compose.
func PolicyByName(name string) (Policy, error) {
	var p Policy
	for i, n := range strings.Split(name, "+") {
		q, err := registered(n)
		if err == nil && i > 0 {
			q, err = p.with(q)
		}
		if err != nil {
			return Policy{}, fmt.Errorf("find cache policy: %w", err)
		}
		p = q
	}
	return p, nil
}

func registered(name string) (Policy, error) {
	var names []string
	for _, p := range registry() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return Policy{}, fmt.Errorf("%q is not known; known: %s, and compositions such as auto+q4", name, strings.Join(names, ", "))
}

// with composes a policy with one that changes the format of its records.
func (p Policy) with(q Policy) (Policy, error) {
	at := slices.Index(p.Composes, q.Kind)
	if at < 0 {
		return p, fmt.Errorf("%s does not compose with %s (%s); it composes with %s", p.Name, q.Name, q.Kind, listKinds(p.Composes))
	}
	p.Name += "+" + q.Name
	p.Composes = slices.Delete(slices.Clone(p.Composes), at, at+1)
	p.Elem, p.fixed = q.Elem, true
	return p, nil
}

func listKinds(kinds []Kind) string {
	if len(kinds) == 0 {
		return "nothing more"
	}
	var names []string
	for _, k := range kinds {
		names = append(names, k.String())
	}
	return strings.Join(names, ", ")
}

// String describes the policy for reports.
func (p Policy) String() string {
	s := fmt.Sprintf("%s: %s by %s", p.Name, p.Kind, p.Granularity)
	for _, n := range []struct {
		name string
		set  bool
	}{
		{"needs attention scores", p.Needs.Scores}, {"needs calibration", p.Needs.Calibration},
		{"needs converted weights", p.Needs.Weights}, {"evicts for good", p.Permanent},
	} {
		if n.set {
			s += ", " + n.name
		}
	}
	return s
}
