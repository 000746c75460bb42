package cuda

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/infer/gguf"
	"edged/infer/gguf/gguftest"
	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

// toy is a program with every op, its weights of the given types in turn.
func toy(types ...gguf.Type) *graph.Program { return toyOf(300, types...) }

// toyOf is the toy with a vocabulary.
func toyOf(vocab int, types ...gguf.Type) *graph.Program {
	const hidden, ffn, heads, kvHeads, dim = 512, 1280, 8, 2, 64
	rng := rand.New(rand.NewPCG(1, 2))
	p := &graph.Program{Name: "toy", Vocab: vocab, Context: 4096, KV: []offload.LayerSpec{{KVHeads: kvHeads, HeadDim: dim, Window: 100}}}
	p.Ropes = []graph.RopeTable{{InvFreq: make([]float64, dim/2), Scale: 1}}
	buf := func(name string, width int, x graph.Extent) graph.Buf {
		p.Buffers = append(p.Buffers, graph.Buffer{Name: name, Width: width, Rows: x})
		return graph.Buf(len(p.Buffers) - 1)
	}
	add := func(name string, t gguf.Type, n, k int) graph.WeightID {
		p.Weights = append(p.Weights, graph.Weight{Name: name, Type: t, N: n, K: k, Data: gguftest.RandomBlocks(rng, t, n*k/t.BlockElems(), 1)})
		return graph.WeightID(len(p.Weights) - 1)
	}
	n := 0
	matrix := func(name string, rows, k int) graph.WeightID {
		n++
		return add(name, types[(n-1)%len(types)], rows, k)
	}
	vector := func(name string, k int) graph.WeightID { return add(name, gguf.F32, 1, k) }
	x, h := buf("x", hidden, graph.AllRows), buf("h", hidden, graph.AllRows)
	q, k, v := buf("q", heads*dim, graph.AllRows), buf("k", kvHeads*dim, graph.AllRows), buf("v", kvHeads*dim, graph.AllRows)
	a, f := buf("a", heads*dim, graph.AllRows), buf("f", ffn, graph.AllRows)
	last, logits := buf("last", hidden, graph.OutRows), buf("logits", vocab, graph.OutRows)
	one := func(dst graph.Buf, w graph.WeightID, add bool) graph.Part {
		return graph.Part{Dst: dst, W: w, Bias: graph.NoWeight, Add: add}
	}
	p.Ops = []graph.Op{
		graph.Embed{Dst: x, Table: matrix("embed", vocab, hidden), Scale: 1},
		graph.RMSNorm{Dst: h, Src: x, W: vector("norm1", hidden), Eps: 1e-5},
		graph.Linear{Src: h, Parts: []graph.Part{{Dst: q, W: matrix("wq", heads*dim, hidden), Bias: vector("bq", heads*dim)}, one(k, matrix("wk", kvHeads*dim, hidden), false), one(v, matrix("wv", kvHeads*dim, hidden), false)}},
		graph.HeadNorm{X: q, Heads: heads, Dim: dim, W: vector("qn", dim), Eps: 1e-5},
		graph.HeadNorm{X: k, Heads: kvHeads, Dim: dim, W: vector("kn", dim), Eps: 1e-5},
		graph.Rope{X: q, Heads: heads, Dim: dim}, graph.Rope{X: k, Heads: kvHeads, Dim: dim},
		graph.KVAppend{K: k, V: v},
		graph.Attend{Dst: a, Q: q, Heads: heads, Scale: 0.125},
		graph.Linear{Src: a, Parts: []graph.Part{one(h, matrix("wo", hidden, heads*dim), false)}},
		graph.AddRMSNorm{X: x, Y: h, W: vector("norm2", hidden), Eps: 1e-5},
		graph.RMSNorm{Dst: h, Src: x, W: vector("norm3", hidden), Eps: 1e-5},
		graph.GatedLinear{Dst: f, Src: h, Gate: matrix("gate", ffn, hidden), Up: matrix("up", ffn, hidden)},
		graph.Linear{Src: f, Parts: []graph.Part{one(x, matrix("down", hidden, ffn), true)}},
		graph.Select{Dst: last, Src: x},
		graph.RMSNorm{Dst: last, Src: last, W: vector("norm4", hidden), Eps: 1e-5},
		graph.Linear{Src: last, Parts: []graph.Part{one(logits, matrix("head", vocab, hidden), false)}},
	}
	p.Logits = logits
	return p
}

func toyLimits(p *graph.Program, host *pinnedmem.Host) graph.Limits {
	return graph.Limits{MaxRows: 200, MaxOut: 8, MaxSeqs: 4, Context: 400, KV: offload.ExactLayers(p.KV, offload.F16), Threads: 2, Host: host}
}

