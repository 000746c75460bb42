package pinnedmem

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Arena is one mapping, handed out front to back.
type Arena struct {
	host    *Host
	purpose Purpose
	mem     []byte
	used    int
}

// Bytes is the whole mapping.
func (a *Arena) Bytes() []byte { return a.mem }

// Used is the number of bytes handed out, padding included.
func (a *Arena) Used() int { return a.used }

// Alloc hands out n zeroed bytes whose address is a multiple of align, a
// power of two no larger than a memory page.
func (a *Arena) Alloc(n, align int) ([]byte, error) {
	if n < 0 || align <= 0 || align&(align-1) != 0 || align > unix.Getpagesize() {
		return nil, fmt.Errorf("allocate from %s arena: %d bytes aligned to %d is not a valid request", a.purpose, n, align)
	}
	start := (a.used + align - 1) &^ (align - 1)
	if n > len(a.mem)-start {
		return nil, fmt.Errorf("allocate %d bytes from %s arena: %w: %d of %d bytes are in use", n, a.purpose, ErrFull, a.used, len(a.mem))
	}
	a.used = start + n
	return a.mem[start : start+n : start+n], nil
}

// Close unmaps the arena; every slice of it is invalid from then on. A second
// Close does nothing.
func (a *Arena) Close() error {
	if a.mem == nil {
		return nil
	}
	size := int64(len(a.mem))
	unmap := unix.Munmap
	if a.host.source != nil {
		unmap = a.host.source.Unmap
	}
	if err := unmap(a.mem); err != nil {
		return fmt.Errorf("unmap %s arena: %w", a.purpose, err)
	}
	a.mem = nil
	a.host.release(a.purpose, size, a)
	return nil
}

// View reinterprets b as a slice of T without copying. b must be aligned for
// T, as Alloc's results are when align was at least the size of T; T must
// hold no pointers.
func View[T ~uint16 | ~uint32 | ~uint64 | ~int32 | ~float32](b []byte) []T {
	var t T
	n := len(b) / int(unsafe.Sizeof(t))
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n)
}

// Bytes is the memory of values, as they lie there.
func Bytes[T ~uint16 | ~uint32 | ~int32 | ~float32](v []T) []byte {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), len(v)*int(unsafe.Sizeof(v[0])))
}
