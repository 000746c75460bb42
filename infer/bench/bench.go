// Package bench measures one model on one backend: prompt tokens per second
// (pp), generated tokens per second at given depths of the KV cache (tg), and
// how much of this machine's memory bandwidth that takes.
//
// It runs compiled steps without the engine around them: no sampling, no
// queue, fixed token ids. Every figure stands beside the bytes that its steps
// have to read at least, weights once and cached keys and values once, and
// the read bandwidth measured in the same run.
//
// # Ownership
//
// [Run] opens the model, takes memory and gives all of it back before it
// returns. The backend stays the caller's.
//
// # Goroutine-safety
//
// Run may be called from any goroutine; two at a time disturb each other's
// figures.
//
// # Failure modes
//
// Lengths that do not fit the model's context and models that do not fit the
// memory are refused with both numbers. A cancelled context ends a run with
// its cause and no report.
package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/infer/model"
	"edged/offload"
)

// Config says what to measure. Zero numbers get the defaults of Default.
type Config struct {
	Path        string // GGUF file
	Backend     graph.Backend
	BackendName string // for the report
	Threads     int    // CPU threads, also of the bandwidth measurement
	ChunkTok    int    // most prompt tokens of one step
	HostBytes   int64  // memory budget; 0 is none
	// Plan says how the cache of one sequence of context tokens is kept; nil is `full`.
	Plan func(layers []offload.LayerSpec, context int) (*offload.Plan, error)

	Prompts []int // prompt lengths, tokens
	Depths  []int // tokens in the KV cache when generation begins
	Gen     int   // tokens to generate at each depth
	Reps    int   // repetitions of every measurement
	Ops     bool  // say too what each op of a step takes, at each depth
	Trace   bool  // note when the ops of a step ran, at each depth

	Progress func(test string, done, total int) // tests; may be nil
}

// Default measurements: the lengths that llama-bench users know.
const (
	DefaultChunkTok = 512
	DefaultGen      = 64
	DefaultReps     = 5
)

func (c *Config) check() error {
	if c.Backend == nil || c.Path == "" {
		return errors.New("a model file and a backend are needed")
	}
	for _, f := range []struct {
		name string
		v    *int
		def  int
	}{{"chunk", &c.ChunkTok, DefaultChunkTok}, {"generated tokens", &c.Gen, DefaultGen}, {"repetitions", &c.Reps, DefaultReps}, {"threads", &c.Threads, 1}} {
		if *f.v < 0 {
			return fmt.Errorf("%s must not be negative, got %d", f.name, *f.v)
		}
		if *f.v == 0 {
			*f.v = f.def
		}
	}
	for _, n := range c.Prompts {
		if n < 1 {
			return fmt.Errorf("prompt length must be at least 1, got %d", n)
		}
	}
	for _, n := range c.Depths {
		if n < 0 {
			return fmt.Errorf("depth must not be negative, got %d", n)
		}
	}
	if len(c.Prompts)+len(c.Depths) == 0 {
		return errors.New("no prompt length and no depth is given")
	}
	if c.Ops && len(c.Depths) == 0 {
		return errors.New("ops are measured at a depth, and none is given")
	}
	if c.Trace && len(c.Depths) == 0 {
		return errors.New("a step is traced at a depth, and none is given")
	}
	c.Depths = slices.Compact(slices.Sorted(slices.Values(c.Depths)))
	return nil
}

// context is the longest sequence that will be needed, tokens.
func (c *Config) context() int {
	n := 1
	for _, p := range c.Prompts {
		n = max(n, p)
	}
	for _, d := range c.Depths {
		n = max(n, d+c.Gen)
	}
	return n
}

// Run measures.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("configure benchmark: %w", err)
	}
	f, err := gguf.Open(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("benchmark: %w", err)
	}
	prog, err := model.Build(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("benchmark %s: %w", cfg.Path, err), f.Close())
	}
	size := f.Size()
	name, ok := f.String("general.name")
	if !ok {
		name = filepath.Base(cfg.Path)
	}
	r, err := run(ctx, cfg, prog)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("benchmark %s: %w", cfg.Path, err)
	}
	r.Name, r.FileBytes = name, size
	return r, nil
}

