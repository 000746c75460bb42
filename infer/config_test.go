package infer

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/infer/graph"
	"edged/infer/tok"
	"edged/offload"
	"edged/pinnedmem"
)

func TestConfigDefaults(t *testing.T) {
	c, err := Config{Models: []ModelConfig{{Name: "a", Path: "p"}, {Name: "b", Path: "q"}}, HostBytes: 1}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if c.Default != "a" || c.Backend != "cpu" || c.ChunkTok != 512 || c.MaxSeqs != DefaultMaxSeqs || c.MaxQueue != 64 || c.Threads < 1 || c.Logger == nil || c.Models[1].Policy != "auto" {
		t.Errorf("%+v", c)
	}
}

func TestConfigRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		field  string
	}{
		{"no models", func(c *Config) { c.Models = nil }, "models"},
		{"no name", func(c *Config) { c.Models[0].Name = "" }, "models[0].name"},
		{"no path", func(c *Config) { c.Models[1].Path = "" }, "models[1].name"},
		{"same name twice", func(c *Config) { c.Models[1].Name = "toy" }, "models[1].name"},
		{"negative context", func(c *Config) { c.Models[0].Context = -1 }, "models[0].context"},
		{"unknown policy", func(c *Config) { c.Models[0].Policy = "lossy" }, "models[0].policy"},
		{"unknown default", func(c *Config) { c.Default = "x" }, "default"},
		{"negative threads", func(c *Config) { c.Threads = -1 }, "threads"},
		{"negative memory", func(c *Config) { c.HostBytes = -1 }, "host memory"},
		{"no memory", func(c *Config) { c.HostBytes = 0 }, "host memory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := toyConfig()
			c.change(&cfg)
			_, err := New(cfg)
			var invalid *InvalidError
			if !errors.As(err, &invalid) || invalid.Field != c.field {
				t.Errorf("got %v, want a complaint about %s", err, c.field)
			}
		})
	}
}

func TestBackendsByName(t *testing.T) {
	for _, name := range []string{"cpu", "ref"} {
		b, err := NewBackend(name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	if b, err := NewBackend("cuda"); err == nil {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	} else if !errors.Is(err, ErrBackend) || !strings.Contains(err.Error(), "no CUDA device") {
		t.Errorf("cuda on a machine without one: %v", err)
	}
	for name, want := range map[string]string{"gpu": "known: cpu, cuda, ref", "": "known"} {
		if _, err := NewBackend(name); !errors.Is(err, ErrBackend) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestKVPlanFitsTheBudget(t *testing.T) {
	within := func(budget, program int64) kvPlan {
		return kvPlan{layers: toyProgram(1).KV, policy: "full", slots: 2, Memory: Memory{Host: budget}, size: func(int, []offload.LayerPlan) (f graph.Footprint, err error) {
			f.Host[pinnedmem.Activations] = program
			return f, nil
		}}
	}
	bytes := func(context int) int64 {
		plan, err := within(1<<30, 0).plan(context, context)
		if err != nil {
			t.Fatal(err)
		}
		return plan.Bytes.Fast.Total() + plan.Bytes.Host.Total()
	}
	full := bytes(1000)
	if plan, err := within(full+500, 500).context(1000, false); err != nil || plan.Config.Context != 1000 {
		t.Errorf("just enough: %+v, %v", plan, err)
	}
	plan, err := within(full, 500).context(1000, true)
	if err != nil {
		t.Fatal(err)
	}
	n := plan.Config.Context
	if n >= 1000 || n < 900 || n%offload.PageTok != 0 {
		t.Errorf("slightly too little: %d", n)
	}
	if b := bytes(n); b+500 > full {
		t.Errorf("%d tokens take %d of %d bytes", n, b+500, full)
	}
	if bytes(n+offload.PageTok)+500 <= full {
		t.Errorf("%d tokens would fit as well", n+offload.PageTok)
	}
	for _, c := range []struct {
		shorter bool
		want    int
		budget  int64
	}{{false, 1000, full - 1}, {true, 1000, 1000}, {true, 8, full}} {
		if plan, err := within(c.budget, 0).context(c.want, c.shorter); err == nil {
			t.Errorf("%+v: got %d tokens", c, plan.Config.Context)
		}
	}
	if _, err := within(full-1, 0).context(1000, false); !errors.Is(err, pinnedmem.ErrBudget) {
		t.Errorf("got %v", err)
	}
	for _, c := range []struct {
		want   int
		budget int64
		tokens int
		fails  string
	}{
		// 1072 tokens take as many pages of memory as 1000.
		{0, 1 << 30, 1992, ""}, {0, full, 1064, ""}, {1500, 1 << 30, 1500, ""},
		{999, 1 << 30, 0, "smaller than the context"}, {1500, full, 0, "budget"},
	} {
		base, err := within(full, 0).context(1000, false)
		if err != nil {
			t.Fatal(err)
		}
		wide, err := within(c.budget, 0).widen(base, c.want)
		if (err == nil) != (c.fails == "") || err == nil && wide.Config.Tokens != c.tokens || err != nil && !strings.Contains(err.Error(), c.fails) {
			t.Errorf("%+v: %+v, %v", c, wide, err)
		}
	}
}

func TestGuardLeavesTemplateWordsAlone(t *testing.T) {
	toy, err := tok.FromMetadata(toyMetadata{})
	if err != nil {
		t.Fatal(err)
	}
	guard := guardText(toy)
	if !isTemplateWord("user") || guard("user") != "user" || toy.Guard("user") == "user" {
		t.Errorf("role: %q, by the tokenizer %q", guard("user"), toy.Guard("user"))
	}
	for _, s := range []string{"<|end|>", "a<|bos|>b", "<|"} {
		ids := toy.EncodeRendered(nil, guard(s))
		if got := toyText(ids); got != s && s != "a<|bos|>b" || !cmp.Equal(ids, toy.Encode(nil, s)) {
			t.Errorf("%q became %v", s, ids)
		}
	}
}
