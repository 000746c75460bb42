package offload

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"edged/pinnedmem"
)

// llama8B is Llama-3.1-8B's cache: 32 layers, 8 KV heads of 128 channels.
func llama8B() []LayerSpec { return alike(32, LayerSpec{KVHeads: 8, HeadDim: 128}) }

func alike(n int, s LayerSpec) []LayerSpec {
	specs := make([]LayerSpec, n)
	for i := range specs {
		specs[i] = s
	}
	return specs
}

// gemma has every layer of three behind a window.
func gemma() []LayerSpec {
	specs := alike(6, LayerSpec{KVHeads: 1, HeadDim: 256, Window: 512})
	specs[2].Window, specs[5].Window = 0, 0
	return specs
}

const gib = 1 << 30

func TestAutoTiersByMemory(t *testing.T) {
	for _, c := range []struct {
		fast     int64
		options  Options
		resolved string
	}{
		{0, Options{}, "exact f16"},
		{17 * gib, Options{}, "exact f16"},
		{16 * gib, Options{}, "q8 resident"},
		{10 * gib, Options{}, "q8 resident"},
		{5 * gib, Options{}, "paged q8"},
		{5 * gib, Options{Elem: "q4"}, "q4 resident"},
		{0, Options{Sparse: true}, "paged q8"},
		{17 * gib, Options{Sparse: true, Elem: "f16"}, "paged f16"},
	} {
		p, err := MakePlan(Ask{Layers: llama8B(), Policy: "auto", Options: c.options, Context: 131072, Fast: c.fast})
		if err != nil || p.Resolved != c.resolved {
			t.Errorf("%d bytes, %+v: %+v, %v; want %s", c.fast, c.options, p, err, c.resolved)
		}
	}
}

// TestPlanIsWhatAPoolTakes plans at random and makes the pools.
func TestPlanIsWhatAPoolTakes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := Ask{
			Layers: rapid.SampledFrom([][]LayerSpec{gemma(), alike(3, LayerSpec{KVHeads: 2, HeadDim: 24}), alike(1, LayerSpec{KVHeads: 1, HeadDim: 64})}).Draw(t, "layers"),
			Policy: rapid.SampledFrom([]string{"full", "q8", "q4", "auto", "auto+q4", "tailorkv"}).Draw(t, "policy"), Context: rapid.IntRange(1, 3000).Draw(t, "context"),
			Sessions: rapid.IntRange(1, 3).Draw(t, "sessions"), Fast: rapid.Int64Range(0, 8<<20).Draw(t, "fast"), Host: rapid.Int64Range(0, 32<<20).Draw(t, "host"),
		}
		if rapid.Bool().Draw(t, "shared") {
			a.Fast, a.Host, a.Total = 0, 0, rapid.Int64Range(1, 40<<20).Draw(t, "total")
		}
		a.Options.Sparse = a.Policy == "auto" && rapid.Bool().Draw(t, "sparse")
		p, err := MakePlan(a)
		if errors.Is(err, ErrNoFit) {
			checkFits(t, a, err)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		fast, host := pinnedmem.NewHost(a.Fast), pinnedmem.NewHost(a.Host)
		pool, err := NewPool(Tiers{Fast: fast, Host: host}, p.Config)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p.Bytes, Bytes{Fast: fast.Usage(), Host: host.Usage()}); diff != "" {
			t.Fatalf("plan (-) and accounts (+):\n%s", diff)
		}
		if n := p.Bytes.Fast.Total() + p.Bytes.Host.Total(); a.Total > 0 && n > a.Total {
			t.Fatalf("the plan takes %d bytes of %d", n, a.Total)
		}
		var rows Bytes
		for _, r := range p.Rows {
			for i := range r.Bytes.Fast {
				rows.Fast[i] += r.Bytes.Fast[i]
				rows.Host[i] += r.Bytes.Host[i]
			}
		}
		if diff := cmp.Diff(p.Bytes, rows); diff != "" {
			t.Fatalf("plan (-) and the sum of its rows (+):\n%s", diff)
		}
		if err := errors.Join(pool.Close(), fast.Close(), host.Close()); err != nil {
			t.Fatal(err)
		}
	})
}

