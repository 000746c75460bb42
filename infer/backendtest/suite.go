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
	// BatchIdentical: less than BitIdentical. A row with which a sequence goes on has
	// the same bits whatever others go on in its step, and rows of a prompt have however
	// it was cut into steps of its own.
	BatchIdentical bool
	// Elems are the formats of cached keys and values that must work.
	Elems []offload.Elem
	// AnyHeadDim: heads of any number of channels work, not those of models alone.
	AnyHeadDim bool
	// Large: products of many rows and outputs too, for backends that cut them
	// into pieces.
	Large bool
	// Keeps says which cache layers a backend does not refuse; nil is all. Tests
	// of whole classes that it refuses are left out, and others keep layers in
	// the nearest way that it does not.
	Keeps func(offload.LayerPlan) bool
	// Narrows: rows of logits with an Ask are narrowed, every one.
	Narrows bool
}

// Tolerance bounds a backend's distance from the reference, per op.
type Tolerance struct {
	Embed  Tol
	Norm   Tol // RMSNorm, AddRMSNorm, HeadNorm
	Rope   Tol
	Attend Tol
	// AttendElem replaces Attend where records are of single formats and pages are chosen; may be nil.
	AttendElem map[offload.Elem]Tol
	Linear     Tol // Linear and GatedLinear
	Logits     Tol // whole models
	// Coded is for whole models that read records, which backends that are not
	// BitIdentical round differently: a code more or less, of the few that there are.
	Coded Tol
	// LinearType replaces Linear for single weight types; may be nil.
	LinearType map[gguf.Type]Tol
}

func (t Tolerance) linear(typ gguf.Type) Tol {
	if tol, ok := t.LinearType[typ]; ok {
		return tol
	}
	return t.Linear
}

func (t Tolerance) attend(e offload.Elem) Tol {
	if tol, ok := t.AttendElem[e]; ok {
		return tol
	}
	return t.Attend
}

// attendAll is for layers whose results are added.
func (t Tolerance) attendAll(plans []offload.LayerPlan) Tol {
	most := t.Attend
	for _, p := range plans {
		if tol := t.attend(p.Elem); p.Class == offload.Paged && tol.RMS > most.RMS {
			most = tol
		}
	}
	return most
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
		name  string
		run   func(*testing.T)
		class offload.Class // of layers that it cannot do without
	}{
		{"embed", s.testEmbed, offload.Exact},
		{"norm", s.testNorm, offload.Exact},
		{"rope", s.testRope, offload.Exact},
		{"linear", s.testLinear, offload.Exact},
		{"linear_parts", s.testLinearParts, offload.Exact},
		{"gated_linear", s.testGatedLinear, offload.Exact},
		{"large_linear", s.testLargeLinear, offload.Exact},
		{"attend", s.testAttend, offload.Exact},
		{"cache", s.testCache, offload.Paged},
		{"choice", s.testChoice, offload.Paged},
		{"full_budget", s.testFullBudget, offload.Paged},
		{"gathered", s.testGathered, offload.Gathered},
		{"narrow", s.testNarrow, offload.Exact},
		{"models", s.testModels, offload.Exact},
		{"batch", s.testBatch, offload.Exact},
		{"states", s.testStates, offload.Exact},
		{"resume", s.testResume, offload.Exact},
		{"cancel", s.testCancel, offload.Exact},
		{"refuse", s.testRefuse, offload.Exact},
		{"memory", s.testMemory, offload.Exact},
	} {
		if s.keepsClass(c.class) && (c.name != "large_linear" || opt.Large) {
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
