package cuda

import (
	"fmt"
	"sort"
	"strings"

	"edged/cudakern/driver"
	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

const (
	// reserveBytes stay free for the driver's own use and for other programs.
	reserveBytes = 512 << 20
	// drawingReserve is that of a device that draws: what a desktop takes now is not
	// free anyway, and this is what it may grow by.
	drawingReserve = 1 << 30
)

// reserveFor is the reserve of the CUDA device with that number.
func reserveFor(found []driver.Found, ordinal int) int64 {
	for _, d := range found {
		if !d.Usable {
			continue
		}
		if ordinal == 0 {
			if d.Display || d.Graphics > 0 {
				return drawingReserve
			}
			break
		}
		ordinal--
	}
	return reserveBytes
}

// Reserve implements graph.DeviceMemory. It holds for what is taken from then on.
func (b *Backend) Reserve(bytes int64) { b.reserve = bytes }

// Size implements graph.Sizer. What weights take on their way to the device is given back
// before a pool is made, and not counted.
func (b *Backend) Size(p *graph.Program, l graph.Limits) (f graph.Footprint, err error) {
	prog, err := graph.WithCache(p, l.KV)
	if err != nil {
		return f, fmt.Errorf("size for cuda: %w", err)
	}
	e, err := b.size(prog, l)
	if err != nil {
		return f, fmt.Errorf("size for cuda: %w", err)
	}
	f.Device[pinnedmem.Weights], f.Device[pinnedmem.Activations] = e.weightMem.size, e.bufMem.size
	f.Host[pinnedmem.Activations] = pinnedmem.ArenaBytes(e.stagingBytes())
	if e.layerMajor() {
		f.Host[pinnedmem.Prefill] = pinnedmem.ArenaBytes(e.waitingBytes())
	}
	return f, nil
}

// H100 sizes programs for the GPU that plans are made for, without one.
func H100() graph.Sizer {
	return newBackend(driver.Info{Name: "H100 80GB HBM3", Major: 9, SMs: 132, SharedBytes: 227 << 10}, nil, nil, nil)
}

// size plans a program with its cache ops.
func (b *Backend) size(prog *graph.Program, l graph.Limits) (*exec, error) {
	e := &exec{backend: b, prog: prog, lim: l}
	if err := e.begun(); err != nil {
		return nil, err
	}
	return e, e.planBuffers()
}

// whatFits adds to a failure to place activations what would have fitted.
func (e *exec) whatFits(failure error) error {
	room, err := e.backend.FreeMemory()
	if err != nil {
		return failure
	}
	fits := func(change func(*graph.Limits)) bool {
		l := e.lim
		change(&l)
		n, err := e.backend.size(e.prog, l)
		return err == nil && n.bufMem.size <= room
	}
	most := func(limit int, set func(*graph.Limits, int)) int {
		return sort.Search(limit, func(i int) bool { return !fits(func(l *graph.Limits) { set(l, i+1) }) })
	}
	var ways []string
	if n := most(e.lim.MaxRows-1, func(l *graph.Limits, n int) { l.MaxRows = n }); n > 0 {
		ways = append(ways, fmt.Sprintf("steps of %d rows, not %d", n, e.lim.MaxRows))
	}
	if n := offload.PageTok * most(e.lim.Context/offload.PageTok, func(l *graph.Limits, n int) { l.Context = n * offload.PageTok }); n > 0 {
		ways = append(ways, fmt.Sprintf("a context of %d tokens, not %d", n, e.lim.Context))
	}
	if len(ways) == 0 {
		return fmt.Errorf("%w; no shorter steps and no shorter context fit beside the weights", failure)
	}
	return fmt.Errorf("%w; what fits: %s", failure, strings.Join(ways, ", or "))
}
