package offload

import "fmt"

// Ahead is a prompt that is read layer by layer, as the sequence will be when all
// of it is read. What layers that are done have of it does not change any more, and
// can be saved like parts of a snapshot before the others are done.
type Ahead struct{ seq *Seq }

// Ahead describes the prompt that a sequence without tokens reads.
func (s *Seq) Ahead() (Ahead, error) {
	end := s.Prefilling()
	if end == 0 || s.nTok != 0 {
		return Ahead{}, fmt.Errorf("look ahead: the sequence has %d tokens and reads a prompt up to %d", s.nTok, end)
	}
	a := *s
	a.nTok, a.stored, a.low, a.ahead = end, s.storedAfter(end), s.lowAfter(end), true
	return Ahead{&a}, nil
}

// Blocks is the number of whole blocks that there will be.
func (a Ahead) Blocks() int { return a.seq.Blocks() }

// Block is what the layers from one on up to another, all done, have of a block.
func (a Ahead) Block(i, from, to int) []Part {
	var parts []Part
	p := a.seq.pool
	for l := from; l < to; l++ {
		parts = p.addPart(parts, l+1, p.layers[l].blockRuns(a.seq.tables[l], i))
	}
	return parts
}

// Tail is what the first layers, all done, have behind the blocks, and the state.
func (a Ahead) Tail(layers int) ([]Part, error) {
	st, err := a.seq.state()
	if err != nil {
		return nil, fmt.Errorf("look ahead: %w", err)
	}
	p := a.seq.pool
	parts := []Part{{ID: StatePart, Data: []Piece{InMemory(st.encode(p))}}}
	for l := range layers {
		parts = p.addPart(parts, l+1, a.seq.tailRuns(l))
	}
	return parts, nil
}

// BeginRestoreAhead is [Pool.BeginRestore] of what [Ahead] has given for the first
// layers. The sequence that Finish gives out reads its prompt, and has those layers
// done.
func (p *Pool) BeginRestoreAhead(statePart []byte, layers int) (*Restore, error) {
	st, err := p.decodeState(append([]byte(nil), statePart...))
	if err != nil {
		return nil, fmt.Errorf("restore prompt: %w", err)
	}
	if !p.LayerMajor() || layers < 0 || layers > len(p.layers) || st.tokens == 0 {
		return nil, fmt.Errorf("restore prompt: %w: %d layers done of %d tokens, the cache has %d layers", ErrSnapshot, layers, st.tokens, len(p.layers))
	}
	s, err := p.NewSeq()
	if err != nil {
		return nil, fmt.Errorf("restore prompt: %w", err)
	}
	if err := s.BeginPrefill(st.tokens); err != nil {
		s.Free()
		return nil, fmt.Errorf("restore prompt: %w", err)
	}
	ahead, err := s.Ahead()
	if err == nil && (ahead.seq.stored != st.stored || ahead.seq.low != st.low) {
		err = fmt.Errorf("%w: %d tokens in records, windows from %d on", ErrSnapshot, st.stored, st.low)
	}
	if err != nil {
		s.Free()
		return nil, fmt.Errorf("restore prompt: %w", err)
	}
	r := &Restore{seq: s, ahead: ahead.seq, state: st}
	r.expect(layers)
	return r, nil
}
