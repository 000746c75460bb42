// Package solo runs one sequence on one compiled program, without the engine
// around it: what measurements, comparisons and calibration need.
//
// # Ownership
//
// A Runner owns its compiled program, its cache and its accounts until Close.
// The program's weights and the backend stay the caller's.
//
// # Goroutine-safety
//
// None: a Runner belongs to one goroutine.
//
// # Failure modes
//
// New fails when the cache does not fit its accounts; the error names tier and
// bytes. A step that fails leaves the sequence as it was.
package solo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

// Config says what to run on.
type Config struct {
	Backend  graph.Backend
	Layers   []offload.LayerPlan
	Context  int // tokens
	ChunkTok int // most prompt tokens of one step
	Threads  int
	// FastBytes and HostBytes bound the cache's tiers; the host's account pays
	// for weights and activations too. 0 is no limit. Without a FastBytes of its
	// own, the fast tier is part of the host's account.
	FastBytes, HostBytes int64
}

// Runner is one sequence.
type Runner struct {
	cfg   Config
	prog  *graph.Program
	host  *pinnedmem.Host
	fast  *pinnedmem.Host
	mover offload.Mover
	exec  graph.Exec
	pool  *offload.Pool
	seq   *offload.Seq
	kv    []*offload.Seq // [1]
	rows  graph.Rows
}

// New compiles a program and makes its cache.
func New(prog *graph.Program, cfg Config) (*Runner, error) {
	r := &Runner{cfg: cfg, prog: prog, host: pinnedmem.NewHost(cfg.HostBytes)}
	r.fast = r.host
	if d, ok := cfg.Backend.(graph.DeviceMemory); ok {
		r.fast, r.mover = d.Memory(cfg.FastBytes), d.Mover()
	} else if cfg.FastBytes > 0 {
		r.fast = pinnedmem.NewHost(cfg.FastBytes)
	}
	if err := r.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare one sequence: %w", err), r.Close())
	}
	return r, nil
}

func (r *Runner) open() (err error) {
	c := r.cfg
	var dropped error
	r.exec, err = c.Backend.Compile(r.prog, graph.Limits{
		MaxRows: c.ChunkTok, MaxOut: 1, MaxSeqs: 1, Context: c.Context, KV: c.Layers, Threads: c.Threads, Host: r.host,
		Copied: func(w *graph.Weight) {
			if w.Drop != nil {
				dropped = errors.Join(dropped, w.Drop())
			}
		},
	})
	if err = errors.Join(err, dropped); err != nil {
		return err
	}
	tiers := offload.Tiers{Fast: r.fast, Host: r.host, Mover: r.mover}
	if r.pool, err = offload.NewPool(tiers, offload.Config{Layers: c.Layers, Context: c.Context, Tokens: c.Context, MaxSeqs: 1}); err != nil {
		return err
	}
	if r.seq, err = r.pool.NewSeq(); err != nil {
		return err
	}
	r.kv = []*offload.Seq{r.seq}
	return nil
}

// Close gives all memory back.
func (r *Runner) Close() error {
	var errs []error
	if r.pool != nil {
		errs = append(errs, r.pool.Close())
	}
	if r.exec != nil {
		errs = append(errs, r.exec.Close())
	}
	errs = append(errs, r.host.Close())
	if r.fast != r.host {
		errs = append(errs, r.fast.Close())
	}
	return errors.Join(errs...)
}

// Len is the number of tokens in the sequence.
func (r *Runner) Len() int { return r.seq.Len() }

// Traffic is what decode steps have moved so far.
func (r *Runner) Traffic() offload.Traffic { return r.pool.Traffic() }

// Spent is the time that a backend's threads took so far for choosing what to
// attend to and for attention; ok is false where it is not noted.
func (r *Runner) Spent() (choice, attention time.Duration, ok bool) {
	x, ok := r.exec.(interface {
		Spent() (choice, attention time.Duration)
	})
	if ok {
		choice, attention = x.Spent()
	}
	return choice, attention, ok
}

// Cache is what the cache takes from its tiers.
func (r *Runner) Cache() (offload.Bytes, error) {
	return offload.Config{Layers: r.cfg.Layers, Context: r.cfg.Context, Tokens: r.cfg.Context, MaxSeqs: 1}.Bytes()
}

