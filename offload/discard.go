package offload

import (
	"fmt"
	"slices"

	"edged/pinnedmem"
)

// Discard gives the memory of free units back to the system, which maps zeroed
// pages when they are used again, and returns its bytes. It must not be called
// where a device uses the host's memory, or where memory is locked.
func (p *Pool) Discard() (bytes int64, err error) {
	for i := range p.layers {
		n, err := p.layers[i].discard()
		bytes += n
		if err != nil {
			return bytes, fmt.Errorf("discard free pages of layer %d: %w", i, err)
		}
	}
	return bytes, nil
}

// discard joins neighbours first: units are smaller than the system's pages where
// caches are quantized.
func (l *layer) discard() (bytes int64, err error) {
	free := slices.Sorted(slices.Values(l.free))
	for i := 0; i < len(free); {
		j := i + 1
		for j < len(free) && free[j] == free[j-1]+1 {
			j++
		}
		n, err := pinnedmem.Discard(l.units[int(free[i])*l.unitBytes : (int(free[j-1])+1)*l.unitBytes])
		bytes += n
		if err != nil {
			return bytes, err
		}
		i = j
	}
	return bytes, nil
}
