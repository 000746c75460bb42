package offload

import "fmt"

// PageTok is the number of tokens in one page of exact tokens: what attention
// reads at a time. 32 tokens fill the lanes of two 16-wide vectors.
const PageTok = 32

// ColdTok is the number of tokens in one cold page: what a decode step chooses
// and a fetch brings. 16 tokens of a 64-wide head take 2 KiB in 8 bits, below
// which gathers over PCIe lose bandwidth; larger pages waste more of a budget
// on tokens that nobody asked for.
const ColdTok = 16

// BlockTok is the number of tokens for which a layer that keeps records takes
// memory at once, and over which its index shares steps.
const BlockTok = 256

const (
	blockPages = BlockTok / PageTok
	blockCold  = BlockTok / ColdTok
)

// LayerSpec is what the cache must know of one attention layer.
type LayerSpec struct {
	KVHeads int
	HeadDim int
	Window  int // tokens that a query sees, its own included; 0 means all
}

// Layout is where things lie inside one page of exact tokens of one layer.
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
	if s.KVHeads <= 0 || s.HeadDim <= 0 || s.Window < 0 || !e.Exact() {
		return Layout{}, fmt.Errorf("lay out KV pages: %d KV heads of %d channels in %s, window %d is not a valid layer", s.KVHeads, s.HeadDim, e, s.Window)
	}
	head := 2 * PageTok * s.HeadDim * e.KBits() / 8
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

// ExactBytes is the K and V of n tokens in f16, all layers whole: what shares
// of a cache are measured against.
func ExactBytes(layers []LayerSpec, n int) int64 {
	var b int64
	for _, l := range layers {
		b += int64(n) * int64(l.KVHeads) * int64(l.HeadDim) * 4
	}
	return b
}
