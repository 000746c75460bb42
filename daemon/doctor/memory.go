package doctor

import (
	"context"
	"strings"
)

func memory(_ context.Context, m Machine) []Finding {
	have, total, err := m.Available()
	if err != nil {
		return one("memory", Problem, "mount /proc and /sys/fs/cgroup for the daemon", "%v", err)
	}
	if m.HostMemory > have {
		return one("memory", Problem, "lower engine.host_memory, or raise MemoryMax= of the unit", "engine.host_memory is %s, but %s of %s can be taken", size(m.HostMemory), size(have), size(total))
	}
	out := one("memory", OK, "", "%s of %s can be taken, the control group's limit included", size(have), size(total))
	share, ok, err := m.Pressure()
	switch {
	case err != nil:
		out = append(out, one("memory-pressure", Note, "", "%v", err)...)
	case !ok:
		out = append(out, one("memory-pressure", Note, "boot with psi=1 for idle conversations to be given up when memory is short", "the kernel does not measure it")...)
	case share >= 0.1:
		out = append(out, one("memory-pressure", Warning, "end something that needs much memory", "in %.0f %% of the last 10 s something waited for memory", 100*share)...)
	}
	return out
}

func locked(_ context.Context, m Machine) []Finding {
	limit, limited, err := m.LockLimit()
	switch {
	case err != nil:
		return one("memlock", Warning, "", "%v", err)
	case !limited:
		return one("memlock", OK, "", "memory may be locked without a limit")
	case m.LockMemory:
		return one("memlock", Problem, "set LimitMEMLOCK=infinity in the unit, or raise `ulimit -l` in /etc/security/limits.d", "engine.lock_memory is set, but only %s may be locked", size(limit))
	}
	return one("memlock", OK, "", "%s may be locked, and engine.lock_memory is off", size(limit))
}

func hugePages(_ context.Context, m Machine) []Finding {
	mode := m.read("sys/kernel/mm/transparent_hugepage/enabled")
	switch {
	case mode == "":
		return one("huge-pages", Note, "", "the kernel has no transparent huge pages")
	case strings.Contains(mode, "[never]"):
		return one("huge-pages", Warning, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled (transparent_hugepage=madvise on the kernel's command line keeps it)",
			"transparent huge pages are off: weights are read with more misses of the TLB")
	}
	return one("huge-pages", OK, "", "transparent huge pages: %s", mode)
}

func swap(_ context.Context, m Machine) []Finding {
	lines := strings.Split(m.read("proc/swaps"), "\n")
	if len(lines) < 2 || m.LockMemory {
		return one("swap", OK, "", "weights and cache are not swapped")
	}
	return one("swap", Note, "engine.lock_memory = true keeps the cache in memory", "the machine swaps (%d places): an idle daemon may be slow at its first answer", len(lines)-1)
}
