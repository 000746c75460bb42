package driver

// #include "nvml.h"
import "C"

import (
	"fmt"
	"strings"
)

// Link is a device's PCI Express link; 0 stands for what is not known. The
// present generation drops while a device idles.
type Link struct {
	Generation, MaxGeneration int
	Lanes, MaxLanes           int
}

// managedDevice is what NVML knows of a device.
type managedDevice struct {
	busID        string
	name         string
	major, minor int
	total, free  int64 // bytes; all processes together
	link         Link
	display      bool
	graphics     int // processes that draw with it
}

func loadNVML() error {
	if failure := opened(func(msg *C.char, len C.int) C.int { return C.edged_nvml_open(msg, len) }); failure != "" {
		return fmt.Errorf("load NVML: %s", failure)
	}
	return nil
}

func checkNVML(call string, code C.int) error {
	if code == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s (%d)", call, C.GoString(C.edged_nvml_error(code)), int(code))
}

// nvmlVersion is the driver's version, such as 580.159.04.
func nvmlVersion() (string, error) {
	var text [96]C.char
	err := checkNVML("nvmlSystemGetDriverVersion", C.edged_nvml_driver_version(&text[0], C.int(len(text))))
	return C.GoString(&text[0]), err
}

// nvmlDevices are all devices that NVML sees: those too that a process may not
// use.
func nvmlDevices() ([]managedDevice, error) {
	var n C.unsigned
	if err := checkNVML("nvmlDeviceGetCount", C.edged_nvml_count(&n)); err != nil {
		return nil, err
	}
	var out []managedDevice
	for i := range n {
		d, err := nvmlDeviceAt(i)
		if err != nil {
			return nil, fmt.Errorf("ask NVML for device %d: %w", i, err)
		}
		out = append(out, d)
	}
	return out, nil
}

func nvmlDeviceAt(i C.unsigned) (managedDevice, error) {
	var id [32]C.char
	if err := checkNVML("nvmlDeviceGetPciInfo", C.edged_nvml_bus_id(i, &id[0], C.int(len(id)))); err != nil {
		return managedDevice{}, err
	}
	var d C.nvml_device
	if err := checkNVML("nvmlDeviceGetMemoryInfo", C.edged_nvml_device(i, &d)); err != nil {
		return managedDevice{}, err
	}
	known := func(v C.int) int { return max(int(v), 0) }
	return managedDevice{
		busID: C.GoString(&id[0]), name: C.GoString(&d.name[0]), major: int(d.major), minor: int(d.minor),
		total: int64(d.total), free: int64(d.free),
		link:    Link{known(d.link_generation), known(d.link_max_generation), known(d.link_width), known(d.link_max_width)},
		display: d.display == 1, graphics: known(d.graphics),
	}, nil
}

// sameBus says whether two names are of one PCI device: CUDA writes the domain
// with four digits, NVML with eight.
func sameBus(a, b string) bool {
	return strings.EqualFold(strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0"))
}
