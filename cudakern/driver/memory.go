package driver

// #include "shim.h"
import "C"

import (
	"fmt"
	"unsafe"
)

// Ptr is an address that kernels can use.
type Ptr uint64

// Add is the address n bytes further on.
func (p Ptr) Add(n int64) Ptr { return p + Ptr(n) }

// Alloc takes device memory, whose content is arbitrary.
func (d *Device) Alloc(bytes int64) (Ptr, error) {
	var p C.uint64_t
	if err := check("cuMemAlloc", C.edged_cuda_alloc(d.ctx, C.uint64_t(bytes), &p)); err != nil {
		return 0, fmt.Errorf("allocate %d bytes on the device: %w", bytes, err)
	}
	return Ptr(p), nil
}

// Free gives memory from Alloc back.
func (d *Device) Free(p Ptr) error {
	return check("cuMemFree", C.edged_cuda_free(d.ctx, C.uint64_t(p)))
}

// AllocManaged takes zeroed device memory that the processor can use at the
// same address: slowly, a page at a time, and only now and then.
func (d *Device) AllocManaged(bytes int64) ([]byte, error) {
	if !d.Info.Managed {
		return nil, fmt.Errorf("allocate %d managed bytes: %s does not let the processor use its memory while kernels run", bytes, d.Info.Name)
	}
	var p C.uint64_t
	if err := check("cuMemAllocManaged", C.edged_cuda_alloc_managed(d.ctx, d.dev, C.uint64_t(bytes), &p)); err != nil {
		return nil, fmt.Errorf("allocate %d managed bytes: %w", bytes, err)
	}
	return hostBytes(p, bytes), nil
}

// FreeManaged gives memory from AllocManaged back.
func (d *Device) FreeManaged(b []byte) error { return d.Free(Address(b)) }

// AllocHost takes page-locked host memory that kernels and copies can use.
func (d *Device) AllocHost(bytes int64) ([]byte, error) {
	var p C.uint64_t
	if err := check("cuMemHostAlloc", C.edged_cuda_alloc_host(d.ctx, C.uint64_t(bytes), &p)); err != nil {
		return nil, fmt.Errorf("allocate %d page-locked bytes: %w", bytes, err)
	}
	return hostBytes(p, bytes), nil
}

// FreeHost gives memory from AllocHost back.
func (d *Device) FreeHost(b []byte) error {
	return check("cuMemFreeHost", C.edged_cuda_free_host(d.ctx, C.uint64_t(Address(b))))
}

// Register locks host memory that begins on a memory page and lies outside the
// Go heap, and returns the address by which kernels reach it.
func (d *Device) Register(b []byte) (Ptr, error) {
	var p C.uint64_t
	if err := check("cuMemHostRegister", C.edged_cuda_register(d.ctx, C.uint64_t(Address(b)), C.uint64_t(len(b)), &p)); err != nil {
		return 0, fmt.Errorf("lock %d bytes for the device: %w", len(b), err)
	}
	return Ptr(p), nil
}

// Unregister ends what Register began.
func (d *Device) Unregister(b []byte) error {
	return check("cuMemHostUnregister", C.edged_cuda_unregister(d.ctx, C.uint64_t(Address(b))))
}

// Address is where memory outside the Go heap lies: of managed and page-locked
// memory the device's address, too.
func Address(b []byte) Ptr { return Ptr(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

func hostBytes(p C.uint64_t, n int64) []byte {
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&p))), n)
}
