package catalog

import (
	"context"
	"fmt"
	"os"
)

// localFetcher copies a file, so that the model lies where the daemon, which
// may run as another user, can read it.
type localFetcher struct {
	puller *puller
	path   string
}

func (l *localFetcher) size(context.Context) (int64, error) {
	info, err := os.Stat(l.path)
	if err != nil {
		return 0, fmt.Errorf("read model file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return 0, fmt.Errorf("read model file: %s is not a regular file", l.path)
	}
	return info.Size(), nil
}

func (l *localFetcher) fetch(ctx context.Context, part *partial, report Progress) error {
	size, err := l.size(ctx)
	if err != nil {
		return err
	}
	f, err := os.Open(l.path)
	if err != nil {
		return fmt.Errorf("read model file: %w", err)
	}
	defer f.Close()
	if err := part.restart(origin{Bytes: size}); err != nil {
		return err
	}
	if err := l.puller.requireSpace(size); err != nil {
		return err
	}
	report(0, size)
	n, err := copyChunks(ctx, part, f, func(n int64) { report(n, size) })
	if err != nil {
		return fmt.Errorf("copy %s: %w", l.path, err)
	}
	if n != size {
		return fmt.Errorf("copy %s: it changed from %d to %d bytes meanwhile", l.path, size, n)
	}
	return nil
}
