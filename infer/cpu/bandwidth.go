package cpu

// #include "kern/cpu.h"
import "C"

import (
	"errors"
	"sync"
	"time"
	"unsafe"
)

// ReadBandwidth reads mem with as many threads as given and returns bytes per
// second, best of five passes. mem should be much larger than the caches and
// its pages touched.
func ReadBandwidth(mem []byte, threads int) (float64, error) {
	if threads < 1 || len(mem)/threads < 1<<20 {
		return 0, errors.New("measure read bandwidth: less than 1 MiB per thread")
	}
	part := len(mem) / threads / lineBytes * lineBytes
	best := 0.0
	for range 5 {
		var wg sync.WaitGroup
		start := time.Now()
		for t := range threads {
			wg.Go(func() { C.edged_read((*C.uint8_t)(unsafe.Pointer(&mem[t*part])), C.int64_t(part)) })
		}
		wg.Wait()
		best = max(best, float64(part*threads)/time.Since(start).Seconds())
	}
	return best, nil
}
