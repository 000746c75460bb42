package cuda

import (
	"os"
	"slices"
	"testing"
	"time"

	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/infer/sample"
	"edged/offload"
	"edged/pinnedmem"
)

// TestNarrowSpeed times steps of a small model with a large vocabulary and the
// choice of a token from each row, narrowed and whole. EDGED_CUDA_NARROW=1 runs it.
func TestNarrowSpeed(t *testing.T) {
	if os.Getenv("EDGED_CUDA_NARROW") == "" {
		t.Skip("set EDGED_CUDA_NARROW=1 to time the choice of tokens")
	}
	b, err := New(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, vocab := range []int{128_256, 262_144} {
		p := toyOf(vocab, gguf.Q4_K)
		host := pinnedmem.NewHost(0)
		l := toyLimits(p, host)
		l.MaxSeqs, l.MaxAsk = 8, 8
		x, err := b.Compile(p, l)
		if err != nil {
			t.Fatal(err)
		}
		pool, err := offload.NewPool(offload.One(host), offload.Config{Layers: l.KV, Context: l.Context, Tokens: 8 * l.Context, MaxSeqs: 8})
		if err != nil {
			t.Fatal(err)
		}
		for _, rows := range []int{1, 8} {
			for name, params := range narrowParams() {
				whole, none := timeTokens(t, x, pool, params, vocab, rows, false)
				narrow, fell := timeTokens(t, x, pool, params, vocab, rows, true)
				t.Logf("%d tokens, %d rows, %-12s whole %7.1f us, narrowed %7.1f us (%d of %d whole all the same)", vocab, rows, name, whole, narrow, fell, none)
			}
		}
		if err := x.Close(); err != nil {
			t.Error(err)
		}
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func narrowParams() map[string]sample.Params {
	seed := uint64(1)
	return map[string]sample.Params{
		"greedy":      {},
		"top-k 40":    {Temperature: 0.8, TopK: 40, TopP: 0.95, Seed: &seed},
		"top-p":       {Temperature: 1, TopP: 0.9, Seed: &seed},
		"temperature": {Temperature: 1, Seed: &seed},
		"penalties":   {Temperature: 0.8, TopK: 40, RepeatPenalty: 1.1, Seed: &seed},
		"logprobs":    {Logprobs: true, TopLogprobs: 20},
	}
}

// timeTokens is the median time of a step and its choices, and how many rows were
// chosen whole.
func timeTokens(t *testing.T, x graph.Exec, pool *offload.Pool, p sample.Params, vocab, rows int, narrow bool) (us float64, whole int) {
	t.Helper()
	in, kv, end := firstRows(t, pool, rows)
	defer end()
	var samplers []*sample.Sampler
	for range rows {
		r, err := sample.New(p, vocab)
		if err != nil {
			t.Fatal(err)
		}
		samplers = append(samplers, r)
	}
	var times []time.Duration
	for range 200 {
		start := time.Now()
		in.Ask = in.Ask[:0]
		for s := range rows {
			if narrow {
				in.Ask = append(in.Ask, samplers[s].Ask(nil))
			}
		}
		l, err := x.Step(t.Context(), &in, kv)
		if err != nil {
			t.Fatal(err)
		}
		for s := range rows {
			whole += chooseFrom(t, samplers[s], l, s)
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	return float64(times[len(times)/2].Nanoseconds()) / 1e3, whole
}

// chooseFrom chooses and accepts a token, and says whether it took the whole row.
func chooseFrom(t *testing.T, s *sample.Sampler, l graph.Logits, i int) (whole int) {
	t.Helper()
	var c sample.Choice
	ok := false
	if n := l.Narrowed(i); n != nil {
		c, ok = s.Choose(n)
	}
	if !ok {
		whole = 1
		row, err := l.Whole(i)
		if err != nil {
			t.Fatal(err)
		}
		c = s.SampleAllowed(row, nil)
	}
	if c.ID == sample.NoToken {
		t.Fatalf("row %d has no token", i)
	}
	s.Accept(c.ID)
	return whole
}
