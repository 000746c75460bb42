package daemon

import (
	"fmt"
	"runtime"

	"github.com/shirou/gopsutil/v3/cpu"
)

// MachineName names the processor for reports.
func MachineName() string {
	name := runtime.GOARCH
	if info, err := cpu.Info(); err == nil && len(info) > 0 && info[0].ModelName != "" {
		name = info[0].ModelName
	}
	return fmt.Sprintf("%d x %s (%s)", runtime.NumCPU(), name, CPUFeatures()[0])
}
