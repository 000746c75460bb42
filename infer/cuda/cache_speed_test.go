package cuda

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/x448/float16"
	"golang.org/x/sync/errgroup"

	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

// cacheRun is a model behind a cache of pages, filled with valid bytes that no
// prompt wrote: kernels take the same time.
type cacheRun struct {
	t    *testing.T
	b    *Backend
	e    *exec
	pool *offload.Pool
	q    *offload.Seq
	more []*offload.Seq // in a step beside it
	rng  *rand.Rand
	heap *pinnedmem.Arena // a layer's index, locked
}

// TestCacheSpeed measures decode steps under auto: EDGED_CUDA_MODEL is a GGUF
// file, EDGED_CUDA_DEPTHS the tokens in the cache, EDGED_CUDA_BUDGETS the tokens
// of working sets (default 1024), EDGED_CUDA_EXCHANGE those that a step replaces, EDGED_CUDA_ROWS the
// sequences of a step (default 1),
// EDGED_CUDA_BY_RECORD=1 that records weigh what is held, and 0 that they do not.
func TestCacheSpeed(t *testing.T) {
	path := os.Getenv("EDGED_CUDA_MODEL")
	if path == "" || os.Getenv("EDGED_CUDA_BUDGETS") == "" {
		t.Skip("set EDGED_CUDA_MODEL and EDGED_CUDA_BUDGETS to measure")
	}
	b, p := openModel(t, path)
	rate, err := b.ReadBandwidth()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s, read bandwidth %.0f GB/s", b.info.Name, rate/1e9)
	for _, rows := range numbers(t, "EDGED_CUDA_ROWS", "1") {
		for _, depth := range numbers(t, "EDGED_CUDA_DEPTHS", "130816") {
			for _, budget := range numbers(t, "EDGED_CUDA_BUDGETS", "1024") {
				for _, exchange := range numbers(t, "EDGED_CUDA_EXCHANGE", "160") {
					r := newCacheRun(t, b, p, depth, depth+200, 2048, rows, offload.Options{Sparse: true, Elem: os.Getenv("EDGED_CUDA_ELEM"), Budget: budget, Exchange: min(exchange, budget)})
					r.measure(depth)
					r.close()
				}
			}
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// newCacheRun fills so many of the tokens that there is room for, of some sequences.
func newCacheRun(t *testing.T, b *Backend, p *graph.Program, depth, room, rows, seqs int, opt offload.Options) *cacheRun {
	t.Helper()
	if opt.Elem == "" {
		opt.Elem = offload.Q64.String()
	}
	context := ceil(room, offload.BlockTok) * offload.BlockTok
	plan, err := offload.MakePlan(offload.Ask{Layers: p.KV, Policy: "auto", Options: opt, Context: context, Tokens: context * seqs, Sessions: seqs})
	if err != nil {
		t.Fatal(err)
	}
	if by := os.Getenv("EDGED_CUDA_BY_RECORD"); by != "" {
		for i := range plan.Config.Layers {
			l := &plan.Config.Layers[i]
			l.ByRecord = by == "1" && l.Class == offload.Paged
		}
	}
	start := time.Now()
	r := &cacheRun{t: t, b: b, rng: rand.New(rand.NewPCG(1, 2))}
	host := pinnedmem.NewHost(0)
	x, err := b.Compile(p, graph.Limits{MaxRows: rows, MaxOut: seqs, MaxSeqs: seqs, Context: context, KV: plan.Config.Layers, Threads: 16, Host: host})
	if err != nil {
		t.Fatal(err)
	}
	r.e = x.(*exec)
	compiled := time.Now()
	if r.pool, err = offload.NewPool(offload.Tiers{Fast: b.Memory(0), Host: host, Mover: b.Mover()}, plan.Config); err != nil {
		t.Fatal(err)
	}
	r.fillRecords()
	filled := time.Now()
	for range seqs {
		q, err := r.pool.NewSeq()
		if err == nil {
			if err = q.BeginPrefill(depth); err == nil {
				err = q.EndPrefill()
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		r.more = append(r.more, q)
	}
	r.q, r.more = r.more[0], r.more[1:]
	r.step()
	t.Logf("%s at %d tokens: compile %v, fill %v, first step %v", plan.Resolved, depth, compiled.Sub(start), filled.Sub(compiled), time.Since(filled))
	r.fillIndexes()
	free, total, err := b.gpu.MemInfo()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.3f GiB of the device in use by everything, host %v", float64(total-free)/(1<<30), host.Usage())
	return r
}

// fillRecords writes finite numbers to the host tier, so small that no page stands out
// by its record.
func (r *cacheRun) fillRecords() {
	var g errgroup.Group
	g.SetLimit(16)
	piece := make([]byte, 1<<20)
	for i := range piece {
		piece[i] = byte(r.rng.Uint32()) & 0x1f
	}
	for i := range r.pool.Layers() {
		if m := r.pool.Memory(i); m.Plan.Class.Cold() {
			g.Go(func() error {
				for at := 0; at < len(m.Units); at += len(piece) {
					copy(m.Units[at:], piece)
				}
				return nil
			})
		}
	}
	_ = g.Wait() // copies do not fail
}

// fillIndexes writes random valid indexes.
func (r *cacheRun) fillIndexes() {
	m := r.pool.Memory(0)
	var err error
	if r.heap, err = r.e.lim.Host.Arena(pinnedmem.Activations, int64(len(m.Indexes)), pinnedmem.Options{}); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.b.gpu.Register(r.heap.Bytes()); err != nil {
		r.t.Fatal(err)
	}
	half := func(b []byte, v float64) { binary.NativeEndian.PutUint16(b, float16.Fromfloat32(float32(v)).Bits()) }
	mem, x := r.heap.Bytes()[:len(m.Indexes)], m.Index
	for at := 0; at+x.Bytes <= len(mem); at += x.Bytes {
		b := mem[at : at+x.Bytes]
		for i := 0; i+8 <= len(b); i += 8 {
			binary.NativeEndian.PutUint64(b[i:], r.rng.Uint64())
		}
		for rank, c := range r.rng.Perm(x.Dim) {
			b[rank] = byte(c)
			half(b[x.Refs+2*c:], r.rng.NormFloat64())
			half(b[x.Steps+2*c:], 0.5+r.rng.Float64())
		}
	}
	r.e.batch.reset()
	for i := range r.e.caches {
		r.e.batch.copyIn(r.e.caches[i].indexes.at, mem)
	}
	r.run()
}

func (r *cacheRun) run() {
	if err := r.e.queue.Run(r.e.batch.cmds); err != nil {
		r.t.Fatal(err)
	}
	if err := r.e.queue.Wait(); err != nil {
		r.t.Fatal(err)
	}
}

// step decodes a token of each sequence and gives the time that took.
func (r *cacheRun) step() float64 {
	seqs := append([]*offload.Seq{r.q}, r.more...)
	in := graph.Rows{}
	for i, q := range seqs {
		if err := q.Reserve(1); err != nil {
			r.t.Fatal(err)
		}
		in.Add(int32(r.rng.IntN(1000)), int32(q.Len()), int32(i), true)
	}
	start := time.Now()
	if _, err := r.e.Step(r.t.Context(), &in, seqs); err != nil {
		r.t.Fatal(err)
	}
	d := time.Since(start).Seconds()
	for _, q := range seqs {
		if err := q.Commit(1); err != nil {
			r.t.Fatal(err)
		}
	}
	return d
}

// forget empties the working sets of the first sequence.
func (r *cacheRun) forget() {
	m := r.pool.Memory(0)
	list := make([]byte, m.ChosenBytes)
	for i := range m.Plan.Budget {
		binary.NativeEndian.PutUint32(list[4*(1+m.Plan.Budget+i):], uint32(i))
	}
	mem := r.heap.Bytes()[:0]
	for range m.Plan.KVHeads {
		mem = append(mem, list...)
	}
	r.e.batch.reset()
	for i := range r.e.caches {
		r.e.batch.copyIn(r.e.caches[i].chosen.at, mem)
	}
	r.run()
}

func (r *cacheRun) measure(depth int) {
	r.t.Helper()
	for _, cold := range []bool{false, true} {
		if cold && len(r.more) > 0 {
			continue
		}
		var times []float64
		before := r.pool.Traffic()
		const n = 32
		for range n {
			if cold {
				r.forget()
			}
			times = append(times, r.step())
		}
		slices.Sort(times)
		d := r.pool.Traffic()
		chosen, hits := d.Chosen-before.Chosen, d.Hits-before.Hits
		r.t.Logf("depth %d, sets emptied %v: median %.3f ms, least %.3f, most %.3f; hits %.1f %%, %.1f MB a token over the bus, %d pages a head",
			depth, cold, times[n/2]*1e3, times[0]*1e3, times[n-1]*1e3, 100*float64(hits)/float64(max(chosen, 1)), float64(d.Fetched-before.Fetched)/n/1e6, chosen/n/int64(r.pool.Layers()*r.pool.Memory(0).Plan.KVHeads))
	}
	r.kernels()
}

// kernels times all launches of each kernel as one graph.
func (r *cacheRun) kernels() {
	r.e.batch.reset()
	for _, n := range r.e.nodes {
		n.emit(&r.e.batch, shape{rows: 1 + len(r.more), outs: 1 + len(r.more)})
	}
	all := slices.Clone(r.e.batch.cmds)
	groups := map[string][]command{}
	for _, c := range all {
		name := c.kernel
		if strings.HasPrefix(name, "tiled") {
			name = "tiled"
		}
		groups[name] = append(groups[name], c)
	}
	lines := []string{fmt.Sprintf("%d launches, %.1f us as one graph", len(all), r.e.timeCommands(r.t, all)*1e6)}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		g := groups[name]
		s := r.e.timeCommands(r.t, byThemselves(g))
		line := fmt.Sprintf("%8.1f us %3d x %6.2f us %s", s*1e6, len(g), s*1e6/float64(len(g)), name)
		if strings.HasPrefix(name, "scan") {
			var bytes int64
			for range g {
				bytes += int64((1+len(r.more))*r.q.Stored()/offload.BlockTok*r.pool.Memory(0).Plan.KVHeads) * int64(r.pool.Memory(0).Index.Bytes)
			}
			line += fmt.Sprintf(", %.0f GB/s", float64(bytes)/s/1e9)
		}
		lines = append(lines, line)
	}
	r.t.Log(strings.Join(lines, "\n"))
	r.e.batch.reset() // scans by themselves were counted
	r.e.nobodyArrived()
	r.run()
}

func (r *cacheRun) close() {
	r.t.Helper()
	for _, q := range append(r.more, r.q) {
		q.Free()
	}
	if err := r.e.Close(); err != nil {
		r.t.Error(err)
	}
	if err := r.b.gpu.Unregister(r.heap.Bytes()); err != nil {
		r.t.Error(err)
	}
	if err := r.heap.Close(); err != nil {
		r.t.Error(err)
	}
	if err := r.pool.Close(); err != nil {
		r.t.Error(err)
	}
}
