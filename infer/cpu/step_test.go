package cpu_test

import (
	"context"
	"errors"
	"testing"

	"edged/infer/cpu"
	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/infer/model"
	"edged/offload"
	"edged/pinnedmem"
)

const needle = "../../models/needle-26m-q8_0.gguf"

// loaded is the shipped model, compiled, with one sequence.
type loaded struct {
	exec graph.Exec
	seq  *offload.Seq
	rows graph.Rows
}

// needleProgram is the shipped model, whose file is open until the test ends.
func needleProgram(t testing.TB) *graph.Program {
	t.Helper()
	f, err := gguf.Open(needle)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := model.Build(f)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func load(t testing.TB, threads int) *loaded {
	t.Helper()
	p := needleProgram(t)
	host := pinnedmem.NewHost(0)
	e, err := cpu.New().Compile(p, graph.Limits{MaxRows: 256, MaxOut: 1, MaxSeqs: 1, Context: 2048, KV: offload.ExactLayers(p.KV, offload.F16), Threads: threads, Host: host})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := offload.NewPool(offload.One(host), offload.Config{Layers: offload.ExactLayers(p.KV, offload.F16), Context: 2048, Tokens: 2048, MaxSeqs: 1})
	if err != nil {
		t.Fatal(err)
	}
	seq, err := pool.NewSeq()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(e.Close(), pool.Close(), host.Close()); err != nil {
			t.Error(err)
		}
	})
	return &loaded{exec: e, seq: seq}
}

// feed appends n tokens in one step and asks for the last one's logits.
func (l *loaded) feed(ctx context.Context, n int) (graph.Logits, error) {
	if err := l.seq.Reserve(n); err != nil {
		return graph.Logits{}, err
	}
	l.rows.Reset()
	for i := range n {
		at := int32(l.seq.Len() + i)
		l.rows.Add(100+at%1000, at, 0, i == n-1)
	}
	out, err := l.exec.Step(ctx, &l.rows, []*offload.Seq{l.seq})
	if err != nil {
		return graph.Logits{}, err
	}
	return out, l.seq.Commit(n)
}

func TestDecodeStepsDoNotAllocate(t *testing.T) {
	l := load(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := l.feed(ctx, 200); err != nil {
		t.Fatal(err)
	}
	seqs := []*offload.Seq{l.seq}
	n := testing.AllocsPerRun(100, func() {
		if err := l.seq.Reserve(1); err != nil {
			t.Fatal(err)
		}
		l.rows.Reset()
		l.rows.Add(300, int32(l.seq.Len()), 0, true)
		if _, err := l.exec.Step(ctx, &l.rows, seqs); err != nil {
			t.Fatal(err)
		}
		if err := l.seq.Commit(1); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("a decode step allocates %v times", n)
	}
}

// TestCancelledChunkLeavesTheSequence cancels chunks at every possible moment
// and compares what follows with an undisturbed run.
func TestCancelledChunkLeavesTheSequence(t *testing.T) {
	want, got := load(t, 2), load(t, 2)
	for _, l := range []*loaded{want, got} {
		if _, err := l.feed(t.Context(), 100); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { cancel(); close(done) }()
		n := got.seq.Len()
		if _, err := got.feed(ctx, 256); err == nil {
			if err := got.seq.Truncate(n); err != nil {
				t.Fatal(err)
			}
		} else if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		<-done
	}
	a, err := want.feed(t.Context(), 30)
	if err != nil {
		t.Fatal(err)
	}
	b, err := got.feed(t.Context(), 30)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range a.Row(0) {
		if b.Row(0)[i] != v {
			t.Fatalf("logit %d is %g after cancelled steps, %g without", i, b.Row(0)[i], v)
		}
	}
}

func TestNewISARefusesUnknownNames(t *testing.T) {
	if _, err := cpu.NewISA("avx1024"); err == nil {
		t.Error("unknown vector instructions are accepted")
	}
	for _, name := range cpu.ISAs() {
		if _, err := cpu.NewISA(name); err != nil {
			t.Error(err)
		}
	}
}

func TestReadBandwidthWantsEnoughMemory(t *testing.T) {
	if _, err := cpu.ReadBandwidth(make([]byte, 1<<20), 2); err == nil {
		t.Error("half a MiB per thread is accepted")
	}
	if v, err := cpu.ReadBandwidth(make([]byte, 8<<20), 2); err != nil || v <= 0 {
		t.Errorf("%g bytes/s, %v", v, err)
	}
}

// BenchmarkPrefill reports what a chunk costs at an empty cache.
func BenchmarkPrefill(b *testing.B) {
	l := load(b, 2)
	for b.Loop() {
		if err := l.seq.Truncate(0); err != nil {
			b.Fatal(err)
		}
		if _, err := l.feed(b.Context(), 256); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(256*float64(b.N)/b.Elapsed().Seconds(), "tok/s")
}

// BenchmarkDecode reports a decode step behind 1,024 cached tokens.
func BenchmarkDecode(b *testing.B) {
	l := load(b, 2)
	for range 4 {
		if _, err := l.feed(b.Context(), 256); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := l.seq.Truncate(1024); err != nil {
			b.Fatal(err)
		}
		if _, err := l.feed(b.Context(), 1); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tok/s")
}
