package pinnedmem

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDiscardKeepsWhatPagesShare(t *testing.T) {
	page := unix.Getpagesize()
	h := NewHost(0)
	a, err := h.Arena(KVPages, int64(4*page), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	mem := a.Bytes()
	for _, c := range []struct{ from, to, zeroFrom, zeroTo int }{
		{0, 0, 0, 0},
		{1, page - 1, 0, 0},
		{1, 2*page - 1, 0, 0},
		{1, 2 * page, page, 2 * page},
		{page, 3 * page, page, 3 * page},
		{page - 1, 3*page + 1, page, 3 * page},
		{0, 4 * page, 0, 4 * page},
	} {
		for i := range mem {
			mem[i] = 7
		}
		n, err := Discard(mem[c.from:c.to])
		if err != nil || int(n) != c.zeroTo-c.zeroFrom {
			t.Errorf("%d to %d: %d bytes, %v", c.from, c.to, n, err)
		}
		want := bytes.Repeat([]byte{7}, len(mem))
		clear(want[c.zeroFrom:c.zeroTo])
		if !bytes.Equal(mem, want) {
			t.Errorf("%d to %d: other bytes than %d to %d have changed", c.from, c.to, c.zeroFrom, c.zeroTo)
		}
	}
}
