package backendtest

import (
	"slices"
	"testing"

	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

// rig is one compiled program with memory of its own.
type rig struct {
	t    *testing.T
	exec graph.Exec
	pool *offload.Pool
	lim  graph.Limits
	// between runs after every chunk of a prompt's parts; may be nil.
	between func()
	reads   bool // steps are those of prompts, however few their rows
}

// limits are generous ones, with every layer kept exactly; tests that need
// others change them.
func limits(p *graph.Program, elem offload.Elem) graph.Limits {
	return graph.Limits{MaxRows: 64, MaxOut: 64, MaxSeqs: 4, Context: 1024, KV: offload.ExactLayers(p.KV, elem), Threads: 2}
}

// newRig compiles p, with a cache in host memory. When the test ends, it closes
// everything and checks that all memory has been given back.
func newRig(t *testing.T, b graph.Backend, p *graph.Program, l graph.Limits) *rig {
	t.Helper()
	return newRigOn(t, b, p, l, offload.One(pinnedmem.NewHost(0)))
}

// newTieredRig has the cache's fast tier where the backend wants it.
func newTieredRig(t *testing.T, b graph.Backend, p *graph.Program, l graph.Limits) *rig {
	t.Helper()
	d, ok := b.(graph.DeviceMemory)
	if !ok {
		return newRig(t, b, p, l)
	}
	return newRigOn(t, b, p, l, offload.Tiers{Fast: d.Memory(0), Host: pinnedmem.NewHost(0), Mover: d.Mover()})
}

func newRigOn(t *testing.T, b graph.Backend, p *graph.Program, l graph.Limits, tiers offload.Tiers) *rig {
	t.Helper()
	l.Host = tiers.Host
	exec, err := b.Compile(p, l)
	if err != nil {
		t.Fatalf("compile: %v\n%s", err, p)
	}
	pool, err := offload.NewPool(tiers, offload.Config{Layers: l.KV, Context: l.Context, Tokens: l.Context * l.MaxSeqs, MaxSeqs: l.MaxSeqs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := exec.Close(); err != nil {
			t.Errorf("close program: %v", err)
		}
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
		for _, host := range []*pinnedmem.Host{tiers.Host, tiers.Fast} {
			if err := host.Close(); err != nil {
				t.Errorf("after the program was closed: %v", err)
			}
		}
	})
	return &rig{t: t, exec: exec, pool: pool, lim: l}
}

// seq opens a sequence with nTok tokens that no step wrote.
func (r *rig) seq(nTok int) *offload.Seq {
	r.t.Helper()
	q, err := r.pool.NewSeq()
	if err == nil && nTok > 0 {
		err = q.Reserve(nTok)
	}
	if err == nil {
		err = q.Commit(nTok)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return q
}

// piece is a run of tokens that one sequence contributes to a step.
type piece struct {
	seq *offload.Seq
	tok []int32
	out func(i int) bool // which of them give logits; nil means all
}

// assemble reserves positions and lays out the rows of a step.
func (r *rig) assemble(pieces []piece) (*graph.Rows, []*offload.Seq) {
	r.t.Helper()
	in := &graph.Rows{Prompt: r.reads}
	var kv []*offload.Seq
	for s, p := range pieces {
		if err := p.seq.Reserve(len(p.tok)); err != nil {
			r.t.Fatal(err)
		}
		if !p.seq.Pool().LayerMajor() {
			mixPages(p.seq)
		}
		for i, tok := range p.tok {
			in.Add(tok, int32(p.seq.Len()+i), int32(s), p.out == nil || p.out(i))
		}
		kv = append(kv, p.seq)
	}
	return in, kv
}

// mixPages exchanges unwritten pages within every second layer, so that one
// position's page number differs between layers, as a pool may well choose.
func mixPages(q *offload.Seq) {
	first := (q.Len() + offload.PageTok - 1) / offload.PageTok
	last := q.Reserved()/offload.PageTok - 1
	for layer := 1; layer < q.Pool().Layers() && first < last; layer += 2 {
		table := q.Table(layer)
		table[first], table[last] = table[last], table[first]
	}
}

// step runs and commits the pieces and returns their logits.
func (r *rig) step(pieces ...piece) rows {
	r.t.Helper()
	in, kv := r.assemble(pieces)
	return r.run(in, kv, pieces, len(in.Out))
}

// run runs and commits a step of the pieces that gives so many rows.
func (r *rig) run(in *graph.Rows, kv []*offload.Seq, pieces []piece, want int) rows {
	r.t.Helper()
	l, err := r.exec.Step(r.t.Context(), in, kv)
	if err != nil {
		r.t.Fatalf("step: %v", err)
	}
	out := copyRows(l)
	for _, p := range pieces {
		if err := p.seq.Commit(len(p.tok)); err != nil {
			r.t.Fatal(err)
		}
	}
	if len(out) != want {
		r.t.Fatalf("step gave %d rows, want %d", len(out), want)
	}
	return out
}

// feed appends tokens in steps of at most chunk rows and returns the logits
// of all of them.
func (r *rig) feed(q *offload.Seq, tok []int32, chunk int) rows {
	r.t.Helper()
	return inChunks(r.step, q, tok, chunk)
}

// inChunks appends tokens by steps of at most chunk rows and returns what all give.
func inChunks(step func(...piece) rows, q *offload.Seq, tok []int32, chunk int) rows {
	var out rows
	for part := range slices.Chunk(tok, chunk) {
		out = append(out, step(piece{seq: q, tok: part})...)
	}
	return out
}

// pair is a program compiled by the backend under test and by the judge.
type pair struct{ got, want *rig }

// exactPair is a pair with generous limits.
func (s *suite) exactPair(t *testing.T, p *graph.Program) pair {
	t.Helper()
	return s.pair(t, p, limits(p, s.opt.Elems[0]))
}

func (s *suite) pair(t *testing.T, p *graph.Program, l graph.Limits) pair {
	t.Helper()
	return pair{got: newRig(t, s.backend, p, l), want: newRig(t, s.judge, p, l)}
}

// one runs tokens on fresh sequences that begin at position start.
func (p pair) one(tok []int32, start int) (got, want rows) {
	run := func(r *rig) rows {
		q := r.seq(start)
		defer q.Free()
		return r.step(piece{seq: q, tok: tok})
	}
	return run(p.got), run(p.want)
}
