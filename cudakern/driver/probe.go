package driver

import (
	"fmt"
)

// Report is what Probe found.
type Report struct {
	DriverVersion string // such as 580.159.04; "" where NVML does not tell
	CUDAVersion   int    // newest that the driver knows, such as 13000; 0 without driver
	Devices       []Found
	Missing       []string // what is not there, or keeps a device from being used, in words
}

// Found is one device.
type Found struct {
	Info
	BusID     string // on PCI
	FreeBytes int64  // all processes together; -1 where nobody tells
	Link      Link
	Display   bool // a screen shows what it draws
	Graphics  int  // processes that draw with it
	// Usable says that the CUDA driver offers the device to this process. NVML
	// shows others too.
	Usable bool
}

// OldestMajor is the compute capability, major number, from which on a device can
// be used.
const OldestMajor = 8

// Probe looks for a driver and devices. It takes no context, so it costs no
// device memory and disturbs nothing.
func Probe() Report {
	var r Report
	managed := r.askNVML()
	r.askCUDA(managed)
	for _, m := range managed {
		if !r.has(m.busID) {
			r.Devices = append(r.Devices, m.found())
			r.miss("device %s (%s): NVML sees it, the CUDA driver does not offer it to this process", m.busID, m.name)
		}
	}
	for _, d := range r.Devices {
		if d.Major < OldestMajor {
			r.miss("device %s (%s) has compute capability %d.%d, %d.0 is needed", d.BusID, d.Name, d.Major, d.Minor, OldestMajor)
		}
	}
	return r
}

func (r *Report) miss(format string, args ...any) {
	r.Missing = append(r.Missing, fmt.Sprintf(format, args...))
}

func (r *Report) has(busID string) bool {
	for _, d := range r.Devices {
		if sameBus(d.BusID, busID) {
			return true
		}
	}
	return false
}

func (r *Report) askNVML() []managedDevice {
	err := loadNVML()
	if err == nil {
		r.DriverVersion, err = nvmlVersion()
	}
	var all []managedDevice
	if err == nil {
		all, err = nvmlDevices()
	}
	if err != nil {
		r.miss("%v", err)
	}
	return all
}

func (r *Report) askCUDA(managed []managedDevice) {
	version, n, err := Version()
	r.CUDAVersion = version
	if err != nil {
		r.miss("%v", err)
		return
	}
	if n == 0 {
		r.miss("the CUDA driver sees no device")
	}
	for i := range n {
		d := &Device{}
		if err := d.describe(i); err != nil {
			r.miss("describe CUDA device %d: %v", i, err)
			continue
		}
		f := Found{Info: d.Info, BusID: d.busID, FreeBytes: -1, Usable: true}
		for _, m := range managed {
			if sameBus(m.busID, d.busID) {
				f.FreeBytes, f.Link, f.Display, f.Graphics = m.free, m.link, m.display, m.graphics
			}
		}
		r.Devices = append(r.Devices, f)
	}
}

func (m managedDevice) found() Found {
	return Found{Info: Info{Name: m.name, Major: m.major, Minor: m.minor, Bytes: m.total}, BusID: m.busID,
		FreeBytes: m.free, Link: m.link, Display: m.display, Graphics: m.graphics}
}
