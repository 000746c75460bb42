package pinnedmem

import (
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dropLock takes the right to lock without limit from the calling goroutine's
// thread, which ends with the goroutine, and sets the process's limit for one
// test.
func dropLock(t *testing.T, bytes uint64) {
	runtime.LockOSThread()
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&hdr, &sets[0]); err != nil {
		t.Fatal(err)
	}
	sets[0].Effective &^= 1 << unix.CAP_IPC_LOCK
	if err := unix.Capset(&hdr, &sets[0]); err != nil {
		t.Fatal(err)
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: bytes, Max: old.Max}); err != nil {
		t.Skipf("RLIMIT_MEMLOCK cannot be %d: %v", bytes, err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &old); err != nil {
			t.Error(err)
		}
	})
}

func TestLockFailureNamesTheLimit(t *testing.T) {
	dropLock(t, 65536)
	if n, limited, err := LockLimit(); n != 65536 || !limited || err != nil {
		t.Fatalf("limit is %d, %v, %v", n, limited, err)
	}
	h := NewHost(0)
	a, err := h.Arena(KVCold, 32768, Options{Lock: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.Arena(KVPages, 1<<20, Options{Lock: true})
	for _, want := range []string{"allocate kv-pages arena", "lock 1048576 bytes", "RLIMIT_MEMLOCK allows 65536 bytes"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("locking past the limit: %v, want %s", err, want)
		}
	}
	if h.Usage().Total() != 32768 {
		t.Errorf("a refused arena is accounted: %v", h.Usage())
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

func TestArenaIsPresent(t *testing.T) {
	page := unix.Getpagesize()
	h := NewHost(0)
	for name, opt := range map[string]Options{"small": {}, "huge": {Huge: true}} {
		a, err := h.Arena(KVPages, 8<<20, opt)
		if err != nil {
			t.Fatal(err)
		}
		if n, want := present(t, a.Bytes()), len(a.Bytes())/page; n != want {
			t.Errorf("%s: %d of %d pages are present", name, n, want)
		}
		if _, err := Discard(a.Bytes()[:4<<20]); err != nil {
			t.Fatal(err)
		}
		if n, want := present(t, a.Bytes()), len(a.Bytes())/2/page; n != want {
			t.Errorf("%s: %d pages are present after half was discarded, want %d", name, n, want)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}

// present is how many of a mapping's pages the system has given to the process.
func present(t *testing.T, mem []byte) int {
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := unix.Getpagesize()
	entries := make([]byte, len(mem)/page*8) // man proc_pid_pagemap
	if _, err := f.ReadAt(entries, int64(uintptr(unsafe.Pointer(&mem[0])))/int64(page)*8); err != nil {
		t.Fatal(err)
	}
	n := 0
	for i := 7; i < len(entries); i += 8 {
		n += int(entries[i] >> 7) // bit 63
	}
	return n
}

// benchBytes is far larger than what any TLB covers with small pages.
const benchBytes = 256 << 20

// BenchmarkPages reads an arena on small and on huge pages: in order, as
// weights and resident records are, and a 4 KiB piece here and there, as a
// gather of cold pages does.
func BenchmarkPages(b *testing.B) {
	for name, huge := range map[string]bool{"small": false, "huge": true} {
		b.Run(name, func(b *testing.B) {
			h := NewHost(0)
			a, err := h.Arena(KVCold, benchBytes, Options{Huge: huge})
			if err != nil {
				b.Fatal(err)
			}
			defer a.Close()
			if !huge { // the system's default may be huge pages for all
				if err := unix.Madvise(a.Bytes(), unix.MADV_NOHUGEPAGE); err != nil {
					b.Skip(err)
				}
				if _, err := Discard(a.Bytes()); err != nil {
					b.Fatal(err)
				}
			}
			for i := range a.Bytes() {
				a.Bytes()[i] = byte(i)
			}
			pieces := rand.New(rand.NewPCG(1, 2)).Perm(benchBytes / 4096)
			b.Run("stream", func(b *testing.B) {
				b.SetBytes(benchBytes)
				for b.Loop() {
					touch(a.Bytes())
				}
			})
			b.Run("gather", func(b *testing.B) {
				b.SetBytes(benchBytes)
				for b.Loop() {
					for _, p := range pieces {
						touch(a.Bytes()[p*4096:][:4096])
					}
				}
			})
		})
	}
}

// touch reads one element of every cache line.
func touch(mem []byte) uint32 {
	x, sum := View[uint32](mem), uint32(0)
	for i := 0; i < len(x); i += 16 {
		sum += x[i]
	}
	return sum
}
