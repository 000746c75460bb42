package offload

// peakBytes is the size of all Gathered layers' peaks of one sequence.
func (p *Pool) peakBytes() int {
	n := 0
	for i := range p.layers {
		if l := &p.layers[i]; l.Class == Gathered {
			n += 4 * l.KVHeads * l.HeadDim
		}
	}
	return n
}

// readPeaks copies a slot's peaks of all Gathered layers, in order.
func (p *Pool) readPeaks(slot int) ([]byte, error) {
	if p.peakBytes() == 0 {
		return nil, nil
	}
	b := make([]byte, p.peakBytes())
	pairs := p.peakPairs(slot, b)
	for i := range pairs {
		pairs[i].Dst, pairs[i].Src = pairs[i].Src, pairs[i].Dst
	}
	return b, p.Move(pairs)
}

// writePeaks replaces them.
func (p *Pool) writePeaks(slot int, b []byte) error { return p.Move(p.peakPairs(slot, b)) }

// peakPairs are the peaks of a slot, and where they stand among those of all layers.
func (p *Pool) peakPairs(slot int, b []byte) []Pair {
	var pairs []Pair
	for i := range p.layers {
		if l := &p.layers[i]; l.Class == Gathered {
			at := l.peaksOf(slot)
			pairs = append(pairs, Pair{Dst: at, Src: b[:len(at)]})
			b = b[len(at):]
		}
	}
	return pairs
}
