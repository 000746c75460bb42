// Package cuda runs programs on an NVIDIA GPU.
//
// A program is lowered once to nodes, and for the shape of a step to a list of
// commands: kernel launches and copies. A decode step's list becomes a CUDA
// graph when its shape is first met. What changes from step to step (tokens,
// positions, page tables) lies in a small buffer on the device, so that the
// graph runs unchanged and a token costs no allocation.
//
// Weights of the types that models are mostly made of are repacked into tiles
// for tensor cores when they are loaded; the others stay as they are in the
// file. Steps of few rows multiply with 22-bit inputs and float32 sums, prompts
// with float16 inputs.
//
// # Ownership
//
// A backend owns its device and loaded kernels; an Exec owns its weights and
// buffers on the device, and page-locked staging memory from the host account
// given at compile time. A pool's memory stays the pool's: [Backend.Memory]
// gives an account for it that lies on the device. A pool in host memory works
// too, over PCIe.
//
// # Goroutine-safety
//
// A Backend may be shared. An Exec belongs to one goroutine.
//
// # Failure modes
//
// New fails with driver.ErrNoDriver where there is no driver or GPU. Compile
// refuses with [ErrUnsupported] ways to keep layers, head sizes and
// weight shapes without a kernel, by name; with [ErrMemory] what does not fit the
// device. After driver.ErrLost only a new process helps.
package cuda

import (
	"errors"
	"fmt"
	"sync"

	"edged/cudakern"
	"edged/cudakern/driver"
	"edged/infer/graph"
	"edged/pinnedmem"
)

// ErrUnsupported is wrapped when a program or cache plan has no kernel here.
var ErrUnsupported = errors.New("not supported on CUDA")

// ErrMemory is wrapped when a program does not fit the device's free memory.
var ErrMemory = errors.New("device memory is too small")

// Backend is one GPU.
type Backend struct {
	dev   *driver.Device
	lib   *cudakern.Library
	gpu   gpu
	mover *mover
	info  driver.Info

	reserve int64 // bytes that stay free

	mu    sync.Mutex                 // guards what follows
	pools map[driver.Ptr]*registered // host memory that is locked for the device, by address
	ours  map[driver.Ptr]int64       // managed memory, by address; bytes
}

// registered is host memory of pools, used by so many execs.
type registered struct {
	at   driver.Ptr
	uses int
}

// ErrNoDriver is wrapped by New where the machine has no driver.
var ErrNoDriver = driver.ErrNoDriver

// New opens the GPU of that number and loads all kernels.
func New(ordinal int) (*Backend, error) {
	dev, err := driver.Open(ordinal)
	if err != nil {
		return nil, err
	}
	lib, err := cudakern.Load(dev)
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	b := newBackend(dev.Info, &device{Device: dev, lib: lib}, dev, lib)
	b.Reserve(reserveFor(driver.Probe().Devices, ordinal))
	return b, nil
}

func newBackend(info driver.Info, g gpu, dev *driver.Device, lib *cudakern.Library) *Backend {
	b := &Backend{dev: dev, lib: lib, gpu: g, info: info, reserve: reserveBytes, pools: map[driver.Ptr]*registered{}, ours: map[driver.Ptr]int64{}}
	b.mover = newMover(b)
	return b
}

// Info says what the device is.
func (b *Backend) Info() driver.Info { return b.info }

// Close gives the device back.
func (b *Backend) Close() error {
	if b.lib == nil {
		return nil
	}
	return errors.Join(b.mover.close(), b.lib.Close(), b.dev.Close())
}

// Compile implements graph.Backend.
func (b *Backend) Compile(p *graph.Program, l graph.Limits) (graph.Exec, error) {
	if err := errors.Join(p.Validate(), l.Validate()); err != nil {
		return nil, fmt.Errorf("compile for cuda: %w", err)
	}
	prog, err := graph.WithCache(p, l.KV)
	if err != nil {
		return nil, fmt.Errorf("compile for cuda: %w", err)
	}
	e := &exec{backend: b, prog: prog, lim: l}
	if err := e.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("compile for cuda: %w", err), e.Close())
	}
	return e, nil
}

// Memory is an account of device memory for KV pools, which the processor can
// reach too; 0 bytes is no limit but the device's.
func (b *Backend) Memory(budget int64) *pinnedmem.Host {
	return pinnedmem.NewHostOn(budget, managed{b})
}

// FreeMemory is the bytes that programs and pools may still take.
func (b *Backend) FreeMemory() (int64, error) {
	free, _, err := b.gpu.MemInfo()
	return max(free-b.reserve, 0), err
}

// managed maps arenas on the device.
type managed struct{ b *Backend }

func (m managed) Map(bytes int64) ([]byte, error) {
	free, err := m.b.FreeMemory()
	if err != nil {
		return nil, err
	}
	if bytes > free {
		return nil, fmt.Errorf("%w: %d bytes for the cache, %d may be taken on %s", ErrMemory, bytes, free, m.b.info.Name)
	}
	mem, err := m.b.dev.AllocManaged(bytes)
	if err != nil {
		return nil, err
	}
	m.b.mu.Lock()
	defer m.b.mu.Unlock()
	m.b.ours[driver.Address(mem)] = bytes
	return mem, nil
}

func (m managed) Unmap(mem []byte) error {
	m.b.mu.Lock()
	delete(m.b.ours, driver.Address(mem))
	m.b.mu.Unlock()
	return m.b.dev.FreeManaged(mem)
}
