package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"edged/store/chunk"
)

// Collected says what GC has done.
type Collected struct {
	Orphans     int   // files without a row that were removed
	OrphanBytes int64 // their bytes
	Rewritten   int   // chunks whose live bytes were moved to new ones
	Written     int64 // bytes of the new ones
	Freed       int64 // bytes of the rewritten ones
}

// GC removes files that no row names, and rewrites chunks
// that are mostly dead or small. Other calls may go on meanwhile.
func (s *Store) GC(ctx context.Context) (Collected, error) {
	var c Collected
	err := s.change(func(txn) error { return nil }) // sweeps
	if err == nil {
		err = s.removeOrphans(&c)
	}
	if err == nil {
		run := compaction{s: s, done: &c, unreadable: map[uint64]bool{}}
		err = run.run(ctx)
	}
	if err != nil {
		return c, fmt.Errorf("collect garbage: %w", err)
	}
	return c, nil
}

// orphan is a file that no row names.
type orphan struct {
	name    string
	bytes   int64
	foreign bool // not named as a chunk's file: GC leaves it alone
}

// orphans lists them. The order matters: a file that is being written is
// spared until its row can be seen.
func (s *Store) orphans() ([]orphan, error) {
	entries, err := s.fs.List(chunk.Dir)
	if err != nil {
		return nil, err
	}
	suspects := slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		number, ok := numberOf(e)
		return ok && s.files.spared(number)
	})
	known := map[string]bool{}
	err = queryAll(reads{s.db}, func(from scanner) error {
		ref, err := scanChunk(from)
		known[ref.Name()] = true
		return err
	}, "SELECT id, sum, bytes FROM chunks")
	if err != nil {
		return nil, err
	}
	var list []orphan
	for _, e := range suspects {
		name := chunk.Dir + "/" + e.Name()
		if known[name] {
			continue
		}
		o := orphan{name: name}
		_, ours := numberOf(e)
		o.foreign = !ours
		if info, err := e.Info(); err == nil {
			o.bytes = info.Size()
		} else if errors.Is(err, fs.ErrNotExist) { // removed since it was listed
			continue
		}
		list = append(list, o)
	}
	return list, nil
}

// numberOf reads the chunk's number in a file's name.
func numberOf(e fs.DirEntry) (number uint64, ok bool) {
	if number, _, ok = chunk.ParseName(e.Name()); ok {
		return number, true
	}
	return chunk.ParseTmpName(e.Name())
}

func (s *Store) removeOrphans(c *Collected) error {
	list, err := s.orphans()
	if err != nil {
		return err
	}
	for _, o := range list {
		if o.foreign {
			continue
		}
		if err := s.fs.Remove(o.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove orphan: %w", err)
		}
		c.Orphans++
		c.OrphanBytes += o.bytes
	}
	return nil
}
