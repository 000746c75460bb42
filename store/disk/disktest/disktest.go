// Package disktest is a file system that fails where a test says.
//
// A [Faulty] passes calls on to another file system and counts those that it
// could spoil. It belongs to one test, and is safe for concurrent use. It owns
// nothing: files and folders are the other file system's. A call that fails may
// have happened in part, as on a real disk.
package disktest

import (
	"io/fs"
	"sync"
	"syscall"

	"edged/store/disk"
)

// Fault is what happens to a call.
type Fault int

// Faults. Each spoils the calls that it can, and lets others pass.
const (
	NoSpace    Fault = iota // a create fails, or half of a write arrives, with ENOSPC
	IOError                 // any call that changes something fails with EIO; of a write, half arrives
	ShortWrite              // half of a write arrives, and no error is given
	ReadError               // a read fails with EIO
	ShortRead               // a read ends early, as if the file did
	BitFlip                 // a read gives a byte that differs in a bit
)

// Faulty is a file system with a fault.
type Faulty struct {
	disk.FS
	Fault Fault

	mu    sync.Mutex // guards what follows
	left  int        // calls that pass before the fault; below 0: there is none
	fired bool
}

// Arm makes a call fail: the one after n that the fault could have spoilt.
func (f *Faulty) Arm(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.fired = n, false
}

// Disarm lets all calls pass, and says whether the fault had happened.
func (f *Faulty) Disarm() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = -1
	return f.fired
}

// now says whether the fault happens to this call.
func (f *Faulty) now(kinds ...Fault) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range kinds {
		if k != f.Fault || f.left < 0 {
			continue
		}
		f.left--
		f.fired = f.fired || f.left < 0
		return f.left < 0
	}
	return false
}

func (f *Faulty) err() error {
	if f.Fault == NoSpace {
		return syscall.ENOSPC
	}
	return syscall.EIO
}

func (f *Faulty) Create(name string) (disk.File, error) {
	if f.now(NoSpace, IOError) {
		return nil, &fs.PathError{Op: "create", Path: name, Err: f.err()}
	}
	file, err := f.FS.Create(name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, f}, nil
}

func (f *Faulty) Open(name string) (disk.File, error) {
	if f.now(ReadError) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: f.err()}
	}
	file, err := f.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, f}, nil
}

func (f *Faulty) Rename(oldName, newName string) error {
	if f.now(IOError) {
		return &fs.PathError{Op: "rename", Path: oldName, Err: f.err()}
	}
	return f.FS.Rename(oldName, newName)
}

func (f *Faulty) Remove(name string) error {
	if f.now(IOError) {
		return &fs.PathError{Op: "remove", Path: name, Err: f.err()}
	}
	return f.FS.Remove(name)
}

func (f *Faulty) List(dir string) ([]fs.DirEntry, error) {
	if f.now(ReadError) {
		return nil, &fs.PathError{Op: "list", Path: dir, Err: f.err()}
	}
	return f.FS.List(dir)
}

func (f *Faulty) SyncDir(dir string) error {
	if f.now(IOError) {
		return &fs.PathError{Op: "sync", Path: dir, Err: f.err()}
	}
	return f.FS.SyncDir(dir)
}

type faultyFile struct {
	disk.File
	f *Faulty
}

func (f *faultyFile) Write(p []byte) (int, error) {
	if !f.f.now(NoSpace, IOError, ShortWrite) {
		return f.File.Write(p)
	}
	n, err := f.File.Write(p[:len(p)/2])
	if err == nil && f.f.Fault != ShortWrite {
		err = f.f.err()
	}
	return n, err
}

func (f *faultyFile) Sync() error {
	if f.f.now(IOError, NoSpace) {
		return f.f.err()
	}
	return f.File.Sync()
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if !f.f.now(ReadError, ShortRead, BitFlip) {
		return f.File.ReadAt(p, off)
	}
	switch f.f.Fault {
	case ShortRead:
		return f.File.ReadAt(p[:len(p)/2], off)
	case BitFlip:
		n, err := f.File.ReadAt(p, off)
		if n > 0 {
			p[n/2] ^= 0x10
		}
		return n, err
	default:
		return 0, f.f.err()
	}
}

func (f *faultyFile) ReadVec(to [][]byte, off int64) (int, error) {
	if !f.f.now(ReadError, ShortRead, BitFlip) {
		return f.File.ReadVec(to, off)
	}
	switch f.f.Fault {
	case ShortRead:
		return f.File.ReadAt(to[0][:len(to[0])/2], off)
	case BitFlip:
		n, err := f.File.ReadVec(to, off)
		if n > 0 {
			last := to[len(to)-1]
			last[len(last)/2] ^= 0x10
		}
		return n, err
	default:
		return 0, f.f.err()
	}
}