// Truncate cuts the sequence to at most n tokens and returns what is left: a
// cache may not be able to end anywhere.
func (r *Runner) Truncate(n int) (int, error) {
	n = r.seq.Keepable(n)
	return n, r.seq.Truncate(n)
}

// next makes a step of one token behind the sequence.
func (r *Runner) next(tok int32) error {
	if err := r.seq.Reserve(1); err != nil {
		return err
	}
	r.rows.Reset()
	r.rows.Add(tok, int32(r.seq.Len()), 0, true)
	return nil
}

// Decode evaluates one token and returns the logits behind it, valid until the
// next call.
func (r *Runner) Decode(ctx context.Context, tok int32) ([]float32, error) {
	if err := r.next(tok); err != nil {
		return nil, err
	}
	l, err := r.exec.Step(ctx, &r.rows, r.kv)
	if err != nil {
		return nil, err
	}
	return l.Row(0), r.seq.Commit(1)
}

// ErrNoProfile says that a backend does not time ops.
var ErrNoProfile = errors.New("the backend does not say what ops take")

// Profile says where the time of the next token's step goes. The sequence stays as
// it is.
func (r *Runner) Profile(ctx context.Context, tok int32) ([]graph.OpTime, error) {
	p, ok := r.exec.(graph.Profiler)
	if !ok {
		return nil, ErrNoProfile
	}
	if err := r.next(tok); err != nil {
		return nil, err
	}
	return p.Profile(ctx, &r.rows, r.kv)
}

// ErrNoTrace says that a backend does not say when ops ran.
var ErrNoTrace = errors.New("the backend does not say when ops ran")

// Trace says when the ops of the next token's step ran. The sequence stays as it is.
func (r *Runner) Trace(ctx context.Context, tok int32) ([]graph.OpSpan, error) {
	t, ok := r.exec.(graph.Tracer)
	if !ok {
		return nil, ErrNoTrace
	}
	if err := r.next(tok); err != nil {
		return nil, err
	}
	return t.Trace(ctx, &r.rows, r.kv)
}

// Prefill evaluates tokens as a prompt is evaluated, the last one's logits too.
func (r *Runner) Prefill(ctx context.Context, tok []int32) error {
	if len(tok) == 0 {
		return nil
	}
	if r.pool.LayerMajor() {
		return r.parts(ctx, tok)
	}
	for at := 0; at < len(tok); at += r.cfg.ChunkTok {
		if err := r.chunk(ctx, tok, at); err != nil {
			return err
		}
	}
	return nil
}

// chunk evaluates all layers of a chunk.
func (r *Runner) chunk(ctx context.Context, tok []int32, at int) error {
	end := min(at+r.cfg.ChunkTok, len(tok))
	if err := r.seq.Reserve(end - at); err != nil {
		return err
	}
	r.rows.Reset()
	for i := at; i < end; i++ {
		r.rows.Add(tok[i], int32(r.seq.Len()+i-at), 0, i == len(tok)-1)
	}
	if _, err := r.exec.Step(ctx, &r.rows, r.kv); err != nil {
		return err
	}
	return r.seq.Commit(end - at)
}

// parts evaluates all tokens layer by layer, and the head for the last one.
func (r *Runner) parts(ctx context.Context, tok []int32) (err error) {
	if err := r.seq.BeginPrefill(len(tok)); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			r.seq.CancelPrefill()
		}
	}()
	for part := range r.prog.KV {
		for at := 0; at < len(tok); at += r.cfg.ChunkTok {
			r.rows.Reset()
			for i := at; i < min(at+r.cfg.ChunkTok, len(tok)); i++ {
				r.rows.Add(tok[i], int32(r.seq.Len()+i), 0, false)
			}
			if _, err := r.exec.Part(ctx, part, &r.rows, r.seq); err != nil {
				return err
			}
		}
	}
	last := len(tok) - 1
	r.rows.Reset()
	r.rows.Add(tok[last], int32(r.seq.Len()+last), 0, true)
	if _, err := r.exec.Part(ctx, len(r.prog.KV), &r.rows, r.seq); err != nil {
		return err
	}
	return r.seq.EndPrefill()
}
