package infer

import (
	"errors"
	"strings"
	"testing"

	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

// toyDevice is the toy with memory of its own, of which programs take size bytes.
type toyDevice struct {
	toyBackend
	free, size, reserve int64
	compiled            []graph.Limits
}

func (d *toyDevice) Compile(p *graph.Program, l graph.Limits) (graph.Exec, error) {
	d.compiled = append(d.compiled, l)
	d.free -= d.size
	return d.toyBackend.Compile(p, l)
}

func (d *toyDevice) Memory(budget int64) *pinnedmem.Host { return pinnedmem.NewHost(budget) }
func (d *toyDevice) FreeMemory() (int64, error)          { return d.free - d.reserve, nil }
func (d *toyDevice) Size(*graph.Program, graph.Limits) (f graph.Footprint, err error) {
	f.Device[pinnedmem.Weights] = d.size
	return f, nil
}
func (d *toyDevice) Reserve(bytes int64)  { d.reserve = bytes }
func (d *toyDevice) Mover() offload.Mover { return nil }

// loadOn loads the toy on a device, with a context or as much of its own as fits.
func loadOn(t *testing.T, d *toyDevice, context int, change func(*Config)) (*Engine, error) {
	t.Helper()
	cfg := toyConfig()
	cfg.Models[0].Context, cfg.Models[0].Policy = context, "full"
	change(&cfg)
	e, err := newEngine(cfg, toyOpen(toyContext), func(string) (graph.Backend, error) { return d, nil })
	if err != nil {
		t.Fatal(err)
	}
	run(t, e)
	return e, e.Load(t.Context(), "", nil)
}

// TestDeviceIsPlannedBeforeLoading: what a device has no room for is refused before
// the backend takes anything, with what is lacking and what would fit.
func TestDeviceIsPlannedBeforeLoading(t *testing.T) {
	nothing := func(*Config) {}
	plan, err := kvPlan{layers: toyProgram(1).KV, policy: "full", slots: 6, Memory: Memory{Host: 1 << 30, Fast: 1 << 30}}.plan(600, 600)
	if err != nil {
		t.Fatal(err)
	}
	cache := plan.Bytes.Fast.Total()
	const program = 1 << 20

	d := &toyDevice{free: program + cache, size: program}
	if _, err := loadOn(t, d, 600, nothing); err != nil || len(d.compiled) != 1 {
		t.Errorf("just enough: %v, %d compiled", err, len(d.compiled))
	}
	d = &toyDevice{free: program + cache/2, size: program}
	e, err := loadOn(t, d, 0, nothing)
	if err != nil {
		t.Fatal(err)
	}
	if s := e.Status(); s.Context < 100 || s.Context >= 600 || d.compiled[0].Context != s.Context {
		t.Errorf("half of that: context of %d, compiled for %d", s.Context, d.compiled[0].Context)
	}
	for _, c := range []struct {
		name    string
		d       toyDevice
		context int
		change  func(*Config)
		want    []string
	}{
		{"context", toyDevice{free: program + cache - 1, size: program}, 600, nothing,
			[]string{"beside 1048576 bytes of weights and activations on the device", "a context of 600 tokens beside", "bytes in the fast tier of ", "what fits: a context of 5"}},
		{"reserve", toyDevice{free: program + cache, size: program}, 600, func(c *Config) { c.DeviceReserve = 1 }, []string{"what fits: a context of 5"}},
		{"nothing", toyDevice{free: program + 100, size: program}, 0, nothing, []string{"no shorter context fits either"}},
		{"weights", toyDevice{free: program - 100, size: program}, 0, nothing, []string{"1048576 bytes of device memory", "1048476 may be taken", "what fits: a model of fewer"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := loadOn(t, &c.d, c.context, c.change)
			if !errors.Is(err, pinnedmem.ErrBudget) || len(c.d.compiled) != 0 {
				t.Fatalf("%v, %d compiled", err, len(c.d.compiled))
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("no %q in %q", w, err)
				}
			}
		})
	}
}
