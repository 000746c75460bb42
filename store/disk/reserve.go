package disk

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Reserve takes blocks for a file's first bytes, so that these can be written when the
// disk is full. Its size stays. It reports false where the file system cannot do that,
// or has no room.
func Reserve(path string, bytes int64) (ok bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false, fmt.Errorf("reserve room: %w", err)
	}
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, bytes)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return false, f.Close()
	case err != nil:
		return false, errors.Join(fmt.Errorf("reserve %d bytes of %s: %w", bytes, path, err), f.Close())
	}
	return true, f.Close()
}
