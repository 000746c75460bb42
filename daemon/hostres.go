package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/shirou/gopsutil/v3/mem"

	"edged/pinnedmem"
)

// hostMemory is what this process may still use. This file alone knows where
// the figures come from.
type hostMemory struct {
	Total     int64 // bytes of the machine
	Available int64 // bytes that can be taken without swapping, within the control group's limit
	Lockable  int64 // of them, bytes that this process may lock
}

// readHostMemory asks the kernel.
func readHostMemory() (hostMemory, error) {
	v, err := mem.VirtualMemory()
	if err != nil {
		return hostMemory{}, fmt.Errorf("read available memory: %w", err)
	}
	h := hostMemory{Total: int64(v.Total), Available: int64(v.Available)}
	room, limited, err := cgroupRoom("/proc/self/cgroup", "/sys/fs/cgroup")
	if err != nil {
		return hostMemory{}, fmt.Errorf("read memory limit of the control group: %w", err)
	}
	if limited {
		h.Available = min(h.Available, room)
	}
	h.Lockable = h.Available
	lock, limited, err := pinnedmem.LockLimit()
	if err != nil {
		return hostMemory{}, err
	}
	if limited {
		h.Lockable = min(h.Lockable, lock)
	}
	return h, nil
}

// cgroupRoom is the bytes left under the tightest memory.max of the process's
// control group (v2) and its parents: MemoryMax= of a unit, or a container's
// limit, which the machine-wide figures know nothing of.
func cgroupRoom(self, root string) (room int64, limited bool, err error) {
	b, err := os.ReadFile(self)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return 0, false, nil
		}
		return 0, false, err
	}
	path := ""
	for line := range strings.Lines(string(b)) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			path = p
		}
	}
	for dir := filepath.Join(root, path); strings.HasPrefix(dir, root); dir = filepath.Dir(dir) {
		left, ok := groupRoom(dir)
		if ok && (!limited || left < room) {
			room, limited = left, true
		}
	}
	return room, limited, nil
}

func groupRoom(dir string) (int64, bool) {
	limit, ok := readNumber(filepath.Join(dir, "memory.max")) // "max" is no number: no limit
	if !ok {
		return 0, false
	}
	used, ok := readNumber(filepath.Join(dir, "memory.current"))
	if !ok {
		return 0, false
	}
	// File pages count as used but are given back on demand.
	return max(limit-used+cachedBytes(dir), 0), true
}

// cachedBytes is the group's reclaimable file memory.
func cachedBytes(dir string) int64 {
	b, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return 0
	}
	var n int64
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "inactive_file" || name == "active_file" {
			if v, err := strconv.ParseInt(value, 10, 64); err == nil {
				n += v
			}
		}
	}
	return n
}

func readNumber(path string) (int64, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	v, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return v, err == nil
}
