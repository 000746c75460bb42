package eval

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/infer/model"
	"edged/offload"
	"edged/pinnedmem"
)

// GoldenOptions say what to compare with which vectors.
type GoldenOptions struct {
	File    string // golden file (JSON)
	Model   string // GGUF file
	Backend graph.Backend
	Elem    offload.Elem // format of cached keys and values
	Chunk   int          // tokens of one step; every one of them gives logits
	Threads int          // CPU threads
}

// Golden runs every sequence of a golden file and compares the logits.
func Golden(ctx context.Context, opt GoldenOptions) (report GoldenReport, err error) {
	v, err := readVectors(opt.File)
	if err != nil {
		return GoldenReport{}, err
	}
	file, err := gguf.Open(opt.Model)
	if err != nil {
		return GoldenReport{}, fmt.Errorf("compare golden logits: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	prog, err := model.Build(file)
	if err != nil {
		return GoldenReport{}, fmt.Errorf("compare golden logits: %w", err)
	}
	g, err := newGoldenRun(prog, v, opt)
	if err != nil {
		return GoldenReport{}, fmt.Errorf("compare golden logits of %s: %w", opt.Model, err)
	}
	defer func() { err = errors.Join(err, g.close()) }()
	for _, name := range v.names() {
		s, err := g.sequence(ctx, v.Sequences[name])
		if err != nil {
			return GoldenReport{}, fmt.Errorf("compare golden logits of %s: sequence %q: %w", opt.Model, name, err)
		}
		s.Name = name
		report.Sequences = append(report.Sequences, s)
	}
	report.Model, report.MadeBy = v.Model, v.MadeBy
	report.Overall = overall(report.Sequences)
	return report, nil
}

// goldenRun is a compiled program with room for one sequence.
type goldenRun struct {
	host  *pinnedmem.Host
	exec  graph.Exec
	pool  *offload.Pool
	vocab int
	chunk int
}

func newGoldenRun(p *graph.Program, v *vectors, opt GoldenOptions) (*goldenRun, error) {
	longest := 0
	for _, s := range v.Sequences {
		longest = max(longest, len(s.Tokens))
		if err := s.checkVocab(p.Vocab); err != nil {
			return nil, err
		}
	}
	g := &goldenRun{host: pinnedmem.NewHost(0), vocab: p.Vocab, chunk: opt.Chunk}
	var err, dropped error
	g.exec, err = opt.Backend.Compile(p, graph.Limits{
		MaxRows: opt.Chunk, MaxOut: opt.Chunk, MaxSeqs: 1, Context: longest,
		KV: offload.ExactLayers(p.KV, opt.Elem), Threads: opt.Threads, Host: g.host,
		Copied: func(w *graph.Weight) { dropped = errors.Join(dropped, w.Drop()) },
	})
	if err != nil {
		return nil, err
	}
	if dropped != nil {
		return nil, errors.Join(dropped, g.exec.Close())
	}
	g.pool, err = offload.NewPool(offload.One(g.host), offload.Config{Layers: offload.ExactLayers(p.KV, opt.Elem), Context: longest, Tokens: longest, MaxSeqs: 1})
	if err != nil {
		return nil, errors.Join(err, g.exec.Close())
	}
	return g, nil
}

func (g *goldenRun) close() error {
	return errors.Join(g.exec.Close(), g.pool.Close(), g.host.Close())
}

// checkVocab refuses vectors of a model with more tokens.
func (s vectorSequence) checkVocab(vocab int) error {
	check := func(what string, ids []int32) error {
		for _, id := range ids {
			if int(id) >= vocab {
				return fmt.Errorf("%s %d is outside the model's vocabulary of %d", what, id, vocab)
			}
		}
		return nil
	}
	errs := []error{check("token", s.Tokens), check("argmax", s.Argmax)}
	for _, t := range s.Top {
		errs = append(errs, check("listed token", t.IDs))
	}
	return errors.Join(errs...)
}

// sequence runs one sequence, chunk by chunk.
func (g *goldenRun) sequence(ctx context.Context, want vectorSequence) (GoldenSequence, error) {
	start := time.Now()
	q, err := g.pool.NewSeq()
	if err != nil {
		return GoldenSequence{}, err
	}
	defer q.Free()
	c := comparison{want: want}
	kv := []*offload.Seq{q}
	var rows graph.Rows
	for q.Len() < len(want.Tokens) {
		from := q.Len()
		to := min(from+g.chunk, len(want.Tokens))
		rows.Reset()
		for pos := from; pos < to; pos++ {
			rows.Add(want.Tokens[pos], int32(pos), 0, true)
		}
		if err := q.Reserve(to - from); err != nil {
			return GoldenSequence{}, err
		}
		logits, err := g.exec.Step(ctx, &rows, kv)
		if err != nil {
			return GoldenSequence{}, err
		}
		for pos := from; pos < to; pos++ {
			if err := c.position(pos, logits.Row(pos-from)); err != nil {
				return GoldenSequence{}, err
			}
		}
		if err := q.Commit(to - from); err != nil {
			return GoldenSequence{}, err
		}
	}
	c.sum.Seconds = time.Since(start).Seconds()
	return c.sum, nil
}
