package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"

	"edged/cudakern/driver"
	"edged/daemon/doctor"
	"edged/ipc/client"
	"edged/pinnedmem"
	"edged/store"
)

// Finding is the outcome of one of Doctor's checks.
type Finding = doctor.Finding

// Doctor looks at this machine for what keeps a daemon with this configuration
// from starting or makes it slow. ok is false when there is a problem.
func Doctor(ctx context.Context, src Source, socket string) (found []Finding, ok bool) {
	m := doctor.Machine{
		Root: "/", Config: src.File, Backend: DefaultConfig().Engine.Backend, Socket: socket, UID: os.Geteuid(), CPU: CPUFeatures(),
		StoreDir: src.Paths.Sessions, LockLimit: pinnedmem.LockLimit, GPU: askGPU,
		Pressure: func() (float64, bool, error) { return readPressure(pressureFile) },
		Available: func() (int64, int64, error) {
			h, err := readHostMemory()
			return h.Available, h.Total, err
		},
		Ask: func(ctx context.Context) (string, string, error) {
			c := client.New(socket)
			defer c.Close()
			h, err := c.Ready(ctx)
			return h.Status, h.Text, err
		},
	}
	cfg, err := src.Load()
	if m.ConfigErr = err; err == nil {
		m.Backend, m.LockMemory, m.HostMemory = cfg.Engine.Backend, cfg.Engine.LockMemory, int64(cfg.Engine.HostMemory)
		if m.StoreDir = cfg.Store.Dir; !cfg.Store.Enabled {
			m.StoreDir = ""
		}
		for _, x := range cfg.Models {
			m.Models = append(m.Models, x.Path)
		}
		if _, err := groupID(cfg.Socket.Group); err != nil {
			m.ConfigErr = err
		}
	}
	if m.StoreDir != "" {
		if err := store.CheckIndex(m.StoreDir); errors.Is(err, store.ErrIndexLost) {
			m.StoreErr = err // anything else has findings of its own
		}
	}
	found = doctor.Examine(ctx, m)
	return found, doctor.Worst(found) != doctor.Problem
}

// askGPU asks the driver what there is. It takes no device memory.
func askGPU() doctor.GPU {
	r := driver.Probe()
	g := doctor.GPU{Driver: r.DriverVersion, CUDA: r.CUDAVersion, Missing: r.Missing}
	for _, d := range r.Devices {
		if !d.Usable || d.Major < driver.OldestMajor {
			continue // Missing says why
		}
		free := ""
		if d.FreeBytes >= 0 {
			free = ", " + FormatBytes(d.FreeBytes) + " free"
		}
		g.Devices = append(g.Devices, fmt.Sprintf("%s with %s%s", d.Name, FormatBytes(d.Bytes), free))
	}
	return g
}

// ErrUnwell means that Doctor has found a problem.
var ErrUnwell = errors.New("a problem was found: the daemon cannot do what is asked of it")
