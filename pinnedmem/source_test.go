package pinnedmem_test

import (
	"errors"
	"testing"

	"edged/pinnedmem"
)

// counted is a source that notes what is mapped.
type counted struct {
	live int
	fail error
}

func (c *counted) Map(n int64) ([]byte, error) {
	if c.fail != nil {
		return nil, c.fail
	}
	c.live++
	return make([]byte, n), nil
}

func (c *counted) Unmap([]byte) error { c.live--; return nil }

// TestSource: arenas of an account come from its source and go back there, and
// its failure leaves nothing accounted.
func TestSource(t *testing.T) {
	c := &counted{}
	h := pinnedmem.NewHostOn(1<<20, c)
	a, err := h.Arena(pinnedmem.KVPages, 5000, pinnedmem.Options{Lock: true})
	if err != nil {
		t.Fatal(err)
	}
	if c.live != 1 || h.Usage().Total() != int64(len(a.Bytes())) {
		t.Errorf("%d mapped, %d bytes accounted of %d", c.live, h.Usage().Total(), len(a.Bytes()))
	}
	if _, err := h.Arena(pinnedmem.KVPages, 1<<20, pinnedmem.Options{}); !errors.Is(err, pinnedmem.ErrBudget) {
		t.Errorf("beyond the budget: error is %v, want ErrBudget", err)
	}
	c.fail = errors.New("no room")
	if _, err := h.Arena(pinnedmem.KVPages, 1, pinnedmem.Options{}); !errors.Is(err, c.fail) {
		t.Errorf("error is %v, want the source's", err)
	}
	if err := errors.Join(a.Close(), h.Close()); err != nil || c.live != 0 {
		t.Errorf("closed with %v, %d mapped", err, c.live)
	}
}
