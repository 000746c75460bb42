package offload

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Options are the choices that a policy leaves to its user. Zero values are
// the policy's defaults.
type Options struct {
	// Budget is the tokens that a KV head attends to in a decode step. auto: a
	// multiple of 32 beside the newest tokens, by default what fits the fast
	// tier, from 128 to 2,048. tailorkv: all but generated tokens, 1024, with
	// 192 as the paper's other choice.
	Budget int
	// Exchange is the tokens of its budget that a KV head replaces in a step
	// (auto), and so a bound of what crosses the bus: 640.
	Exchange int
	// Elem is the format of records (auto: q8, or q6v4 where that leaves no
	// room for the largest working set), or of floats (full: f16).
	Elem string
	// Dense are layers all of whose records stay in the fast tier and are
	// read. nil is the policy's default (auto: none; tailorkv: layer 0, as
	// published for Llama-3.1), empty is none.
	Dense     []int
	DenseElem string // their format (auto: q8; tailorkv: q2)
	Channels  int    // channels of all keys that tailorkv streams: 8, from a budget of 1024 on 12
	Sink      int    // tokens at the begin that tailorkv always attends to: 8, from a budget of 1024 on 64
	Sparse    bool   // auto: select though all tokens would fit the fast tier
	Estimate  bool   // auto: let mean values stand for pages that were not chosen
	Exact     bool   // full: keep all tokens of sliding-window layers too, for the oracle
}

// ErrOptions is wrapped by errors about options that a policy cannot use.
var ErrOptions = errors.New("cache options are not valid")

// option names a field of Options in messages.
type option string

const (
	optBudget    option = "budget"
	optElem      option = "elem"
	optDense     option = "dense"
	optDenseElem option = "dense elem"
	optChannels  option = "channels"
	optSink      option = "sink"
	optExchange  option = "exchange"
	optSparse    option = "sparse"
	optExact     option = "exact"
	optEstimate  option = "estimate"
)

// given lists the options that are not left to the policy.
func (o Options) given() []option {
	var names []option
	for _, f := range []struct {
		name option
		set  bool
	}{
		{optBudget, o.Budget != 0}, {optElem, o.Elem != ""}, {optDense, o.Dense != nil}, {optDenseElem, o.DenseElem != ""},
		{optChannels, o.Channels != 0}, {optSink, o.Sink != 0}, {optExchange, o.Exchange != 0}, {optSparse, o.Sparse}, {optExact, o.Exact}, {optEstimate, o.Estimate},
	} {
		if f.set {
			names = append(names, f.name)
		}
	}
	return names
}

// settings are options with the policy's defaults filled in.
type settings struct {
	elem, denseElem Elem
	dense           []bool // [layers]
	budget          int    // cold pages (auto; 0: what fits) or tokens of records (tailorkv)
	channels, sink  int
	exchange        int  // cold pages; 0: not given
	elemGiven       bool // the format of records is not the planner's choice
	sparse, exact   bool
	estimate        bool
	notes           []string
}

// settle checks options against a policy and a model's layers.
func (o Options) settle(p Policy, layers []LayerSpec, context int) (settings, error) {
	s := settings{elem: p.Elem, denseElem: Q8, elemGiven: p.fixed || o.Elem != "", sparse: o.Sparse, exact: o.Exact, estimate: o.Estimate}
	for _, name := range o.given() {
		if !slices.Contains(p.takes, name) {
			return s, fmt.Errorf("%w: policy %s has no option %s; it has %s", ErrOptions, p.Name, name, listOptions(p.takes))
		}
	}
	if err := o.formats(p, &s); err != nil {
		return s, err
	}
	if err := o.denseLayers(p, &s, layers); err != nil {
		return s, err
	}
	if err := o.plausible(); err != nil {
		return s, err
	}
	switch {
	case p.Granularity == ByPage:
		return s, o.pageBudget(&s, context)
	case p.Granularity == ByToken:
		return s, o.tokenBudget(&s, layers, context)
	}
	return s, nil
}

func (o Options) formats(p Policy, s *settings) error {
	if p.Kind == Complete {
		return parseElem(optElem, o.Elem, &s.elem, F16, F32)
	}
	if err := parseElem(optElem, o.Elem, &s.elem, F16, Q8, Q64, Q4, Q2, Q1); err != nil {
		return err
	}
	if p.fixed && s.elem != p.Elem {
		return fmt.Errorf("%w: policy %s keeps %s, elem says %s", ErrOptions, p.Name, p.Elem, s.elem)
	}
	if p.Granularity == ByToken {
		s.denseElem = Q2
	}
	return parseElem(optDenseElem, o.DenseElem, &s.denseElem, F16, Q8, Q64, Q4, Q2, Q1)
}

// parseElem sets e to one of the allowed formats, unless name is empty.
func parseElem(opt option, name string, e *Elem, allowed ...Elem) error {
	if name == "" {
		return nil
	}
	got, ok := ElemByName(name)
	if !ok || !slices.Contains(allowed, got) {
		return fmt.Errorf("%w: %s is %q, must be one of %v", ErrOptions, opt, name, allowed)
	}
	*e = got
	return nil
}

func (o Options) denseLayers(p Policy, s *settings, layers []LayerSpec) error {
	s.dense = make([]bool, len(layers))
	for _, l := range o.Dense {
		if l < 0 || l >= len(layers) {
			return fmt.Errorf("%w: dense layer %d does not exist, the model has layers 0 to %d", ErrOptions, l, len(layers)-1)
		}
		if w := layers[l].Window; w > 0 {
			return fmt.Errorf("%w: layer %d cannot be dense: it keeps only its window of %d tokens", ErrOptions, l, w)
		}
		s.dense[l] = true
	}
	if p.Needs.Calibration && o.Dense == nil && layers[0].Window == 0 {
		s.dense[0] = true
		s.notes = append(s.notes, "layer 0 is dense by default, as published for Llama-3.1; edged calibrate finds a model's own")
	}
	return nil
}

func listOptions(names []option) string {
	if len(names) == 0 {
		return "none"
	}
	var list []string
	for _, n := range names {
		list = append(list, string(n))
	}
	return strings.Join(list, ", ")
}
