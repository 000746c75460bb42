package infer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"edged/infer/cpu"
	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/infer/model"
	"edged/offload"
	"edged/pinnedmem"
)

// hiddenStates is a program that needs more memory beside caches that are not exact.
func hiddenStates(context int, kv []offload.LayerPlan) (f graph.Footprint, err error) {
	f.Device[pinnedmem.Weights], f.Host[pinnedmem.Weights] = 1<<20, 1<<20
	if slices.ContainsFunc(kv, func(p offload.LayerPlan) bool { return p.Class != offload.Exact }) {
		f.Host[pinnedmem.Prefill], f.Device[pinnedmem.Activations] = 1024*int64(context), 64*int64(context)
	}
	return f, nil
}

// TestPlanBesideItsProgram: a plan and the program that reads it fit the budget
// together, and what a refusal says would fit does.
func TestPlanBesideItsProgram(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := kvPlan{
			layers: slices.Repeat([]offload.LayerSpec{{KVHeads: 1, HeadDim: 64}}, 8),
			policy: rapid.SampledFrom([]string{"auto", "q8", "full", "tailorkv"}).Draw(t, "policy"),
			slots:  rapid.IntRange(2, 8).Draw(t, "slots"), running: 2, size: hiddenStates,
		}
		context := rapid.IntRange(MinContext, 8192).Draw(t, "context")
		p.Host = rapid.Int64Range(1, 40<<20).Draw(t, "host")
		if rapid.Bool().Draw(t, "on a device") {
			p.Device = rapid.Int64Range(1, 40<<20).Draw(t, "device")
		}
		if rapid.Bool().Draw(t, "locked") {
			p.Lockable = rapid.Int64Range(1, 40<<20).Draw(t, "lockable")
		}
		plan, err := p.context(context, false)
		if err == nil {
			program, _ := p.program(context, plan.Config.Layers)
			checkMemory(t, p.Memory, plan, program)
			if limit := p.limit(context); limit != "" {
				t.Fatalf("%s is said to have no room in %s", plan.Resolved, limit)
			}
			return
		}
		if p.Device > 0 && p.Device <= 1<<20 && strings.Contains(err.Error(), "a model of fewer") {
			return // whatever the context
		}
		var no *offload.NoFitError
		if !errors.As(err, &no) {
			t.Fatal(err)
		}
		longest := 0
		for _, f := range no.Fits {
			q, n := p, context
			switch {
			case f.Context > 0:
				n, longest = f.Context, f.Context
			case f.Sessions > 0:
				q.slots = f.Sessions
			case f.Elem != "":
				q.options.Elem = f.Elem
			default:
				q.policy = f.Policy
			}
			if !strings.Contains(err.Error(), f.String()) {
				t.Fatalf("%s is not in %q", f, err)
			}
			if _, err := q.context(n, false); err != nil {
				t.Fatalf("%s does not fit: %v", f, err)
			}
		}
		shorter, err := p.context(context, true)
		if err != nil && longest > 0 || err == nil && shorter.Config.Context != longest {
			t.Fatalf("a context of %d is said to fit, and is %+v, %v", longest, shorter, err)
		}
	})
}

// checkMemory adds up what a plan and its program take.
func checkMemory(t *rapid.T, m Memory, plan *offload.Plan, program graph.Footprint) {
	fast, host := plan.Bytes.Fast, plan.Bytes.Host
	locks := host.Total() - host[pinnedmem.PageTables]
	if m.Device > 0 {
		if n := fast.Total() + program.Device.Total(); n > m.Device {
			t.Fatalf("%s takes %d bytes of the device's %d", plan.Resolved, n, m.Device)
		}
	} else {
		locks += fast.Total() - fast[pinnedmem.PageTables]
		for i := range host {
			host[i] += fast[i]
		}
	}
	if n := host.Total() + program.Host.Total(); n > m.Host {
		t.Fatalf("%s takes %d bytes of %d", plan.Resolved, n, m.Host)
	}
	if m.Lockable > 0 && locks > m.Lockable {
		t.Fatalf("%s locks %d bytes of %d", plan.Resolved, locks, m.Lockable)
	}
}

