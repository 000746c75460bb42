// Package doctor looks at a machine for what keeps a daemon from starting or makes
// it slow, and says what to do about each thing that it finds.
//
// # Ownership
//
// Nothing is held or changed: checks read files of the kernel and of the
// configuration's folders, connect to the daemon's socket, and load the GPU's
// driver when one is asked for.
//
// # Goroutine-safety
//
// Functions may be called from any goroutine; a [Machine] is a plain value.
//
// # Failure modes
//
// None of its own: what cannot be read is a finding.
package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Level says how much a finding matters.
type Level string

// Levels, the least one first.
const (
	OK      Level = "ok"
	Note    Level = "note"    // worth knowing
	Warning Level = "warning" // works, but less well than it could
	Problem Level = "problem" // keeps the daemon from doing what is asked for
)

// Finding is the outcome of one check.
type Finding struct {
	Check string `json:"check"`
	Level Level  `json:"level"`
	Text  string `json:"text"`
	Fix   string `json:"fix,omitempty"` // empty when nothing is to be done
}

// Machine says where to look.
type Machine struct {
	Root string // "/" unless a test has another one

	Config     string // file
	ConfigErr  error  // why it cannot be used, nil when it can
	Models     []string
	Backend    string // of the configuration
	LockMemory bool
	HostMemory int64  // bytes that the configuration wants, 0 = what is there
	StoreDir   string // "" = no sessions are kept
	StoreErr   error  // why the folder cannot be opened, as far as that can be told beside a daemon
	Socket     string
	UID        int

	GPU       func() GPU                                    // asks the driver
	Available func() (bytes, total int64, err error)        // memory that this process may take
	LockLimit func() (bytes int64, limited bool, err error) // memory that it may lock
	Pressure  func() (share float64, ok bool, err error)
	Ask       func(ctx context.Context) (state, text string, err error) // /readyz of the socket
	CPU       []string                                                  // instruction sets, best first
}

// GPU is what the driver says.
type GPU struct {
	Driver  string   // version, "" when it is not told
	CUDA    int      // newest version that the driver knows, such as 13000
	Devices []string // those that can be used, in words
	Missing []string // what keeps devices from being used
}

// Examine runs all checks, in the order in which they are printed.
func Examine(ctx context.Context, m Machine) []Finding {
	var out []Finding
	for _, check := range []func(context.Context, Machine) []Finding{
		config, models, processor, gpu, memory, locked, hugePages, swap, disk, storeFolder, socket, security, clock, inotify,
	} {
		out = append(out, check(ctx, m)...)
	}
	return out
}

// Worst is the highest level of findings.
func Worst(found []Finding) Level {
	worst := OK
	rank := map[Level]int{OK: 0, Note: 1, Warning: 2, Problem: 3}
	for _, f := range found {
		if rank[f.Level] > rank[worst] {
			worst = f.Level
		}
	}
	return worst
}

func one(check string, level Level, fix, format string, args ...any) []Finding {
	return []Finding{{Check: check, Level: level, Text: fmt.Sprintf(format, args...), Fix: fix}}
}

// read is a file of the machine without the white space around it; "" when it
// cannot be read.
func (m Machine) read(path string) string {
	b, err := os.ReadFile(filepath.Join(m.Root, path))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (m Machine) exists(path string) bool {
	_, err := os.Stat(filepath.Join(m.Root, path))
	return err == nil
}

func size(n int64) string {
	const gib = 1 << 30
	if n >= gib {
		return fmt.Sprintf("%.1f GiB", float64(n)/gib)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