// checkFits tries what a refusal says would fit, and a little more.
func checkFits(t *rapid.T, a Ask, err error) {
	var no *NoFitError
	if !errors.As(err, &no) || no.NeedFast <= no.Fast && no.NeedHost <= no.Host || no.Total > 0 && no.NeedFast+no.NeedHost <= no.Total {
		t.Fatalf("refused without a reason: %v", err)
	}
	for _, f := range no.Fits {
		b, more := a, a
		switch {
		case f.Context > 0:
			b.Context, more.Context = f.Context, f.Context+PageTok
		case f.Sessions > 0:
			b.Sessions, more.Sessions = f.Sessions, f.Sessions+1
		case f.Budget > 0:
			b.Options.Budget, more.Options.Budget = f.Budget, f.Budget+PageTok
		case f.Elem != "":
			b.Options.Elem = f.Elem
		default:
			b.Policy, b.Options = f.Policy, Options{}
		}
		if _, err := MakePlan(b); err != nil {
			t.Fatalf("%s does not fit: %v", f, err)
		}
		if _, err := MakePlan(more); !errors.Is(err, ErrNoFit) {
			t.Fatalf("more than %s fits too: %v", f, err)
		}
	}
}

// TestLayersBesideWindowsHaveLargerSets where memory allows: what a step reads of all
// layers is bounded.
func TestLayersBesideWindowsHaveLargerSets(t *testing.T) {
	for _, c := range []struct{ layers, windows, want int }{
		{8, 0, mostSet}, {8, 4, 2 * mostSet}, {9, 3, 192}, {18, 15, moreSet * mostSet},
	} {
		specs := alike(c.layers, LayerSpec{KVHeads: 1, HeadDim: 64})
		for i := range c.windows {
			specs[i].Window = 512
		}
		p, err := MakePlan(Ask{Layers: specs, Policy: "auto", Options: Options{Sparse: true}, Context: 1 << 17})
		if err != nil || p.pagedBudget() != c.want {
			t.Errorf("%+v: sets of %d pages, %v", c, p.pagedBudget(), err)
		}
	}
}

func TestWorkingSetsFillTheFastTier(t *testing.T) {
	specs := alike(8, LayerSpec{KVHeads: 2, HeadDim: 64})
	a := Ask{Layers: specs, Policy: "auto", Options: Options{Sparse: true}, Context: 8448, Fast: ExactBytes(specs, 8448) / 8}
	p, err := MakePlan(a)
	if err != nil {
		t.Fatal(err)
	}
	l := p.Config.Layers[0]
	r, err := l.Record()
	if err != nil {
		t.Fatal(err)
	}
	left := a.Fast - p.Bytes.Fast.Total()
	if pair := int64(2 * 8 * 2 * (r.Bytes + 8)); l.Elem != Q64 || l.Budget <= leastSet || l.Budget >= mostSet || left < 0 || left > pair+8*2*4096 {
		t.Errorf("sets of %d pages in %s leave %d bytes, two pages of every layer and head take %d", l.Budget, l.Elem, left, pair)
	}
	for _, c := range []struct {
		fast, budget, want int
		elem               Elem
	}{
		{0, 0, 128, Q8}, {1 << 40, 0, 128, Q8}, {0, 32, 2, Q8}, {0, 1 << 17, 8192, Q8}, {740 << 20, 0, 120, Q64},
	} {
		a := Ask{Layers: llama8B(), Policy: "auto", Options: Options{Sparse: true, Budget: c.budget}, Context: 131072, Fast: int64(c.fast)}
		if p, err := MakePlan(a); err != nil || p.Config.Layers[0].Budget != c.want || p.Config.Layers[0].Elem != c.elem {
			t.Errorf("%+v: %+v, %v", c, p.Config.Layers[0], err)
		}
	}
}

// TestIdleSessionsTakeNoWorkingSets: what is not decoding has only its tail.
func TestIdleSessionsTakeNoWorkingSets(t *testing.T) {
	a := Ask{Layers: llama8B(), Policy: "auto", Options: Options{Sparse: true}, Context: 131072, Sessions: 4}
	all, err := MakePlan(a)
	if err != nil {
		t.Fatal(err)
	}
	a.Decoding = 1
	one, err := MakePlan(a)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := one.Bytes.Fast[pinnedmem.KVHot], all.Bytes.Fast[pinnedmem.KVHot]/4; got != want {
		t.Errorf("working sets take %d bytes when one of four sequences decodes, want %d", got, want)
	}
}

