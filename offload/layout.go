package offload

import (
	"fmt"
)

// Elem is the number format of cached keys and values.
type Elem uint8

// The exact formats. F16 is what `full` keeps; F32 exists for the oracle, so
// that the reference backend can be compared with float32 implementations.
const (
	F16 Elem = iota
	F32
)

// Bytes is the size of one element.
func (e Elem) Bytes() int {
	if e == F32 {
		return 4
	}
	return 2
}

func (e Elem) String() string {
	if e == F32 {
		return "f32"
	}
	return "f16"
}

// PageTok is the number of tokens in one page. 32 tokens make pages of 8 KiB
// per KV head for 64-wide heads in f16, above the 2 KiB below which gathers
// over PCIe lose bandwidth, and fill the lanes of two 16-wide vectors.
const PageTok = 32

// LayerSpec is what the cache must know of one attention layer.
type LayerSpec struct {
	KVHeads int
	HeadDim int
	Window  int // tokens that a query sees, its own included; 0 means all
}

// Layout is where things lie inside one page of one layer.
//
// A page holds PageTok tokens of every KV head. Per head, K and V are
// adjacent, so that one transfer brings both:
//
//	[kvHeads] { K [headDim, PageTok], V [PageTok, headDim] }
//
// K is channel-major: scores of PageTok tokens are computed in vector lanes
// without a horizontal sum, and per-channel quantization finds its groups
// contiguous. V is token-major: a weighted sum of rows needs no transposition.
type Layout struct {
	Spec      LayerSpec
	Elem      Elem
	HeadBytes int // bytes of one KV head in a page: K and V
	PageBytes int // bytes of one page: all KV heads
}

// NewLayout computes the strides of a layer's pages.
func NewLayout(s LayerSpec, e Elem) (Layout, error) {
	if s.KVHeads <= 0 || s.HeadDim <= 0 || s.Window < 0 {
		return Layout{}, fmt.Errorf("lay out KV pages: %d KV heads of %d channels, window %d is not a valid layer", s.KVHeads, s.HeadDim, s.Window)
	}
	head := 2 * PageTok * s.HeadDim * e.Bytes()
	return Layout{Spec: s, Elem: e, HeadBytes: head, PageBytes: head * s.KVHeads}, nil
}

// KOffset is the byte offset in a page of channel 0, token slot 0 of a head's
// keys; channel c of slot t lies (c*PageTok+t) elements further on.
func (l Layout) KOffset(head int) int { return head * l.HeadBytes }

// VOffset is the byte offset in a page of token slot 0, channel 0 of a head's
// values; channel c of slot t lies (t*headDim+c) elements further on.
func (l Layout) VOffset(head int) int { return head*l.HeadBytes + l.HeadBytes/2 }

// TokenBytes is the cost of one cached token in this layer.
func (l Layout) TokenBytes() int { return l.PageBytes / PageTok }
