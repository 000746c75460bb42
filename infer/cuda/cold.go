package cuda

import (
	"encoding/binary"
	"math"

	"edged/cudakern/driver"
	"edged/offload"
)

// stage is where a prompt's exact tokens lie, one layer after the other: pages
// for a whole context, so that tokens that were kept as records become exact
// again in front of the new ones.
type stage struct {
	at    driver.Ptr
	bytes int64
}

// planStage sizes the stage for the largest layer that needs one.
func (e *exec) planStage() error {
	for _, p := range e.lim.KV {
		if p.Class == offload.Exact {
			continue
		}
		l, err := p.Pages()
		if err != nil {
			return err
		}
		e.stage.bytes = max(e.stage.bytes, int64(ceil(e.lim.Context, offload.PageTok))*int64(l.PageBytes))
	}
	e.bufMem.want(&e.stage.at, e.stage.bytes)
	return nil
}

// cold is what choices need beside the pool.
type cold struct {
	scales  []driver.Ptr // [layers] of queries [kvHeads*headDim], Paged
	sources []driver.Ptr // [layers] of what a step's choices chose [rows][kvHeads][budget] uint32, see choose.cu
	arrived []driver.Ptr // [layers] of how many blocks of a scan are done [rows][kvHeads] uint32, 0 between steps
	traffic driver.Ptr   // [trafficWords] uint64, see records.cuh: all steps'
	host    []byte       // page-locked copy
	seen    [trafficWords]uint64
}

const trafficWords = 6

func (c *cold) counted() span {
	return span{name: "traffic", at: c.traffic, bytes: 8 * trafficWords, write: true}
}

func (e *exec) planCold() {
	layers := len(e.lim.KV)
	e.cold.scales, e.cold.sources, e.cold.arrived = make([]driver.Ptr, layers), make([]driver.Ptr, layers), make([]driver.Ptr, layers)
	for i, p := range e.lim.KV {
		if p.Class == offload.Paged {
			e.bufMem.want(&e.cold.scales[i], int64(p.KVHeads*p.HeadDim)*4)
			e.bufMem.want(&e.cold.sources[i], e.sources(i, e.keptRows()).bytes)
			e.bufMem.want(&e.cold.arrived[i], e.arrived(i, e.keptRows()).bytes)
		}
	}
	e.bufMem.want(&e.cold.traffic, 8*trafficWords)
}

// sources says of a Paged layer's choices in so many rows what attention still has to fetch.
func (e *exec) sources(layer, rows int) span {
	p := e.lim.KV[layer]
	return span{name: "sources", at: e.cold.sources[layer], bytes: int64(rows*p.KVHeads*p.Budget) * 4}
}

// arrived counts the blocks that scans of so many rows are done with.
func (e *exec) arrived(layer, rows int) span {
	return span{name: "arrived", at: e.cold.arrived[layer], bytes: int64(rows*e.lim.KV[layer].KVHeads) * 4}
}

// coldBytes is the staging memory of what sendCold uploads.
func (e *exec) coldBytes() int {
	n := 8*trafficWords + alignBytes
	for _, p := range e.lim.KV {
		if p.Class == offload.Paged {
			n += p.KVHeads*p.HeadDim*4 + alignBytes
		}
	}
	return n
}

// sendCold uploads how large queries are expected to be in each channel.
func (e *exec) sendCold() (err error) {
	if e.cold.host, err = e.staging.Alloc(8*trafficWords, alignBytes); err != nil {
		return err
	}
	e.batch.clear(e.cold.traffic, 8*trafficWords)
	e.nobodyArrived()
	for i, p := range e.lim.KV {
		if p.Class != offload.Paged {
			continue
		}
		scales, err := e.prog.QueryScales(i)
		if err != nil {
			return err
		}
		host, err := e.staging.Alloc(4*len(scales), alignBytes)
		if err != nil {
			return err
		}
		for j, v := range scales {
			binary.NativeEndian.PutUint32(host[4*j:], math.Float32bits(v))
		}
		e.batch.copyIn(e.cold.scales[i], host)
	}
	return nil
}

// nobodyArrived begins to count blocks of scans.
func (e *exec) nobodyArrived() {
	for i, p := range e.lim.KV {
		if p.Class == offload.Paged {
			e.batch.clear(e.cold.arrived[i], e.arrived(i, e.keptRows()).bytes)
		}
	}
}

// forgetCounts leaves what kernels have counted since the last step uncounted.
func (e *exec) forgetCounts() {
	for i := range e.cold.seen {
		e.cold.seen[i] = binary.NativeEndian.Uint64(e.cold.host[8*i:])
	}
}

// count adds a step to the pool's traffic, by what its kernels have counted.
func (e *exec) count(steps int) {
	var d [trafficWords]int64
	for i := range d {
		now := binary.NativeEndian.Uint64(e.cold.host[8*i:])
		d[i] = int64(now - e.cold.seen[i])
		e.cold.seen[i] = now
	}
	e.pool.Count(offload.Traffic{Steps: int64(steps), Pages: d[0], Chosen: d[1], Hits: d[2], Fetched: d[3], ColdBytes: d[4], Streamed: d[5]})
}
