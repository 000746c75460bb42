package disk

import (
	"errors"
	"io"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// maxVec is the most slices that the kernel takes at once (IOV_MAX).
const maxVec = 1024

func (f osFile) ReadVec(to [][]byte, off int64) (n int, err error) {
	if len(to) == 1 {
		return f.ReadAt(to[0], off)
	}
	to = slices.Clone(to)
	for err == nil && len(to) > 0 {
		var k int
		k, err = unix.Preadv(int(f.Fd()), to[:min(len(to), maxVec)], off)
		runtime.KeepAlive(f.File)
		switch {
		case errors.Is(err, unix.EINTR):
			err = nil
			continue
		case err == nil && k == 0:
			err = io.EOF
		}
		n, off = n+max(k, 0), off+int64(max(k, 0))
		to = skip(to, max(k, 0))
	}
	return n, err
}

// skip drops the first n bytes, and slices that have none left.
func skip(to [][]byte, n int) [][]byte {
	for len(to) > 0 && n >= len(to[0]) {
		n -= len(to[0])
		to = to[1:]
	}
	if len(to) > 0 {
		to[0] = to[0][n:]
	}
	return to
}