// open compiles a program for the fake device and gives it a pool in host memory.
func openFake(t *testing.T, f *fakeGPU, p *graph.Program) (*exec, *offload.Pool) {
	t.Helper()
	return openFakeWith(t, f, p, func(*graph.Limits) {})
}

// openFakeWith changes the toy's limits first.
func openFakeWith(t *testing.T, f *fakeGPU, p *graph.Program, change func(*graph.Limits)) (*exec, *offload.Pool) {
	t.Helper()
	host := pinnedmem.NewHost(0)
	l := toyLimits(p, host)
	change(&l)
	x, err := f.backend().Compile(p, l)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := offload.NewPool(offload.One(host), offload.Config{Layers: l.KV, Context: l.Context, Tokens: l.MaxSeqs * l.Context, MaxSeqs: l.MaxSeqs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(x.Close(), pool.Close(), host.Close()); err != nil {
			t.Error(err)
		}
	})
	return x.(*exec), pool
}

// run takes a step with so many rows of each sequence.
func runFake(t *testing.T, e *exec, pool *offload.Pool, rows ...int) {
	t.Helper()
	var in graph.Rows
	var kv []*offload.Seq
	for s, n := range rows {
		q, err := pool.NewSeq()
		if err == nil {
			err = q.Reserve(n)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer q.Free()
		for i := range n {
			in.Add(int32(i), int32(i), int32(s), i == n-1)
		}
		kv = append(kv, q)
	}
	if _, err := e.Step(t.Context(), &in, kv); err != nil {
		t.Fatalf("%v rows: %v", rows, err)
	}
}

// TestLaunches runs steps of every shape with weights of every type on a device
// that checks bounds and lifetimes.
func TestLaunches(t *testing.T) {
	mixes := [][]gguf.Type{{gguf.Q4_K, gguf.Q4_K, gguf.Q6_K}, {gguf.Q5_K, gguf.Q5_K, gguf.Q6_K, gguf.Q6_K}, {gguf.Q4_0, gguf.Q8_0, gguf.F32}, {gguf.Q6_K, gguf.BF16, gguf.Q4_K, gguf.F16}}
	for _, typ := range gguf.Types() {
		mixes = append(mixes, []gguf.Type{typ})
	}
	for _, types := range mixes {
		for _, major := range []int{8, 9} {
			t.Run(fmt.Sprint(types, major), func(t *testing.T) { launchAll(t, major, types) })
		}
	}
}

func launchAll(t *testing.T, major int, types []gguf.Type) {
	f := newFake(t)
	f.info.Major = major
	e, pool := openFakeWith(t, f, toy(types...), func(l *graph.Limits) { l.MaxSeqs, l.MaxOut = 20, 20 })
	for _, n := range []int{1, 2, 3, 4, 8, 9, 16, 17, 20, 1} { // sequences that go on
		runFake(t, e, pool, slices.Repeat([]int{1}, n)...)
	}
	for _, rows := range [][]int{{5}, {16}, {17}, {20, 1}, {33}, {60, 1, 70, 1}, {200}} { // prompts
		runFake(t, e, pool, rows...)
	}
	if len(e.graphs) != 7 {
		t.Errorf("%d graphs for 7 shapes of few rows", len(e.graphs))
	}
}

// TestRebind: graphs of one pool are not used with another.
func TestRebind(t *testing.T) {
	f := newFake(t)
	e, pool := openFake(t, f, toy(gguf.Q4_K))
	runFake(t, e, pool, 1)
	host := pinnedmem.NewHost(0)
	other, err := offload.NewPool(offload.One(host), offload.Config{Layers: e.lim.KV, Context: 64, Tokens: 64, MaxSeqs: 1})
	if err != nil {
		t.Fatal(err)
	}
	runFake(t, e, other, 1)
	runFake(t, e, pool, 1)
	if err := errors.Join(other.Close(), host.Close()); err != nil {
		t.Error(err)
	}
}

// TestDecodeCommands pins what a decode step of one row runs.
func TestDecodeCommands(t *testing.T) {
	f := newFake(t)
	e, pool := openFake(t, f, toy(gguf.Q4_K, gguf.Q4_K, gguf.Q4_K, gguf.Q6_K, gguf.Q4_K, gguf.Q5_K, gguf.Q5_K, gguf.Q6_K))
	runFake(t, e, pool, 1)
	var got []string
	for _, g := range f.graphs {
		for _, c := range g {
			got = append(got, c.String())
		}
	}
	want := strings.Split(strings.TrimSpace(decodeCommands), "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

const decodeCommands = `
copy 2636 bytes to the device
embed <1x1x1, 256, 0> embed tok x*
tiled_q4k_q6k_2 <6x1x1, 512, 123008> x norm1 wq bq q* wk k* wv v*
norm_rope_append <1x3x1, 128, 0> q* k v frequencies pages 0* tables pos seq qn kn
decode_64 <2x2x1, 256, 155648> q a* pages 0 tables pos seq partial* tickets*
tiled_q4k_2 <4x1x1, 512, 90240> a wo h*
norm_rows <1x1x1, 256, 0> h norm2 x*
tiled_gated_q5k_2 <10x1x1, 512, 111744> x norm3 gate up f*
tiled_q6k_2 <8x1x1, 512, 131264> f down x*
select_rows <1x1x1, 256, 0> x out last*
norm_rows <1x1x1, 256, 0> last norm4 last*
tiled_q4k_2 <3x1x1, 512, 90240> last head logits*
copy 1200 bytes from the device
`

// TestRefusals: what has no kernel, and what has no room, is named.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*graph.Program, *graph.Limits, *fakeGPU)
		is     error
		want   string
	}{
		{"pages of f32", func(p *graph.Program, l *graph.Limits, _ *fakeGPU) { l.KV = offload.ExactLayers(p.KV, offload.F32) }, ErrUnsupported, "exact pages of f32; only those of f16 are"},
		{"an estimate", func(p *graph.Program, l *graph.Limits, _ *fakeGPU) {
			keepAs(p, l, offload.LayerPlan{Class: offload.Paged, Elem: offload.Q8, Group: 16, Tail: 64, Budget: 4, Exchange: 2, Estimate: true})
		}, ErrUnsupported, "layer 0: an estimate"},
		{"groups of gathered tokens too large", func(p *graph.Program, l *graph.Limits, _ *fakeGPU) {
			keepAs(p, l, offload.LayerPlan{Class: offload.Gathered, Elem: offload.F16, Group: 256, Tail: 320, Budget: 100, Channels: 8})
		}, ErrUnsupported, "records of 256 tokens"},
		{"groups too large", func(p *graph.Program, l *graph.Limits, _ *fakeGPU) {
			keepAs(p, l, offload.LayerPlan{Class: offload.Dense, Elem: offload.Q8, Group: 128, Tail: 160})
		}, ErrUnsupported, "records of 128 tokens"},
		{"a choice among too many", func(p *graph.Program, l *graph.Limits, _ *fakeGPU) {
			l.Context = 1 << 20
			keepAs(p, l, offload.LayerPlan{Class: offload.Paged, Elem: offload.Q8, Group: 16, Tail: 64, Budget: 4, Exchange: 2})
		}, ErrUnsupported, "a choice of 4 among 65536 pages"},
		{"no room", func(_ *graph.Program, _ *graph.Limits, f *fakeGPU) { f.free = reserveBytes + 1000 }, ErrMemory, "weights take"},
		{"no room for steps", func(_ *graph.Program, _ *graph.Limits, f *fakeGPU) { f.free = reserveBytes + 6<<20 }, ErrMemory, "activations take"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t)
			p := toy(gguf.Q4_K)
			host := pinnedmem.NewHost(0)
			l := toyLimits(p, host)
			c.change(p, &l, f)
			x, err := f.backend().Compile(p, l)
			if err == nil {
				t.Fatalf("compiled; %v", x.Close())
			}
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %v with %q", err, c.is, c.want)
			}
			if err := host.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFakeFinds: the checks of the fake device can fail.
func TestFakeFinds(t *testing.T) {
	f := newFake(t)
	e, pool := openFake(t, f, toy(gguf.Q4_K))
	runFake(t, e, pool, 1)
	var good []command
	for _, g := range f.graphs {
		good = g
	}
	at := slices.IndexFunc(good, func(c command) bool { return c.kernel == "tiled_gated_q4k_2" })
	for name, spoil := range map[string]func(*command){
		"no such kernel":       func(c *command) { c.kernel = "tiled_q9_2" },
		"parameters too short": func(c *command) { c.args = c.args[:len(c.args)-4] },
		"parameters too long":  func(c *command) { c.args = append(slices.Clone(c.args), 0, 0, 0, 0) },
		"freed memory": func(c *command) {
			c.uses = append(slices.Clone(c.uses), span{name: "gone", at: fakeBase - 4096, bytes: 8})
		},
		"beyond the end":  func(c *command) { c.uses = slices.Clone(c.uses); c.uses[0].bytes = 1 << 40 },
		"untold address":  func(c *command) { c.uses = c.uses[:1] },
		"too much shared": func(c *command) { c.shared = fakeInfo.SharedBytes + 1 },
	} {
		cmds := slices.Clone(good)
		spoil(&cmds[at])
		if err := (&fakeQueue{f}).Run(cmds); err == nil {
			t.Errorf("%s: nothing found", name)
		}
	}
	cmds := slices.Clone(good)
	cmds[1].overlap = true // behind the copy of the state
	if err := (&fakeQueue{f}).Run(cmds); err == nil {
		t.Error("a kernel that overlaps a copy: nothing found")
	}
}
