package jinja

import "fmt"

// Bounds on what one template may cost. They are far above what the templates
// of real models need (sources of 4-20 KB, a few hundred steps per message)
// and low enough that a hostile one fails within a second or two.
const (
	MaxSourceBytes = 256 << 10 // bytes of template source
	MaxNesting     = 200       // blocks and brackets open at one place of the source
	MaxEvalDepth   = 8000      // nested evaluations, across macro calls
	MaxCallDepth   = 100       // macros and recursive loops active at once
	MaxValueDepth  = 500       // nesting of a value that is printed, compared or decoded
	MaxSteps       = 4_000_000 // expressions and statements evaluated in one render
	MaxWorkBytes   = 512 << 20 // bytes of strings and lists scanned or made in one render
	MaxOutputBytes = 64 << 20  // bytes of rendered text, captured blocks included
	MaxRange       = 100_000   // items of range(), the limit of Jinja2's sandbox
)

// A LimitError says which Max constant a template ran into.
type LimitError struct {
	Limit string // name of the constant, e.g. "MaxSteps"
	Max   int    // its value
	Unit  string // what it counts
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("template exceeds %s = %d %s", e.Limit, e.Max, e.Unit)
}

// meter counts what a render has used.
type meter struct {
	steps, work, output int
	evalDepth           int
	callDepth           int
}

// step counts one evaluation.
func (m *meter) step() error {
	m.steps++
	if m.steps > MaxSteps {
		return &LimitError{"MaxSteps", MaxSteps, "evaluation steps"}
	}
	return nil
}

// spend counts n bytes scanned or made. It is called before the bytes exist.
func (m *meter) spend(n int) error {
	if n < 0 || n > MaxWorkBytes-m.work {
		return &LimitError{"MaxWorkBytes", MaxWorkBytes, "bytes of data handled"}
	}
	m.work += n
	return nil
}

// itemBytes is what one list item is charged: the size of a Go interface.
const itemBytes = 16

// emit counts n bytes of output.
func (m *meter) emit(n int) error {
	if n > MaxOutputBytes-m.output {
		return &LimitError{"MaxOutputBytes", MaxOutputBytes, "bytes of output"}
	}
	m.output += n
	return nil
}

// enterEval guards the Go stack against deep expressions.
func (m *meter) enterEval() error {
	m.evalDepth++
	if m.evalDepth > MaxEvalDepth {
		return &LimitError{"MaxEvalDepth", MaxEvalDepth, "nested evaluations"}
	}
	return nil
}

func (m *meter) leaveEval() { m.evalDepth-- }

// enterCall guards against runaway macros.
func (m *meter) enterCall() error {
	m.callDepth++
	if m.callDepth > MaxCallDepth {
		return &LimitError{"MaxCallDepth", MaxCallDepth, "nested macro calls"}
	}
	return nil
}

func (m *meter) leaveCall() { m.callDepth-- }

// checkDepth guards recursion over a value's nesting.
func checkDepth(depth int) error {
	if depth > MaxValueDepth {
		return &LimitError{"MaxValueDepth", MaxValueDepth, "levels of nesting in a value"}
	}
	return nil
}
