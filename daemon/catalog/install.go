package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// install fetches, verifies and publishes the files of one model and returns
// the path of the first.
func (p *puller) install(ctx context.Context, items []item) (file string, err error) {
	if err := os.MkdirAll(p.opts.Dir, 0o755); err != nil {
		return "", fmt.Errorf("create models folder: %w", err)
	}
	// Before locking, because there may be nothing to write, not even a lock.
	if file, err := p.installed(ctx, items); file != "" || err != nil {
		return file, err
	}
	var parts []*partial
	defer func() {
		for _, part := range parts {
			err = errors.Join(err, part.close())
		}
	}()
	for _, it := range items {
		part, err := openPartial(p.opts.Dir, it.name)
		if err != nil {
			return "", err
		}
		parts = append(parts, part)
	}
	// Another pull may have finished between the look and the lock.
	if file, err := p.installed(ctx, items); file != "" || err != nil {
		return file, err
	}
	if err := p.fetchAll(ctx, items, parts); err != nil {
		return "", err
	}
	for i := len(parts) - 1; i >= 0; i-- {
		if err := parts[i].publish(); err != nil {
			return "", err
		}
	}
	return parts[0].destination(), nil
}

// installed returns the path of a model whose first file is in place: verified
// if all hashes are known, with ErrExists if not.
func (p *puller) installed(ctx context.Context, items []item) (string, error) {
	first := filepath.Join(p.opts.Dir, items[0].name)
	if found, err := exists(first); err != nil || !found {
		return "", err
	}
	for _, it := range items {
		if it.sha256 == "" && !it.inPlace {
			return first, fmt.Errorf("%w: %s; give its SHA-256 to have it checked, or remove it to pull it again", ErrExists, first)
		}
		if err := verifyFile(ctx, filepath.Join(p.opts.Dir, it.name), it); err != nil {
			return "", fmt.Errorf("%s is in place already: %w; remove it to pull it again", it.name, err)
		}
	}
	return first, nil
}

func verifyFile(ctx context.Context, path string, it item) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return checkContents(ctx, it, f)
}

// checkContents checks the GGUF header and, if one is known, the hash.
func checkContents(ctx context.Context, it item, r io.ReadSeeker) error {
	if err := checkHeader(r); err != nil {
		return fmt.Errorf("%s: %w", it.name, err)
	}
	if it.sha256 == "" {
		return nil
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("hash %s: %w", it.name, err)
	}
	got, err := hashOf(ctx, r)
	if err != nil {
		return fmt.Errorf("hash %s: %w", it.name, err)
	}
	if got != it.sha256 {
		return &HashError{File: it.name, Want: it.sha256, Got: got}
	}
	return nil
}

// fetchAll fills and verifies the partial files, parallel to items.
func (p *puller) fetchAll(ctx context.Context, items []item, parts []*partial) error {
	total, err := p.measure(ctx, items, parts)
	if err != nil {
		return err
	}
	before := int64(0) // bytes of the files that are complete
	for i, it := range items {
		err := it.from.fetch(ctx, parts[i], func(done, size int64) {
			if len(items) == 1 {
				p.progress(done, size)
			} else {
				p.progress(before+done, total)
			}
		})
		if err != nil {
			return err
		}
		if err := verifyPart(ctx, it, parts[i]); err != nil {
			if ctx.Err() == nil { // what is wrong cannot be resumed
				err = errors.Join(err, parts[i].discard())
			}
			return err
		}
		before += parts[i].bytes
	}
	return nil
}

// measure returns the size of a set in bytes, -1 when not known, after checking
// that there is room for it. A single file is measured as it is fetched.
func (p *puller) measure(ctx context.Context, items []item, parts []*partial) (int64, error) {
	if len(items) == 1 {
		return -1, nil
	}
	total, missing := int64(0), int64(0)
	for i, it := range items {
		size, err := it.from.size(ctx)
		if err != nil {
			return 0, err
		}
		if size < 0 {
			return -1, nil
		}
		total += size
		missing += max(size-parts[i].bytes, 0)
	}
	return total, p.requireSpace(missing)
}

func verifyPart(ctx context.Context, it item, part *partial) error {
	if it.bytes != 0 && part.bytes != it.bytes {
		return fmt.Errorf("%s has %d bytes, expected %d", it.name, part.bytes, it.bytes)
	}
	return checkContents(ctx, it, part.reader())
}
