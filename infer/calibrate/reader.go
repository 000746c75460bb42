package calibrate

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/x448/float16"

	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

// prober is an Exec that shows what a layer asked for.
type prober interface {
	// Queries is the query [heads*headDim] of a row of the last Part, as
	// attention used it, valid until the next one.
	Queries(layer, row int) []float32
}

// reader reads a prompt layer by layer, so that one layer's keys lie in the
// pool's stage while they are looked at. Its records are read by nobody.
type reader struct {
	cfg    Config
	prog   *graph.Program
	tok    []int32
	host   *pinnedmem.Host
	exec   graph.Exec
	probe  prober
	pool   *offload.Pool
	seq    *offload.Seq
	attend []graph.Attend // [layers]
	rows   graph.Rows
}

func newReader(prog *graph.Program, tok []int32, cfg Config) (*reader, error) {
	r := &reader{cfg: cfg, prog: prog, tok: tok, host: pinnedmem.NewHost(cfg.HostBytes), attend: make([]graph.Attend, len(prog.KV))}
	for _, op := range prog.Ops {
		if o, ok := op.(graph.Attend); ok {
			r.attend[o.Layer] = o
		}
	}
	if err := r.open(); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *reader) open() error {
	n := len(r.tok)
	plan, err := offload.MakePlan(offload.Ask{Layers: r.prog.KV, Policy: "q4", Context: n})
	if err != nil {
		return err
	}
	r.exec, err = r.cfg.Backend.Compile(r.prog, graph.Limits{
		MaxRows: r.cfg.ChunkTok, MaxOut: 1, MaxSeqs: 1, Context: n, KV: plan.Config.Layers, Threads: r.cfg.Threads, Host: r.host,
	})
	if err != nil {
		return err
	}
	var ok bool
	if r.probe, ok = r.exec.(prober); !ok {
		return fmt.Errorf("%T does not show its queries", r.exec)
	}
	if r.pool, err = offload.NewPool(offload.One(r.host), plan.Config); err != nil {
		return err
	}
	r.seq, err = r.pool.NewSeq()
	return err
}

func (r *reader) close() error {
	var errs []error
	if r.pool != nil {
		errs = append(errs, r.pool.Close())
	}
	if r.exec != nil {
		errs = append(errs, r.exec.Close())
	}
	return errors.Join(append(errs, r.host.Close())...)
}

// layer reads the prompt in one layer. The last chunk is the queries that count.
func (r *reader) layer(ctx context.Context, layer int) error {
	last := len(r.tok) - Queries
	for at := 0; at < len(r.tok); {
		end := min(at+r.cfg.ChunkTok, last)
		if at == last {
			end = len(r.tok)
		}
		r.rows.Reset()
		for i := at; i < end; i++ {
			r.rows.Add(r.tok[i], int32(i), 0, false)
		}
		if _, err := r.exec.Part(ctx, layer, &r.rows, r.seq); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// keys are one KV head's keys in the layer that was just read, channel by
// channel: [headDim][tokens].
func (r *reader) keys(layer, head int) [][]float32 {
	pages, stage := r.pool.Memory(layer).Pages, r.pool.Stage()
	keys := make([][]float32, pages.Spec.HeadDim)
	for c := range keys {
		keys[c] = make([]float32, len(r.tok))
		for i := range keys[c] {
			at := i/offload.PageTok*pages.PageBytes + pages.KOffset(head) + (c*offload.PageTok+i%offload.PageTok)*2
			keys[c][i] = float16.Frombits(binary.NativeEndian.Uint16(stage[at:])).Float32()
		}
	}
	return keys
}
