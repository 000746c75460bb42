package daemon

import (
	"errors"
	"testing"

	"edged/offload"
)

const needleFile = "../models/needle-26m-q8_0.gguf"

func TestCacheRoom(t *testing.T) {
	h := hostMemory{Total: 16 << 30, Available: 8 << 30, Lockable: 1 << 30}
	for lock, want := range map[bool]int64{false: 6 << 30, true: 1 << 30} {
		if got, err := cacheRoom(h, lock); err != nil || got != want {
			t.Errorf("locked %v: %d bytes, %v; want %d", lock, got, err, want)
		}
	}
}

// TestPlanSharesHostMemory plans without a device: the tiers are one memory.
func TestPlanSharesHostMemory(t *testing.T) {
	p := Planning{Model: needleFile, Policy: "q8", Context: 16384}
	plan := func(host Size) (*PlanReport, error) {
		p.Host = host
		return p.Plan()
	}
	r, err := plan(1 << 30)
	if err != nil {
		t.Fatal(err)
	}
	need := Size(r.Weights + r.Plan.Bytes.Fast.Total() + r.Plan.Bytes.Host.Total())
	if _, err := plan(need); err != nil {
		t.Errorf("exactly what is needed: %v", err)
	}
	for _, less := range []Size{need - 1, Size(r.Weights) + 1, Size(r.Weights)} {
		if _, err := plan(less); !errors.Is(err, offload.ErrNoFit) {
			t.Errorf("%d of %d bytes: %v", less, need, err)
		}
	}
	if r.StepWeights > r.Weights || r.Weights != 27887616 || len(r.Predict()) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestPlanKnowsThisMachine(t *testing.T) {
	r, err := Planning{Model: needleFile, Policy: "full", Context: 64, Lock: true}.Plan()
	if err != nil && !errors.Is(err, offload.ErrNoFit) {
		t.Fatal(err)
	}
	if err == nil && r.Host <= 0 {
		t.Errorf("%+v", r)
	}
	var too *offload.ContextError
	if _, err := (Planning{Model: needleFile, Policy: "full", Context: 1 << 20}).Plan(); !errors.As(err, &too) || too.Model != 16384 {
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
