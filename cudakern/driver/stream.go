package driver

// #include "shim.h"
import "C"

import "time"

// Stream is a queue of commands, Event a mark in one, Graph a list that was
// prepared to run again and again.
type (
	Stream uint64
	Event  uint64
	Graph  uint64
)

// NewStream makes a queue that does not wait for the default one.
func (d *Device) NewStream() (Stream, error) {
	var s C.uint64_t
	err := check("cuStreamCreate", C.edged_cuda_stream(d.ctx, &s))
	return Stream(s), err
}

// FreeStream frees a stream.
func (d *Device) FreeStream(s Stream) error {
	return check("cuStreamDestroy", C.edged_cuda_free_stream(d.ctx, C.uint64_t(s)))
}

// WaitStream returns when everything that was submitted to it has ended.
func (d *Device) WaitStream(s Stream) error {
	return check("cuStreamSynchronize", C.edged_cuda_wait_stream(d.ctx, C.uint64_t(s)))
}

// NewEvent makes a mark; only one with timing can be given to Elapsed.
func (d *Device) NewEvent(timing bool) (Event, error) {
	var e C.uint64_t
	t := C.int(0)
	if timing {
		t = 1
	}
	err := check("cuEventCreate", C.edged_cuda_event(d.ctx, t, &e))
	return Event(e), err
}

// FreeEvent frees an event.
func (d *Device) FreeEvent(e Event) error {
	return check("cuEventDestroy", C.edged_cuda_free_event(d.ctx, C.uint64_t(e)))
}

// WaitEvent returns when the device has passed the mark.
func (d *Device) WaitEvent(e Event) error {
	return check("cuEventSynchronize", C.edged_cuda_wait_event(d.ctx, C.uint64_t(e)))
}

// Elapsed is the device's time between two marks that it has passed.
func (d *Device) Elapsed(from, to Event) (time.Duration, error) {
	var ms C.float
	err := check("cuEventElapsedTime", C.edged_cuda_elapsed(d.ctx, C.uint64_t(from), C.uint64_t(to), &ms))
	return time.Duration(float64(ms) * 1e6), err
}

// FreeGraph frees a graph.
func (d *Device) FreeGraph(g Graph) error {
	return check("cuGraphExecDestroy", C.edged_cuda_free_graph(d.ctx, C.uint64_t(g)))
}
