package cpu_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/x448/float16"

	"edged/infer/cpu"
	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

// TestLongSessionTakesWhatItsPlanSays reads 131,072 tokens into the shipped
// model's cache behind a fast tier of an eighth of an exact cache, and decodes
// behind them. Computing all of their keys and values would take hours: all but
// a few are drawn at random, in the stage, where a prompt would leave them.
func TestLongSessionTakesWhatItsPlanSays(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a gigabyte")
	}
	const context, steps = 131072, 100
	p := needleProgram(t)
	plan, err := offload.MakePlan(offload.Ask{Layers: p.KV, Policy: "auto", Options: offload.Options{Sparse: true},
		Context: context, Fast: offload.ExactBytes(p.KV, context) / 8})
	if err != nil {
		t.Fatal(err)
	}
	work := pinnedmem.NewHost(0)
	exec, err := cpu.New().Compile(p, graph.Limits{MaxRows: 1, MaxOut: 1, MaxSeqs: 1, Context: context, KV: plan.Config.Layers, Threads: 2, Host: work})
	if err != nil {
		t.Fatal(err)
	}
	fast, host := pinnedmem.NewHost(plan.Bytes.Fast.Total()), pinnedmem.NewHost(plan.Bytes.Host.Total())
	pool, err := offload.NewPool(offload.Tiers{Fast: fast, Host: host}, plan.Config)
	if err != nil {
		t.Fatal(err)
	}
	q, err := pool.NewSeq()
	if err != nil {
		t.Fatal(err)
	}
	l := longSession{t, p, exec, q}
	l.read(context - steps)
	before := pool.Traffic()
	for range steps {
		l.decode()
	}
	if diff := cmp.Diff(plan.Bytes, offload.Bytes{Fast: fast.Usage(), Host: host.Usage()}); diff != "" {
		t.Errorf("plan (-) and accounts (+):\n%s", diff)
	}
	got, first, later := pool.Traffic(), plan.Step(context, true), plan.Step(context, false)
	if moved, most := got.Fetched-before.Fetched, first.Fetched+(steps-1)*later.Fetched; moved == 0 || moved > most {
		t.Errorf("%d steps fetched %d bytes, the plan allows %d", steps, moved, most)
	}
	if left, want := got.Hits-before.Hits, got.Chosen-before.Chosen; left > want || 2*left < want {
		t.Errorf("of %d pages that were attended to, %d were held already", want, left)
	}
	if err := errors.Join(exec.Close(), pool.Close(), work.Close(), fast.Close(), host.Close()); err != nil {
		t.Error(err)
	}
}

// longSession is one sequence of a program.
type longSession struct {
	t    *testing.T
	p    *graph.Program
	exec graph.Exec
	q    *offload.Seq
}

// read stages n tokens in every layer. The model computes the first and the
// last.
func (l longSession) read(n int) {
	l.t.Helper()
	if err := l.q.BeginPrefill(n); err != nil {
		l.t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for layer := range l.p.KV {
		l.part(layer, 0)
		stage := l.q.Pool().Stage()
		for i := l.q.Pool().Memory(layer).Pages.PageBytes; i < len(stage)-1; i += 2 {
			// The cheapest numbers that look like keys: signs and four fractions
			// around 1, with a trend that makes pages differ.
			x := rng.Uint32()
			v := float32(int32(x%16)-8)/8 + float32(i>>14%7)/7
			binary.NativeEndian.PutUint16(stage[i:], float16.Fromfloat32(v).Bits())
		}
		l.part(layer, n-1)
	}
	l.part(len(l.p.KV), n-1)
	if err := l.q.EndPrefill(); err != nil {
		l.t.Fatal(err)
	}
}

func (l longSession) part(part, pos int) {
	l.t.Helper()
	var rows graph.Rows
	rows.Add(1, int32(pos), 0, part == len(l.p.KV))
	if _, err := l.exec.Part(l.t.Context(), part, &rows, l.q); err != nil {
		l.t.Fatal(err)
	}
}

func (l longSession) decode() {
	l.t.Helper()
	if err := l.q.Reserve(1); err != nil {
		l.t.Fatal(err)
	}
	var rows graph.Rows
	rows.Add(int32(2+l.q.Len()%100), int32(l.q.Len()), 0, true)
	out, err := l.exec.Step(l.t.Context(), &rows, []*offload.Seq{l.q})
	if err != nil {
		l.t.Fatal(err)
	}
	for _, x := range out.Data[:out.Width] {
		if x != x {
			l.t.Fatalf("a logit behind %d tokens is not a number", l.q.Len())
		}
	}
	if err := l.q.Commit(1); err != nil {
		l.t.Fatal(err)
	}
}
