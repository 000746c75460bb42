package cuda

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"edged/infer/graph"
	"edged/offload"
)

// TestPromptSpeed measures a prompt that is read layer by layer: EDGED_CUDA_MODEL
// is a GGUF file, EDGED_CUDA_PROMPTS the tokens of prompts, EDGED_CUDA_CHUNK the
// rows of a step, EDGED_CUDA_LAYERS how many layers run (default all).
func TestPromptSpeed(t *testing.T) {
	path := os.Getenv("EDGED_CUDA_MODEL")
	if path == "" || os.Getenv("EDGED_CUDA_PROMPTS") == "" {
		t.Skip("set EDGED_CUDA_MODEL and EDGED_CUDA_PROMPTS to measure")
	}
	b, p := openModel(t, path)
	chunk := numbers(t, "EDGED_CUDA_CHUNK", "2048")[0]
	for _, n := range numbers(t, "EDGED_CUDA_PROMPTS", "130816") {
		r := newCacheRun(t, b, p, 32, n+offload.BlockTok, chunk, 1, offload.Options{Sparse: true, Elem: os.Getenv("EDGED_CUDA_ELEM"), Budget: 1024, Exchange: 160})
		r.prompt(n, chunk, numbers(t, "EDGED_CUDA_LAYERS", "0")[0])
		r.goOn()
		r.close()
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// beginPrompt begins a prompt of n tokens on a sequence in place of the last one.
func (r *cacheRun) beginPrompt(n int) {
	r.t.Helper()
	r.q.Free()
	var err error
	if r.q, err = r.pool.NewSeq(); err == nil {
		err = r.q.BeginPrefill(n)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// prompt reads n tokens in chunks.
func (r *cacheRun) prompt(n, chunk, layers int) {
	r.t.Helper()
	r.beginPrompt(n)
	q, parts := r.q, len(r.e.parts)
	if layers == 0 {
		layers = parts - 1
	}
	start := time.Now()
	for part := range layers {
		begin := time.Now()
		for at := 0; at < n; at += chunk {
			r.part(part, promptRows(at, min(chunk, n-at)), q)
		}
		if part < 2 || part == layers-1 {
			r.t.Logf("layer %d: %.1f ms", part, time.Since(begin).Seconds()*1e3)
		}
	}
	r.t.Logf("%d tokens in chunks of %d: %d layers in %.3f s", n, chunk, layers, time.Since(start).Seconds())
	free, total, err := r.b.gpu.MemInfo()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Logf("%.3f GiB of the device in use by everything", float64(total-free)/(1<<30))
	rows := promptRows((n-chunk)/2/chunk*chunk, chunk)
	r.part(1, rows, q)
	r.chunkKernels(rows, q)
	if layers < parts-1 {
		return
	}
	in := graph.Rows{}
	in.Add(1, int32(n-1), 0, true)
	r.part(parts-1, &in, q)
	if err := q.EndPrefill(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Logf("whole prompt %.3f s", time.Since(start).Seconds())
}

func promptRows(at, n int) *graph.Rows {
	rows := &graph.Rows{}
	for i := at; i < at+n; i++ {
		rows.Add(int32(i*37%1000), int32(i), 0, false)
	}
	return rows
}

func (r *cacheRun) part(part int, rows *graph.Rows, q *offload.Seq) {
	if _, err := r.e.Part(r.t.Context(), part, rows, q); err != nil {
		r.t.Fatal(err)
	}
}

// chunkKernels times each kernel of one layer's chunk, and the making of records.
func (r *cacheRun) chunkKernels(rows *graph.Rows, q *offload.Seq) {
	e := r.e
	s := e.state.fill(rows, true)
	e.batch.reset()
	e.run(&e.batch, s, 1)
	groups := map[string][]command{}
	for _, c := range slices.Clone(e.batch.cmds) {
		groups[c.kernel] = append(groups[c.kernel], c)
	}
	e.batch.reset()
	e.stageOut(&e.batch, s, 1, q)
	for _, c := range slices.Clone(e.batch.cmds) {
		groups["out: "+c.kernel] = append(groups["out: "+c.kernel], c)
	}
	lines := []string{fmt.Sprintf("one layer, %d rows at %d:", len(rows.Pos), rows.Pos[0])}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		g := groups[name]
		lines = append(lines, fmt.Sprintf("%9.1f us %2d launches %s", e.timeCommands(r.t, g)*1e6, len(g), name))
	}
	r.t.Log(strings.Join(lines, "\n"))
}

// goOn takes a second question, and the same after the sequence was saved and
// restored.
func (r *cacheRun) goOn() {
	r.t.Helper()
	for _, n := range []int{20, 20, 60} {
		r.t.Logf("%d more tokens behind %d: %.1f ms", n, r.q.Len(), r.ask(n)*1e3)
	}
	r.t.Logf("a token: %.2f ms", r.step()*1e3)
	blocks, tail, bytes := r.save()
	r.t.Logf("a token after that: %.2f ms, and the next: %.2f ms", r.step()*1e3, r.step()*1e3)
	r.q.Free()
	begin := time.Now()
	restore, err := r.pool.BeginRestore(tail[offload.StatePart])
	if err != nil {
		r.t.Fatal(err)
	}
	var g errgroup.Group
	g.SetLimit(16) // as many as a store reads files at once
	for i, parts := range blocks {
		g.Go(func() error {
			for id, data := range parts {
				if err := restore.PutBlock(i, id, 0, data); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		r.t.Fatal(err)
	}
	for id, data := range tail {
		if id != offload.StatePart {
			if err := restore.PutTail(id, 0, data); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	placed := time.Since(begin).Seconds()
	if r.q, err = restore.Finish(); err != nil {
		r.t.Fatal(err)
	}
	finished := time.Since(begin).Seconds()
	r.t.Logf("restored %.2f GB in %.3f s, %.3f s of that until all was placed; a token: %.2f ms, and the next: %.2f ms; 20 tokens: %.1f ms", float64(bytes)/1e9, finished, placed, r.step()*1e3, r.step()*1e3, r.ask(20)*1e3)
}

// ask reads n tokens and gives the seconds to the logits behind them.
func (r *cacheRun) ask(n int) float64 {
	begin, from := time.Now(), r.q.Len()
	if err := r.q.BeginPrefill(n); err != nil {
		r.t.Fatal(err)
	}
	for part := range len(r.e.parts) - 1 {
		r.part(part, promptRows(from, n), r.q)
	}
	head := graph.Rows{}
	head.Add(1, int32(from+n-1), 0, true)
	r.part(len(r.e.parts)-1, &head, r.q)
	if err := r.q.EndPrefill(); err != nil {
		r.t.Fatal(err)
	}
	return time.Since(begin).Seconds()
}

// save copies a snapshot.
func (r *cacheRun) save() (blocks []map[int][]byte, tail map[int][]byte, size int64) {
	begin := time.Now()
	collect := func(parts []offload.Part) map[int][]byte {
		m := map[int][]byte{}
		for _, p := range parts {
			m[p.ID] = make([]byte, 0, p.Size())
			for b, err := range p.All() {
				if err != nil {
					r.t.Fatal(err)
				}
				m[p.ID] = append(m[p.ID], b...)
			}
			size += int64(len(m[p.ID]))
		}
		return m
	}
	for i := range r.q.Blocks() {
		parts, err := r.q.SnapshotBlock(i)
		if err != nil {
			r.t.Fatal(err)
		}
		blocks = append(blocks, collect(parts))
	}
	parts, err := r.q.SnapshotTail()
	if err != nil {
		r.t.Fatal(err)
	}
	tail = collect(parts)
	r.t.Logf("saved %.2f GB in %.3f s", float64(size)/1e9, time.Since(begin).Seconds())
	return blocks, tail, size
}
