package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"edged/infer"
	"edged/ipc"
	"edged/ipc/api"
	"edged/ipc/client"
)

func TestReadyOnlyAfterLoad(t *testing.T) {
	m := startService(t, "")
	c := client.New(m.socket)
	defer c.Close()
	got := m.expect(t, "STATUS=loading")
	if !strings.Contains(got, "STATUS=loading m: 40 % of 100 B") || !strings.Contains(got, "EXTEND_TIMEOUT_USEC=30000000") {
		t.Errorf("loading notification is %q", got)
	}
	h, err := c.Ready(t.Context())
	if err != nil || h.Status != "loading" {
		t.Fatalf("while loading: %+v, %v", h, err)
	}
	m.engine.loads <- nil
	m.expect(t, "READY=1\nSTATUS=ready: m, context 512 tokens")
	if h, err = c.Ready(t.Context()); err != nil || h.Status != "ready" {
		t.Fatalf("after the load: %+v, %v", h, err)
	}
	m.signals <- syscall.SIGTERM
	m.expect(t, "STOPPING=1")
	if err := m.end(t); err != nil {
		t.Errorf("end: %v", err)
	}
	if _, err := os.Stat(m.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestFailedLoadEndsTheDaemon(t *testing.T) {
	m := startService(t, "")
	m.engine.loads <- errTest
	if err := m.end(t); !errors.Is(err, errTest) {
		t.Errorf("got %v", err)
	}
}

// answering starts one request and returns when the engine has it.
func answering(t *testing.T, m *managed) <-chan error {
	t.Helper()
	m.engine.loads <- nil
	m.expect(t, "READY=1")
	started := make(chan struct{})
	m.engine.generate = func(ctx context.Context, emit func(infer.Delta) error) (infer.Result, error) {
		if err := emit(infer.Delta{Progress: &infer.Progress{Total: 3}}); err != nil {
			return infer.Result{}, err
		}
		close(started)
		<-ctx.Done()
		return infer.Result{}, context.Cause(ctx)
	}
	result := make(chan error, 1)
	go func() {
		c := client.New(m.socket)
		defer c.Close()
		_, err := c.Chat(t.Context(), api.ChatRequest{Messages: []api.Message{{Role: "user", Content: "hi"}}}, nil)
		result <- err
	}()
	<-started
	return result
}

func TestSecondSignalCutsAnswersOff(t *testing.T) {
	m := startService(t, "[stop]\ndrain = \"1h\"\n")
	result := answering(t, m)
	m.signals <- syscall.SIGTERM
	m.expect(t, "STOPPING=1")
	m.signals <- syscall.SIGTERM
	if err := m.end(t); err != nil {
		t.Errorf("end: %v", err)
	}
	if err := <-result; err == nil {
		t.Error("the client was not told")
	}
	if !strings.Contains(m.log.String(), "second signal") {
		t.Errorf("log:\n%s", m.log)
	}
}

func TestDrainEnds(t *testing.T) {
	m := startService(t, "[stop]\ndrain = \"1ms\"\n")
	result := answering(t, m)
	m.signals <- syscall.SIGINT
	if err := m.end(t); err != nil {
		t.Errorf("end: %v", err)
	}
	if err := <-result; err == nil {
		t.Error("the client was not told")
	}
	if !strings.Contains(m.log.String(), "drain limit of 1ms is over") {
		t.Errorf("log:\n%s", m.log)
	}
}

func TestReload(t *testing.T) {
	m := startService(t, "")
	m.engine.loads <- nil
	m.expect(t, "READY=1")

	t.Run("by signal", func(t *testing.T) {
		writeFile(t, m.file, "[log]\nlevel = \"debug\"\n[engine]\nthreads = 3\n")
		m.signals <- syscall.SIGHUP
		got := m.expect(t, "RELOADING=1")
		if !strings.Contains(got, "MONOTONIC_USEC=") {
			t.Errorf("reload notification is %q", got)
		}
		m.expect(t, "READY=1")
		if m.level.Level() != slog.LevelDebug {
			t.Errorf("level is %v", m.level.Level())
		}
		if log := m.log.String(); !strings.Contains(log, "needs restart") || !strings.Contains(log, "engine.threads") {
			t.Errorf("log:\n%s", log)
		}
	})
	t.Run("refused", func(t *testing.T) {
		writeFile(t, m.file, "[log]\nlevel = \"error\"\nlevell = \"info\"\n")
		m.signals <- syscall.SIGHUP
		m.expect(t, "RELOADING=1")
		m.expect(t, "READY=1")
		if m.level.Level() != slog.LevelDebug {
			t.Errorf("a refused configuration changed the level to %v", m.level.Level())
		}
		if log := m.log.String(); !strings.Contains(log, "config.toml:3: unknown key log.levell") {
			t.Errorf("log:\n%s", log)
		}
	})
	t.Run("by rename", func(t *testing.T) {
		tmp := writeFile(t, m.file+".new", "[log]\nlevel = \"warn\"\n")
		if err := os.Rename(tmp, m.file); err != nil {
			t.Fatal(err)
		}
		m.expect(t, "RELOADING=1")
		// An earlier write may still cause a reload of its own.
		for m.level.Level() != slog.LevelWarn {
			m.expect(t, "READY=1")
		}
	})
}

// TestOneReloadForOneChange: the signal and the events of the file may come in any
// order, and one change is read once; the signal alone is obeyed always.
func TestOneReloadForOneChange(t *testing.T) {
	d := newTestService(t, "")
	log := new(logBuffer)
	d.log = testLog(log)
	file := d.opt.Source.File
	read := 0
	expect := func(step string, more int) {
		t.Helper()
		read += more
		if n := strings.Count(log.String(), "msg=\"configuration re"); n != read { // read, or refused
			t.Errorf("%s: %d times read, want %d\n%s", step, n, read, log)
			read = n
		}
	}
	d.fileEvent()
	expect("watching begins", 0)
	writeFile(t, file, "[engine]\nqueue = 7\n")
	d.reload()
	d.fileEvent()
	d.fileEvent()
	expect("a change, a signal, two events", 1)
	writeFile(t, file, "[engine]\nqueue = 7\nthreads = 3\n")
	d.fileEvent()
	d.fileEvent()
	expect("a change and two events", 1)
	d.reload()
	expect("a signal alone", 1)
	writeFile(t, file, "[engine]\nquue = 7\n")
	d.reload()
	d.fileEvent()
	expect("a change that is refused", 1)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	d.fileEvent()
	d.fileEvent()
	expect("the file goes", 1)
	if n := strings.Count(log.String(), "needs restart"); n != 2 {
		t.Errorf("told %d times that a restart is needed, want 2: by the change, and when asked\n%s", n, log)
	}
}

// What requests hold of the old configuration must not change under them.
func TestReloadReplacesLiveValues(t *testing.T) {
	file := writeFile(t, filepath.Join(t.TempDir(), "config.toml"), "")
	opt := Options{Source: Source{File: file}, Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar)}
	cfg, err := opt.Source.Load()
	if err != nil {
		t.Fatal(err)
	}
	engine := newFakeEngine()
	d := newService(opt, cfg, engine, engine, nil, nil)
	for i, want := range []int{7, 8} {
		held := d.api.defaults.Load()
		before := *held
		writeFile(t, file, fmt.Sprintf("[engine]\nqueue = %d\n[sampling]\ntop_k = %[1]d\n", want))
		d.reload()
		if *held != before {
			t.Errorf("reload %d changed the values that a request holds: %+v", i, *held)
		}
		if got := d.api.defaults.Load().TopK; got != want || engine.maxQueue != want {
			t.Errorf("reload %d: top_k %d, queue %d, want %d", i, got, engine.maxQueue, want)
		}
	}
}

func TestWatchdogIsFed(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "20000")
	t.Setenv("WATCHDOG_PID", "")
	os.Unsetenv("WATCHDOG_PID") // any process; Setenv above restores it
	m := startService(t, "")
	m.expect(t, "WATCHDOG=1")
	m.expect(t, "WATCHDOG=1")
}

