package cpu_test

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"edged/infer/cpu"
	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/offload"
)

// workers returns the blocked-signal masks of this process's worker threads,
// by thread id.
func workers(t *testing.T) map[string]uint64 {
	t.Helper()
	found := make(map[string]uint64)
	tasks, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range tasks {
		name, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil || strings.TrimSpace(string(name)) != "edged-cpu" {
			continue // a thread may end while the list is read
		}
		f, err := os.Open(filepath.Join(dir, "status"))
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if mask, ok := strings.CutPrefix(lines.Text(), "SigBlk:"); ok {
				if found[filepath.Base(dir)], err = strconv.ParseUint(strings.TrimSpace(mask), 16, 64); err != nil {
					t.Error(err)
				}
			}
		}
		_ = f.Close() // only read
	}
	return found
}

// TestWorkersTakeNoSignals checks that signals meant for the process never
// interrupt a worker, and that faults still reach it.
func TestWorkersTakeNoSignals(t *testing.T) {
	before := workers(t)
	l := load(t, 3)
	if _, err := l.feed(t.Context(), 9); err != nil { // all have started: a thread is born with every signal blocked
		t.Fatal(err)
	}
	n := 0
	for id, mask := range workers(t) {
		if _, old := before[id]; old {
			continue
		}
		n++
		for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGURG, syscall.SIGPROF, syscall.SIGUSR1} {
			if mask>>(s-1)&1 == 0 {
				t.Errorf("worker %s takes %v", id, s)
			}
		}
		for _, s := range []syscall.Signal{syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL} {
			if mask>>(s-1)&1 != 0 {
				t.Errorf("worker %s blocks %v", id, s)
			}
		}
	}
	if n != 2 {
		t.Errorf("%d worker threads, want 2 besides the caller", n)
	}
}

// TestCloseEndsIdleAndBusyWorkers closes programs whose workers sleep, spin or
// have never run, twice each.
func TestCloseEndsIdleAndBusyWorkers(t *testing.T) {
	for steps := range 3 {
		l := load(t, 7) // more threads than cores
		for range steps {
			if _, err := l.feed(t.Context(), 9); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := l.exec.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if left := workers(t); len(left) != 0 {
		t.Errorf("%d workers are left", len(left))
	}
}

func TestCompileRefusesShapesBeyond32Bits(t *testing.T) {
	const vocab, huge = 32, 1 << 31
	p := newToy()
	x, y, z := p.input(vocab, make([]float32, vocab*32)), p.buffer(huge, graph.AllRows), p.buffer(vocab, graph.AllRows)
	p.emit(
		graph.Linear{Src: x, Parts: []graph.Part{{Dst: y, W: p.weight(gguf.Q8_0, huge, 32, nil), Bias: graph.NoWeight}}},
		graph.Linear{Src: y, Parts: []graph.Part{{Dst: z, W: p.weight(gguf.Q8_0, vocab, huge, nil), Bias: graph.NoWeight}}},
	)
	prog := p.program(vocab, z)
	_, err := cpu.New().Compile(prog, graph.Limits{MaxRows: 1, MaxOut: 1, MaxSeqs: 1, Context: 1, KV: offload.ExactLayers(prog.KV, offload.F16), Threads: 1, Host: hostAccount(t)})
	if err == nil || !strings.Contains(err.Error(), "2147483648") || !strings.Contains(err.Error(), "too large") {
		t.Errorf("a weight of 2^31 rows: %v", err)
	}
}
