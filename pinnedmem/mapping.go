package pinnedmem

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// mapAnonymous maps size bytes of zeroed memory and takes them from the system.
func mapAnonymous(size int64, opt Options) ([]byte, error) {
	mem, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("map memory: %w", err)
	}
	if opt.Huge {
		// Only advice: a kernel without huge pages serves small ones.
		_ = unix.Madvise(mem, unix.MADV_HUGEPAGE)
	}
	if opt.Lock { // which takes it, too
		if err := unix.Mlock(mem); err != nil {
			_ = unix.Munmap(mem)
			return nil, lockError(size, err)
		}
		return mem, nil
	}
	if err := populate(mem); err != nil {
		_ = unix.Munmap(mem)
		return nil, fmt.Errorf("take %d bytes from the system: %w", size, err)
	}
	return mem, nil
}

// populate makes every page of mem present, so that what was planned cannot turn
// out to be missing in the middle of an answer.
func populate(mem []byte) error {
	err := unix.Madvise(mem, unix.MADV_POPULATE_WRITE)
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	for i := 0; i < len(mem); i += unix.Getpagesize() { // Linux before 5.14
		mem[i] = 0
	}
	return nil
}

// lockError says what the limit is: the system's error does not.
func lockError(size int64, err error) error {
	limit, limited, limitErr := LockLimit()
	switch {
	case limitErr != nil:
		return fmt.Errorf("lock %d bytes: %w; %w", size, err, limitErr)
	case !limited:
		return fmt.Errorf("lock %d bytes: %w", size, err)
	}
	return fmt.Errorf("lock %d bytes: RLIMIT_MEMLOCK allows %d bytes to be locked in all (ulimit -l, LimitMEMLOCK= of a unit): %w", size, limit, err)
}

// LockLimit is the bytes that this process may lock, all arenas together.
// limited is false when RLIMIT_MEMLOCK sets none, or does not apply because the
// process has CAP_IPC_LOCK.
func LockLimit() (bytes int64, limited bool, err error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l); err != nil {
		return 0, false, fmt.Errorf("read RLIMIT_MEMLOCK: %w", err)
	}
	if l.Cur == unix.RLIM_INFINITY {
		return 0, false, nil
	}
	free, err := mayLockAll()
	return int64(l.Cur), !free, err
}

// mayLockAll says whether the calling thread has CAP_IPC_LOCK.
func mayLockAll() (bool, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // 64 capabilities, 32 each
	if err := unix.Capget(&hdr, &sets[0]); err != nil {
		return false, fmt.Errorf("read capabilities: %w", err)
	}
	return sets[0].Effective>>unix.CAP_IPC_LOCK&1 != 0, nil
}
