package gguf

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrChanged is wrapped when a file that is open was written to or cut.
var ErrChanged = errors.New("the file was changed while it was in use")

// mapping is one part of a model, mapped.
type mapping struct {
	mem  []byte
	file *os.File
	// Of the file, when it was mapped and when it was last looked at.
	then, now unix.Stat_t
}

// mapFile maps a regular file read-only.
func mapFile(path string) (_ *mapping, err error) {
	m := &mapping{}
	// Without O_NONBLOCK, opening a FIFO would wait for a writer.
	if m.file, err = os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.file.Close())
		}
	}()
	info, err := m.file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("not a regular file (%s)", info.Mode())
	}
	if err := unix.Fstat(int(m.file.Fd()), &m.then); err != nil {
		return nil, fmt.Errorf("look at the file: %w", err)
	}
	if m.then.Size == 0 {
		return nil, formatErrorf(0, "the file is empty")
	}
	if m.mem, err = unix.Mmap(int(m.file.Fd()), 0, int(m.then.Size), unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", m.then.Size, err)
	}
	return m, nil
}

func (m *mapping) close() error { return errors.Join(unix.Munmap(m.mem), m.file.Close()) }

// unchanged compares size and time of the last write. It does not allocate.
func (m *mapping) unchanged() error {
	if err := unix.Fstat(int(m.file.Fd()), &m.now); err != nil {
		return fmt.Errorf("look at model: %w", err)
	}
	switch {
	case m.now.Size != m.then.Size:
		return fmt.Errorf("%s: %w: it has %d bytes, and had %d", m.file.Name(), ErrChanged, m.now.Size, m.then.Size)
	case m.now.Mtim != m.then.Mtim:
		return fmt.Errorf("%s: %w", m.file.Name(), ErrChanged)
	}
	return nil
}

// Unchanged says whether the file still is what was opened: that it was not written
// to in place, which changes tensors under those that read them, or cut, so that
// reading them faults. Another file of its name changes nothing. It belongs to one
// goroutine.
func (f *File) Unchanged() error {
	for _, m := range f.mappings {
		if err := m.unchanged(); err != nil {
			return err
		}
	}
	return nil
}

// DropPages gives the whole pages inside the tensor's bytes back to the
// kernel: for a backend that has repacked the tensor and reads it no more.
// The bytes stay valid, the next access reads them from the file again. A
// File from Parse has no pages of its own, so nothing happens there.
func (f *File) DropPages(t Tensor) error {
	if len(f.mappings) == 0 || len(t.Data) == 0 {
		return nil
	}
	first := uintptr(unsafe.Pointer(unsafe.SliceData(t.Data)))
	for _, m := range f.mappings {
		base := uintptr(unsafe.Pointer(unsafe.SliceData(m.mem)))
		if first < base || first-base > uintptr(len(m.mem)-len(t.Data)) {
			continue
		}
		page := uintptr(os.Getpagesize())
		begin := (first - base + page - 1) &^ (page - 1)
		end := (first - base + uintptr(len(t.Data))) &^ (page - 1)
		if begin >= end {
			return nil
		}
		if err := unix.Madvise(m.mem[begin:end], unix.MADV_DONTNEED); err != nil {
			return fmt.Errorf("drop pages of tensor %q: %w", t.Name, err)
		}
		return nil
	}
	return fmt.Errorf("drop pages of tensor %q: its data is not in this file", t.Name)
}
