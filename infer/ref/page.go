package ref

import (
	"encoding/binary"
	"math"

	"github.com/x448/float16"

	"edged/offload"
)

// slot is one token's place in a page of one layer.
type slot struct {
	page   []byte
	layout offload.Layout
	at     int // token slot in the page, [0, PageTok)
}

// kAt is the byte offset of one channel of the slot's key.
func (s slot) kAt(head, channel int) int {
	return s.layout.KOffset(head) + (channel*offload.PageTok+s.at)*s.layout.Elem.KBits()/8
}

// vAt is the byte offset of one channel of the slot's value.
func (s slot) vAt(head, channel int) int {
	return s.layout.VOffset(head) + (s.at*s.layout.Spec.HeadDim+channel)*s.layout.Elem.VBits()/8
}

func (s slot) get(at int) float64 {
	if s.layout.Elem == offload.F32 {
		return float64(math.Float32frombits(binary.NativeEndian.Uint32(s.page[at:])))
	}
	return float64(float16.Frombits(binary.NativeEndian.Uint16(s.page[at:])).Float32())
}

func (s slot) set(at int, v float32) {
	if s.layout.Elem == offload.F32 {
		binary.NativeEndian.PutUint32(s.page[at:], math.Float32bits(v))
		return
	}
	binary.NativeEndian.PutUint16(s.page[at:], float16.Fromfloat32(v).Bits())
}
