package pinnedmem

import (
	"errors"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

func TestAccountFollowsArenas(t *testing.T) {
	h := NewHost(0)
	a, err := h.Arena(Weights, 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := h.Arena(KVPages, 100_000, Options{Huge: true})
	if err != nil {
		t.Fatal(err)
	}
	u := h.Usage()
	if u[Weights] != int64(len(a.Bytes())) || u[KVPages] != int64(len(b.Bytes())) || u.Total() != u[Weights]+u[KVPages] {
		t.Errorf("usage is %v with arenas of %d and %d bytes", u, len(a.Bytes()), len(b.Bytes()))
	}
	if err := h.Close(); err == nil {
		t.Error("closing the account does not report two open arenas")
	}
	for range 2 {
		if err := errors.Join(a.Close(), b.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Close(); err != nil || h.Usage().Total() != 0 {
		t.Errorf("after closing all arenas: %v, %d bytes in use", err, h.Usage().Total())
	}
}

func TestBudgetIsKept(t *testing.T) {
	h := NewHost(1 << 20)
	a, err := h.Arena(Weights, 1<<19, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Arena(KVPages, 1<<19+1, Options{}); !errors.Is(err, ErrBudget) {
		t.Errorf("allocation past the budget: %v, want ErrBudget", err)
	}
	if u := h.Usage(); u.Total() != 1<<19 {
		t.Errorf("a refused allocation is accounted: %v", u)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := h.Arena(KVPages, 1<<20, Options{})
	if err != nil {
		t.Fatalf("the whole budget is not available again: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	h := NewHost(0)
	if _, err := h.Arena(nPurpose, 1, Options{}); err == nil {
		t.Error("an unknown purpose is accepted")
	}
	if _, err := h.Arena(Weights, -1, Options{}); err == nil {
		t.Error("a negative size is accepted")
	}
	if _, err := h.Arena(Weights, 1<<62, Options{}); err == nil {
		t.Error("a size beyond the address space is accepted")
	}
	if h.Usage().Total() != 0 {
		t.Errorf("refused arenas are accounted: %v", h.Usage())
	}
	a, err := h.Arena(Weights, 4096, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for _, r := range []struct{ n, align int }{{-1, 8}, {8, 0}, {8, 3}, {8, 1 << 20}} {
		if _, err := a.Alloc(r.n, r.align); err == nil {
			t.Errorf("Alloc(%d, %d) is accepted", r.n, r.align)
		}
	}
}

// TestAllocNeverOverlaps hands out random pieces and checks that they are
// zeroed, aligned, disjoint, and end with ErrFull.
func TestAllocNeverOverlaps(t *testing.T) {
	h := NewHost(0)
	rapid.Check(t, func(t *rapid.T) {
		a, err := h.Arena(Activations, int64(rapid.IntRange(1, 40_000).Draw(t, "size")), Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		for mark := byte(1); ; mark++ {
			n := rapid.IntRange(0, 5000).Draw(t, "n")
			align := 1 << rapid.IntRange(0, 12).Draw(t, "align")
			used := a.Used()
			b, err := a.Alloc(n, align)
			if err != nil {
				if !errors.Is(err, ErrFull) || a.Used() != used {
					t.Fatalf("Alloc(%d, %d): %v, used %d then %d", n, align, err, used, a.Used())
				}
				return
			}
			if len(b) != n || cap(b) != n || uintptr(unsafe.Pointer(unsafe.SliceData(b)))%uintptr(align) != 0 {
				t.Fatalf("Alloc(%d, %d): %d bytes at %p", n, align, len(b), unsafe.SliceData(b))
			}
			for i := range b {
				if b[i] != 0 {
					t.Fatalf("byte %d of a new piece is %d", i, b[i])
				}
				b[i] = mark
			}
			if mark == 200 {
				return
			}
		}
	})
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

func TestViewCoversWholeElements(t *testing.T) {
	h := NewHost(0)
	a, err := h.Arena(PageTables, 64, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := a.Alloc(11, 8)
	if err != nil {
		t.Fatal(err)
	}
	v := View[uint32](b)
	v[1] = 0x01020304
	if len(v) != 2 || b[4] != 4 || b[7] != 1 {
		t.Errorf("view of 11 bytes has %d elements, bytes are %v", len(v), b)
	}
	if View[float32](b[:3]) != nil {
		t.Error("three bytes give a float32")
	}
}
