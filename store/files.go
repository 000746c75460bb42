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
	writing map[uint64]bool      // chunks whose rows are not committed yet
}

// reserve makes the number of a new chunk. It is random: a number that was used
// before is as good as impossible, and nothing has to be remembered of it.
func (f *files) reserve() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.writing == nil {
		f.writing = map[uint64]bool{}
	}
	for {
		var b [8]byte
		rand.Read(b[:])
		if n := binary.LittleEndian.Uint64(b[:]) >> 1; n != 0 && !f.writing[n] { // positive in SQLite, too
			f.writing[n] = true
			return n
		}
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
// until unpin. When load fails, refs is empty.
func (f *files) pinned(refs map[uint64]chunk.Ref, load func(txn) error) error {
	f.layout.RLock()
	defer f.layout.RUnlock()
	if err := f.store.db.view(load); err != nil {
		clear(refs)
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pins == nil {
		f.pins = map[uint64]int{}
	}
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
		if f.doomed == nil {
			f.doomed = map[uint64]chunk.Ref{}
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
	return f.writing[number] || doomed
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
