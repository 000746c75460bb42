package driver

// #include "shim.h"
import "C"

import (
	"fmt"
)

// Info is what a device is.
type Info struct {
	Name        string
	Major       int // compute capability
	Minor       int
	Bytes       int64 // memory
	SMs         int
	L2Bytes     int
	SharedBytes int  // most dynamic shared memory of a block
	ClockKHz    int  // of the multiprocessors
	Managed     bool // the processor may use managed memory while kernels run
}

// Device is one GPU with its primary context.
type Device struct {
	Info  Info
	busID string // on PCI
	dev   C.int
	ctx   C.uint64_t
}

// Device attributes, by the driver's numbers.
const (
	attrClock   = 13
	attrSMs     = 16
	attrL2      = 38
	attrMajor   = 75
	attrMinor   = 76
	attrManaged = 89 // concurrent managed access
	attrShared  = 97 // opt-in shared memory per block
)

// Open takes a device's primary context.
func Open(ordinal int) (*Device, error) {
	_, n, err := Version()
	if err != nil {
		return nil, fmt.Errorf("open CUDA device %d: %w", ordinal, err)
	}
	if ordinal < 0 || ordinal >= n {
		return nil, fmt.Errorf("open CUDA device %d: %w: the driver sees %d devices", ordinal, ErrNoDriver, n)
	}
	d := &Device{}
	if err := d.describe(ordinal); err != nil {
		return nil, fmt.Errorf("open CUDA device %d: %w", ordinal, err)
	}
	if err := check("cuDevicePrimaryCtxRetain", C.edged_cuda_retain(d.dev, &d.ctx)); err != nil {
		return nil, fmt.Errorf("open CUDA device %d: %w", ordinal, err)
	}
	return d, nil
}

func (d *Device) describe(ordinal int) error {
	var name [128]C.char
	var bytes C.uint64_t
	if err := check("cuDeviceGet", C.edged_cuda_device(C.int(ordinal), &d.dev, &name[0], C.int(len(name)), &bytes)); err != nil {
		return err
	}
	d.Info.Name, d.Info.Bytes = C.GoString(&name[0]), int64(bytes)
	var managed int
	for _, a := range []struct {
		which int
		to    *int
	}{{attrMajor, &d.Info.Major}, {attrMinor, &d.Info.Minor}, {attrSMs, &d.Info.SMs}, {attrL2, &d.Info.L2Bytes},
		{attrShared, &d.Info.SharedBytes}, {attrClock, &d.Info.ClockKHz}, {attrManaged, &managed}} {
		var v C.int
		if err := check("cuDeviceGetAttribute", C.edged_cuda_attribute(d.dev, C.int(a.which), &v)); err != nil {
			return err
		}
		*a.to = int(v)
	}
	d.Info.Managed = managed != 0
	var id [32]C.char
	err := check("cuDeviceGetPCIBusId", C.edged_cuda_bus_id(d.dev, &id[0], C.int(len(id))))
	d.busID = C.GoString(&id[0])
	return err
}

// Close gives the context back.
func (d *Device) Close() error {
	if d.ctx == 0 {
		return nil
	}
	d.ctx = 0
	return check("cuDevicePrimaryCtxRelease", C.edged_cuda_release(d.dev))
}

// MemInfo is the device's free and whole memory, bytes, all processes together.
func (d *Device) MemInfo() (free, total int64, err error) {
	var f, t C.uint64_t
	err = check("cuMemGetInfo", C.edged_cuda_mem_info(d.ctx, &f, &t))
	return int64(f), int64(t), err
}
