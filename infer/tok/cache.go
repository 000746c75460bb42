package tok

import "hash/maphash"

// Bounds of the word cache: it takes cacheSlots * 40 bytes in each scratch.
const (
	cacheSlots = 1 << 12
	cacheText  = 16 // bytes of the longest piece that is kept
	cacheIDs   = 5  // ids of the longest encoding that is kept
)

// wordCache remembers the encodings of short pieces of text. It is direct-mapped: a new piece replaces the one in its
// slot, so that it never grows. It belongs to one goroutine at a time.
type wordCache struct {
	seed  maphash.Seed
	slots [cacheSlots]cachedWord
}

type cachedWord struct {
	text  [cacheText]byte
	nText uint8
	nIDs  uint8
	ids   [cacheIDs]int32
}

// slot returns where piece is or may be kept, or nil if it is too long.
func (c *wordCache) slot(piece string) *cachedWord {
	if len(piece) > cacheText {
		return nil
	}
	return &c.slots[maphash.String(c.seed, piece)%cacheSlots]
}

func (w *cachedWord) holds(piece string) bool { return string(w.text[:w.nText]) == piece }

func (w *cachedWord) set(piece string, ids []int32) {
	if len(ids) > cacheIDs {
		return
	}
	w.nText = uint8(copy(w.text[:], piece))
	w.nIDs = uint8(copy(w.ids[:], ids))
}