func TestNoFitSaysWhatWould(t *testing.T) {
	_, err := MakePlan(Ask{Layers: llama8B(), Policy: "auto", Context: 131072, Sessions: 2, Fast: gib, Host: 32 * gib})
	var no *NoFitError
	if !errors.As(err, &no) || !errors.Is(err, ErrNoFit) {
		t.Fatal(err)
	}
	if no.NeedFast <= gib || no.NeedHost <= gib || len(no.Fits) < 1 || no.Fits[0].Context < PageTok || no.Fits[0].Context >= 131072 {
		t.Errorf("%v", err)
	}
	t.Log(err)
}

// TestTailorKVBytes reproduces the paper's figures for Llama-3.1-8B at 131,072
// tokens in records, from the plan alone.
func TestTailorKVBytes(t *testing.T) {
	for _, c := range []struct {
		budget, channels, rows int
		streamed, fetched      string // decimal MB per token
	}{
		{192, 8, 128, "520", "16"}, {1024, 12, 896, "780", "114"},
	} {
		p, err := MakePlan(Ask{Layers: llama8B(), Policy: "tailorkv", Options: Options{Budget: c.budget}, Context: 131072 + 128})
		if err != nil {
			t.Fatal(err)
		}
		l := p.Config.Layers[1]
		if l.Channels != c.channels || l.Budget-l.Sink != c.rows || p.Config.Layers[0].Class != Dense {
			t.Errorf("budget %d: %+v", c.budget, l)
		}
		b := p.Step(131072+128, true)
		mb := func(n int64) string { return fmt.Sprintf("%.0f", float64(n)/1e6) }
		if mb(b.Streamed) != c.streamed || mb(b.Fetched) != c.fetched || b.Bus() != b.Streamed+b.Fetched+b.Sinks {
			t.Errorf("budget %d: %+v, want %s MB of channels and %s MB of rows", c.budget, b, c.streamed, c.fetched)
		}
	}
}

func TestStepBytesOfPages(t *testing.T) {
	p, err := MakePlan(Ask{Layers: alike(2, LayerSpec{KVHeads: 2, HeadDim: 64}), Policy: "auto", Context: 8192,
		Options: Options{Sparse: true, Elem: "f16", Dense: []int{0}, DenseElem: "f16"}})
	if err != nil {
		t.Fatal(err)
	}
	const page = 2 * 2 * 64 * 2 * PageTok // K and V of two heads
	index := int64(NewIndex(64, false).Bytes)
	want := StepBytes{Exact: 2 * 16 * page / 32, Dense: 255 * page, Index: 32 * 2 * index, Attended: 64 * page, Fetched: 20 * page, Cold: 255 * page, Piece: page / 4}
	if diff := cmp.Diff(want, p.Step(255*PageTok+16, false)); diff != "" {
		t.Error(diff)
	}
	few := StepBytes{Exact: 2 * page, Dense: 16 * page, Attended: 16 * page, Fetched: 16 * page, Cold: 16 * page, Piece: page / 4}
	if diff := cmp.Diff(few, p.Step(17*PageTok, true)); diff != "" {
		t.Errorf("with every page in the budget: %s", diff)
	}
}

func TestFloorNamesItsParts(t *testing.T) {
	b := StepBytes{Exact: 3_071_000, Fetched: 50_780_000, Streamed: 53_000_000, Piece: 4096}
	f := H100().Floor(3_071_000_000-53_000_000, b)
	if math.Abs(f.Fast-1.001) > 1e-9 || math.Abs(f.Bus-2) > 1e-9 || f.Step() != f.Bus {
		t.Errorf("%+v", f)
	}
	b.Rows, b.Sinks = 48_100_000, 48_100_000
	if f = H100().Floor(0, b); math.Abs(f.Bus-3) > 1e-9 {
		t.Errorf("with rows: %+v", f)
	}
	if f = (Ceilings{Copy: 48.1e9}).Floor(0, StepBytes{Fetched: 48_100_000, Rows: 48_100_000}); math.Abs(f.Bus-1) > 1e-9 {
		t.Errorf("rows where their rate is not known: %+v", f)
	}
	for _, c := range []struct {
		piece int64
		rate  float64
	}{{32, 1.11e9}, {64, 2.22e9}, {300, 7.81e9}, {1 << 20, 50.78e9}} {
		if got := H100().gather(c.piece); math.Abs(got-c.rate) > 1 {
			t.Errorf("pieces of %d bytes: %g", c.piece, got)
		}
	}
	if got := (Ceilings{Copy: 7}).gather(1); got != 7 {
		t.Errorf("without measured gathers: %g", got)
	}
}
