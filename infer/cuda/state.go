package cuda

import (
	"encoding/binary"
	"math"
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
	seqs               driver.Ptr // [MaxSeqs][seqWords], see sequence
	tiles              []tiles    // by grouping
	rows, outs, most   int        // MaxRows, MaxOut, MaxSeqs
	asks               driver.Ptr // [MaxAsk][askWords], see Ask of sample.cu
	asksAt             int        // their first word
	step               driver.Ptr // the step's number, see count
	steps, mostSteps   uint32
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
	s.rows, s.outs, s.most = e.lim.MaxRows, e.lim.MaxOut, e.lim.MaxSeqs
	s.words32 = 3*s.rows + s.outs + seqWords*s.most
	for i := range s.tiles {
		t := &s.tiles[i]
		t.first, t.most = s.words32, ceil(s.rows, promptPairs/t.group)+e.lim.MaxSeqs
		s.words32 += 3 * t.most
	}
	s.words32 += s.words32 % 2 // asks hold 64-bit numbers
	s.asksAt = s.words32
	s.words32 += askWords*e.lim.MaxAsk + 1
	s.mostSteps = math.MaxUint32/uint32(max(len(e.lim.KV), 1)) - 1
	s.steps = s.mostSteps
	e.bufMem.want(&s.at, int64(s.bytes()))
}

func (s *state) bytes() int { return 4 * s.words32 }

// place notes where the arrays lie, once the buffer has an address.
func (s *state) place() {
	s.tok, s.pos, s.seq, s.out = s.at, s.at.Add(int64(4*s.rows)), s.at.Add(int64(8*s.rows)), s.at.Add(int64(12*s.rows))
	s.seqs = s.at.Add(int64(4 * (3*s.rows + s.outs)))
	s.asks = s.at.Add(int64(4 * s.asksAt))
	s.step = s.at.Add(int64(s.bytes() - 4))
	for i := range s.tiles {
		s.tiles[i].at = s.at.Add(int64(4 * s.tiles[i].first))
	}
}

func (s *state) words(name string, at driver.Ptr, n int) span {
	return span{name: name, at: at, bytes: int64(n) * 4}
}

// fill writes a step's rows, and says what its commands depend on.
// part: they are of a part of a prompt.
func (s *state) fill(r *graph.Rows, part bool) shape {
	w := pinnedmem.View[int32](s.host)
	copy(w, r.Tok)
	copy(w[s.rows:], r.Pos)
	copy(w[2*s.rows:], r.Seq)
	copy(w[3*s.rows:], r.Out)
	sh := shape{rows: len(r.Tok), outs: len(r.Out), states: r.States, prompt: part, reads: part || r.Prompt || r.States, manyOuts: len(r.Out) > max(fewOuts, s.most)}
	for i := 1; i < len(r.Seq); i++ {
		sh.reads = sh.reads || r.Seq[i] == r.Seq[i-1]
	}
	if !sh.reads {
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

// count numbers a step, from 1. Kernels mark what they leave with the number times the layers, plus the layer, which
// is less than 2^32 (Marked of marked.cuh). It says whether marks of steps before may be met again.
func (s *state) count() (anew bool) {
	s.steps = s.steps%s.mostSteps + 1
	binary.NativeEndian.PutUint32(s.host[s.bytes()-4:], s.steps)
	return s.steps == 1
}

// seqWords is the words of Sequence of records.cuh: a sequence's slot and set, and
// how many of its tokens lie in records before and in the step.
const seqWords = 4

// sequence writes what kernels know of the i-th sequence, of which so many tokens
// will be held.
func (s *state) sequence(i int, q *offload.Seq, end int) (flushes bool) {
	from, to := q.Flush(end)
	at := 3*s.rows + s.outs + seqWords*i
	copy(pinnedmem.View[int32](s.host)[at:], []int32{int32(q.Slot()), int32(q.Set()), int32(from), int32(to)})
	return from < to
}

// sequences are those of a step, for checks of launches.
func (s *state) sequences(n int) span { return s.words("seqs", s.seqs, seqWords*n) }

func rawBytes(v []uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}