// TestLimitIsNamed: of host memory, a device's and what may be locked, the one is named
// without which the context would fit.
func TestLimitIsNamed(t *testing.T) {
	const plenty, little = 64 << 20, 2 << 20
	for _, c := range []struct {
		Memory
		limit string
		want  []string // in the refusal
	}{
		{Memory{Host: plenty}, "", nil},
		{Memory{Host: plenty, Lockable: plenty}, "", nil},
		{Memory{Host: plenty, Device: plenty, Lockable: 1}, "", nil}, // nothing of it is in host memory
		{Memory{Host: little}, HostLimit, []string{"beside 1048576 bytes of weights and activations", "exceeded of 2097152 bytes"}},
		{Memory{Host: plenty, Device: little}, DeviceLimit, []string{"1048576 bytes of weights and activations on the device, of which 2097152 may be taken"}},
		{Memory{Host: plenty, Device: 1 << 20}, DeviceLimit, []string{"weights and activations of 1048576 bytes of device memory", "1048576 may be taken", "what fits: a model of fewer"}},
		{Memory{Host: plenty, Lockable: little}, LockLimit, []string{"8519680 bytes of its KV cache are to be locked (engine.lock_memory)", "RLIMIT_MEMLOCK lets 2097152 bytes be", "LimitMEMLOCK= of the unit", "engine.lock_memory = false", "what fits: a context of 960 tokens"}},
		{Memory{Host: little, Lockable: little}, HostLimit, []string{"exceeded of 2097152 bytes"}},
	} {
		p := kvPlan{layers: slices.Repeat([]offload.LayerSpec{{KVHeads: 1, HeadDim: 64}}, 8), policy: "full", slots: 2, running: 2, Memory: c.Memory, size: hiddenStates}
		_, err := p.context(4096, false)
		if limit := p.limit(4096); limit != c.limit || (err == nil) != (limit == "") || err != nil && !errors.Is(err, pinnedmem.ErrBudget) {
			t.Errorf("%+v: %q, want %q: %v", c.Memory, limit, c.limit, err)
		}
		for _, w := range c.want {
			if err != nil && !strings.Contains(err.Error(), w) {
				t.Errorf("%+v: no %q in %v", c.Memory, w, err)
			}
		}
	}
}

// TestLockedCache: with a limit of what may be locked, a context that was left open is
// as long as may be locked, one that was fixed is refused before anything is loaded, and
// without engine.lock_memory nobody asks for the limit.
func TestLockedCache(t *testing.T) {
	load := func(context int, lock bool, limit int64) (*Engine, int, error) {
		cfg := toyConfig()
		cfg.Models[0].Context, cfg.Models[0].Policy, cfg.LockKV = context, "full", lock
		compiled := 0
		e := newToy(t, cfg, &toyBackend{compile: func() error { compiled++; return nil }})
		e.lockLimit = func() (int64, bool, error) { return limit, true, nil }
		run(t, e)
		err := e.Load(t.Context(), "", nil)
		return e, compiled, err
	}
	const limit = 40 << 10
	e, _, err := load(0, true, limit)
	if err != nil {
		t.Fatal(err)
	}
	s := e.Status()
	tables := s.Memory[pinnedmem.PageTables]
	if locked := s.Memory.Total() - tables; s.Context >= toyContext || s.Context < toyContext/4 || locked > limit || s.Short != LockLimit {
		t.Errorf("a context of %d tokens locks %d of %d bytes; short for %q", s.Context, locked, limit, s.Short)
	}
	if _, compiled, err := load(toyContext, true, limit); !errors.Is(err, pinnedmem.ErrBudget) || compiled > 0 || !strings.Contains(err.Error(), fmt.Sprintf("RLIMIT_MEMLOCK lets %d bytes be", limit)) {
		t.Errorf("a fixed context: %v; compiled %d times", err, compiled)
	}
	if e, _, err = load(0, false, limit); err != nil || e.Status().Context != toyContext || e.Status().Short != "" {
		t.Errorf("without locking: %+v, %v", e.Status(), err)
	}
}

// TestSize is what compiling takes, whatever the cache.
func TestSize(t *testing.T) {
	f, err := gguf.Open("../models/needle-26m-q8_0.gguf")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	prog, err := model.Build(f)
	if err != nil {
		t.Fatal(err)
	}
	b := cpu.New()
	for _, ask := range []offload.Ask{
		{Policy: "full"}, {Policy: "q8"}, {Policy: "tailorkv"}, {Policy: "auto", Options: offload.Options{Sparse: true}}, {Policy: "auto", Options: offload.Options{Sparse: true, Budget: 512}},
	} {
		ask.Layers, ask.Context = prog.KV, 3000
		plan, err := offload.MakePlan(ask)
		if err != nil {
			t.Fatal(err)
		}
		host := pinnedmem.NewHost(0)
		l := graph.Limits{MaxRows: 66, MaxOut: 2, MaxAsk: 2, MaxSeqs: 2, Context: ask.Context, KV: plan.Config.Layers, Threads: 2, Host: host}
		size, err := b.(graph.Sizer).Size(prog, l)
		if err != nil {
			t.Fatal(err)
		}
		if n := host.Usage().Total(); n > 0 {
			t.Errorf("%s: sizing took %d bytes", plan.Resolved, n)
		}
		e, err := b.Compile(prog, l)
		if err != nil {
			t.Fatal(err)
		}
		if want := (graph.Footprint{Host: host.Usage()}); size != want {
			t.Errorf("%s: %v is taken, sized %v", plan.Resolved, want, size)
		}
		if err := errors.Join(e.Close(), host.Close()); err != nil {
			t.Error(err)
		}
	}
}