// run measures a program.
func run(ctx context.Context, cfg Config, prog *graph.Program) (*Report, error) {
	if n := cfg.context(); n > prog.Context {
		return nil, fmt.Errorf("%d tokens are asked for, the model's context is %d", n, prog.Context)
	}
	m, err := newMachine(cfg, prog)
	if err != nil {
		return nil, err
	}
	r, err := m.measure(ctx)
	if err = errors.Join(err, m.close()); err != nil {
		return nil, err
	}
	return r, nil
}

// measure runs all tests between two readings of the bandwidth, of which the
// better counts: another load on the machine can only lower it.
func (m *machine) measure(ctx context.Context) (*Report, error) {
	r := newReport(m.cfg, m.prog, m.cost)
	before, err := m.bandwidth()
	if err != nil {
		return nil, err
	}
	if err := m.warmUp(ctx); err != nil {
		return nil, err
	}
	total := len(m.cfg.Prompts) + len(m.cfg.Depths)
	for i, n := range m.cfg.Prompts {
		m.tell(fmt.Sprintf("pp%d", n), i, total)
		if err := m.prompt(ctx, r, n); err != nil {
			return nil, fmt.Errorf("pp%d: %w", n, err)
		}
	}
	if err := m.cut(0); err != nil {
		return nil, err
	}
	for i, d := range m.cfg.Depths {
		m.tell(fmt.Sprintf("tg%d at depth %d", m.cfg.Gen, d), len(m.cfg.Prompts)+i, total)
		if err := m.generate(ctx, r, d); err != nil {
			return nil, fmt.Errorf("tg%d at depth %d: %w", m.cfg.Gen, d, err)
		}
	}
	after, err := m.bandwidth()
	if err != nil {
		return nil, err
	}
	r.finish(max(before, after))
	return r, nil
}

func (m *machine) tell(test string, done, total int) {
	if m.cfg.Progress != nil {
		m.cfg.Progress(test, done, total)
	}
}

// prompt reads n tokens into an empty cache, Reps times.
func (m *machine) prompt(ctx context.Context, r *Report, n int) error {
	row := Row{Test: fmt.Sprintf("pp%d", n), Tokens: n, BytesPerTok: m.cost.prompt(n, m.cfg.ChunkTok)}
	for range m.cfg.Reps {
		if err := m.cut(0); err != nil {
			return err
		}
		start := time.Now()
		if err := m.fill(ctx, n); err != nil {
			return err
		}
		row.add(time.Since(start))
	}
	r.Rows = append(r.Rows, row)
	return nil
}

// rewind takes the sequence back to a depth; a cache that cannot end there ends
// before and is filled up.
func (m *machine) rewind(ctx context.Context, depth int) error {
	if err := m.cut(depth); err != nil {
		return err
	}
	return m.fill(ctx, depth)
}

// generate brings the cache to a depth and decodes Gen tokens from there, Reps
// times. Depths come in ascending order, so that each is reached from the last.
func (m *machine) generate(ctx context.Context, r *Report, depth int) error {
	if err := m.fill(ctx, depth); err != nil {
		return err
	}
	row := Row{Test: fmt.Sprintf("tg%d", m.cfg.Gen), Tokens: m.cfg.Gen, Depth: depth, BytesPerTok: m.cost.decode(depth, m.cfg.Gen)}
	before := m.run.Traffic()
	for range m.cfg.Reps {
		choice, attention, noted := m.run.Spent()
		start := time.Now()
		for range m.cfg.Gen {
			if err := m.decode(ctx); err != nil {
				return err
			}
		}
		row.add(time.Since(start))
		if noted {
			c, a, _ := m.run.Spent()
			row.spend(c-choice, a-attention)
		}
		if err := m.rewind(ctx, depth); err != nil {
			return err
		}
	}
	row.bring(before, m.run.Traffic())
	if m.cfg.Trace {
		if err := m.trace(ctx, &row); err != nil {
			return err
		}
	}
	if m.cfg.Ops {
		if err := m.profile(ctx, &row); err != nil {
			return err
		}
	}
	r.Rows = append(r.Rows, row)
	return nil
}
