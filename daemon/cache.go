package daemon

import (
	"fmt"
	"strconv"
	"strings"

	"edged/offload"
)

// Cache says how a measurement keeps keys and values.
type Cache struct {
	Policy  string // "" is the engine's default
	Options offload.Options
	Context int // tokens; 0 is what the measurement needs, or the model's own
	// Fast is the size of the cache's fast tier: bytes, or with a percent sign
	// a share of an exact f16 cache of the same context. "" shares host memory.
	Fast string
}

// fastBytes is the fast tier's budget for sequences of context tokens, 0 for
// none of its own.
func (c Cache) fastBytes(layers []offload.LayerSpec, context int) (int64, error) {
	if c.Fast == "" {
		return 0, nil
	}
	if percent, ok := strings.CutSuffix(c.Fast, "%"); ok {
		v, err := strconv.ParseFloat(percent, 64)
		if err != nil || !(v > 0 && v <= 100) {
			return 0, fmt.Errorf("fast tier: %q is not a share between 0%% and 100%%", c.Fast)
		}
		return int64(v / 100 * float64(offload.ExactBytes(layers, context))), nil
	}
	var s Size
	if err := s.UnmarshalText([]byte(c.Fast)); err != nil {
		return 0, fmt.Errorf("fast tier: %w", err)
	}
	if s <= 0 {
		return 0, fmt.Errorf("fast tier: %q must be above 0", c.Fast)
	}
	return int64(s), nil
}

// Check refuses what is no size of a fast tier.
func (c Cache) Check() error {
	_, err := c.fastBytes(nil, 0)
	return err
}

// plan plans for one sequence of context tokens.
func (c Cache) plan(layers []offload.LayerSpec, context int) (*offload.Plan, error) {
	fast, err := c.fastBytes(layers, context)
	if err != nil {
		return nil, err
	}
	policy := c.Policy
	if policy == "" {
		policy = "full"
	}
	return offload.MakePlan(offload.Ask{Layers: layers, Policy: policy, Options: c.Options, Context: context, Sessions: 1, Fast: fast})
}
