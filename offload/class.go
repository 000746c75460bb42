package offload

import (
	"errors"
	"fmt"
	"math"
)

// Class is how the tokens of one layer are kept and read.
type Class uint8

const (
	// Exact keeps every token's K and V as floats in the fast tier and
	// attends to all of them.
	Exact Class = iota
	// Window keeps the tokens that a sliding window still shows, and some
	// before them, as floats in the fast tier.
	Window
	// Dense keeps records of every token in the fast tier and attends to all
	// of them: TailorKV's quantization-friendly layers, and whole caches in 8
	// or 4 bits.
	Dense
	// Paged keeps records in the host tier and an index of their keys in the
	// fast tier; a decode step attends to a working set of pages that the index
	// finds dominant.
	Paged
	// Gathered keeps records in the host tier without an index; a decode step
	// streams critical channels of all keys and fetches dominant tokens:
	// TailorKV's sparsity-friendly layers (arXiv:2505.19586).
	Gathered
	nClass
)

func (c Class) String() string {
	return [nClass]string{"exact", "window", "dense", "paged", "gathered"}[c]
}

// Stored says whether tokens leave the exact tail as records.
func (c Class) Stored() bool { return c >= Dense }

// Cold says whether records lie in the host tier.
func (c Class) Cold() bool { return c >= Paged }

// LayerPlan is how one layer is kept. The zero values of the fields that a
// class does not use are required, so that equal plans are equal values.
type LayerPlan struct {
	LayerSpec
	Class Class
	// Elem is the format of pages (Exact, Window) or records.
	Elem Elem
	// Group is the tokens of one record; 0 without records.
	Group int
	// Tail is the tokens in the ring of exact pages: those that a Window layer
	// keeps, or the most beside the records, and one page more. A step writes
	// there before it is committed; if it is given up, it has overwritten
	// nothing that is still needed. Whole pages; a group and that page at least.
	Tail int
	// Budget is the most cold pages (Paged; whole pairs) or tokens (Gathered) of
	// records that a KV head attends to in a decode step.
	Budget int
	// Exchange is the most cold pages of a KV head's full working set that a
	// step replaces (Paged).
	Exchange int
	// Gain is what a page must be worth more than one of the set to take its
	// place: the difference of the logarithms of their shares (Paged).
	Gain float32
	// ByRecord weighs the pages of a working set by their records' keys, and not by
	// the index, which knows the others (Paged).
	ByRecord bool
	// Estimate lets pages' mean values stand for pages that were not chosen,
	// weighted as the index has them (Paged).
	Estimate bool
	// Channels is how many channels of all keys a Gathered layer streams to
	// find its dominant tokens, and Sink the tokens at the begin that it
	// always attends to, within Budget.
	Channels, Sink int
}

// ErrPlan is wrapped by every error of Check.
var ErrPlan = errors.New("cache plan is not valid")

