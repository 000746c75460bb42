package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// HeldError says that another process has the lock.
type HeldError struct {
	Path string
	PID  int // 0 when the holder has not written it yet
}

func (e *HeldError) Error() string {
	if e.PID == 0 {
		return e.Path + " is locked by another process"
	}
	return fmt.Sprintf("%s is locked by process %d", e.Path, e.PID)
}

// Lock is a lock on a file, held until it is released or the process ends.
type Lock struct {
	f *os.File
	// Clean says that the last holder released the lock, or that there was none.
	Clean bool
}

// Acquire takes the lock or fails with a [HeldError]. The file holds the pid of
// its owner, and still does when the owner did not come to releasing it.
func Acquire(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, FileMode)
	if err != nil {
		return nil, err
	}
	l := &Lock{f: f}
	if err := l.take(path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

func (l *Lock) take(path string) error {
	const longestPID = 20
	holder, err := io.ReadAll(io.LimitReader(l.f, longestPID))
	if err != nil {
		return err
	}
	err = unix.Flock(int(l.f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		pid, _ := strconv.Atoi(strings.TrimSpace(string(holder))) // 0: not written yet
		return &HeldError{Path: path, PID: pid}
	}
	if err != nil {
		return err
	}
	st, err := l.f.Stat() // what was read before may be older than the lock
	if err != nil {
		return err
	}
	l.Clean = st.Size() == 0
	pid := []byte(strconv.Itoa(os.Getpid()) + "\n")
	if _, err := l.f.WriteAt(pid, 0); err != nil { // never empty in between
		return err
	}
	if err := l.f.Truncate(int64(len(pid))); err != nil {
		return err
	}
	return l.f.Sync() // so that a power loss is noticed, too
}

// Release gives the lock back; clean says that everything was brought to an end.
func (l *Lock) Release(clean bool) error {
	var err error
	if clean {
		err = errors.Join(l.f.Truncate(0), l.f.Sync())
	}
	return errors.Join(err, l.f.Close())
}
