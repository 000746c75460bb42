package cuda

import (
	"cmp"
	"errors"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/infer/model"
	"edged/offload"
	"edged/pinnedmem"
)

// openModel opens the device and a model's file.
func openModel(t *testing.T, path string) (*Backend, *graph.Program) {
	t.Helper()
	b, err := New(0)
	if err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := model.Build(f)
	if err != nil {
		t.Fatal(err)
	}
	return b, p
}

// TestSpeed measures each kernel of a step by itself: EDGED_CUDA_MODEL is a GGUF
// file, EDGED_CUDA_DEPTHS the tokens in the cache (default 0), EDGED_CUDA_ROWS
// the rows of the step (default 1): up to 16 go on with as many sequences, more are
// of a prompt. All launches of a kernel in a step run as
// one graph, so that each reads its own layer's weights.
func TestSpeed(t *testing.T) {
	path := os.Getenv("EDGED_CUDA_MODEL")
	if path == "" {
		t.Skip("set EDGED_CUDA_MODEL to measure kernels")
	}
	start := time.Now()
	b, p := openModel(t, path)
	depths := numbers(t, "EDGED_CUDA_DEPTHS", "0")
	rowCounts := numbers(t, "EDGED_CUDA_ROWS", "1")
	most := slices.Max(rowCounts)
	context := slices.Max(depths) + most + 1
	seqs := min(most, graphRows)
	host := pinnedmem.NewHost(0)
	l := graph.Limits{MaxRows: max(most, 16), MaxOut: 16, MaxSeqs: seqs, Context: context, KV: offload.ExactLayers(p.KV, offload.F16), Threads: 16, Host: host}
	begin := time.Now()
	c, err := b.Compile(p, l)
	if err != nil {
		t.Fatal(err)
	}
	e := c.(*exec)
	t.Logf("device opened and kernels loaded in %.2f s", begin.Sub(start).Seconds())
	t.Logf("compiled in %.2f s", time.Since(begin).Seconds())
	pool, err := offload.NewPool(offload.Tiers{Fast: b.Memory(0), Host: host, Mover: b.Mover()}, offload.Config{Layers: l.KV, Context: context, Tokens: seqs * context, MaxSeqs: seqs})
	if err != nil {
		t.Fatal(err)
	}
	rate, err := b.ReadBandwidth()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s, read bandwidth %.0f GB/s", b.info.Name, rate/1e9)
	for _, d := range depths {
		for _, r := range rowCounts {
			measureStep(t, e, pool, d, r)
		}
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func numbers(t *testing.T, name, def string) []int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		s = def
	}
	var out []int
	for _, f := range strings.Split(s, ",") {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out = append(out, n)
	}
	return out
}

// measureStep times a step of rows behind depth tokens, whose pages are what
// memory held: kernels take the same time for any finite values.
func measureStep(t *testing.T, e *exec, pool *offload.Pool, depth, rows int) {
	t.Helper()
	of := rows // one sequence
	if rows <= graphRows {
		of = 1
	}
	var in graph.Rows
	var kv []*offload.Seq
	for s := range rows / of {
		q, err := pool.NewSeq()
		if err == nil {
			err = errors.Join(q.Reserve(depth+of), q.Commit(depth))
		}
		if err != nil {
			t.Fatal(err)
		}
		defer q.Free()
		kv = append(kv, q)
		for i := range of {
			in.Add(int32((s+i)*37%1000), int32(depth+i), int32(s), i == of-1)
		}
	}
	if _, err := e.Step(t.Context(), &in, kv); err != nil {
		t.Fatal(err)
	}
	sh := e.state.fill(&in, false)
	e.batch.reset()
	for _, n := range e.nodes {
		n.emit(&e.batch, sh)
	}
	all := slices.Clone(e.batch.cmds)
	groups := map[string][]command{}
	for _, c := range all {
		name := c.kernel
		if isFew(name) {
			for _, u := range c.uses {
				if strings.HasSuffix(u.name, ".weight") && !strings.Contains(u.name, "norm") {
					name += " " + strings.TrimLeft(u.name, "blk.0123456789")
				}
			}
		}
		groups[name] = append(groups[name], c)
	}
	whole := e.timeCommands(t, all)
	t.Logf("depth %d, %d rows: %d launches, %.1f us as one graph", depth, rows, len(all), whole*1e6)
	type line struct {
		name    string
		seconds float64
		bytes   int64
		n       int
	}
	var lines []line
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		x := line{name: name, n: len(groups[name]), seconds: e.timeCommands(t, byThemselves(groups[name]))}
		for _, c := range groups[name] {
			for _, u := range c.uses {
				if strings.HasSuffix(u.name, ".weight") && isFew(c.kernel) {
					x.bytes += u.bytes
				}
			}
			if strings.HasPrefix(c.kernel, "decode") || strings.HasPrefix(c.kernel, "prompt") {
				x.bytes += int64(rows/of*(depth+of)) * int64(e.caches[0].pageBytes) / offload.PageTok
			}
		}
		lines = append(lines, x)
	}
	slices.SortFunc(lines, func(a, b line) int { return cmp.Compare(b.seconds, a.seconds) })
	for _, x := range lines {
		t.Logf("%8.1f us  %3d x %6.2f us  %6.0f GB/s  %s", x.seconds*1e6, x.n, x.seconds/float64(x.n)*1e6, float64(x.bytes)/x.seconds/1e9, x.name)
	}
}

// isFew says whether a kernel multiplies few rows.
func isFew(kernel string) bool {
	return strings.HasPrefix(kernel, "tiled_") || strings.HasPrefix(kernel, "batch_")
}

// timeCommands is the median time of commands as a graph.
func (e *exec) timeCommands(t *testing.T, cmds []command) float64 {
	t.Helper()
	cmds = slices.Clone(cmds)
	cmds[0].overlap = false
	g, err := e.queue.Prepare(cmds)
	if err != nil {
		t.Fatal(err)
	}
	seconds, err := e.timeGraph(g)
	if err = errors.Join(err, e.queue.Drop(g)); err != nil {
		t.Fatal(err)
	}
	return seconds
}