// Check names the first field that does not fit the class.
func (p LayerPlan) Check() error {
	_, err := NewLayout(p.LayerSpec, p.tailElem())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPlan, err)
	}
	for _, f := range []struct {
		name string
		v    int
		used bool
	}{
		{"group", p.Group, p.Class.Stored()}, {"tail", p.Tail, p.Class != Exact}, {"budget", p.Budget, p.Class.Cold()},
		{"exchange", p.Exchange, p.Class == Paged}, {"channels", p.Channels, p.Class == Gathered},
	} {
		if f.used != (f.v > 0) || f.v < 0 {
			return fmt.Errorf("%w: %s of a %s layer is %d", ErrPlan, f.name, p.Class, f.v)
		}
	}
	switch {
	case p.Class >= nClass:
		return fmt.Errorf("%w: class %d does not exist", ErrPlan, p.Class)
	case p.Class == Window != (p.Window > 0) && p.Class != Exact:
		return fmt.Errorf("%w: a %s layer with a window of %d tokens", ErrPlan, p.Class, p.Window)
	case p.Class.Stored() && (p.Tail%PageTok != 0 || p.Tail < p.granule()+PageTok):
		return fmt.Errorf("%w: a tail of %d tokens is not whole pages of %d that hold a group of %d and one page more", ErrPlan, p.Tail, PageTok, p.granule())
	case p.Class == Window && (p.Tail%PageTok != 0 || p.Tail < p.Window+PageTok):
		return fmt.Errorf("%w: a tail of %d tokens does not hold a window of %d", ErrPlan, p.Tail, p.Window)
	case p.Class == Paged && p.Group != ColdTok || p.Class == Gathered && p.Group < PageTok:
		return fmt.Errorf("%w: a %s layer with groups of %d tokens", ErrPlan, p.Class, p.Group)
	case p.Class == Paged && p.Budget%2 != 0:
		return fmt.Errorf("%w: a budget of %d cold pages is not whole pairs", ErrPlan, p.Budget)
	case p.Class == Paged && p.HeadDim > MaxIndexDim:
		return fmt.Errorf("%w: a paged layer with heads of %d channels, an index orders at most %d", ErrPlan, p.HeadDim, MaxIndexDim)
	case p.Estimate && p.Class != Paged:
		return fmt.Errorf("%w: an estimate in a %s layer", ErrPlan, p.Class)
	case !(p.Gain >= 0 && p.Gain <= math.MaxFloat32) || p.Gain > 0 && p.Class != Paged:
		return fmt.Errorf("%w: a gain of %g in a %s layer", ErrPlan, p.Gain, p.Class)
	case p.ByRecord && p.Class != Paged:
		return fmt.Errorf("%w: pages are weighed by their records in a %s layer", ErrPlan, p.Class)
	case p.Class == Gathered && p.Elem != F16:
		return fmt.Errorf("%w: a gathered layer in %s, rows are fetched as float16", ErrPlan, p.Elem)
	case p.Channels > p.HeadDim || p.Sink < 0 || p.Sink > p.Budget:
		return fmt.Errorf("%w: %d channels of %d, %d sink tokens within a budget of %d", ErrPlan, p.Channels, p.HeadDim, p.Sink, p.Budget)
	}
	if !p.Class.Stored() {
		if !p.Elem.Exact() {
			return fmt.Errorf("%w: a %s layer in %s", ErrPlan, p.Class, p.Elem)
		}
		return nil
	}
	if _, err := p.Record(); err != nil {
		return fmt.Errorf("%w: %w", ErrPlan, err)
	}
	return nil
}

// granule is the tokens that leave the tail together: whole exact pages.
func (p LayerPlan) granule() int { return max(p.Group, PageTok) }

// exactTok is the most committed tokens beside the records.
func (p LayerPlan) exactTok() int { return p.Tail - PageTok }

// tailElem is the format of exact tokens.
func (p LayerPlan) tailElem() Elem {
	if p.Class.Stored() {
		return F16
	}
	return p.Elem
}

// Pages is the layout of the layer's exact pages.
func (p LayerPlan) Pages() (Layout, error) { return NewLayout(p.LayerSpec, p.tailElem()) }

// Record is the layout of the layer's records.
func (p LayerPlan) Record() (Record, error) {
	r, err := NewRecord(p.HeadDim, p.Group, p.Elem)
	if err == nil && p.Class == Gathered {
		r = r.withRows()
	}
	return r, err
}

// unit is the tokens for which the layer takes memory at once; 0 when all of
// it belongs to the sequence's slot.
func (p LayerPlan) unit() int {
	switch {
	case p.Class == Exact:
		return PageTok
	case p.Class.Stored():
		return BlockTok
	}
	return 0
}

// ExactLayers keeps every layer as `full` does, windows ignored.
func ExactLayers(specs []LayerSpec, e Elem) []LayerPlan {
	plans := make([]LayerPlan, len(specs))
	for i, s := range specs {
		plans[i] = LayerPlan{LayerSpec: s, Elem: e}
	}
	return plans
}
