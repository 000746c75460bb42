package ref

import (
	"encoding/binary"

	"edged/infer/graph"
	"edged/offload"
)

// hot is one KV head's part of a layer's cache of fetched records.
type hot struct {
	bytes   int // of a record
	records []byte
	page    []uint32 // [slots] the page in each slot
	used    []uint32 // [slots] stamp of the last use
	slot    []uint16 // [pages] where a page is
}

func (v view) hot(head int) hot {
	h := v.mem.Hot
	n, pages := h.Slots, len(h.Slot)/v.mem.Plan.KVHeads
	return hot{
		bytes: v.mem.Record.Bytes, records: nth(h.Records, head, n*v.mem.Record.Bytes),
		page: h.Page[head*n : (head+1)*n], used: h.Used[head*n : (head+1)*n], slot: h.Slot[head*pages : (head+1)*pages],
	}
}

// forget drops a page that is about to be written from the hot cache.
func (v view) forget(pos, head int) {
	h := v.hot(head)
	id := v.block(pos)*(offload.BlockTok/offload.PageTok) + pos%offload.BlockTok/offload.PageTok
	if s := h.slot[id]; s != offload.NoHot {
		h.page[s], h.slot[id] = offload.NoPage, offload.NoHot
	}
}

// kvFetch brings what was chosen to the fast tier. Hints change no result, and
// here they would save no time.
func (s step) kvFetch(o graph.KVFetch) {
	if s.gathers(o.Layer) {
		s.fetchTokens(o.Layer)
	}
	if o.Hint || !s.chooses(o.Layer) {
		return
	}
	for seq := range s.kv {
		for head := range s.choices[seq] {
			v := s.view(seq, o.Layer)
			s.choices[seq][head].records = v.bring(head, s.tick)
		}
	}
}

// bring returns a KV head's chosen records in the fast tier. Pages that are
// already there are stamped first, so that none of them gives way.
func (v view) bring(head int, tick uint32) [][]byte {
	h := v.hot(head)
	list := v.choice(head)
	ids := make([]int, binary.NativeEndian.Uint32(list))
	for i := range ids {
		ids[i] = int(binary.NativeEndian.Uint32(list[4+4*i:]))
		if s := h.slot[ids[i]]; s != offload.NoHot {
			h.used[s] = tick
		}
	}
	bytes, pages := int64(v.mem.Record.Bytes), int64(v.stored/offload.PageTok)
	t := offload.Traffic{Pages: pages, Chosen: int64(len(ids)), ColdBytes: pages * bytes}
	records := make([][]byte, len(ids))
	for i, id := range ids {
		if s := h.slot[id]; s != offload.NoHot {
			records[i] = nth(h.records, int(s), h.bytes)
			t.Hits++
			continue
		}
		records[i] = v.fetch(h, head, i, id, tick)
		t.Fetched += bytes
	}
	v.q.Pool().Count(t)
	return records
}

// fetch copies a record to the slot whose last use is longest ago or, when this
// step uses all of them, to the sequence's own place i.
func (v view) fetch(h hot, head, i, id int, tick uint32) []byte {
	const blockPages = offload.BlockTok / offload.PageTok
	unit := nth(v.mem.Units, id/blockPages, v.mem.UnitBytes)
	cold := nth(unit, id%blockPages*v.mem.Plan.KVHeads+head, h.bytes)
	s := h.oldest(tick)
	if s < 0 {
		dst := nth(v.q.Pool().Work(v.q.Slot()), head*v.mem.Plan.Budget+i, h.bytes)
		copy(dst, cold)
		return dst
	}
	if old := h.page[s]; old != offload.NoPage {
		h.slot[old] = offload.NoHot
	}
	h.page[s], h.used[s], h.slot[id] = uint32(id), tick, uint16(s)
	dst := nth(h.records, s, h.bytes)
	copy(dst, cold)
	return dst
}

// oldest is the slot whose last use is longest ago, -1 when this step uses all.
func (h hot) oldest(tick uint32) int {
	best, most := -1, uint32(0)
	for i, used := range h.used {
		if age := tick - used; age > most {
			best, most = i, age
		}
	}
	return best
}
