package ref

import "edged/offload"

// view is where one sequence's tokens lie in one layer.
type view struct {
	q      *offload.Seq
	layer  int
	mem    offload.Memory
	staged bool      // exact tokens lie in the stage of the prompt that is being read
	stored int       // tokens that are read from records
	scales []float32 // of queries [kvHeads*headDim]; Paged
}

func (s step) view(seq, layer int) view {
	q := s.kv[seq]
	v := view{q: q, layer: layer, mem: q.Pool().Memory(layer), scales: s.scales[layer]}
	v.staged = s.prompt && v.mem.Plan.Class != offload.Exact
	if v.mem.Plan.Class.Stored() {
		v.stored = q.Stored()
		if !s.prompt { // the step's own token has pushed some out of the tail
			_, v.stored = q.Flush(q.Len() + 1)
		}
	}
	return v
}

// exactPage is the memory of a page of tokens that are not in records.
func (v view) exactPage(page int) []byte {
	m := v.mem
	switch n := m.Pages.PageBytes; {
	case m.Plan.Class == offload.Exact:
		return v.q.Pool().Page(v.layer, v.q.Table(v.layer)[page])
	case v.staged:
		return nth(v.q.Pool().Stage(), page-v.q.StageFrom(v.layer)/offload.PageTok, n)
	default:
		tail := nth(m.Tails, v.q.Slot(), m.TailBytes)
		return nth(tail, page%(m.Plan.Tail/offload.PageTok), n)
	}
}

// exact is the place of a token that is not in a record.
func (v view) exact(pos int) slot {
	return slot{page: v.exactPage(pos / offload.PageTok), layout: v.mem.Pages, at: pos % offload.PageTok}
}

// block is the unit that holds a position's record.
func (v view) block(pos int) int { return int(v.q.Table(v.layer)[pos/offload.BlockTok]) }

// record is the memory of the record that holds a position.
func (v view) record(pos, head int) []byte {
	unit := nth(v.mem.Units, v.block(pos), v.mem.UnitBytes)
	group := pos % offload.BlockTok / v.mem.Plan.Group
	return nth(unit, group*v.mem.Plan.KVHeads+head, v.mem.Record.Bytes)
}

// index is the index of the block that holds a position.
func (v view) index(pos, head int) index {
	return index{at: v.mem.Index, b: nth(v.mem.Indexes, v.block(pos)*v.mem.Plan.KVHeads+head, v.mem.Index.Bytes)}
}

// token reads one token's key and value as they are kept.
func (v view) token(pos, head int, k, val []float64) {
	if pos < v.stored {
		record{at: v.mem.Record, b: v.record(pos, head)}.token(pos%v.mem.Plan.Group, k, val)
		return
	}
	s := v.exact(pos)
	for c := range k {
		k[c] = s.get(s.kAt(head, c))
		val[c] = s.get(s.vAt(head, c))
	}
}

// nth is the i-th piece of n bytes.
func nth(b []byte, i, n int) []byte { return b[i*n : (i+1)*n] }
