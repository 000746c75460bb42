package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"edged/daemon/health"
)

const (
	// vitalsEvery is how often a daemon looks after itself. A look costs a few
	// system calls and nothing on a device.
	vitalsEvery = 10 * time.Second
	// A machine is short of memory from pressureHigh on until it is below
	// pressureLow: shares of time in which something waited for memory.
	pressureHigh, pressureLow = 0.10, 0.02
	// diskLow is the free space, in bytes, below which a turn of a long
	// conversation may not fit.
	diskLow = 1 << 30
)

// vitals looks after a running daemon. It belongs to one goroutine.
type vitals struct {
	health *health.Registry
	log    *slog.Logger
	engine lifecycle
	cfg    *atomic.Pointer[Config]
	tell   func() // shows the service manager what has changed

	pressure func() (share float64, ok bool, err error)
	diskFree func(dir string) (bytes int64, err error)

	told map[string]string // texts that were logged, by code
}

func newVitals(d *service) *vitals {
	return &vitals{
		health: d.health, log: d.log, engine: d.engine, cfg: &d.current, tell: d.tellStatus,
		pressure: func() (float64, bool, error) { return readPressure(pressureFile) }, diskFree: diskFree,
	}
}

// run looks at each tick until ctx ends.
func (v *vitals) run(ctx context.Context, ticks <-chan time.Time) {
	for {
		select {
		case <-ticks:
			v.look(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// look brings the conditions up to date, acts on them and reports them.
func (v *vitals) look(ctx context.Context) {
	cfg := v.cfg.Load()
	v.lookAtModel(ctx)
	examine(v.health, v.engine.Status(), *cfg)
	v.lookAtMemory()
	v.lookAtDisk(cfg.Store)
	v.report()
	v.tell()
}

// lookAtModel lets a model that could not be loaded be tried again once its file is
// another one. Whether it can answer, the engine's status says afterwards.
func (v *vitals) lookAtModel(ctx context.Context) {
	if !v.engine.Status().Retries {
		return
	}
	if err := v.engine.Prove(ctx, proofAge); err != nil {
		v.log.Debug("model", "err", err)
	}
}

// lookAtMemory gives up what idle conversations hold while the machine is short of memory.
func (v *vitals) lookAtMemory() {
	share, ok, err := v.pressure()
	switch {
	case err != nil:
		v.log.Debug("memory pressure", "err", err)
	case !ok || share < pressureLow:
		v.health.Clear(memoryPressure)
	case share >= pressureHigh:
		v.health.Set(memoryPressure, fmt.Sprintf("in %.0f %% of the last 10 s something waited for memory", 100*share))
		v.engine.DropIdle()
	}
}

// lookAtDisk compares what the store may still write with what there is.
func (v *vitals) lookAtDisk(s Store) {
	if !s.Enabled {
		return
	}
	free, err := v.diskFree(s.Dir)
	switch {
	case err != nil:
		v.log.Debug("disk of the store", "err", err)
	case free < diskLow:
		v.health.Set(storeDisk, fmt.Sprintf("%s are free on the disk of %s, %s are advised", FormatBytes(free), s.Dir, FormatBytes(diskLow)))
	default:
		v.health.Clear(storeDisk)
	}
}

// diskFree is the space that a process without privileges may use.
func diskFree(dir string) (bytes int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("read free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// report logs what is new and what is over.
func (v *vitals) report() {
	now := map[string]string{}
	for _, f := range v.health.Findings() {
		now[f.Code] = f.Text
		if _, known := v.told[f.Code]; known {
			continue
		}
		level := map[health.Severity]slog.Level{health.Info: slog.LevelInfo, health.Warning: slog.LevelWarn, health.Error: slog.LevelError}[f.Severity]
		v.log.Log(context.Background(), level, f.Title, "condition", f.Code, "detail", f.Text, "remedy", f.Remedy)
	}
	for code := range v.told {
		if _, still := now[code]; !still {
			v.log.Info("no longer", "condition", code)
		}
	}
	v.told = now
}
