package cuda

import (
	"bytes"
	"unsafe"

	"edged/cudakern/driver"
	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

// state is what a step's commands read besides what they compute: one buffer of
// int32, copied to the device before every step.
type state struct {
	at                 driver.Ptr
	host               []byte
	tok, pos, seq, out driver.Ptr // [MaxRows], [MaxRows], [MaxRows], [MaxOut]
	tiles              []tiles    // by grouping
	rows, outs         int        // MaxRows, MaxOut
	words32            int
}

// tiles are the pieces of rows that a block of prompt attention takes, for
// groups of so many query heads: [n][3] first row, rows, sequence.
type tiles struct {
	group int
	most  int
	first int // word of the state
	at    driver.Ptr
	n     int // in the present step
}

// grouping is the index of the tiles for groups of so many heads.
func (s *state) grouping(group int) int {
	for i, t := range s.tiles {
		if t.group == group {
			return i
		}
	}
	s.tiles = append(s.tiles, tiles{group: group})
	return len(s.tiles) - 1
}

func (s *state) plan(e *exec) {
	s.rows, s.outs = e.lim.MaxRows, e.lim.MaxOut
	s.words32 = 3*s.rows + s.outs
	for i := range s.tiles {
		t := &s.tiles[i]
		t.first, t.most = s.words32, ceil(s.rows, promptPairs/t.group)+e.lim.MaxSeqs
		s.words32 += 3 * t.most
	}
	e.bufMem.want(&s.at, int64(s.bytes()))
}

func (s *state) bytes() int { return 4 * s.words32 }

// place notes where the arrays lie, once the buffer has an address.
func (s *state) place() {
	s.tok, s.pos, s.seq, s.out = s.at, s.at.Add(int64(4*s.rows)), s.at.Add(int64(8*s.rows)), s.at.Add(int64(12*s.rows))
	for i := range s.tiles {
		s.tiles[i].at = s.at.Add(int64(4 * s.tiles[i].first))
	}
}

func (s *state) words(name string, at driver.Ptr, n int) span {
	return span{name: name, at: at, bytes: int64(n) * 4}
}

// fill writes a step's rows, and says what its commands depend on.
func (s *state) fill(r *graph.Rows) shape {
	w := pinnedmem.View[int32](s.host)
	copy(w, r.Tok)
	copy(w[s.rows:], r.Pos)
	copy(w[2*s.rows:], r.Seq)
	copy(w[3*s.rows:], r.Out)
	sh := shape{rows: len(r.Tok), outs: len(r.Out)}
	if sh.rows <= smallRows {
		return sh
	}
	for i := range s.tiles {
		t := &s.tiles[i]
		t.n = 0
		for lo := 0; lo < len(r.Seq); {
			hi := lo + 1
			for hi < len(r.Seq) && r.Seq[hi] == r.Seq[lo] && hi-lo < promptPairs/t.group {
				hi++
			}
			copy(w[t.first+3*t.n:], []int32{int32(lo), int32(hi - lo), r.Seq[lo]})
			t.n++
			lo = hi
		}
		sh.tiles += t.n
	}
	return sh
}

// tables are the page tables of a step's sequences on the device: [MaxSeqs]
// [layers][pages] page numbers. The host's copy says what the device holds.
type tables struct {
	at     driver.Ptr
	host   []byte
	layers int
	pages  int // of a sequence
	seqs   int
}

func (t *tables) plan(e *exec) {
	t.layers, t.pages, t.seqs = len(e.prog.KV), ceil(e.lim.Context, offload.PageTok), e.lim.MaxSeqs
	e.bufMem.want(&t.at, int64(t.bytes()))
}

func (t *tables) bytes() int { return 4 * t.seqs * t.layers * t.pages }

// stride is entries from one sequence to the next.
func (t *tables) stride() int { return t.layers * t.pages }

// of is where a layer's tables begin.
func (t *tables) of(layer int) driver.Ptr { return t.at.Add(int64(4 * layer * t.pages)) }

func (t *tables) span() span { return span{name: "tables", at: t.at, bytes: int64(t.bytes())} }

// update appends copies of what has changed in the tables of the sequences'
// first pages, those with rows in this step included.
func (t *tables) update(b *batch, kv []*offload.Seq, ends []int) {
	for s, q := range kv {
		n := 4 * ceil(ends[s], offload.PageTok)
		for l := range t.layers {
			at := 4 * (s*t.layers + l) * t.pages
			want, have := rawBytes(q.Table(l))[:n], t.host[at:at+n]
			if bytes.Equal(want, have) {
				continue
			}
			first := 0
			for want[first] == have[first] {
				first++
			}
			first = first / 4 * 4
			copy(have[first:], want[first:])
			b.copyIn(t.at.Add(int64(at+first)), have[first:])
		}
	}
}

func rawBytes(v []uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}
