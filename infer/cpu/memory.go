package cpu

// #include "kern/cpu.h"
import "C"

import (
	"fmt"
	"unsafe"

	"edged/pinnedmem"
)

// lineBytes keeps what different threads write on different cache lines.
const lineBytes = 64

// block plans one arena: sizes are added up first, then memory is handed out
// in the same order.
type block struct {
	purpose pinnedmem.Purpose
	size    int64
	arena   *pinnedmem.Arena
}

func rounded(n, to int) int { return (n + to - 1) / to * to }

// want plans n bytes.
func (b *block) want(n int64) { b.size += (n + lineBytes - 1) / lineBytes * lineBytes }

// take hands out n planned bytes, zeroed.
func (b *block) take(n int64) (unsafe.Pointer, error) {
	mem, err := b.arena.Alloc(int(n), lineBytes)
	if err != nil {
		return nil, err
	}
	return unsafe.Pointer(unsafe.SliceData(mem)), nil
}

func (b *block) open(h *pinnedmem.Host) error {
	a, err := h.Arena(b.purpose, b.size, pinnedmem.Options{Huge: true})
	if err != nil {
		return fmt.Errorf("take memory: %w", err)
	}
	b.arena = a
	return nil
}

func (b *block) close() error {
	if b.arena == nil {
		return nil
	}
	return b.arena.Close()
}

// array is off-heap memory for n values of T, which holds no Go pointers.
func array[T any](b *block, n int) ([]T, error) {
	var t T
	p, err := b.take(int64(n) * int64(unsafe.Sizeof(t)))
	if err != nil || n == 0 {
		return nil, err
	}
	return unsafe.Slice((*T)(p), n), nil
}

func wantArray[T any](b *block, n int) {
	var t T
	b.want(int64(n) * int64(unsafe.Sizeof(t)))
}
