package model

import (
	"fmt"
	"math"

	"edged/infer/gguf"
)

// params are the numbers of a model, from the keys ARCH.* of its file.
type params struct {
	layers, hidden, ffn int
	heads, kvHeads      int
	headDim             int
	ropeDim             int // channels of a head that are rotated
	context             int // tokens
	window              int // tokens a local layer sees
	eps                 float32
	rope                ropeParams
	localBase           float64 // rope base of a local layer
}

// Limits on what a file may claim, far above any published model; they keep
// later arithmetic on sizes within range.
const (
	maxLayers  = 1024
	maxWidth   = 1 << 20
	maxHeads   = 4096
	maxContext = 1 << 26
)

// reader collects the first error while keys are read one after the other.
type reader struct {
	f    *gguf.File
	arch string
	err  error
}

func (r *reader) key(name string) string { return r.arch + "." + name }

// need reads a required integer in [1, limit].
func (r *reader) need(name string, limit int) int {
	v, ok := r.f.Uint(r.key(name))
	if !ok {
		r.fail("key %s is missing or no unsigned integer", r.key(name))
		return 0
	}
	return r.bound(name, v, limit)
}

// or reads an optional integer in [1, limit].
func (r *reader) or(name string, limit, def int) int {
	v, ok := r.f.Uint(r.key(name))
	if !ok {
		r.absent(name, "unsigned integer (per-layer values are not supported)")
		return def
	}
	return r.bound(name, v, limit)
}

// absent refuses an optional key that is present after all, with another type
// than wanted: its default would silently make another model.
func (r *reader) absent(name, wanted string) {
	if _, present := r.f.Value(r.key(name)); present {
		r.fail("key %s is no %s", r.key(name), wanted)
	}
}

func (r *reader) bound(name string, v uint64, limit int) int {
	if v < 1 || v > uint64(limit) {
		r.fail("key %s is %d, must lie in 1 to %d", r.key(name), v, limit)
		return 0
	}
	return int(v)
}

// float reads an optional positive number. Files may hold float64, but the
// arithmetic is float32's.
func (r *reader) float(name string, def float64) float64 {
	v, ok := r.number(name)
	if !ok {
		return def
	}
	if !(float32(v) > 0) || v > math.MaxFloat32 {
		r.fail("key %s is %g, must be a positive number in the range of float32", r.key(name), v)
		return def
	}
	return v
}

// number reads an optional number of any value.
func (r *reader) number(name string) (float64, bool) {
	v, ok := r.f.Float(r.key(name))
	if !ok {
		r.absent(name, "number")
	}
	return v, ok
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func readParams(f *gguf.File, arch string, fam family) (params, error) {
	r := &reader{f: f, arch: arch}
	h := params{
		layers:  r.need("block_count", maxLayers),
		hidden:  r.need("embedding_length", maxWidth),
		ffn:     r.need("feed_forward_length", maxWidth),
		heads:   r.need("attention.head_count", maxHeads),
		context: r.need("context_length", maxContext),
		eps:     float32(r.float("attention.layer_norm_rms_epsilon", 1e-5)),
	}
	h.kvHeads = r.or("attention.head_count_kv", maxHeads, h.heads)
	if r.err == nil {
		h.headDim = r.or("attention.key_length", maxWidth, h.hidden/h.heads)
		h.ropeDim = r.or("rope.dimension_count", maxWidth, h.headDim)
	}
	if v := r.or("attention.value_length", maxWidth, h.headDim); v != h.headDim {
		r.fail("attention.value_length %d differs from key_length %d: %w", v, h.headDim, ErrUnsupported)
	}
	if n, ok := f.Uint(r.key("expert_count")); ok && n > 0 {
		r.fail("mixture of %d experts is %w", n, ErrUnsupported)
	} else if !ok {
		r.absent("expert_count", "unsigned integer")
	}
	if causal, ok := f.Bool(r.key("attention.causal")); ok && !causal {
		r.fail("attention to tokens ahead (%s false) is %w", r.key("attention.causal"), ErrUnsupported)
	} else if !ok {
		r.absent("attention.causal", "boolean")
	}
	for _, k := range []string{"attn_logit_softcapping", "final_logit_softcapping"} {
		if v, ok := r.number(k); ok && v != 0 {
			r.fail("%s %g is %w", r.key(k), v, ErrUnsupported)
		}
	}
	if fam.localLayers > 0 {
		h.window = r.need("attention.sliding_window", maxContext)
		h.localBase = r.float("rope.freq_base_swa", localRopeBase)
		r.pattern(fam)
	}
	h.rope = readRope(r)
	return h, h.check(r.err)
}

// pattern refuses files whose layers alternate otherwise than the family's.
func (r *reader) pattern(fam family) {
	v, ok := r.f.Value(r.key("attention.sliding_window_pattern"))
	if !ok {
		return
	}
	if n, isUint := r.f.Uint(r.key("attention.sliding_window_pattern")); isUint && n == uint64(fam.localLayers) {
		return
	}
	layers, isBools := v.([]bool)
	for l, local := range layers {
		isBools = isBools && local == fam.local(l)
	}
	if !isBools {
		r.fail("attention.sliding_window_pattern %.80s is %w; supported: every %d. layer global", fmt.Sprint(v), ErrUnsupported, fam.localLayers)
	}
}

func (h *params) check(err error) error {
	switch {
	case err != nil:
		return err
	case h.heads%h.kvHeads != 0:
		return fmt.Errorf("%d query heads cannot share %d KV heads", h.heads, h.kvHeads)
	case h.headDim < 2 || h.headDim%2 != 0:
		return fmt.Errorf("head width %d is not a positive even number", h.headDim)
	case h.ropeDim%2 != 0 || h.ropeDim > h.headDim:
		return fmt.Errorf("rope width %d does not fit heads of %d", h.ropeDim, h.headDim)
	case h.heads*h.headDim > maxWidth:
		return fmt.Errorf("%d heads of %d channels exceed a width of %d", h.heads, h.headDim, maxWidth)
	}
	// Models that reach their length by YaRN often keep the shorter trained
	// length as context_length.
	if h.rope.kind == "yarn" {
		h.context = max(h.context, int(min(float64(h.rope.original)*h.rope.factor, maxContext)))
	}
	return nil
}
