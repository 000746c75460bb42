package driver_test

import (
	"os"
	"strings"
	"testing"

	"edged/cudakern/driver"
)

// TestProbe: the report names every device with its figures, or what is missing.
func TestProbe(t *testing.T) {
	r := driver.Probe()
	t.Logf("%+v", r)
	usable := 0
	for _, d := range r.Devices {
		if d.Usable {
			usable++
		}
		if d.Name == "" || d.BusID == "" || d.Bytes <= 0 || d.FreeBytes > d.Bytes {
			t.Errorf("device %+v lacks a figure", d)
		}
	}
	if os.Getenv("EDGED_REQUIRE_CUDA") == "1" {
		if usable == 0 || len(r.Missing) > 0 || r.DriverVersion == "" || r.CUDAVersion < 11080 {
			t.Errorf("on a machine with a GPU the report is %+v", r)
		}
		for _, d := range r.Devices {
			if d.FreeBytes <= 0 || d.Link.MaxGeneration == 0 || d.Link.MaxLanes == 0 {
				t.Errorf("device %+v lacks what NVML tells", d)
			}
		}
		return
	}
	if usable > 0 {
		return
	}
	all := strings.Join(r.Missing, "\n")
	for _, want := range []string{"NVML", "CUDA"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q does not say what is missing of %s", all, want)
		}
	}
}
