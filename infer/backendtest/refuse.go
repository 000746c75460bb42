package backendtest

import (
	"errors"
	"strings"
	"testing"

	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/infer/sample"
	"edged/offload"
	"edged/pinnedmem"
)

func (s *suite) testRefuse(t *testing.T) {
	t.Run("rows", s.refuseRows)
	t.Run("sequences", s.refuseSequences)
	t.Run("programs", s.refusePrograms)
	t.Run("limits", s.refuseLimits)
	if s.keepsClass(offload.Paged) {
		t.Run("parts", s.refuseParts)
	}
	t.Run("plans", s.refusePlans)
	t.Run("step_pools", s.refuseStepPools)
}

// refuseRows steps with rows that are wrong in one way each.
func (s *suite) refuseRows(t *testing.T) {
	rng := s.rng(t)
	p := families[0].program(t, rng)
	r := newRig(t, s.backend, p, graph.Limits{MaxRows: 8, MaxOut: 4, MaxAsk: 2, MaxSeqs: 2, Context: 64, KV: offload.ExactLayers(p.KV, s.opt.Elems[0]), Threads: 2})
	tok := tinyTokens(rng, 8)
	q := r.seq(0)
	base := r.feed(q, tok, 4)
	q.Free()
	q, other := r.seq(0), r.seq(0)
	r.feed(q, tok[:4], 4)
	if err := errors.Join(q.Reserve(8), other.Reserve(8)); err != nil {
		t.Fatal(err)
	}
	both := []*offload.Seq{q, other}
	one := func(asks ...*sample.Ask) graph.Rows {
		return graph.Rows{Tok: []int32{1}, Pos: []int32{4}, Seq: []int32{0}, Out: []int32{0}, Ask: asks}
	}
	for _, c := range []struct {
		name string
		rows graph.Rows
		kv   []*offload.Seq
	}{
		{"no rows", graph.Rows{}, both},
		{"no sequences", graph.Rows{Tok: []int32{1}, Pos: []int32{4}, Seq: []int32{0}}, nil},
		{"too many sequences", graph.Rows{Tok: []int32{1}, Pos: []int32{4}, Seq: []int32{0}}, []*offload.Seq{q, other, other}},
		{"too many rows", graph.Rows{Tok: make([]int32, 9), Pos: []int32{4, 5, 6, 7, 8, 9, 10, 11, 12}, Seq: make([]int32, 9)}, both},
		{"too many outputs", graph.Rows{Tok: make([]int32, 5), Pos: []int32{4, 5, 6, 7, 8}, Seq: make([]int32, 5), Out: []int32{0, 1, 2, 3, 4}}, both},
		{"missing positions", graph.Rows{Tok: []int32{1, 2}, Pos: []int32{4}, Seq: []int32{0, 0}}, both},
		{"token beyond the vocabulary", graph.Rows{Tok: []int32{tinyVocab}, Pos: []int32{4}, Seq: []int32{0}}, both},
		{"negative token", graph.Rows{Tok: []int32{-1}, Pos: []int32{4}, Seq: []int32{0}}, both},
		{"position behind the sequence", graph.Rows{Tok: []int32{1}, Pos: []int32{3}, Seq: []int32{0}}, both},
		{"position ahead of the sequence", graph.Rows{Tok: []int32{1}, Pos: []int32{5}, Seq: []int32{0}}, both},
		{"positions with a gap", graph.Rows{Tok: []int32{1, 2}, Pos: []int32{4, 6}, Seq: []int32{0, 0}}, both},
		{"sequence that is not there", graph.Rows{Tok: []int32{1}, Pos: []int32{4}, Seq: []int32{2}}, both},
		{"negative sequence", graph.Rows{Tok: []int32{1}, Pos: []int32{4}, Seq: []int32{-1}}, both},
		{"sequences interleaved", graph.Rows{Tok: []int32{1, 2, 3}, Pos: []int32{4, 0, 5}, Seq: []int32{0, 1, 0}}, both},
		{"output that is not a row", graph.Rows{Tok: []int32{1}, Pos: []int32{4}, Seq: []int32{0}, Out: []int32{1}}, both},
		{"fewer asks than outputs", one(&sample.Ask{}, nil), both},
		{"more asks than limits", graph.Rows{Tok: []int32{1, 2, 3}, Pos: []int32{4, 5, 6}, Seq: make([]int32, 3), Out: []int32{0, 1, 2}, Ask: make([]*sample.Ask, 3)}, both},
		{"mask of another vocabulary", one(&sample.Ask{Mask: make([]uint64, tinyVocab/64+2)}), both},
		{"edit beyond the vocabulary", one(&sample.Ask{Edits: sample.Edits{Add: []sample.Edit{{ID: tinyVocab}}}}), both},
		{"edit of a negative token", one(&sample.Ask{Edits: sample.Edits{Repeat: []sample.Edit{{ID: -1}}}}), both},
		{"too many edits", one(&sample.Ask{Edits: sample.Edits{Subtract: make([]sample.Edit, sample.MaxEdits+1)}}), both},
		{"outputs twice", graph.Rows{Tok: []int32{1, 2}, Pos: []int32{4, 5}, Seq: []int32{0, 0}, Out: []int32{1, 1}}, both},
	} {
		if _, err := r.exec.Step(t.Context(), &c.rows, c.kv); !errors.Is(err, graph.ErrRows) {
			t.Errorf("%s: error is %v, want graph.ErrRows", c.name, err)
		}
	}
	s.checkAgain(t, "after refused rows", r.feed(q, tok[4:], 4), base[4:])
}

