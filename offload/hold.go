package offload

// Hold is a claim on the whole blocks that a sequence had: their memory stays
// as it is, whatever becomes of the sequence. The pool's owner makes and releases
// it; in between, any goroutine may read the blocks. A pool must not be closed before.
type Hold struct {
	pool   *Pool
	tables [][]uint32 // [layers] units
	blocks int
}

// Hold claims the sequence's whole blocks.
func (s *Seq) Hold() *Hold {
	h := &Hold{pool: s.pool, blocks: s.Blocks(), tables: make([][]uint32, len(s.pool.layers))}
	for i := range s.pool.layers {
		l := &s.pool.layers[i]
		if l.unit == 0 {
			continue
		}
		h.tables[i] = append([]uint32(nil), s.tables[i][:h.blocks*BlockTok/l.unit]...)
		for _, id := range h.tables[i] {
			l.refs[id]++
		}
	}
	return h
}

// Blocks is the number of blocks that are held.
func (h *Hold) Blocks() int { return h.blocks }

// Block is the payload of a block, in place.
func (h *Hold) Block(i int) []Part { return h.pool.blockParts(h.tables, i) }

// Release ends the claim. A second Release does nothing.
func (h *Hold) Release() {
	for i, table := range h.tables {
		for _, id := range table {
			h.pool.layers[i].drop(id)
		}
	}
	h.tables, h.blocks = nil, 0
}
