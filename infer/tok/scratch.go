package tok

import (
	"hash/maphash"
	"sync"
)

// scratch is the memory that encoding works in. One goroutine uses it at a time.
type scratch struct {
	merger
	runes []rune
	words wordCache
}

// keepSymbols bounds the memory of a scratch that is kept for the next call, in symbols and in runes.
const keepSymbols = 64 << 10

// scratchPool holds the scratch memory of one vocabulary, whose encodings the word caches remember.
type scratchPool struct{ pool sync.Pool }

func (p *scratchPool) get() *scratch {
	if s, ok := p.pool.Get().(*scratch); ok {
		return s
	}
	return &scratch{words: wordCache{seed: maphash.MakeSeed()}}
}

func (p *scratchPool) put(s *scratch) {
	if cap(s.syms) > keepSymbols || cap(s.heap) > keepSymbols {
		s.merger = merger{}
	}
	if cap(s.runes) > keepSymbols {
		s.runes = nil
	}
	p.pool.Put(s)
}

// pieceEncoder encodes one piece of text by merging.
type pieceEncoder interface {
	encodePiece(dst []int32, m *merger, piece string) []int32
}

// encode appends the ids of a piece of text, from the cache or by merging it.
func (s *scratch) encode(dst []int32, piece string, e pieceEncoder) []int32 {
	w := s.words.slot(piece)
	if w == nil {
		return e.encodePiece(dst, &s.merger, piece)
	}
	if w.holds(piece) {
		return append(dst, w.ids[:w.nIDs]...)
	}
	n := len(dst)
	dst = e.encodePiece(dst, &s.merger, piece)
	w.set(piece, dst[n:])
	return dst
}
