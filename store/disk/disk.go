// Package disk is the seam between the store and the file system: every file
// that the store writes itself is written through an [FS]. [Open] gives the
// real one; tests put one in its place that tears, shortens, refuses or
// forgets writes.
//
// SQLite's own files do not pass through here.
//
// # Ownership
//
// An FS is one folder; names are relative to it and cannot lead out of it,
// symbolic links included. A File belongs to whoever opened it.
//
// # Goroutine-safety
//
// An FS is safe for concurrent use. A File's ReadAt and ReadVec are; its other methods are
// one goroutine's.
//
// # Failure modes
//
// Errors are those of package os: errors.Is tells fs.ErrNotExist, ENOSPC and EIO.
// A write that was not synced, and a new name in a folder that was not synced,
// may be gone after a power loss.
package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Modes of everything in a store: nobody else reads a conversation.
const (
	FileMode fs.FileMode = 0o600
	DirMode  fs.FileMode = 0o700
)

// FS is one folder of files.
type FS interface {
	// Create makes a file that does not exist yet, with FileMode.
	Create(name string) (File, error)
	// Open opens a file for reading.
	Open(name string) (File, error)
	// Rename replaces newName if it exists.
	Rename(oldName, newName string) error
	Remove(name string) error
	// List reads a folder below this one.
	List(dir string) ([]fs.DirEntry, error)
	// SyncDir makes names in a folder durable: those made, replaced and removed.
	SyncDir(dir string) error
}

// File is an open file.
type File interface {
	io.Writer
	io.ReaderAt
	io.Closer
	// ReadVec is ReadAt into several slices, one behind the other.
	ReadVec(to [][]byte, off int64) (int, error)
	// Sync makes what was written durable.
	Sync() error
	Size() (int64, error)
}

// OS is a folder of the operating system.
type OS struct{ root *os.Root }

// Open opens a folder.
func Open(dir string) (*OS, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &OS{root}, nil
}

// Close ends the use of the folder; open files stay open.
func (o *OS) Close() error { return o.root.Close() }

func (o *OS) Create(name string) (File, error) {
	return asFile(o.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, FileMode))
}

func (o *OS) Open(name string) (File, error) { return asFile(o.root.Open(name)) }

func (o *OS) Rename(oldName, newName string) error { return o.root.Rename(oldName, newName) }

func (o *OS) Remove(name string) error { return o.root.Remove(name) }

func (o *OS) List(dir string) ([]fs.DirEntry, error) { return fs.ReadDir(o.root.FS(), dir) }

func (o *OS) SyncDir(dir string) error {
	d, err := o.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

type osFile struct{ *os.File }

func asFile(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !st.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is not a regular file", f.Name())
	}
	return st.Size(), nil
}
