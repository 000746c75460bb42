package gguf

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapFile maps a regular file read-only. The mapping outlives the descriptor.
func mapFile(path string) ([]byte, error) {
	// Without O_NONBLOCK, opening a FIFO would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("not a regular file (%s)", info.Mode())
	}
	if info.Size() == 0 {
		return nil, formatErrorf(0, "the file is empty")
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", info.Size(), err)
	}
	return b, nil
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
		base := uintptr(unsafe.Pointer(unsafe.SliceData(m)))
		if first < base || first-base > uintptr(len(m)-len(t.Data)) {
			continue
		}
		page := uintptr(os.Getpagesize())
		begin := (first - base + page - 1) &^ (page - 1)
		end := (first - base + uintptr(len(t.Data))) &^ (page - 1)
		if begin >= end {
			return nil
		}
		if err := unix.Madvise(m[begin:end], unix.MADV_DONTNEED); err != nil {
			return fmt.Errorf("drop pages of tensor %q: %w", t.Name, err)
		}
		return nil
	}
	return fmt.Errorf("drop pages of tensor %q: its data is not in this file", t.Name)
}
