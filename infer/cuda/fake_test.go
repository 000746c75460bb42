package cuda

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"edged/cudakern"
	"edged/cudakern/driver"
)

// fakeGPU is a device that runs nothing and checks everything: that memory which
// commands touch is alive and large enough, that launches are what the compiled
// kernels take, that what has to be waited for is.
type fakeGPU struct {
	t        *testing.T
	mu       sync.Mutex // of queues: loading uses several at once
	info     driver.Info
	manifest cudakern.Manifest
	free     int64
	next     driver.Ptr
	live     map[driver.Ptr]int64 // device memory
	locked   map[driver.Ptr]int64 // host memory
	graphs   map[driver.Graph][]command
	queues   int
	clocks   int
	launches map[string]int
	cleared  map[driver.Ptr]int // how often
	lost     error              // of everything from now on
}

// fakeBase is above every number that kernels take and that is no address.
const fakeBase = driver.Ptr(1) << 44

var fakeInfo = driver.Info{Name: "fake", Major: 9, Bytes: 80 << 30, SMs: 132, SharedBytes: 232448}

func newFake(t *testing.T) *fakeGPU {
	t.Helper()
	m, err := cudakern.ReadManifest()
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeGPU{t: t, info: fakeInfo, manifest: m, free: fakeInfo.Bytes, next: fakeBase, live: map[driver.Ptr]int64{}, locked: map[driver.Ptr]int64{},
		graphs: map[driver.Graph][]command{}, launches: map[string]int{}, cleared: map[driver.Ptr]int{}}
	t.Cleanup(func() {
		if len(f.live)+len(f.locked)+len(f.graphs)+f.queues != 0 {
			t.Errorf("left behind: %d allocations, %d locked pieces, %d graphs, %d queues", len(f.live), len(f.locked), len(f.graphs), f.queues)
		}
	})
	return f
}

func (f *fakeGPU) backend() *Backend { return newBackend(f.info, f, nil, nil) }

func (f *fakeGPU) Alloc(n int64) (driver.Ptr, error) {
	if n > f.free {
		return 0, &driver.Error{Call: "cuMemAlloc", Code: 2}
	}
	f.free -= n
	p := f.next
	f.next += driver.Ptr(n+1<<20) / alignBytes * alignBytes // a gap, so that what runs over an end is seen
	f.live[p] = n
	return p, nil
}

func (f *fakeGPU) Free(p driver.Ptr) error {
	n, ok := f.live[p]
	if !ok {
		return fmt.Errorf("freed %#x, which is not allocated", p)
	}
	f.free += n
	delete(f.live, p)
	return nil
}

func (f *fakeGPU) Register(b []byte) (driver.Ptr, error) {
	p := driver.Address(b)
	if _, ok := f.locked[p]; ok {
		return 0, fmt.Errorf("locked %#x twice", p)
	}
	f.locked[p] = int64(len(b))
	return p, nil
}

func (f *fakeGPU) Unregister(b []byte) error {
	p := driver.Address(b)
	if _, ok := f.locked[p]; !ok {
		return fmt.Errorf("unlocked %#x, which is not locked", p)
	}
	delete(f.locked, p)
	return nil
}

func (f *fakeGPU) MemInfo() (free, total int64, err error) { return f.free, f.info.Bytes, nil }

func (f *fakeGPU) Queue() (queue, func() error, error) {
	f.queues++
	return &fakeQueue{f}, func() error { f.queues--; return nil }, nil
}

// holds says whether memory is alive, on the device or locked.
func (f *fakeGPU) holds(p driver.Ptr, n int64) bool {
	for _, m := range []map[driver.Ptr]int64{f.live, f.locked} {
		for at, size := range m {
			if p >= at && p.Add(n) <= at.Add(size) {
				return true
			}
		}
	}
	return false
}

type fakeQueue struct{ *fakeGPU }

func (q *fakeQueue) Run(cmds []command) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.lost != nil {
		return q.lost
	}
	for i, c := range cmds {
		if err := q.check(c); err != nil {
			return fmt.Errorf("command %d of %d (%v): %w", i, len(cmds), c, err)
		}
		if c.kind == launchKernel && c.overlap && i > 0 && cmds[i-1].kind != launchKernel {
			return fmt.Errorf("command %d (%v) does not wait for the %v in front of it", i, c, cmds[i-1])
		}
		if name := readsTooEarly(cmds[:i+1]); name != "" {
			return fmt.Errorf("command %d (%v) reads %s before what writes it has ended", i, c, name)
		}
	}
	return nil
}

