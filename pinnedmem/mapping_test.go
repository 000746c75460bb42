package pinnedmem

import (
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

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
