// Package backendtest is the conformance suite of graph.Backend: every
// backend passes the same checks, with the reference backend as the judge.
//
// Single ops run in small random programs of awkward shapes, in every weight
// type. Whole models of each family check that logits do not depend on how a
// prompt was cut into steps, shared between sequences, truncated or cancelled.
// Hostile rows and limits must be refused, and all memory must be given back.
//
// Inputs are fresh on every run; the seed is logged, and -backendtest.seed
// repeats it.
//
// # Ownership
//
// The suite opens and closes all programs, pools and sequences itself. The
// backend stays the caller's, who closes it.
//
// # Goroutine-safety
//
// Run steps one program at a time, but keeps several compiled at once.
//
// # Failure modes
//
// A check that fails names op, type, shape, row and channel; the seed is
// logged before the first check.
package backendtest

import (
	"flag"
	"hash/fnv"
	"math/rand/v2"
	"testing"

	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/infer/ref"
	"edged/offload"
)

var seedFlag = flag.Uint64("backendtest.seed", 0, "seed of the conformance suite's inputs; 0 takes a fresh one")

// Options say what a backend promises.
type Options struct {
	Tolerance Tolerance
	// BitIdentical: a row's logits have the same bits however its sequence
	// was cut into steps, whatever other rows share the step, and with any
	// number of threads. Without it they agree within Tolerance.Logits.
	BitIdentical bool
	// Elems are the formats of cached keys and values that must work.
	Elems []offload.Elem
	// ExactOnly: cache layers of other classes than offload.Exact are refused;
	// their tests are left out.
	ExactOnly bool
	// Large: products of many rows and outputs too, for backends that cut them
	// into pieces.
	Large bool
}

// Tolerance bounds a backend's distance from the reference, per op.
type Tolerance struct {
	Embed  Tol
	Norm   Tol // RMSNorm, AddRMSNorm, HeadNorm
	Rope   Tol
	Attend Tol
	Linear Tol // Linear and GatedLinear
	Logits Tol // whole models
	// LinearType replaces Linear for single weight types; may be nil.
	LinearType map[gguf.Type]Tol
}

func (t Tolerance) linear(typ gguf.Type) Tol {
	if tol, ok := t.LinearType[typ]; ok {
		return tol
	}
	return t.Linear
}

// suite is one run of all checks.
type suite struct {
	backend graph.Backend
	judge   graph.Backend
	opt     Options
	seed    uint64
}

// Run checks a backend.
func Run(t *testing.T, b graph.Backend, opt Options) {
	s := &suite{backend: b, judge: ref.New(), opt: opt, seed: *seedFlag}
	if s.seed == 0 {
		s.seed = rand.Uint64()
	}
	t.Logf("inputs repeat with -backendtest.seed=%d", s.seed)
	for _, c := range []struct {
		name    string
		run     func(*testing.T)
		records bool // needs other layers than exact ones
	}{
		{"embed", s.testEmbed, false},
		{"norm", s.testNorm, false},
		{"rope", s.testRope, false},
		{"linear", s.testLinear, false},
		{"linear_parts", s.testLinearParts, false},
		{"gated_linear", s.testGatedLinear, false},
		{"large_linear", s.testLargeLinear, false},
		{"attend", s.testAttend, false},
		{"cache", s.testCache, true},
		{"choice", s.testChoice, true},
		{"full_budget", s.testFullBudget, true},
		{"gathered", s.testGathered, true},
		{"models", s.testModels, false},
		{"resume", s.testResume, false},
		{"cancel", s.testCancel, false},
		{"refuse", s.testRefuse, false},
		{"memory", s.testMemory, false},
	} {
		if (!c.records || !opt.ExactOnly) && (c.name != "large_linear" || opt.Large) {
			t.Run(c.name, c.run)
		}
	}
}

// rng gives every subtest inputs of its own that do not depend on which other
// subtests ran.
func (s *suite) rng(t *testing.T) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(t.Name())) // never fails
	return rand.New(rand.NewPCG(s.seed, h.Sum64()))
}
