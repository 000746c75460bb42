package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"edged/store/chunk"
	"edged/store/disk"
)

// lockFile holds the owner's pid and its lock.
const lockFile = "lock"

// Options say where a store is and what it may take.
type Options struct {
	Dir    string // made with mode 0700 if it does not exist
	Key    []byte // [KeyBytes] to seal everything, or nil
	Budget int64  // bytes of payload files; 0: no limit
	// FS is the folder as chunk files are written to; nil: the operating system's.
	FS disk.FS
}

// Store is an open store. See the package comment.
type Store struct {
	dir  string
	fs   disk.FS
	root *disk.OS // of fs, if it is ours to close
	lock *disk.Lock
	db   *database
	seal *sealer
	id   [16]byte

	files *files
	space space
	list  listing

	mu     sync.Mutex // guards closed
	closed bool
}

// Open opens a store, and makes one where there is none. It fails with a
// [LockedError] while another process has it. After an unclean end it checks
// the database before it uses it.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Budget < 0 {
		return nil, fmt.Errorf("open store: %w: budget of %d bytes", ErrInvalid, o.Budget)
	}
	seal, err := newSealer(o.Key)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{dir: o.Dir, fs: o.FS, seal: seal, space: space{budget: o.Budget, growing: map[int64]int{}}}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", o.Dir, err), s.release(false))
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	if err := prepareDir(s.dir); err != nil {
		return err
	}
	lock, err := disk.Acquire(filepath.Join(s.dir, lockFile))
	if held := new(disk.HeldError); errors.As(err, &held) {
		return &LockedError{Dir: s.dir, PID: held.PID}
	}
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	s.lock = lock
	if s.root, err = disk.Open(s.dir); err != nil {
		return err
	}
	if s.fs == nil {
		s.fs = s.root
	}
	if err := s.openDatabase(ctx, !lock.Clean); err != nil {
		return err
	}
	s.files = newFiles(s)
	return errors.Join(s.files.removeUnfinished(), s.loadListing())
}

// prepareDir makes the folders, or refuses one that others can read.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, disk.DirMode); err != nil {
		return err
	}
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && int(sys.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: it belongs to uid %d, this process runs as %d", ErrFolder, sys.Uid, os.Geteuid())
	}
	if mode := st.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%w: it has mode %04o, others may not enter it (chmod 700)", ErrFolder, mode)
	}
	err = os.Mkdir(filepath.Join(dir, chunk.Dir), disk.DirMode)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}

// logReserve is room for SQLite's log, so that sessions can be deleted on a full disk: as
// much as the log has before SQLite begins to write it from the begin again.
const logReserve = 4 << 20

func (s *Store) openDatabase(ctx context.Context, unclean bool) error {
	if err := CheckIndex(s.dir); err != nil {
		return err
	}
	path := filepath.Join(s.dir, databaseFile)
	if err := checkLog(path + "-wal"); err != nil { // before SQLite cuts it
		return err
	}
	// SQLite gives its other files the mode of this one.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, disk.FileMode)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if s.db, err = openDatabase(path); err != nil {
		return err
	}
	if err := s.db.prepare(ctx, unclean); err != nil {
		return err
	}
	if err := s.identify(); err != nil {
		return err
	}
	// Without it, a disk that is full before the log has ever been long lets nothing be
	// deleted. SQLite locks other files than this one, which may be opened and closed.
	if _, err := disk.Reserve(path+"-wal", logReserve); err != nil {
		return err
	}
	return errors.Join(s.root.SyncDir("."), syncParent(s.dir))
}

// syncParent makes the folder's own name durable.
func syncParent(dir string) error {
	d, err := os.Open(filepath.Dir(filepath.Clean(dir)))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// identify reads who the store is and proves the key, or sets both.
func (s *Store) identify() error {
	return s.db.update(func(t txn) error {
		id, err := setting(t, "store_id")
		if errors.Is(err, sql.ErrNoRows) {
			if err := unlessNew(s.dir, databaseFile+" is new"); err != nil {
				return err
			}
			rand.Read(s.id[:])
			if err := setSetting(t, "store_id", s.id[:]); err != nil || s.seal == nil {
				return err
			}
			return setSetting(t, "key_check", s.seal.check)
		}
		if err != nil {
			return err
		}
		if copy(s.id[:], id) != len(s.id) {
			return fmt.Errorf("%w: store id of %d bytes", ErrCorrupt, len(id))
		}
		return s.proveKey(t)
	})
}

func (s *Store) proveKey(t txn) error {
	check, err := setting(t, "key_check")
	switch {
	case errors.Is(err, sql.ErrNoRows):
		if s.seal != nil {
			return fmt.Errorf("%w: it was made without one", ErrKey)
		}
		return nil
	case err != nil:
		return err
	case s.seal == nil:
		return fmt.Errorf("%w: it is sealed and no key was given", ErrKey)
	case !s.seal.proves(check):
		return fmt.Errorf("%w: it is sealed with another", ErrKey)
	}
	return nil
}

func setting(r runner, name string) (value []byte, err error) {
	err = queryRow(r, []any{&value}, "SELECT value FROM settings WHERE name = ?", name)
	return value, err
}

func setSetting(t txn, name string, value []byte) error {
	_, err := execute(t, "INSERT INTO settings (name, value) VALUES (?, ?)", name, value)
	return err
}

// Close ends the use of the store. Snapshots must be closed before, and no
// other call may be running.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.closed = true
	return s.release(true)
}

// release gives back what was taken, in the reverse order.
func (s *Store) release(clean bool) error {
	var errs []error
	if s.db != nil {
		errs = append(errs, s.db.close())
	}
	if s.root != nil {
		errs = append(errs, s.root.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Release(clean && errors.Join(errs...) == nil))
	}
	return errors.Join(errs...)
}
