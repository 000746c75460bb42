package cuda

import (
	"context"
	"errors"
	"os"
	"testing"

	"edged/infer/graph"
	"edged/offload"
)

// TestLeaks runs many requests, some of which are given up at any part or step:
// the bytes of the device and of locked memory must be those of the beginning.
// EDGED_CUDA_MODEL is a GGUF file, EDGED_CUDA_REQUESTS how many.
func TestLeaks(t *testing.T) {
	path := os.Getenv("EDGED_CUDA_MODEL")
	if path == "" || os.Getenv("EDGED_CUDA_REQUESTS") == "" {
		t.Skip("set EDGED_CUDA_MODEL and EDGED_CUDA_REQUESTS to run requests")
	}
	b, p := openModel(t, path)
	r := newCacheRun(t, b, p, 32, 4096, 512, 1, offload.Options{Sparse: true, Budget: 512, Exchange: 160})
	used := func() (int64, string) {
		free, _, err := b.gpu.MemInfo()
		if err != nil {
			t.Fatal(err)
		}
		return free, r.e.lim.Host.Usage().String()
	}
	free, locked := int64(0), ""
	for i := range numbers(t, "EDGED_CUDA_REQUESTS", "0")[0] {
		r.request(700+r.rng.IntN(2000), r.rng.IntN(3) == 0)
		switch f, l := used(); {
		case i == 10: // graphs of both kinds of step exist
			free, locked = f, l
		case i > 10 && (f != free || l != locked):
			t.Fatalf("after request %d %d bytes of the device are free and host memory is %s, after request 10 it was %d and %s", i, f, l, free, locked)
		}
	}
	t.Logf("%d bytes of the device free, host memory %s", free, locked)
	r.close()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// request reads n tokens and decodes some, or is given up on its way.
func (r *cacheRun) request(n int, giveUp bool) {
	r.t.Helper()
	r.beginPrompt(n)
	end := len(r.e.parts)
	if giveUp {
		end = r.rng.IntN(end)
	}
	for part := range end {
		for at := 0; at < n; at += 512 {
			rows := promptRows(at, min(512, n-at))
			if part == len(r.e.parts)-1 {
				rows = &graph.Rows{}
				rows.Add(1, int32(n-1), 0, true)
				at = n
			}
			r.part(part, rows, r.q)
		}
	}
	if giveUp {
		ctx, cancel := context.WithCancel(r.t.Context())
		cancel()
		if _, err := r.e.Part(ctx, end, promptRows(0, min(512, n)), r.q); !errors.Is(err, context.Canceled) && end < len(r.e.parts)-1 {
			r.t.Fatalf("a part that was cancelled: %v", err)
		}
		r.q.CancelPrefill()
		return
	}
	if err := r.q.EndPrefill(); err != nil {
		r.t.Fatal(err)
	}
	for range 4 + r.rng.IntN(40) {
		r.step()
	}
}
