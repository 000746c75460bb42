package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"edged/infer/cpu"
	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/infer/model"
	"edged/offload"
)

// shipped is the model in the repository.
func shipped(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob("../../models/*.gguf")
	if err != nil || len(found) == 0 {
		t.Fatalf("the repository's model is missing: %v", err)
	}
	return found[0]
}

func TestRunMeasuresTheShippedModel(t *testing.T) {
	b := cpu.New()
	defer b.Close()
	var tests []string
	r, err := Run(t.Context(), Config{
		Path: shipped(t), Backend: b, BackendName: "cpu", Threads: 1, ChunkTok: 32,
		Prompts: []int{48}, Depths: []int{40, 0, 40}, Gen: 3, Reps: 2,
		Progress: func(test string, done, total int) { tests = append(tests, test) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"pp48", "tg3 at depth 0", "tg3 at depth 40"}; !cmp.Equal(tests, want) {
		t.Errorf("tests %v, want %v", tests, want)
	}
	for _, row := range r.Rows {
		if len(row.Seconds) != 2 || !(row.Min <= row.TokPerSec && row.TokPerSec <= row.Max) || !(row.TokPerSec > 0) || !(row.Share > 0) {
			t.Errorf("row %+v", row)
		}
	}
	st, err := os.Stat(r.Path)
	if err != nil || r.FileBytes != st.Size() || r.WeightBytes <= 0 || r.WeightBytes > r.FileBytes {
		t.Errorf("file %d bytes, weights %d: %v", r.FileBytes, r.WeightBytes, err)
	}
	if !(r.Rows[2].BytesPerTok > r.Rows[1].BytesPerTok && r.Rows[1].BytesPerTok > r.Rows[0].BytesPerTok) {
		t.Errorf("bytes per token: %+v", r.Rows)
	}
}

func TestRunRefuses(t *testing.T) {
	b := cpu.New()
	defer b.Close()
	ok := Config{Path: shipped(t), Backend: b, Threads: 1, Prompts: []int{8}, Reps: 1}
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no backend", func(c *Config) { c.Backend = nil }, "backend"},
		{"nothing to measure", func(c *Config) { c.Prompts = nil }, "no prompt length"},
		{"prompt of 0", func(c *Config) { c.Prompts = []int{0} }, "got 0"},
		{"negative depth", func(c *Config) { c.Depths = []int{-3} }, "got -3"},
		{"negative repetitions", func(c *Config) { c.Reps = -1 }, "got -1"},
		{"beyond the context", func(c *Config) { c.Depths = []int{1 << 20} }, "1048640 tokens"},
		{"no file", func(c *Config) { c.Path = "nothing.gguf" }, "nothing.gguf"},
		{"no memory", func(c *Config) { c.HostBytes = 1 << 20 }, "budget"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := ok
			c.change(&cfg)
			if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, ok); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestCost(t *testing.T) {
	weight := func(n, k, bytes int) graph.Weight { return graph.Weight{N: n, K: k, Data: make([]byte, bytes)} }
	p := &graph.Program{
		Weights: []graph.Weight{weight(100, 8, 800), weight(1, 8, 32), weight(16, 8, 64), weight(1, 16, 16)},
		KV:      []offload.LayerSpec{{KVHeads: 2, HeadDim: 8}, {KVHeads: 1, HeadDim: 8, Window: 10}},
		Ops: []graph.Op{
			graph.Embed{Table: 0}, graph.RMSNorm{W: 1}, graph.GatedLinear{Gate: 2, Up: 2},
			graph.Linear{Parts: []graph.Part{{W: 2, Bias: 3}, {W: 0, Bias: graph.NoWeight}}},
		},
	}
	plan, err := offload.MakePlan(offload.Ask{Layers: p.KV, Policy: "full", Options: offload.Options{Exact: true}, Context: 128})
	if err != nil {
		t.Fatal(err)
	}
	c := newCost(p, plan)
	// 32 of the norm, 64 each for gate, up and a product, 16 of the bias, 800
	// of the output; 8 for one row of the table.
	const weights, embed = 32 + 3*64 + 16 + 800, 8
	const wide, narrow = 2 * 2 * 8 * 2, 2 * 8 * 2 // K and V of a token, bytes
	for _, x := range []struct {
		name      string
		got, want int64
	}{
		{"one token, empty cache", c.decode(0, 1), weights + embed + wide + narrow},
		{"one token, 99 cached", c.decode(99, 1), weights + embed + 100*wide + 10*narrow},
		{"two tokens", c.decode(0, 2), weights + embed + (3*wide+3*narrow)/2},
		{"a prompt of one chunk", c.prompt(4, 8), (weights + 4*embed + 4*wide + 4*narrow) / 4},
		{"two chunks", c.prompt(20, 16), (2*weights + 20*embed + (16+20)*wide + (16+13)*narrow) / 20},
	} {
		if x.got != x.want {
			t.Errorf("%s: %d bytes per token, want %d", x.name, x.got, x.want)
		}
	}
}

func testReport() *Report {
	r := &Report{Name: "m", Arch: "llama", Backend: "cpu", Threads: 2, ChunkTok: 512, WeightBytes: 5e6, KVBytesPerTok: 1000, Cache: "exact f16", CacheFast: 3e6,
		Rows: []Row{{Test: "tg10", Tokens: 10, Depth: 7, BytesPerTok: 5e6, Seconds: []float64{4, 1, 2}}, {Test: "pp8", Tokens: 8, BytesPerTok: 1e6, Seconds: []float64{1, 3}}}}
	r.Rows[0].bring(offload.Traffic{Fetched: 1e6, Streamed: 5e6}, offload.Traffic{Fetched: 16e6, Streamed: 65e6}) // of 30 tokens
	r.Rows[0].spend(1400*time.Millisecond, 2800*time.Millisecond)
	r.finish(1e8)
	return r
}

func TestReportFigures(t *testing.T) {
	r := testReport()
	tg := r.Rows[0]
	if tg.TokPerSec != 5 || tg.Min != 2.5 || tg.Max != 10 || tg.BytesPerSec != 25e6 || math.Abs(tg.Share-0.25) > 1e-12 {
		t.Errorf("%+v", tg)
	}
	if r.Rows[1].TokPerSec != 4 { // the median of two is their mean
		t.Errorf("%+v", r.Rows[1])
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

func TestReportText(t *testing.T) {
	var table, lines strings.Builder
	r := testReport()
	if err := errors.Join(r.WriteTable(&table), r.WriteGoBench(&lines)); err != nil {
		t.Fatal(err)
	}
	wantTable := `m (llama), cpu, 2 threads, chunks of 512
weights read per step 5.0 MB, exact KV 1.0 KB per token, cache exact f16 (fast tier 3.0 MB, host tier 0.0 MB), read bandwidth 0.1 GB/s

  test  depth  tokens/s  min   max  MB/token  GB/s  of bandwidth  from host, MB  choice  attention
  tg10      7       5.0  2.5  10.0      5.00  0.03          25 %            2.5  10.0 %     20.0 %
   pp8      0       4.0  2.7   8.0      1.00  0.00           4 %                                  
`
	if diff := cmp.Diff(wantTable, table.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	if want := "BenchmarkTokens/test=tg10/depth=7-2\t10\t400000000.0 ns/op\t12.50 MB/s\t2.50 tok/s\n"; !strings.Contains(lines.String(), want) {
		t.Errorf("no line %q in:\n%s", want, lines.String())
	}
}

// The weights of a backend that repacks them are in memory once, as in the
// engine: the file's own pages are given back.
func TestWeightsAreInMemoryOnce(t *testing.T) {
	f, err := gguf.Open(shipped(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	prog, err := model.Build(f)
	if err != nil {
		t.Fatal(err)
	}
	b := cpu.New()
	defer b.Close()
	before := fileMemory(t)
	m, err := newMachine(Config{Backend: b, Threads: 1, ChunkTok: 16, Prompts: []int{16}}, prog)
	if err != nil {
		t.Fatal(err)
	}
	if more := fileMemory(t) - before; more > f.Size()/4 {
		t.Errorf("%d of the file's %d bytes stay in memory beside their repacked copy", more, f.Size())
	}
	if err := m.close(); err != nil {
		t.Error(err)
	}
}

// fileMemory is the bytes of mapped files that this process has in memory.
func fileMemory(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "RssFile:")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
