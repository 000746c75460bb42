package store

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"edged/store/chunk"
)

// files decides when a chunk's file may be removed: when no row names it, no
// write is on its way to a row, and nobody reads it.
type files struct {
	store *Store

	// layout is read-locked from reading rows until the chunks they name are
	// pinned, and locked while files are removed.
	layout sync.RWMutex

	mu      sync.Mutex           // guards everything that follows
	pins    map[uint64]int       // chunks that are being read
	doomed  map[uint64]chunk.Ref // pinned chunks without a row, removed when nobody reads them
	writing map[uint64]bool      // chunks whose rows, or whose rows' end, are not committed yet
}

func newFiles(s *Store) *files {
	return &files{store: s, pins: map[uint64]int{}, doomed: map[uint64]chunk.Ref{}, writing: map[uint64]bool{}}
}

// reserve makes the number of a new chunk. It is random: a number that was used
// before is as good as impossible, and nothing has to be remembered of it.
func (f *files) reserve() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		var b [8]byte
		rand.Read(b[:])
		if n := binary.LittleEndian.Uint64(b[:]) >> 1; n != 0 && !f.writing[n] { // positive in SQLite, too
			f.writing[n] = true
			return n
		}
	}
}

// leaving protects chunks from GC until their files are removed in order.
func (f *files) leaving(refs []chunk.Ref) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ref := range refs {
		f.writing[ref.Number] = true
	}
}

// settled ends the protection of chunks that are in the database now, or gone.
func (f *files) settled(numbers []uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range numbers {
		delete(f.writing, n)
	}
}

// pinned reads rows and keeps the files of the chunks that load names in refs,
// until unpin; when it fails, refs is empty and nothing is kept. then sees the
// same state as load, if it is not nil; it may take long.
func (f *files) pinned(refs map[uint64]chunk.Ref, load, then func(txn) error) error {
	pinned := false
	err := f.store.db.view(func(t txn) error {
		if err := f.loadAndPin(t, refs, load); err != nil {
			return err
		}
		pinned = true
		if then == nil {
			return nil
		}
		return then(t)
	})
	if err == nil {
		return nil
	}
	if pinned {
		err = errors.Join(err, f.unpin(refs))
	}
	clear(refs)
	return err
}

// loadAndPin reads rows, and pins before their files can go.
func (f *files) loadAndPin(t txn, refs map[uint64]chunk.Ref, load func(txn) error) error {
	f.layout.RLock() // before the transaction's first read, which fixes what it sees
	defer f.layout.RUnlock()
	if err := load(t); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for n := range refs {
		f.pins[n]++
	}
	return nil
}

func (f *files) unpin(refs map[uint64]chunk.Ref) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for n := range refs {
		if f.pins[n]--; f.pins[n] > 0 {
			continue
		}
		delete(f.pins, n)
		if ref, ok := f.doomed[n]; ok {
			delete(f.doomed, n)
			errs = append(errs, f.unlink(ref))
		}
	}
	return errors.Join(errs...)
}

// remove removes the files of chunks whose rows are gone, those that are being
// read later. A file that stays because of an error is an orphan, which GC
// removes.
func (f *files) remove(refs []chunk.Ref) error {
	f.layout.Lock()
	defer f.layout.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, ref := range refs {
		if f.pins[ref.Number] == 0 {
			errs = append(errs, f.unlink(ref))
			continue
		}
		f.doomed[ref.Number] = ref
	}
	return errors.Join(errs...)
}

func (f *files) unlink(ref chunk.Ref) error {
	err := f.store.fs.Remove(ref.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// spared says whether a file without a row has a reason to be there.
func (f *files) spared(number uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, doomed := f.doomed[number]
	return f.writing[number] || doomed || f.pins[number] > 0
}

// removeUnfinished removes what a crash has left half written. Nothing may be
// writing yet.
func (f *files) removeUnfinished() error {
	entries, err := f.store.fs.List(chunk.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, ok := chunk.ParseTmpName(e.Name()); ok {
			if err := f.store.fs.Remove(chunk.Dir + "/" + e.Name()); err != nil {
				return fmt.Errorf("remove unfinished chunk: %w", err)
			}
		}
	}
	return nil
}
