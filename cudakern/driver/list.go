package driver

// #include "shim.h"
import "C"

import (
	"fmt"
	"unsafe"
)

// Dim is how many blocks or threads there are in each direction.
type Dim struct{ X, Y, Z int }

// Launch is one kernel's start.
type Launch struct {
	Function Function
	Name     string // for errors
	Grid     Dim
	Block    Dim
	Shared   int    // dynamic shared memory, bytes
	Args     []byte // parameters as the kernel lays them out
	// Overlap lets the kernel begin before the command in front of it has ended.
	// It then waits by itself before it reads what that one wrote.
	Overlap bool
}

// List is commands for one stream. Its memory is kept from use to use.
type List struct {
	stream Stream
	cmds   []C.command
	args   []byte
	names  []string // [commands] for errors
}

// Reset empties the list and directs it to a stream.
func (l *List) Reset(s Stream) {
	l.stream, l.cmds, l.args, l.names = s, l.cmds[:0], l.args[:0], l.names[:0]
}

// On directs what is appended from here on to another stream.
func (l *List) On(s Stream) { l.stream = s }

// Len is the number of commands.
func (l *List) Len() int { return len(l.cmds) }

func (l *List) add(c C.command, name string) {
	c.stream = C.uint64_t(l.stream)
	l.cmds, l.names = append(l.cmds, c), append(l.names, name)
}

// Launch appends a kernel.
func (l *List) Launch(k Launch) {
	for len(l.args)%16 != 0 {
		l.args = append(l.args, 0)
	}
	c := C.command{kind: C.CMD_LAUNCH, object: C.uint64_t(k.Function), args: C.uint64_t(len(l.args)), bytes: C.uint64_t(len(k.Args)),
		grid: dim(k.Grid), block: dim(k.Block), shared: C.uint32_t(k.Shared)}
	if k.Overlap {
		c.flags = C.OVERLAP
	}
	l.args = append(l.args, k.Args...)
	l.add(c, k.Name)
}

func dim(d Dim) [3]C.uint32_t {
	return [3]C.uint32_t{C.uint32_t(max(d.X, 1)), C.uint32_t(max(d.Y, 1)), C.uint32_t(max(d.Z, 1))}
}

// CopyTo appends a copy from page-locked host memory.
func (l *List) CopyTo(dst Ptr, src []byte) {
	l.add(C.command{kind: C.CMD_COPY_TO, dst: C.uint64_t(dst), src: C.uint64_t(Address(src)), bytes: C.uint64_t(len(src))}, "copy to device")
}

// CopyFrom appends a copy to page-locked host memory.
func (l *List) CopyFrom(dst []byte, src Ptr) {
	l.add(C.command{kind: C.CMD_COPY_FROM, dst: C.uint64_t(Address(dst)), src: C.uint64_t(src), bytes: C.uint64_t(len(dst))}, "copy from device")
}

// Copy appends a copy within the device.
func (l *List) Copy(dst, src Ptr, bytes int64) {
	l.add(C.command{kind: C.CMD_COPY, dst: C.uint64_t(dst), src: C.uint64_t(src), bytes: C.uint64_t(bytes)}, "copy on device")
}

// Fill appends the setting of bytes.
func (l *List) Fill(dst Ptr, value byte, bytes int64) {
	l.add(C.command{kind: C.CMD_FILL, dst: C.uint64_t(dst), value: C.uint32_t(value), bytes: C.uint64_t(bytes)}, "fill")
}

// Record appends a mark.
func (l *List) Record(e Event) {
	l.add(C.command{kind: C.CMD_RECORD, object: C.uint64_t(e)}, "record event")
}

// Clock appends a mark that a graph passes each time it runs; others are there to order
// what becomes a graph.
func (l *List) Clock(e Event) {
	l.add(C.command{kind: C.CMD_CLOCK, object: C.uint64_t(e)}, "record event of a graph")
}

// Wait appends a wait for a mark of another stream.
func (l *List) Wait(e Event) {
	l.add(C.command{kind: C.CMD_WAIT, object: C.uint64_t(e)}, "wait for event")
}

// Graph appends a prepared list.
func (l *List) Graph(g Graph) {
	l.add(C.command{kind: C.CMD_GRAPH, object: C.uint64_t(g)}, "launch graph")
}

// Submit queues all commands in one call. They run later: their failures may
// come from any later call. It makes no heap allocation.
func (d *Device) Submit(l *List) error {
	if len(l.cmds) == 0 {
		return nil
	}
	var failed C.int
	code := C.edged_cuda_submit(d.ctx, unsafe.SliceData(l.cmds), C.int(len(l.cmds)), (*C.uint8_t)(unsafe.SliceData(l.args)), &failed)
	if code == 0 {
		return nil
	}
	return l.blame("submit", code, failed)
}

// Capture prepares the commands, launches and copies, to be run as a graph.
func (d *Device) Capture(l *List) (Graph, error) {
	if len(l.cmds) == 0 {
		return 0, fmt.Errorf("capture graph: the list is empty")
	}
	var failed C.int
	var g C.uint64_t
	code := C.edged_cuda_capture(d.ctx, unsafe.SliceData(l.cmds), C.int(len(l.cmds)), (*C.uint8_t)(unsafe.SliceData(l.args)), &g, &failed)
	if code == 0 {
		return Graph(g), nil
	}
	return 0, l.blame("capture graph", code, failed)
}

func (l *List) blame(what string, code, failed C.int) error {
	if failed < 0 {
		return fmt.Errorf("%s of %d commands: %w", what, len(l.cmds), check("context or graph", code))
	}
	return fmt.Errorf("%s: command %d of %d: %w", what, failed, len(l.cmds), check(l.names[failed], code))
}
