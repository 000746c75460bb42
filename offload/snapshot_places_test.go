package offload

import (
	"encoding/binary"
	"slices"
	"testing"
)

// TestDecodePlaces: a set's places are all of its own, each once, and enough of them.
func TestDecodePlaces(t *testing.T) {
	for _, c := range []struct {
		name string
		list []uint32
		held int
		ok   bool
	}{
		{"none", nil, 0, true},
		{"in any order", []uint32{2, 0, 1}, 2, true},
		{"twice the same", []uint32{0, 1, 1}, 2, false},
		{"beyond the last", []uint32{0, 3, 1}, 2, false},
		{"fewer than pages", []uint32{1, 0}, 3, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := append(appendList(nil, c.list), 7)
			got, rest, err := decodePlaces(b, c.held)
			if (err == nil) != c.ok || c.ok && (!slices.Equal(got, c.list) || len(rest) != 1) {
				t.Errorf("%v, %d bytes left, %v", got, len(rest), err)
			}
		})
	}
	if _, _, err := decodePlaces(binary.LittleEndian.AppendUint32(nil, 9), 0); err == nil {
		t.Error("a list without its numbers was read")
	}
}
