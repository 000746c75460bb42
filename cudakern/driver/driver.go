// Package driver reaches the CUDA driver, libcuda.so.1, which it loads when it
// is first asked for: the program builds without a CUDA toolkit and starts
// without a driver.
//
// Work for the device is a [List] of commands, run by one call. Every call
// first makes the device's context current, so that goroutines need not stay on
// one thread.
//
// # Ownership
//
// A [Device] owns its context; memory, modules, streams, events and graphs are
// freed by their own calls before [Device.Close]. Nothing is freed by the
// garbage collector. What an asynchronous copy reads or writes must outlive it
// and must not be Go memory: [Device.AllocHost] and [Device.Register] give what
// may be used.
//
// # Goroutine-safety
//
// All methods may be called from any goroutine. Commands of one stream run in
// the order of the calls, which the caller arranges. A List belongs to one
// goroutine.
//
// # Failure modes
//
// [ErrNoDriver] when the driver or a device is missing; the error says what.
// Every other failure is an [*Error] with the name of the driver's call.
// [ErrOutOfMemory] and [ErrTooNew] can be tested for; after [ErrLost] the
// context is dead and only a new process helps.
package driver

/*
#cgo CFLAGS: -O2 -std=c11 -Wall
#cgo LDFLAGS: -ldl
#cgo noescape edged_cuda_submit
#cgo nocallback edged_cuda_submit
#cgo noescape edged_cuda_wait_event
#cgo nocallback edged_cuda_wait_event
#include "shim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"sync"
)

// Errors that callers branch on.
var (
	ErrNoDriver    = errors.New("no CUDA device can be used")
	ErrOutOfMemory = errors.New("device memory is exhausted")
	ErrTooNew      = errors.New("the driver is too old for this program's kernels")
	ErrLost        = errors.New("the CUDA context is lost, the process must be restarted")
)

// Error is a failed call of the driver.
type Error struct {
	Call   string // of the driver
	Code   int    // CUresult
	Name   string // of the code
	Text   string
	Detail string // kernel, or the compiler's words; may be empty
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %s (%d): %s", e.Call, e.Name, e.Code, e.Text)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Codes of the driver that have a meaning here.
const (
	codeOutOfMemory = 2
	codeNoDevice    = 100
	codeBadPTX      = 222 // unsupported PTX version
	codeLost        = 700 // the first of the sticky ones
	codeLostEnd     = 720
)

// Is lets errors.Is find the sentinels.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrOutOfMemory:
		return e.Code == codeOutOfMemory
	case ErrNoDriver:
		return e.Code == codeNoDevice
	case ErrTooNew:
		return e.Code == codeBadPTX
	case ErrLost:
		return e.Code == 214 || e.Code >= codeLost && e.Code < codeLostEnd && e.Code != 701 && e.Code != 704 && e.Code != 705
	}
	return false
}

// check turns a result of the driver into an error.
func check(call string, code C.int, detail ...string) error {
	if code == 0 {
		return nil
	}
	e := &Error{Call: call, Code: int(code), Name: C.GoString(C.edged_cuda_error_name(code)), Text: C.GoString(C.edged_cuda_error_text(code))}
	if len(detail) > 0 {
		e.Detail = detail[0]
	}
	return e
}

var loading sync.Mutex // guards the C side's tables of functions

// opened loads a library once per process; failure is what is wrong, empty if
// nothing is.
func opened(open func(msg *C.char, len C.int) C.int) (failure string) {
	loading.Lock()
	defer loading.Unlock()
	var msg [512]C.char
	if open(&msg[0], C.int(len(msg))) == 0 {
		return ""
	}
	return C.GoString(&msg[0])
}

// load loads the driver.
func load() error {
	if failure := opened(func(msg *C.char, len C.int) C.int { return C.edged_cuda_open(msg, len) }); failure != "" {
		return fmt.Errorf("%w: %s", ErrNoDriver, failure)
	}
	return nil
}

// Version is the newest CUDA version that the driver knows, such as 13000, and
// the number of devices.
func Version() (version, devices int, err error) {
	if err := load(); err != nil {
		return 0, 0, err
	}
	var v, n C.int
	if err := check("cuDriverGetVersion", C.edged_cuda_version(&v)); err != nil {
		return 0, 0, err
	}
	err = check("cuDeviceGetCount", C.edged_cuda_device_count(&n))
	return int(v), int(n), err
}
