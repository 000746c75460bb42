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

	Foreign      int   // files of other stores that were left
	ForeignBytes int64 // their bytes
}

// GC removes files that no row names, all but those of other stores, and rewrites chunks
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
	name  string
	bytes int64
	stray bool     // not a chunk's file by its name or kind: GC leaves it alone
	of    [16]byte // the other store whose file it is, or zero: GC leaves it alone, too
}

func (o orphan) foreign() bool { return o.of != [16]byte{} }

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
		o, err := s.orphan(e, name)
		if errors.Is(err, fs.ErrNotExist) { // removed since it was listed
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	return list, nil
}

// orphan looks at a file that no row names.
func (s *Store) orphan(e fs.DirEntry, name string) (orphan, error) {
	o := orphan{name: name}
	info, err := e.Info()
	if err != nil {
		return o, err
	}
	o.bytes = info.Size()
	if _, ours := numberOf(e); !ours || !info.Mode().IsRegular() {
		o.stray = true
		return o, nil
	}
	if _, _, finished := chunk.ParseName(e.Name()); !finished {
		return o, nil // of no use to any store
	}
	// Its index may be the one that should lie here: a wrong one in its place must
	// not cost what the right one names.
	of, ok, err := chunk.StoreOf(s.fs, name)
	if ok && of != s.id {
		o.of = of
	}
	return o, err
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
		if o.foreign() {
			c.Foreign++
			c.ForeignBytes += o.bytes
		}
		if o.stray || o.foreign() {
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
