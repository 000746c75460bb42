package offload

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// state is what a snapshot says of a sequence beside its tokens' K and V.
type state struct {
	tokens, stored, low int        // of the Seq
	peaks               []byte     // of all Gathered layers, in order
	held                [][]uint32 // [Paged layers][kvHeads] cold pages of the working set, ascending
	places              [][]uint32 // likewise, where any is held: theirs, and then those that are free
}

// stateHeader is the encoded state's first part, little-endian like all of it.
// Behind it come the peaks, and for every list of held and the places that belong
// to it their length and numbers, uint32.
type stateHeader struct {
	Format              [sha256.Size]byte
	Tokens, Stored, Low uint32
}

// state is what a snapshot of the sequence says now.
func (s *Seq) state() (state, error) {
	st := state{tokens: s.nTok, stored: s.stored, low: s.low}
	lists, err := s.pool.readLists(s.set, -1)
	if err != nil {
		return st, err
	}
	if st.peaks, err = s.pool.readPeaks(s.slot); err != nil {
		return st, err
	}
	for i := range s.pool.layers {
		l := &s.pool.layers[i]
		for head := range l.pagedHeads() {
			var held, places []uint32
			if s.set >= 0 {
				list := lists.of(i, head)
				if held = heldBelow(list, s.stored); len(held) > 0 {
					places = list[1+l.Budget:]
				}
			}
			st.held, st.places = append(st.held, held), append(st.places, places)
		}
	}
	return st, nil
}

// heldBelow is a list's pages of committed records: a step that was given up
// may have brought one more.
func heldBelow(list []uint32, stored int) []uint32 {
	held := list[1 : 1+list[0]]
	for len(held) > 0 && int(held[len(held)-1])*ColdTok >= stored {
		held = held[:len(held)-1]
	}
	return held
}

// pagedHeads is the number of the layer's working sets.
func (l *layer) pagedHeads() int {
	if l.Class != Paged {
		return 0
	}
	return l.KVHeads
}

func (st state) encode(p *Pool) []byte {
	h := stateHeader{Format: sha256.Sum256([]byte(p.Format())), Tokens: uint32(st.tokens), Stored: uint32(st.stored), Low: uint32(st.low)}
	b := make([]byte, binary.Size(h), binary.Size(h)+len(st.peaks))
	_, _ = binary.Encode(b, binary.LittleEndian, h) // b is as large as h
	b = append(b, st.peaks...)
	for i := range st.held {
		b = appendList(appendList(b, st.held[i]), st.places[i])
	}
	return b
}

func appendList(b []byte, list []uint32) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(list)))
	for _, v := range list {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

// decodeState reads a state and refuses what no sequence of the pool can have.
func (p *Pool) decodeState(b []byte) (state, error) {
	var st state
	var h stateHeader
	n, err := binary.Decode(b, binary.LittleEndian, &h)
	if err != nil || len(b)-n < p.peakBytes() {
		return st, fmt.Errorf("%w: state of %d bytes, at least %d are needed", ErrSnapshot, len(b), binary.Size(h)+p.peakBytes())
	}
	if h.Format != sha256.Sum256([]byte(p.Format())) {
		return st, fmt.Errorf("%w: it was made under another format than %s", ErrSnapshot, p.Format())
	}
	st = state{tokens: int(h.Tokens), stored: int(h.Stored), low: int(h.Low), peaks: b[n : n+p.peakBytes()]}
	if err := p.checkState(st); err != nil {
		return st, err
	}
	b = b[n+p.peakBytes():]
	for i := range p.layers {
		for head := range p.layers[i].pagedHeads() {
			var held, places []uint32
			if held, b, err = decodeHeld(b, st.stored/ColdTok); err == nil {
				places, b, err = decodePlaces(b, len(held))
			}
			if err != nil {
				return st, fmt.Errorf("%w: layer %d, head %d: %w", ErrSnapshot, i, head, err)
			}
			st.held, st.places = append(st.held, held), append(st.places, places)
		}
	}
	if len(b) > 0 {
		return st, fmt.Errorf("%w: %d bytes behind the state", ErrSnapshot, len(b))
	}
	return st, nil
}

// checkState refuses lengths that no sequence of the pool can have.
func (p *Pool) checkState(st state) error {
	if st.tokens > p.cfg.Context {
		return fmt.Errorf("%w: %d tokens > %d", ErrContext, st.tokens, p.cfg.Context)
	}
	bad := st.stored > st.tokens || st.low%PageTok != 0 || st.low > st.tokens
	if p.group == 0 {
		bad = bad || st.stored != 0
	} else {
		bad = bad || st.stored%p.group != 0 || st.tokens-st.stored > p.tail
	}
	windows := false
	for i := range p.layers {
		if l := &p.layers[i]; l.Class == Window {
			windows = true
			bad = bad || st.low > max(st.tokens-l.Window+1, 0) || st.low < pagesFor(st.tokens+1)*PageTok-l.Tail
		}
	}
	if bad || !windows && st.low != 0 {
		return fmt.Errorf("%w: %d tokens, %d of them in records, windows from %d on is not a valid state", ErrSnapshot, st.tokens, st.stored, st.low)
	}
	return nil
}

// decodeHeld reads one list of ascending cold pages below pages.
func decodeHeld(b []byte, pages int) (held []uint32, rest []byte, err error) {
	if held, rest, err = decodeList(b, pages); err != nil {
		return nil, nil, err
	}
	for i, page := range held {
		if int(page) >= pages || i > 0 && page <= held[i-1] {
			return nil, nil, fmt.Errorf("page %d of %d is out of order", page, pages)
		}
	}
	return held, rest, nil
}

// decodePlaces reads the places of a set that holds so many pages: each once.
func decodePlaces(b []byte, held int) (places []uint32, rest []byte, err error) {
	if places, rest, err = decodeList(b, len(b)/4); err != nil {
		return nil, nil, err
	}
	if len(places) < held {
		return nil, nil, fmt.Errorf("%d places of %d pages", len(places), held)
	}
	seen := make([]bool, len(places))
	for _, place := range places {
		if int(place) >= len(places) || seen[place] {
			return nil, nil, fmt.Errorf("place %d of %d is not one of its own", place, len(places))
		}
		seen[place] = true
	}
	return places, rest, nil
}

// decodeList reads a length, at most so much, and as many numbers.
func decodeList(b []byte, most int) (list []uint32, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, fmt.Errorf("list ends after %d bytes", len(b))
	}
	n := int(binary.LittleEndian.Uint32(b))
	if b = b[4:]; n > most || n > len(b)/4 {
		return nil, nil, fmt.Errorf("list of %d numbers, at most %d, in %d bytes", n, most, len(b))
	}
	for i := range n {
		list = append(list, binary.LittleEndian.Uint32(b[4*i:]))
	}
	return list, b[4*n:], nil
}
