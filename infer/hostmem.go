package infer

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
)

// defaultHostBytes is three quarters of the memory that the system can give
// without swapping. The rest is for the page cache of the model file, the Go
// heap and everybody else.
func defaultHostBytes() (int64, error) {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("find available memory (or set a host memory limit): %w", err)
	}
	kib, err := availableKiB(info)
	if err != nil {
		return 0, err
	}
	return kib * 1024 / 4 * 3, nil
}

func availableKiB(meminfo []byte) (int64, error) {
	for s := bufio.NewScanner(bytes.NewReader(meminfo)); s.Scan(); {
		var kib int64
		if _, err := fmt.Sscanf(s.Text(), "MemAvailable: %d kB", &kib); err == nil && kib > 0 {
			return kib, nil
		}
	}
	return 0, fmt.Errorf("find available memory: /proc/meminfo has no MemAvailable; set a host memory limit")
}