// readsTooEarly finds what the last command reads without waiting and a command
// in front of it writes, with which it may run at the same time.
func readsTooEarly(cmds []command) string {
	last := len(cmds) - 1
	for i := last; i > 0 && cmds[i].kind == launchKernel && cmds[i].overlap; i-- {
		for _, w := range cmds[i-1].uses {
			for _, u := range cmds[last].uses {
				if w.write && u.early && u.at < w.at.Add(w.bytes) && w.at < u.at.Add(u.bytes) {
					return u.name
				}
			}
		}
	}
	return ""
}

func (q *fakeQueue) check(c command) error {
	switch c.kind {
	case copyIn:
		return q.both(c.dst, driver.Address(c.host), int64(len(c.host)))
	case copyOut:
		return q.both(c.src, driver.Address(c.host), int64(len(c.host)))
	case fillBytes:
		q.cleared[c.dst]++
		return q.both(c.dst, c.dst, c.bytes)
	}
	q.launches[c.kernel]++
	k, ok := q.manifest.Kernels[c.kernel]
	if !ok {
		return errors.New("there is no such kernel")
	}
	if err := q.arguments(c, k.Params); err != nil {
		return err
	}
	used, ok := k.Resources["sm_90a"]
	if !ok {
		used = k.Resources["sm_90"]
	} else if q.info.Major != 9 {
		return errors.New("the device has not its instructions")
	}
	static := used.Shared
	if c.shared+static > q.info.SharedBytes || c.block.X > 1024 || c.grid.Y > 65535 || c.grid.Z > 65535 {
		return fmt.Errorf("the device has no room for it: %d and %d bytes of shared memory", c.shared, static)
	}
	if regs := used.Registers; (regs+7)/8*8*c.block.X > 64<<10 {
		return fmt.Errorf("%d threads of %d registers", c.block.X, regs)
	}
	if len(c.uses) == 0 {
		return errors.New("it says not what it touches")
	}
	for _, u := range c.uses {
		if !q.holds(u.at, u.bytes) {
			return fmt.Errorf("%s, %d bytes at %#x, are not all allocated", u.name, u.bytes, u.at)
		}
	}
	return nil
}

// arguments checks that a launch's parameters have the kernel's size, and that
// its addresses are those of what it says to touch.
func (q *fakeQueue) arguments(c command, sizes []int) error {
	at := 0
	for i, size := range sizes {
		at = (at + size - 1) / size * size
		if at+size > len(c.args) {
			return fmt.Errorf("%d bytes of parameters end before the %d.", len(c.args), i)
		}
		if size == 8 {
			if p := driver.Ptr(binary.NativeEndian.Uint64(c.args[at:])); p >= fakeBase && !touches(c.uses, p) {
				return fmt.Errorf("parameter %d is the address %#x, which is not among what it touches", i, p)
			}
		}
		at += size
	}
	if at != len(c.args) {
		return fmt.Errorf("%d bytes of parameters, the kernel takes %d", len(c.args), at)
	}
	return nil
}

func touches(uses []span, p driver.Ptr) bool {
	for _, u := range uses {
		if p >= u.at && p < u.at.Add(max(u.bytes, 1)) {
			return true
		}
	}
	return false
}

func (q *fakeQueue) both(a, b driver.Ptr, n int64) error {
	if n == 0 || !q.holds(a, n) || !q.holds(b, n) {
		return fmt.Errorf("%d bytes at %#x and %#x are not all allocated or locked", n, a, b)
	}
	return nil
}

func (q *fakeQueue) Prepare(cmds []command) (driver.Graph, error) {
	if err := errors.Join(q.Run(cmds), beside(cmds)); err != nil {
		return 0, err
	}
	q.next += alignBytes
	g := driver.Graph(q.next)
	q.graphs[g] = append([]command(nil), cmds...)
	return g, nil
}

func (q *fakeQueue) Replay(g driver.Graph) error {
	cmds, ok := q.graphs[g]
	if !ok {
		return errors.New("no such graph")
	}
	return q.Run(cmds)
}

// Time is a microsecond for every command.
func (q *fakeQueue) Time(g driver.Graph, runs int) (float64, error) {
	for range runs {
		if err := q.Replay(g); err != nil {
			return 0, err
		}
	}
	return float64(len(q.graphs[g])) * 1e-6, nil
}

func (q *fakeQueue) Drop(g driver.Graph) error {
	delete(q.graphs, g)
	return nil
}

func (q *fakeQueue) Wait() error { return q.lost }
