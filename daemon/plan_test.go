package daemon

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"edged/infer"
	"edged/infer/gguf"
	"edged/infer/model"
	"edged/offload"
	"edged/pinnedmem"
)

const needleFile = "../models/needle-26m-q8_0.gguf"

// TestPlanOfLockedMemory: the limit of what may be locked is the cache's, with and
// without a device, whatever else was given; and a refusal names it.
func TestPlanOfLockedMemory(t *testing.T) {
	f, err := gguf.Open(needleFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	prog, err := model.Build(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		gpu, lockable int64
		want          string // in the error
	}{
		{0, 0, ""}, {0, 6 << 20, ""}, {0, 1 << 16, "RLIMIT_MEMLOCK lets 65536 bytes be"}, {0, 1, "RLIMIT_MEMLOCK lets 1 bytes be"},
		{1 << 30, 1 << 12, ""}, {64 << 20, 1 << 12, "4096 may be"},
	} {
		p := Planning{Model: "m", Policy: "q8", Context: 1024, Sessions: 1, Engine: DefaultConfig().Engine}
		if c.gpu == 64<<20 {
			p.Policy, p.Options.Sparse = "auto", true // with cold pages in host memory
		} else if c.gpu > 0 {
			p.Policy = "full" // with nothing in host memory
		}
		r := &PlanReport{Path: needleFile, GPU: c.gpu, Host: 1 << 30}
		if err := p.cache(r, prog, c.lockable); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestPlanSharesHostMemory plans without a device: the tiers are one memory.
func TestPlanSharesHostMemory(t *testing.T) {
	p := Planning{Model: needleFile, Policy: "q8", Context: 16384, Sessions: 1, Engine: DefaultConfig().Engine}
	plan := func(host Size) (*PlanReport, error) {
		p.Host = host
		return p.Plan()
	}
	r, err := plan(1 << 30)
	if err != nil {
		t.Fatal(err)
	}
	need := Size(r.Needs.Host.Total() + r.Plan.Bytes.Fast.Total() + r.Plan.Bytes.Host.Total())
	if _, err := plan(need); err != nil {
		t.Errorf("exactly what is needed: %v", err)
	}
	weights := Size(r.Needs.Host[pinnedmem.Weights])
	for _, less := range []Size{need - 1, weights + 1, weights} {
		if _, err := plan(less); !errors.Is(err, offload.ErrNoFit) {
			t.Errorf("%d of %d bytes: %v", less, need, err)
		}
	}
	if r.StepWeights > int64(weights) || len(r.Predict()) != 1 {
		t.Errorf("%+v", r)
	}
}

// TestPlanIsWhatTheDaemonTakes loads what was planned, with the same configuration.
func TestPlanIsWhatTheDaemonTakes(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Planning, *Config)
	}{
		{"defaults", func(*Planning, *Config) {}},
		{"q8", func(p *Planning, _ *Config) { p.Policy = "q8" }},
		{"tailorkv", func(p *Planning, _ *Config) { p.Policy, p.Context = "tailorkv", 8192 }},
		{"little memory", func(p *Planning, _ *Config) { p.Host, p.Context = 80<<20, 8192 }},
		{"a batch", func(_ *Planning, c *Config) {
			c.Engine.Chunk, c.Engine.MaxSequences, c.Engine.CacheSequences, c.Engine.Threads = 2048, 32, 2, 3
		}},
		{"one at a time", func(_ *Planning, c *Config) {
			c.Engine.MaxSequences, c.Engine.CacheSequences, c.Engine.CacheTokens = 1, 1, 16384
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, cfg := Planning{Model: needleFile, Policy: "auto", Host: 1 << 30}, DefaultConfig()
			c.change(&p, &cfg)
			p.Engine = cfg.Engine
			r, err := p.Plan()
			if err != nil {
				t.Fatal(err)
			}
			cfg.Models = []Model{{Name: "m", Path: needleFile, Context: p.Context, Policy: p.Policy}}
			e, err := infer.New(EngineConfig(cfg, int64(p.Host), slog.New(slog.DiscardHandler)))
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			if err := e.Load(t.Context(), "", nil); err != nil {
				t.Fatal(err)
			}
			planned := r.Needs.Host
			for i := range planned {
				planned[i] += r.Plan.Bytes.Fast[i] + r.Plan.Bytes.Host[i]
			}
			if s := e.Status(); planned != s.Memory || s.CacheTok != r.Plan.Config.Tokens || s.Cache != r.Plan.Resolved {
				t.Errorf("%v for %d tokens (%s) is planned, %v for %d (%s) is taken", planned, r.Plan.Config.Tokens, r.Plan.Resolved, s.Memory, s.CacheTok, s.Cache)
			}
		})
	}
}

func TestPlanKnowsThisMachine(t *testing.T) {
	engine := DefaultConfig().Engine
	r, err := Planning{Model: needleFile, Policy: "full", Context: 64, Lock: true, Engine: engine}.Plan()
	if err != nil && !errors.Is(err, offload.ErrNoFit) {
		t.Fatal(err)
	}
	if err == nil && r.Host <= 0 {
		t.Errorf("%+v", r)
	}
	var too *offload.ContextError
	if _, err := (Planning{Model: needleFile, Policy: "full", Context: 1 << 20, Engine: engine}).Plan(); !errors.As(err, &too) || too.Model != 16384 {
		t.Errorf("a context above the model's: %v", err)
	}
}

func TestLayerRanges(t *testing.T) {
	for want, layers := range map[string][]int{"": nil, "3": {3}, "0-2": {0, 1, 2}, "0,2-3,7": {0, 2, 3, 7}} {
		if got := layerRanges(layers); got != want {
			t.Errorf("%v: %q", layers, got)
		}
	}
}
