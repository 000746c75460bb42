package bench

import (
	"context"
	"errors"
	"fmt"

	"edged/infer/cpu"
	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

// machine is a compiled model with one sequence.
type machine struct {
	cfg  Config
	prog *graph.Program
	host *pinnedmem.Host
	exec graph.Exec
	pool *offload.Pool
	seq  *offload.Seq
	rows graph.Rows
	kv   []*offload.Seq // [1]
	cost cost
}

func newMachine(cfg Config, prog *graph.Program) (*machine, error) {
	policy, err := offload.PolicyByName("full")
	if err != nil {
		return nil, err
	}
	m := &machine{cfg: cfg, prog: prog, host: pinnedmem.NewHost(cfg.HostBytes)}
	if m.cost, err = newCost(prog, policy.Elem); err != nil {
		return nil, err
	}
	if err := m.allocate(policy.Elem); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

func (m *machine) allocate(elem offload.Elem) (err error) {
	n := m.cfg.context()
	var dropped error
	m.exec, err = m.cfg.Backend.Compile(m.prog, graph.Limits{
		MaxRows: m.cfg.ChunkTok, MaxOut: 1, MaxSeqs: 1, Context: n, Elem: elem, Threads: m.cfg.Threads, Host: m.host,
		Copied: func(w *graph.Weight) { dropped = errors.Join(dropped, w.Drop()) },
	})
	if err = errors.Join(err, dropped); err != nil {
		return err
	}
	if m.pool, err = offload.NewPool(m.host, offload.Config{Layers: m.prog.KV, Elem: elem, Context: n, Tokens: n, MaxSeqs: 1}); err != nil {
		return err
	}
	if m.seq, err = m.pool.NewSeq(); err != nil {
		return err
	}
	m.kv = []*offload.Seq{m.seq}
	return nil
}

func (m *machine) close() error {
	var errs []error
	if m.pool != nil {
		errs = append(errs, m.pool.Close())
	}
	if m.exec != nil {
		errs = append(errs, m.exec.Close())
	}
	return errors.Join(append(errs, m.host.Close())...)
}

// warmUp touches weights and activations, so that no page fault is measured.
func (m *machine) warmUp(ctx context.Context) error {
	if err := m.fill(ctx, min(m.cfg.ChunkTok, m.cfg.context())); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	return m.seq.Truncate(0)
}

// fill evaluates tokens in chunks until the sequence holds n. Only the last
// one's logits are wanted, as for a real prompt.
func (m *machine) fill(ctx context.Context, n int) error {
	for m.seq.Len() < n {
		chunk := min(n-m.seq.Len(), m.cfg.ChunkTok)
		if err := m.step(ctx, chunk, m.seq.Len()+chunk == n); err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) step(ctx context.Context, n int, want bool) error {
	if err := m.seq.Reserve(n); err != nil {
		return err
	}
	m.rows.Reset()
	for i := range n {
		pos := m.seq.Len() + i
		m.rows.Add(m.token(pos), int32(pos), 0, want && i == n-1)
	}
	if _, err := m.exec.Step(ctx, &m.rows, m.kv); err != nil {
		return err
	}
	return m.seq.Commit(n)
}

// token is a fixed, scattered choice, so that rows of the embedding table are
// not reused from a cache.
func (m *machine) token(pos int) int32 {
	return int32((uint32(pos)*2654435761 + 12345) >> 4 % uint32(m.prog.Vocab))
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