// refuseSequences steps with sequences whose pages the program would misread.
func (s *suite) refuseSequences(t *testing.T) {
	rng := s.rng(t)
	p := families[0].program(t, rng)
	r := newRig(t, s.backend, p, limits(p, s.opt.Elems[0]))
	wide := p.KV[0]
	wide.KVHeads *= 2
	narrow := p.KV[0]
	narrow.HeadDim /= 2
	elem := s.opt.Elems[0]
	dense := offload.ExactLayers(p.KV, offload.Q8)
	for i := range dense {
		dense[i].Class, dense[i].Group, dense[i].Tail = offload.Dense, offload.PageTok, 3*offload.PageTok
	}
	for name, plans := range map[string][]offload.LayerPlan{
		"other element":  offload.ExactLayers(p.KV, otherElem(elem)),
		"fewer layers":   offload.ExactLayers(p.KV[:1], elem),
		"more KV heads":  offload.ExactLayers([]offload.LayerSpec{p.KV[0], wide}, elem),
		"narrower heads": offload.ExactLayers([]offload.LayerSpec{p.KV[0], narrow}, elem),
		"other classes":  dense,
	} {
		pool, err := offload.NewPool(offload.One(pinnedmem.NewHost(0)), offload.Config{Layers: plans, Context: 64, Tokens: 64, MaxSeqs: 1})
		if err != nil {
			t.Fatal(err)
		}
		q, err := pool.NewSeq()
		if err != nil {
			t.Fatal(err)
		}
		in, kv := r.assemble([]piece{{seq: q, tok: []int32{1}}})
		if _, err := r.exec.Step(t.Context(), in, kv); err == nil {
			t.Errorf("%s: the step ran", name)
		}
		if err := pool.Close(); err != nil {
			t.Fatal(err)
		}
	}
	freed := r.seq(0)
	in, kv := r.assemble([]piece{{seq: freed, tok: []int32{1}}})
	freed.Free()
	if _, err := r.exec.Step(t.Context(), in, kv); !errors.Is(err, graph.ErrRows) {
		t.Errorf("freed sequence: error is %v, want graph.ErrRows", err)
	}
}

func otherElem(e offload.Elem) offload.Elem {
	if e == offload.F32 {
		return offload.F16
	}
	return offload.F32
}

// refusePrograms compiles programs that are wrong in one way each.
func (s *suite) refusePrograms(t *testing.T) {
	linear := func(change func(*graph.Program)) *graph.Program {
		b := newBuilder(s.rng(t), 64)
		x, y := b.input(64), b.buffer(64, graph.AllRows)
		b.emit(graph.Linear{Src: x, Parts: []graph.Part{{Dst: y, W: b.weight(gguf.Q8_0, 64, 64), Bias: graph.NoWeight}}})
		p := b.program(t, y)
		change(p)
		return p
	}
	for _, c := range []struct {
		name   string
		change func(*graph.Program)
		want   string // part of the error
	}{
		{"no ops", func(p *graph.Program) { p.Ops = nil }, graph.ErrProgram.Error()},
		{"logits of another width", func(p *graph.Program) { p.Vocab = 63 }, graph.ErrProgram.Error()},
		{"weight of another width", func(p *graph.Program) { p.Weights[1].K = 32 }, graph.ErrProgram.Error()},
		{"data too short", func(p *graph.Program) { p.Weights[1].Data = p.Weights[1].Data[1:] }, "w1"},
		{"data too long", func(p *graph.Program) { p.Weights[1].Data = append(p.Weights[1].Data, 0) }, "w1"},
		{"type without decoder", func(p *graph.Program) { p.Weights[1].Type = 16 }, "IQ2_XXS"},
		{"rows that are no whole blocks", func(p *graph.Program) { p.Weights[1].Type = gguf.Q4_K }, "w1"},
	} {
		host := pinnedmem.NewHost(0)
		p := linear(c.change)
		l := limits(p, s.opt.Elems[0])
		l.Host = host
		exec, err := s.backend.Compile(p, l)
		if err == nil {
			t.Errorf("%s: compiled", c.name)
			_ = exec.Close() // the failure is already reported
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %q does not name %q", c.name, err, c.want)
		}
		if err := host.Close(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// refuseLimits compiles within limits that nothing fits in.
func (s *suite) refuseLimits(t *testing.T) {
	p := families[0].program(t, s.rng(t))
	for name, change := range map[string]func(*graph.Limits){
		"no rows":      func(l *graph.Limits) { l.MaxRows = 0 },
		"no outputs":   func(l *graph.Limits) { l.MaxOut = -1 },
		"no sequences": func(l *graph.Limits) { l.MaxSeqs = 0 },
		"no context":   func(l *graph.Limits) { l.Context = 0 },
		"no threads":   func(l *graph.Limits) { l.Threads = 0 },
		"no host":      func(l *graph.Limits) { l.Host = nil },
		"no plans":     func(l *graph.Limits) { l.KV = nil },
		"other heads":  func(l *graph.Limits) { l.KV[1].KVHeads++ },
		"no such plan": func(l *graph.Limits) { l.KV[0].Budget = 1 },
	} {
		l := limits(p, s.opt.Elems[0])
		l.Host = pinnedmem.NewHost(0)
		change(&l)
		if exec, err := s.backend.Compile(p, l); err == nil {
			t.Errorf("%s: compiled", name)
			_ = exec.Close() // the failure is already reported
		}
	}
}
