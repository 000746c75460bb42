package driver

// #include "shim.h"
// #include <stdlib.h>
import "C"

import (
	"fmt"
	"unsafe"
)

// Module is loaded code; Function is one kernel of it.
type (
	Module   uint64
	Function uint64
)

// Load compiles PTX for the device, or takes the result from the driver's cache
// on disk.
func (d *Device) Load(ptx []byte) (Module, error) {
	image := C.CBytes(append(ptx[:len(ptx):len(ptx)], 0))
	defer C.free(image)
	log := C.malloc(4096)
	defer C.free(log)
	*(*C.char)(log) = 0
	var m C.uint64_t
	code := C.edged_cuda_load_module(d.ctx, image, &m, (*C.char)(log), 4096)
	if err := check("cuModuleLoadDataEx", code, C.GoString((*C.char)(log))); err != nil {
		return 0, fmt.Errorf("load kernels: %w", err)
	}
	return Module(m), nil
}

// Unload frees a module and its kernels.
func (d *Device) Unload(m Module) error {
	return check("cuModuleUnload", C.edged_cuda_unload_module(d.ctx, C.uint64_t(m)))
}

// Function finds a kernel and lets its launches use shared bytes.
func (d *Device) Function(m Module, name string, shared int) (Function, error) {
	s := C.CString(name)
	defer C.free(unsafe.Pointer(s))
	var f C.uint64_t
	if err := check("cuModuleGetFunction", C.edged_cuda_function(d.ctx, C.uint64_t(m), s, &f), name); err != nil {
		return 0, err
	}
	if shared > 0 {
		if err := check("cuFuncSetAttribute", C.edged_cuda_allow_shared(d.ctx, f, C.int(shared)), name); err != nil {
			return 0, fmt.Errorf("allow %d bytes of shared memory: %w", shared, err)
		}
	}
	return Function(f), nil
}

// Function attributes, by the driver's numbers.
const (
	attrLocal = 3
	attrRegs  = 4
)

// Resources are a kernel's registers and local memory per thread.
func (d *Device) Resources(f Function) (registers, localBytes int, err error) {
	var r, l C.int
	if err := check("cuFuncGetAttribute", C.edged_cuda_function_attribute(d.ctx, C.uint64_t(f), attrRegs, &r)); err != nil {
		return 0, 0, err
	}
	err = check("cuFuncGetAttribute", C.edged_cuda_function_attribute(d.ctx, C.uint64_t(f), attrLocal, &l))
	return int(r), int(l), err
}
