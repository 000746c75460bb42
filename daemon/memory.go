package daemon

import (
	"fmt"
	"os"
	"runtime/debug"
)

const (
	// goHeapPercent makes the collector run when the heap has grown by half,
	// not by the usual whole: weights and KV cache live outside it, what is
	// left is mostly vocabularies, and memory matters more than the collector's
	// time, which the decode loop does not pay.
	goHeapPercent = 50
	// goHeapLimit is where the collector becomes stricter still, in bytes. The
	// largest requests (32 MiB of JSON) stay well below it.
	goHeapLimit = 512 << 20
)

// limitGoHeap keeps Go's share of memory small, unless the operator has set
// the usual variables.
func limitGoHeap() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(goHeapPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(goHeapLimit)
	}
}

// hostBudget is the bytes that models may take: what the configuration wants,
// if that is there, or three quarters of what is available. The rest is for
// the page cache of model files, Go's heap and everybody else.
func hostBudget(want Size, h hostMemory) (int64, error) {
	if want == 0 {
		return h.Available / 4 * 3, nil
	}
	if int64(want) > h.Available {
		return 0, fmt.Errorf("engine.host_memory is %v (%d bytes), but only %s (%d bytes) of %s are available",
			want, int64(want), FormatBytes(h.Available), h.Available, FormatBytes(h.Total))
	}
	return int64(want), nil
}
