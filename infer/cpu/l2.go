package cpu

import (
	"io/fs"
	"strconv"
	"strings"
)

// ownL2 is what a thread may count on of its core's second-level cache, in bytes, by
// Linux's description of the first processor under sysfs: the cache's size over the
// number of processors that share it. It is 0 where nothing is said.
func ownL2(sysfs fs.FS) int64 {
	const dir = "devices/system/cpu/cpu0/cache/index2/"
	read := func(name string) string {
		text, err := fs.ReadFile(sysfs, dir+name)
		if err != nil {
			return "" // machines without such a cache have no such file
		}
		return strings.TrimSpace(string(text))
	}
	kib, err := strconv.ParseInt(strings.TrimSuffix(read("size"), "K"), 10, 32)
	sharing := processors(read("shared_cpu_list"))
	if err != nil || kib < 0 || sharing == 0 {
		return 0
	}
	return kib << 10 / sharing
}

// processors counts a list such as 0-1,64-65; 0 where it is none.
func processors(list string) (n int64) {
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, errA := strconv.ParseInt(from, 10, 32)
		z, errZ := strconv.ParseInt(to, 10, 32)
		if errA != nil || errZ != nil || z < a {
			return 0
		}
		n += z - a + 1
	}
	return n
}
