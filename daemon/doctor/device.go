package doctor

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func processor(_ context.Context, m Machine) []Finding {
	best := "none"
	if len(m.CPU) > 0 {
		best = m.CPU[0]
	}
	if best == "generic" || best == "none" {
		return one("processor", Warning, "run on a processor with AVX2 or NEON", "no vector instructions that the kernels can use")
	}
	return one("processor", OK, "", "kernels for %s", strings.Join(m.CPU, ", "))
}

// gpu says what a configuration with backend = "cuda" will meet. Without it, a GPU
// that could be used is worth a note.
func gpu(_ context.Context, m Machine) []Finding {
	nodes, _ := filepath.Glob(filepath.Join(m.Root, "dev/nvidia[0-9]*"))
	present := m.hasNVIDIA()
	if m.Backend != "cuda" {
		if len(nodes) > 0 {
			return one("gpu", Note, `set engine.backend = "cuda" to use it`, "%d NVIDIA devices are here, and the configuration uses %s", len(nodes), m.Backend)
		}
		return one("gpu", OK, "", "not asked for (engine.backend is %s)", m.Backend)
	}
	if out := m.deviceNodes(nodes, present); out != nil {
		return out
	}
	g := m.GPU()
	missing := strings.Join(g.Missing, "; ")
	if len(g.Devices) == 0 {
		return one("gpu", Problem, "install NVIDIA's driver with libcuda.so.1 (Debian: libcuda1) for the running kernel; `nvidia-smi -L` shows what it sees, CUDA_VISIBLE_DEVICES may hide devices", "%s", missing)
	}
	out := one("gpu", OK, "", "%s; driver %s for CUDA %d.%d", strings.Join(g.Devices, ", "), g.Driver, g.CUDA/1000, g.CUDA%1000/10)
	if missing != "" {
		out = append(out, one("gpu-others", Note, "`nvidia-smi` shows them; nothing is to be done unless the daemon shall use them", "%s", missing)...)
	}
	if params := m.read("proc/driver/nvidia/params"); params != "" && !strings.Contains(params, "PreserveVideoMemoryAllocations: 1") {
		out = append(out, Finding{"gpu-suspend", Note, "the driver loses the GPU's memory when the machine sleeps, and the daemon then starts anew",
			"options nvidia NVreg_PreserveVideoMemoryAllocations=1 in /etc/modprobe.d, and enable nvidia-suspend.service and nvidia-resume.service"})
	}
	return out
}

// deviceNodes says what is missing below the driver's library; nil when nothing is.
func (m Machine) deviceNodes(nodes []string, present bool) []Finding {
	switch {
	case len(nodes) == 0 && m.exists("dev/dxg"):
		return one("gpu", Problem, "run edged on Linux itself; inside WSL, install the CUDA libraries of WSL", "this is WSL: it has /dev/dxg in place of /dev/nvidia*")
	case len(nodes) == 0 && present && !m.exists("proc/driver/nvidia"):
		return one("gpu", Problem, "install the driver (Debian: nvidia-driver) and load it: modprobe nvidia", "an NVIDIA device is on the bus, but its kernel module is not loaded")
	case len(nodes) == 0 && present:
		return one("gpu", Problem, "nvidia-modprobe -c0 -u makes them; nvidia-persistenced.service does at each boot", "the kernel module is loaded, but /dev/nvidia0 is not there")
	case len(nodes) == 0:
		return one("gpu", Problem, `set engine.backend = "cpu", or attach the device`, `engine.backend is "cuda", and this machine has no NVIDIA device`)
	case !m.exists("dev/nvidia-uvm"):
		return one("gpu", Problem, "modprobe nvidia_uvm, or nvidia-modprobe -c0 -u; nvidia-persistenced.service does at each boot", "/dev/nvidia-uvm is not there")
	}
	for _, n := range nodes {
		if err := unix.Access(n, unix.R_OK|unix.W_OK); err != nil {
			return one("gpu", Problem, "add the daemon's user to the group of the file (ls -l /dev/nvidia0), usually video", "%s cannot be used by user %d: %v", n, m.UID, err)
		}
	}
	return nil
}

// hasNVIDIA looks on the bus.
func (m Machine) hasNVIDIA() bool {
	vendors, _ := filepath.Glob(filepath.Join(m.Root, "sys/bus/pci/devices/*/vendor"))
	for _, v := range vendors {
		if b, err := os.ReadFile(v); err == nil && strings.TrimSpace(string(b)) == "0x10de" {
			return true
		}
	}
	return false
}
