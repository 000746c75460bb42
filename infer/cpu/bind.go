package cpu

// #include "kern/cpu.h"
import "C"

import (
	"fmt"
	"unsafe"

	"edged/infer/graph"
	"edged/offload"
)

// bind points the cache descriptions at the sequences' pool.
func (e *exec) bind(kv []*offload.Seq) error {
	pool := kv[0].Pool()
	for _, s := range kv {
		if s.Pool() != pool {
			return fmt.Errorf("%w: they are of different pools", errPool)
		}
	}
	if pool == e.pool {
		return nil
	}
	if pool == nil || pool.Layers() != len(e.prog.KV) {
		return fmt.Errorf("%w: not %d layers", errPool, len(e.prog.KV))
	}
	if pool.Context() > e.lim.Context && pool.LayerMajor() {
		return fmt.Errorf("%w: a context of %d tokens, the program's is %d", errPool, pool.Context(), e.lim.Context)
	}
	e.pool = nil // a pool that is refused halfway leaves nothing to fall back to
	for i, want := range e.lim.KV {
		if got := pool.Plan(i); got != want {
			return fmt.Errorf("%w: layer %d is kept as %+v, not %+v", errPool, i, got, want)
		}
		e.caches[i] = describeLayer(pool.Memory(i))
		e.caches[i].query_scale = unsafe.SliceData(e.queryScales[i])
	}
	e.pool = pool
	return nil
}

// live refuses sequences that have been freed.
func live(kv []*offload.Seq) error {
	for i, s := range kv {
		if s.Pool() == nil {
			return fmt.Errorf("%w: sequence %d is freed", errPool, i)
		}
	}
	return nil
}

func describeLayer(m offload.Memory) C.cache {
	p, r, x := m.Plan, m.Record, m.Index
	c := C.cache{
		class: C.int32_t(p.Class), kv_heads: C.int32_t(p.KVHeads), dim: C.int32_t(p.HeadDim), window: C.int32_t(p.Window),
		f32: flag(m.Pages.Elem == offload.F32), page_bytes: C.int64_t(m.Pages.PageBytes), head_bytes: C.int64_t(m.Pages.HeadBytes),
		units: bytePtr(m.Units), unit_bytes: C.int64_t(m.UnitBytes), ring: C.int32_t(p.Tail / offload.PageTok), budget: C.int32_t(p.Budget), exchange: C.int32_t(p.Exchange),
		gain: C.float(p.Gain), by_record: flag(p.ByRecord),
		channels: C.int32_t(p.Channels), sink: C.int32_t(p.Sink),
	}
	if p.Class.Stored() {
		c.rec = C.record{k_bits: C.int32_t(r.Elem.KBits()), v_bits: C.int32_t(r.Elem.VBits()), group: C.int32_t(r.Group), k_channels: C.int32_t(r.RunChannels()),
			k_steps: C.int32_t(r.KSteps()), k: C.int32_t(r.K), k_row: C.int32_t(r.KRow),
			v_scales: C.int32_t(r.VScales), v_steps: C.int32_t(r.VSteps()), v: C.int32_t(r.V), v_row: C.int32_t(r.VRow), v_groups: C.int32_t(r.VGroups()), k_rows: C.int32_t(r.KRows), bytes: C.int32_t(r.Bytes)}
	}
	if p.Class == offload.Paged {
		c.ix = C.index_layout{vectors: C.int32_t(x.Vectors), padded: C.int32_t(x.Padded), ranks: C.int32_t(x.Ranks()), scales: C.int32_t(x.Scales), refs: C.int32_t(x.Refs), steps: C.int32_t(x.Steps), means: C.int32_t(x.Means), codes: C.int32_t(x.Codes),
			values: C.int32_t(x.Values), value_step: C.int32_t(x.ValueStep), bytes: C.int32_t(x.Bytes)}
		c.index = bytePtr(m.Indexes)
	}
	return c
}

func bytePtr(b []byte) *C.uint8_t { return (*C.uint8_t)(unsafe.SliceData(b)) }

// view describes one sequence in one layer.
func (e *exec) view(q *offload.Seq, layer int) C.view {
	m := e.pool.Memory(layer)
	v := C.view{table: (*C.uint32_t)(unsafe.SliceData(q.Table(layer)))}
	if m.Plan.Class == offload.Exact {
		return v
	}
	v.tail = bytePtr(m.Tails[q.Slot()*m.TailBytes:])
	if m.Plan.Class.Stored() {
		v.stored = C.int32_t(q.Stored())
	}
	v.chosen_len = C.int32_t(m.ChosenBytes / 4)
	switch m.Plan.Class {
	case offload.Paged:
		if set := q.Set(); set >= 0 { // a prompt has none
			v.chosen = (*C.uint32_t)(unsafe.Pointer(bytePtr(m.Chosen[set*m.Plan.KVHeads*m.ChosenBytes:])))
			v.sets = bytePtr(m.Sets[set*m.Plan.KVHeads*m.Plan.Budget*m.Record.Bytes:])
		}
	case offload.Gathered:
		v.chosen = (*C.uint32_t)(unsafe.Pointer(bytePtr(m.Chosen[q.Slot()*m.Plan.KVHeads*m.ChosenBytes:])))
		v.work = bytePtr(e.pool.Work(q.Slot()))
		v.peaks = (*C.float)(unsafe.Pointer(bytePtr(m.Peaks[q.Slot()*m.Plan.KVHeads*m.Plan.HeadDim*4:])))
	}
	return v
}

// viewStep describes sequences that decode: what is due to become records does
// so before the step's own tokens take its place.
func (e *exec) viewStep(kv []*offload.Seq) {
	for s, q := range kv {
		from, to := q.Flush(q.Len() + 1)
		for l := range e.prog.KV {
			v := e.view(q, l)
			if to > from && e.lim.KV[l].Class.Stored() {
				v.flush_from, v.flush_to, v.stored = C.int32_t(from), C.int32_t(to), C.int32_t(to)
				e.c.flushing = 1
			}
			e.views[s*len(e.prog.KV)+l] = v
		}
	}
}

// count hands the threads' counters of a step to the pool.
func (e *exec) count(steps int) {
	var t offload.Traffic
	for i := 0; i < len(e.traffic); i += C.N_TRAFFIC {
		n := e.traffic[i : i+C.N_TRAFFIC]
		t.Add(offload.Traffic{Pages: int64(n[C.T_PAGES]), Chosen: int64(n[C.T_CHOSEN]), Hits: int64(n[C.T_HITS]),
			Fetched: int64(n[C.T_FETCHED]), Streamed: int64(n[C.T_STREAMED]), ColdBytes: int64(n[C.T_COLD])})
	}
	t.Steps = int64(steps)
	e.pool.Count(t)
}

// errPool is a programming error of the caller: memory of another shape.
var errPool = fmt.Errorf("%w: sequences do not fit the program's cache layers", graph.ErrRows)
