package offload

import "edged/pinnedmem"

// NoHot marks a page that is not in the hot cache.
const NoHot = 0xffff

// maxHot is the most slots that 16 bits can name.
const maxHot = NoHot - 1

// Hot is a layer's cache of fetched records, one part for each KV head. Pages
// are named by block id * 8 + page in the block, so that sequences which share
// a prefix share what they fetched. The step that uses a slot stamps it with
// the pool's clock; the slot with the oldest stamp gives way first. What finds
// no place, because the step uses all slots, goes to work memory.
type Hot struct {
	Slots   int      // per KV head
	Records []byte   // [kvHeads, Slots] records
	Page    []uint32 // [kvHeads, Slots] the page in each slot; NoPage for none
	Used    []uint32 // [kvHeads, Slots] stamp
	Slot    []uint16 // [kvHeads, pages] where a page is; NoHot for nowhere

	mem []byte // of Page, Used and Slot
}

// NoPage marks an empty slot.
const NoPage = ^uint32(0)

// hotBytes is what a hot cache of slots takes beside its records.
func hotBytes(kvHeads, slots, pages int) int64 {
	return int64(kvHeads) * (8*int64(slots) + 2*int64(pages))
}

// fill lays out the lookup tables and empties them.
func (h *Hot) fill(kvHeads, slots, pages int) {
	n := 4 * kvHeads * slots
	h.Slots = slots
	h.Page = pinnedmem.View[uint32](h.mem[:n])
	h.Used = pinnedmem.View[uint32](h.mem[n : 2*n])
	h.Slot = pinnedmem.View[uint16](h.mem[2*n : 2*n+2*kvHeads*pages])
	for i := range h.Page {
		h.Page[i] = NoPage
	}
	for i := range h.Slot {
		h.Slot[i] = NoHot
	}
}

// forget drops what is cached of a block.
func (h *Hot) forget(block uint32) {
	if h.Slots == 0 {
		return
	}
	heads := len(h.Page) / h.Slots
	pages := len(h.Slot) / heads
	for head := range heads {
		for i := range blockPages {
			at := head*pages + int(block)*blockPages + i
			if s := h.Slot[at]; s != NoHot {
				h.Page[head*h.Slots+int(s)] = NoPage
				h.Slot[at] = NoHot
			}
		}
	}
}
