package backendtest

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"edged/offload"
)

// unpacked is a record or the index of a page, field by field.
type unpacked struct {
	halves []uint16 // float16 bits, or steps as bytes
	codes  []int
	order  []byte // of an index's channels
}

// near says where two differ by more than the last bit or one code, which the
// order of a sum may change.
func (u unpacked) near(want unpacked) error {
	if !slices.Equal(u.order, want.order) {
		return fmt.Errorf("channels are ordered %v, want %v", u.order, want.order)
	}
	for i, w := range want.halves {
		if d := int(u.halves[i]) - int(w); d < -1 || d > 1 {
			return fmt.Errorf("scale %d is %#x, want %#x", i, u.halves[i], w)
		}
	}
	for i, w := range want.codes {
		if d := u.codes[i] - w; d < -1 || d > 1 {
			return fmt.Errorf("code %d is %d, want %d", i, u.codes[i], w)
		}
	}
	return nil
}

func (u *unpacked) takeHalves(b []byte, n int) {
	for i := range n {
		u.halves = append(u.halves, binary.NativeEndian.Uint16(b[2*i:]))
	}
}

// takeSteps unpacks n steps as they are stored.
func (u *unpacked) takeSteps(b []byte, n, bytes int) {
	if bytes == 2 {
		u.takeHalves(b, n)
		return
	}
	for _, s := range b[:n] {
		u.halves = append(u.halves, uint16(s))
	}
}

// takeRun unpacks n neighbouring codes in runs.
func (u *unpacked) takeRun(b []byte, n, bits int) {
	codes := offload.RunCodes(bits)
	for i := range n {
		bytes := codes * bits / 8
		run, j := b[i/codes*bytes:][:bytes], i%codes
		if bits == 6 && j >= 48 {
			u.codes = append(u.codes, int(run[j-48])>>6|int(run[j-32])>>6<<2|int(run[j-16])>>6<<4)
		} else {
			u.codes = append(u.codes, int(run[j%bytes])>>(bits*(j/bytes))&(1<<bits-1))
		}
	}
}

// layerSeq is one sequence in one layer of its pool.
type layerSeq struct {
	q     *offload.Seq
	layer int
	mem   offload.Memory
}

func layerOf(q *offload.Seq, layer int) layerSeq {
	return layerSeq{q: q, layer: layer, mem: q.Pool().Memory(layer)}
}

// record is the memory of the record of a position.
func (l layerSeq) record(pos, head int) []byte {
	m := l.mem
	i := (pos%offload.BlockTok/m.Plan.Group)*m.Plan.KVHeads + head
	return m.Units[int(l.q.Table(l.layer)[pos/offload.BlockTok])*m.UnitBytes+i*m.Record.Bytes:][:m.Record.Bytes]
}

// unpack reads the record of a position: all keys' zeros, steps and codes by
// run, then all values' by token.
func (l layerSeq) unpack(pos, head int) unpacked {
	var u unpacked
	r, b := l.mem.Record, l.record(pos, head)
	if r.Elem == offload.F16 {
		u.takeHalves(b, 2*r.Group*r.Dim)
		return u
	}
	u.takeHalves(b[r.KScales:], r.Dim)
	u.takeSteps(b[r.KSteps():], r.Dim, r.StepBytes())
	u.takeHalves(b[r.VScales:], r.Group*r.VGroups())
	u.takeSteps(b[r.VSteps():], r.Group*r.VGroups(), r.StepBytes())
	for i := range r.KRuns() {
		u.takeRun(b[r.K+i*r.KRow:], offload.RunCodes(r.Elem.KBits()), r.Elem.KBits())
	}
	for t := range r.Group {
		u.takeRun(b[r.V+t*r.VRow:], r.Dim, r.Elem.VBits())
	}
	return u
}

// index reads what the index says of the page at a position: means by channel,
// scales and codes by rank, and the mean values where it has them.
func (l layerSeq) index(pos, head int) unpacked {
	var u unpacked
	x := l.mem.Index
	b := l.mem.Indexes[(int(l.q.Table(l.layer)[pos/offload.BlockTok])*l.mem.Plan.KVHeads+head)*x.Bytes:][:x.Bytes]
	page := pos % offload.BlockTok / offload.PageTok
	u.order = b[x.Order : x.Order+x.Dim]
	u.takeHalves(b[x.Refs:], x.Dim)
	u.takeHalves(b[x.Steps:], x.Dim)
	for c := range x.Dim {
		u.codes = append(u.codes, int(b[x.Means+x.Beside(page, c)]))
	}
	for rank := range x.Coded() {
		u.codes = append(u.codes, int(b[x.Scales+x.Beside(page, rank)]))
	}
	for _, y := range b[x.Codes+page*x.PageBytes():][:x.PageBytes()] {
		for shift := 0; shift < 8; shift += 2 {
			u.codes = append(u.codes, int(y)>>shift&offload.IndexTop)
		}
	}
	if l.mem.Plan.Estimate {
		for cold := 2 * page; cold < 2*page+2; cold++ {
			u.takeHalves(b[x.ValueStep+2*cold:], 1)
			for c := range x.Dim {
				u.codes = append(u.codes, int(int8(b[x.Values+cold*x.Padded+c])))
			}
		}
	}
	return u
}

// sameRecords compares what two rigs keep of the same sequence.
func sameRecords(t *testing.T, got, want *offload.Seq) {
	t.Helper()
	if got.Stored() != want.Stored() || got.Len() != want.Len() {
		t.Fatalf("%d tokens of %d are in records, want %d of %d", got.Stored(), got.Len(), want.Stored(), want.Len())
	}
	for i := range got.Pool().Layers() {
		g, w := layerOf(got, i), layerOf(want, i)
		for pos := 0; g.mem.Plan.Class.Stored() && pos < got.Stored(); pos += g.mem.Plan.Group {
			for head := range g.mem.Plan.KVHeads {
				if err := g.unpack(pos, head).near(w.unpack(pos, head)); err != nil {
					t.Fatalf("layer %d, head %d, record of token %d: %v", i, head, pos, err)
				}
				if g.mem.Plan.Class != offload.Paged {
					continue
				}
				if err := g.index(pos, head).near(w.index(pos, head)); err != nil {
					t.Fatalf("layer %d, head %d, index of token %d: %v", i, head, pos, err)
				}
			}
		}
	}
}
