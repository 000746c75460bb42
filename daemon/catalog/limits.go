package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// requireSpace checks for room before bytes are written.
func (p *puller) requireSpace(bytes int64) error {
	free, err := p.freeBytes(p.opts.Dir)
	if err != nil {
		return fmt.Errorf("read free space of %s: %w", p.opts.Dir, err)
	}
	if bytes > free {
		return fmt.Errorf("%s has %d bytes free, the pull needs %d", p.opts.Dir, free, bytes)
	}
	return nil
}

// freeBytes is what an ordinary user may still write in dir.
func freeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// backoff waits before the given retry, counted from 0: 1 s, 2 s, 4 s and so
// on, each spread by up to half.
func backoff(ctx context.Context, retry int) error {
	d := time.Second << retry
	t := time.NewTimer(d + rand.N(d/2))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// sameFile reports whether both paths name one existing file.
func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}
