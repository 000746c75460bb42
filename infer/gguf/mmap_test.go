package gguf_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"edged/infer/gguf"
	"edged/infer/gguf/gguftest"
)

// resident counts the pages that b touches and that are mapped to memory.
func resident(t *testing.T, b []byte) int {
	t.Helper()
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Skipf("cannot see which pages are mapped: %v", err)
	}
	defer f.Close()
	page := uintptr(os.Getpagesize())
	first := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	n := 0
	for p := first / page; p <= (first+uintptr(len(b))-1)/page; p++ {
		var entry [8]byte
		if _, err := f.ReadAt(entry[:], int64(p)*8); err != nil {
			t.Fatal(err)
		}
		const present = 1 << 63
		if binary.LittleEndian.Uint64(entry[:])&present != 0 {
			n++
		}
	}
	return n
}

func TestDropPagesGivesBackWholePagesOnly(t *testing.T) {
	page := os.Getpagesize()
	elems := uint64(2*page + page/2) // ten pages, not aligned to one
	b := new(gguftest.Builder)
	values := make([]float32, elems)
	for i := range values {
		values[i] = float32(i)
	}
	for _, name := range []string{"before", "middle", "after"} {
		b.Float32s(name, []uint64{elems}, values)
	}
	path := filepath.Join(t.TempDir(), "m.gguf")
	if err := b.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var touched [3]int
	for i, x := range f.Tensors() {
		if v, _ := x.Float32s(); cmp.Diff(values, v) != "" {
			t.Fatalf("tensor %s differs from what was written", x.Name)
		}
		touched[i] = resident(t, x.Data)
	}
	middle, _ := f.Tensor("middle")
	if err := f.DropPages(middle); err != nil {
		t.Fatal(err)
	}
	// The two pages that middle shares with its neighbours stay.
	if got := resident(t, middle.Data); got != 2 {
		t.Errorf("%d of %d pages are mapped after DropPages, want 2", got, touched[1])
	}
	for i, name := range []string{"before", "", "after"} {
		if x, ok := f.Tensor(name); ok && resident(t, x.Data) != touched[i] {
			t.Errorf("tensor %s has %d pages mapped, had %d before its neighbour was dropped", name, resident(t, x.Data), touched[i])
		}
	}
	if v, _ := middle.Float32s(); cmp.Diff(values, v) != "" {
		t.Error("the dropped tensor reads back differently")
	}
}

func TestDropPagesOfForeignTensor(t *testing.T) {
	f := openNeedle(t)
	foreign := gguf.Tensor{Name: "mine", Data: make([]byte, 8192)}
	if err := f.DropPages(foreign); err == nil || !strings.Contains(err.Error(), `tensor "mine": its data is not in this file`) {
		t.Errorf("error %v, want that the data is not in the file", err)
	}
}

func TestCloseTwice(t *testing.T) {
	f, err := gguf.Open(needlePath)
	if err != nil {
		t.Fatal(err)
	}
	keys := f.Keys()
	tokens, _ := f.Strings("tokenizer.ggml.tokens")
	for range 2 {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := f.String("general.name"); ok || len(f.Tensors()) != 0 || f.Size() != 0 {
		t.Error("the closed file still answers")
	}
	// Metadata is copied: reading it after Close must not fault.
	if len(keys) == 0 || len(strings.Join(tokens, "")) == 0 {
		t.Error("no metadata was read before Close")
	}
}

func TestOpenRefusesNonFiles(t *testing.T) {
	dir := t.TempDir()
	fifo, empty := filepath.Join(dir, "fifo"), filepath.Join(dir, "empty")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir:                           "not a regular file",
		fifo:                          "not a regular file",
		empty:                         "the file is empty",
		filepath.Join(dir, "missing"): "no such file",
	} {
		if _, err := gguf.Open(path); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%s): error %v, want one with the path and %q", path, err, want)
		}
	}
}
