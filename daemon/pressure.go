package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// pressureFile is the kernel's account of time that was lost for want of memory.
const pressureFile = "/proc/pressure/memory"

// readPressure is the share, 0 to 1, of the last ten seconds in which at least one
// process waited for memory. ok is false where the kernel keeps no such account.
func readPressure(file string) (share float64, ok bool, err error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EOPNOTSUPP) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("read memory pressure: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "some" {
			continue
		}
		value, found := strings.CutPrefix(fields[1], "avg10=")
		percent, err := strconv.ParseFloat(value, 64)
		if !found || err != nil || !(percent >= 0 && percent <= 100) {
			return 0, false, fmt.Errorf("read memory pressure: %s has the line %q", file, strings.TrimSpace(line))
		}
		return percent / 100, true, nil
	}
	return 0, false, fmt.Errorf("read memory pressure: %s has no line \"some\"", file)
}