func TestProgressWatch(t *testing.T) {
	var s infer.Status
	now := time.Unix(1000, 0)
	w := newProgressWatch(func() infer.Status { return s })
	w.now = func() time.Time { return now }
	check := func(step string, stuck bool) {
		t.Helper()
		if err := w.check(); (err != nil) != stuck {
			t.Errorf("%s: got %v", step, err)
		}
	}
	check("start", false)
	now = now.Add(time.Hour)
	check("idle for an hour", false)
	s.Running = 1
	now = now.Add(time.Second)
	check("a request has come", false)
	now = now.Add(stuckAfter - 2*time.Second)
	check("a long step", false)
	s.LastStep = now
	check("the step ended", false)
	now = now.Add(stuckAfter + time.Second)
	check("no step for too long", true)
	s.LastStep = now
	check("it goes on", false)
	s.Running = 0
	check("it is done", false)
	s.State = infer.Failed
	now = now.Add(time.Second)
	check("the engine has failed", false)
	now = now.Add(stuckAfter + time.Second)
	check("and stays so", true)
	s.Retries = true
	check("a model could not be loaded", false)
	now = now.Add(stuckAfter + time.Second)
	check("and nobody asks for another", false)
	s.State, s.Retries = infer.Ready, false
	check("somebody did", false)
	s.Queued = 1
	now = now.Add(time.Second)
	check("a request waits", false)
	now = now.Add(stuckAfter + time.Second)
	check("and is not begun", true)
	s = infer.Status{State: infer.Ready, Model: "m", Running: 1, LastStep: now, LastStepTime: time.Minute}
	check("a step took a minute", false)
	now = now.Add(stuckSteps * time.Minute)
	check("the next takes longer, as far down a prompt as it is", false)
	now = now.Add(time.Second)
	check("and longer", true)
	s = infer.Status{State: infer.Loading}
	check("loading", false)
	now = now.Add(stuckLoad)
	check("large memory is made", false)
	s.Load.Done = 1
	now = now.Add(time.Second)
	check("bytes come", false)
	now = now.Add(stuckLoad + time.Second)
	check("no more bytes come", true)
}

