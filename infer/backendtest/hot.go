package backendtest

import (
	"slices"

	"edged/offload"
)

// hot checks that the two tables of a hot cache are each other's inverse and
// that what it holds is what the cold records are.
func (j *choiceJudge) hot(r *rig, layer int) {
	j.t.Helper()
	m := r.pool.Memory(layer)
	pages := len(m.Hot.Slot) / m.Plan.KVHeads
	for head := range m.Plan.KVHeads {
		held := 0
		for id, s := range m.Hot.Slot[head*pages : (head+1)*pages] {
			if s == offload.NoHot {
				continue
			}
			held++
			at := head*m.Hot.Slots + int(s)
			if int(s) >= m.Hot.Slots || m.Hot.Page[at] != uint32(id) {
				j.t.Fatalf("layer %d, head %d: page %d is said to be in slot %d of %d, which is not its", layer, head, id, s, m.Hot.Slots)
			}
			cold := m.Units[id/blockPages*m.UnitBytes+(id%blockPages*m.Plan.KVHeads+head)*m.Record.Bytes:][:m.Record.Bytes]
			if hot := m.Hot.Records[at*m.Record.Bytes:][:m.Record.Bytes]; !slices.Equal(hot, cold) {
				j.t.Fatalf("layer %d, head %d: slot %d does not hold page %d's record", layer, head, s, id)
			}
		}
		for s, id := range m.Hot.Page[head*m.Hot.Slots : (head+1)*m.Hot.Slots] {
			if id != offload.NoPage {
				held--
			}
			if id != offload.NoPage && m.Hot.Slot[head*pages+int(id)] != uint16(s) {
				j.t.Fatalf("layer %d, head %d: slot %d holds page %d, which is not found there", layer, head, s, id)
			}
		}
		if held != 0 {
			j.t.Fatalf("layer %d, head %d: %d more pages than slots are taken", layer, head, held)
		}
	}
}

// present checks that the pages which a step of one row chose are in the hot
// cache, as many as it holds.
func (j *choiceJudge) present(q *offload.Seq, layer int) {
	j.t.Helper()
	l := layerOf(q, layer)
	h := l.mem.Hot
	pages := len(h.Slot) / l.mem.Plan.KVHeads
	for head := range l.mem.Plan.KVHeads {
		ids, found := chosenIDs(l, head), 0
		for _, id := range ids {
			if h.Slot[head*pages+id] != offload.NoHot {
				found++
			}
		}
		if want := min(len(ids), h.Slots); found != want {
			j.t.Fatalf("layer %d, head %d: %d of %d chosen pages are in %d slots, want %d", layer, head, found, len(ids), h.Slots, want)
		}
	}
}
