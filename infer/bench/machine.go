package bench

import (
	"context"
	"errors"
	"fmt"

	"edged/infer/cpu"
	"edged/infer/graph"
	"edged/infer/solo"
	"edged/offload"
	"edged/pinnedmem"
)

// machine is a compiled model with one sequence.
type machine struct {
	cfg  Config
	prog *graph.Program
	plan *offload.Plan
	run  *solo.Runner
	cost cost
	tok  []int32 // the prompt being read
}

func newMachine(cfg Config, prog *graph.Program) (*machine, error) {
	m := &machine{cfg: cfg, prog: prog}
	n := cfg.context()
	var err error
	if cfg.Plan == nil {
		m.plan, err = offload.MakePlan(offload.Ask{Layers: prog.KV, Policy: "full", Context: n})
	} else {
		m.plan, err = cfg.Plan(prog.KV, n)
	}
	if err != nil {
		return nil, err
	}
	m.cost = newCost(prog, m.plan)
	m.run, err = solo.New(prog, solo.Config{Backend: cfg.Backend, Layers: m.plan.Config.Layers, Context: n, ChunkTok: cfg.ChunkTok, Threads: cfg.Threads, HostBytes: cfg.HostBytes})
	if err != nil {
		return nil, err
	}
	return m, nil
}

func (m *machine) close() error { return m.run.Close() }

// warmUp touches weights and activations, so that no page fault is measured.
func (m *machine) warmUp(ctx context.Context) error {
	if err := m.fill(ctx, min(m.cfg.ChunkTok, m.cfg.context())); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	return m.cut(0)
}

// cut takes the sequence back to n tokens. A cache that cannot end there is
// filled again.
func (m *machine) cut(n int) error {
	_, err := m.run.Truncate(n)
	return err
}

// fill evaluates a prompt until the sequence holds n tokens. Only the last
// one's logits are wanted, as for a real prompt.
func (m *machine) fill(ctx context.Context, n int) error {
	m.tok = m.tok[:0]
	for pos := m.run.Len(); pos < n; pos++ {
		m.tok = append(m.tok, m.token(pos))
	}
	return m.run.Prefill(ctx, m.tok)
}

func (m *machine) decode(ctx context.Context) error {
	_, err := m.run.Decode(ctx, m.token(m.run.Len()))
	return err
}

// token is a fixed, scattered choice, so that rows of the embedding table are
// not reused from a cache.
func (m *machine) token(pos int) int32 {
	return int32((uint32(pos)*2654435761 + 12345) >> 4 % uint32(m.prog.Vocab))
}

// bandwidth is that of the memory that weights lie in, bytes per second.
func (m *machine) bandwidth() (float64, error) {
	if d, ok := m.cfg.Backend.(interface{ ReadBandwidth() (float64, error) }); ok {
		return d.ReadBandwidth()
	}
	return readBandwidth(m.cfg.Threads)
}

// bandwidthBytes is far larger than any cache.
const bandwidthBytes = 256 << 20

// readBandwidth is what the given number of threads can read from memory,
// bytes per second.
func readBandwidth(threads int) (float64, error) {
	host := pinnedmem.NewHost(0)
	a, err := host.Arena(pinnedmem.Activations, bandwidthBytes, pinnedmem.Options{Huge: true})
	if err != nil {
		return 0, fmt.Errorf("measure read bandwidth: %w", err)
	}
	mem := a.Bytes()
	for i := 0; i < len(mem); i += 64 {
		mem[i] = byte(i >> 6) // a page that was never written reads as one shared zero page
	}
	rate, err := cpu.ReadBandwidth(mem, threads)
	return rate, errors.Join(err, a.Close(), host.Close())
}
