package daemon

import (
	"errors"
	"math"
	"strings"
	"testing"

	"edged/offload"
)

const needleFile = "../models/needle-26m-q8_0.gguf"

// TestPlanOfLockedMemory: the limit of what may be locked is the cache's, with and
// without a device, whatever else was given; and a refusal names it.
func TestPlanOfLockedMemory(t *testing.T) {
	layers := []offload.LayerSpec{{KVHeads: 1, HeadDim: 64}}
	for _, c := range []struct {
		gpu, lockable int64
		want          string // in the error
	}{
		{0, math.MaxInt64, ""}, {0, 1 << 20, ""}, {0, 1 << 16, "with 65536 bytes that RLIMIT_MEMLOCK lets be locked"}, {0, 0, "with 0 bytes that RLIMIT_MEMLOCK lets be locked"},
		{5 << 20, 1 << 20, ""}, {5 << 20, 1 << 12, "with 4096 bytes that RLIMIT_MEMLOCK lets be locked"},
	} {
		p := Planning{Policy: "q8", Context: 1024, Sessions: 1}
		r := &PlanReport{Weights: 4 << 20, GPU: c.gpu, Host: 8 << 20}
		if _, err := p.cache(r, layers, c.lockable); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
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
