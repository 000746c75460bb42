package pinnedmem

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Discard gives the system pages that lie wholly inside b back to the system, and
// returns their bytes. They read as zeros from then on, until they are written. b
// must belong to an arena that is neither locked nor known to a device.
func Discard(b []byte) (bytes int64, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	page := uintptr(unix.Getpagesize())
	start := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	skip := (page - start%page) % page
	if skip >= uintptr(len(b)) {
		return 0, nil
	}
	n := (uintptr(len(b)) - skip) / page * page
	if n == 0 {
		return 0, nil
	}
	if err := unix.Madvise(b[skip:skip+n], unix.MADV_DONTNEED); err != nil {
		return 0, fmt.Errorf("discard %d bytes: %w", n, err)
	}
	return int64(n), nil
}
