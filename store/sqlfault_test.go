package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// faultPointsEnv sets how many faults of each kind TestDatabaseFaults injects.
const faultPointsEnv = "EDGED_STORE_FAULT_POINTS"

// TestDatabaseFaults makes system calls fail that SQLite itself makes on the
// database and its log, at random points of a worker: what the worker has announced
// must be there afterwards, and whole.
func TestDatabaseFaults(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	points := 2
	if v, err := strconv.Atoi(os.Getenv(faultPointsEnv)); err == nil {
		points = v
	}
	for _, kind := range []struct {
		name, calls, fault string
		most               int // calls of a worker, about
	}{
		{"EIO of writes", "pwrite64", "error=EIO", 150},
		{"full disk", "pwrite64", "error=ENOSPC", 150},
		{"EIO of syncs", "fsync,fdatasync", "error=EIO", 40},
		{"EIO of reads", "pread64", "error=EIO", 40},
		{"EIO of truncations", "ftruncate", "error=EIO", 3},
		{"no more files", "openat", "error=EMFILE", 3},
	} {
		t.Run(kind.name, func(t *testing.T) {
			fired, failed := 0, 0
			for i := range points {
				rng := rand.New(rand.NewPCG(uint64(i), 4))
				f, bad := databaseFault(t, strace, uint64(i), kind.calls, fmt.Sprintf("%s:when=%d", kind.fault, 1+rng.IntN(kind.most)))
				fired, failed = fired+f, failed+bad
			}
			t.Logf("%d workers: %d calls failed, %d workers were stopped by that", points, fired, failed)
			if points >= 20 && fired == 0 {
				t.Error("nothing was injected")
			}
		})
	}
}

// databaseFault runs a worker whose database calls of some kinds fail, and says how
// many did, and whether (1) it ended with an error.
func databaseFault(t *testing.T, strace string, seed uint64, calls, fault string) (fired, failed int) {
	t.Helper()
	tmp := t.TempDir()
	root, trace := filepath.Join(tmp, "store"), filepath.Join(tmp, "trace")
	args := []string{"-f", "-o", trace, "-e", "signal=none", "-e", "trace=" + calls, "-e", "inject=" + calls + ":" + fault}
	for _, name := range []string{"index.db", "index.db-wal", "index.db-journal"} {
		args = append(args, "-P", filepath.Join(root, name))
	}
	cmd := exec.Command(strace, append(args, os.Args[0], root, "40")...)
	cmd.Env = append(os.Environ(), workerEnv+"="+strconv.FormatUint(seed, 10))
	var said, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) && exit.ExitCode() == 1 {
		failed = 1 // as a daemon would say that a turn is not durable
	} else if err != nil {
		t.Fatal(err, stderr.String())
	}
	log, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	fired = strings.Count(string(log), "(INJECTED)")
	if failed > 0 && fired == 0 {
		t.Fatalf("a worker failed by itself: %s", stderr.String())
	}
	p, err := readPromises(&said)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifyPromises(root, p); err != nil {
		t.Errorf("seed %d, %s of %s, after %d lines, during %q, the worker said %q: %v", seed, fault, calls, p.lines, p.what, stderr.String(), err)
	}
	return fired, failed
}