func TestSecondDaemonSaysWhoHoldsTheSocket(t *testing.T) {
	m := startService(t, "")
	_, err := listen(Socket{Path: m.socket, Mode: FileMode{defaultSocketMode}})
	if !errors.Is(err, ipc.ErrInUse) {
		t.Fatalf("got %v", err)
	}
	comm, readErr := os.ReadFile("/proc/self/comm")
	if readErr != nil {
		t.Fatal(readErr)
	}
	if want := "held by " + strings.TrimSpace(string(comm)) + ", process id "; !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not contain %q", err, want)
	}
}

func TestSocketMode(t *testing.T) {
	path := t.TempDir() + "/edged.sock"
	ls, err := listen(Socket{Path: path, Mode: FileMode{0o666}})
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(ls)
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode().Perm() != 0o666 {
		t.Errorf("mode is %v", fi.Mode())
	}
}

func TestHostBudget(t *testing.T) {
	h := hostMemory{Total: 16 << 30, Available: 8 << 30}
	if got, err := hostBudget(0, h); err != nil || got != 6<<30 {
		t.Errorf("default: %d, %v", got, err)
	}
	if got, err := hostBudget(8<<30, h); err != nil || got != 8<<30 {
		t.Errorf("all that is available: %d, %v", got, err)
	}
	_, err := hostBudget(8<<30+1, h)
	want := "engine.host_memory is 8.0 GiB (8589934593 bytes), but only 8.0 GiB (8589934592 bytes) of 16.0 GiB are available"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestRunRefusesBeforeItStarts(t *testing.T) {
	opt := Options{Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar)}
	opt.Source = Source{File: t.TempDir() + "/none.toml", Paths: Paths{Lookup: []string{t.TempDir()}}}
	if err := Run(t.Context(), opt); !errors.Is(err, ErrNoModel) {
		t.Errorf("without a model: %v", err)
	}
	opt.Source.File = writeFile(t, t.TempDir()+"/c.toml", "[engine]\nhost_memory = \"9000TiB\"\n[[model]]\nname = \"m\"\npath = \"m.gguf\"\n")
	if err := Run(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "are available") {
		t.Errorf("with a huge budget: %v", err)
	}
}
