package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"edged/ipc/client"
)

// needle is the model of the repository.
const needle = "../../models/needle-26m-q8_0.gguf"

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"edged": main})
}

// scriptLimit ends scripts whose program hangs.
const scriptLimit = 3 * time.Minute

// daemonProcess is the one daemon that the scripts share, because loading and
// first reading a document are what takes time. It is this test binary.
type daemonProcess struct {
	once   sync.Once
	cmd    *exec.Cmd
	socket string
	log    string
	err    error
}

// start runs the daemon on first use and waits until it is ready.
func (d *daemonProcess) start(t *testing.T) {
	d.once.Do(func() { d.err = d.launch(t) })
	if d.err != nil {
		t.Fatal(d.err)
	}
}

func (d *daemonProcess) launch(t *testing.T) error {
	dir := t.TempDir()
	d.socket, d.log = filepath.Join(dir, "edged.sock"), filepath.Join(dir, "log")
	model, err := filepath.Abs(needle)
	if err != nil {
		return err
	}
	config := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		return err
	}
	log, err := os.Create(d.log)
	if err != nil {
		return err
	}
	defer log.Close()
	program, err := exec.LookPath("edged") // testscript.Main put it there
	if err != nil {
		return err
	}
	d.cmd = exec.Command(program, "serve", "--config", config, "--socket", d.socket, "--model", model)
	d.cmd.Stderr = log
	if err := d.cmd.Start(); err != nil {
		return err
	}
	t.Cleanup(func() {
		if err := errors.Join(d.cmd.Process.Signal(os.Interrupt), d.cmd.Wait()); err != nil {
			t.Errorf("the daemon did not end well: %v\n%s", err, d.readLog())
		}
	})
	return d.waitReady(t.Context())
}

func (d *daemonProcess) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c := client.New(d.socket)
	defer c.Close()
	for {
		h, err := c.Ready(ctx)
		if err == nil && h.Status == "ready" {
			return nil
		}
		if ctx.Err() != nil {
			return errors.New("the daemon is not ready: " + d.readLog())
		}
		time.Sleep(10 * time.Millisecond) // polling an other process, with a limit
	}
}

func (d *daemonProcess) readLog() string {
	b, err := os.ReadFile(d.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// TestScripts runs the files of testdata/script. Those whose name begins with
// "daemon-" find a daemon at $EDGED_SOCKET.
func TestScripts(t *testing.T) {
	model, err := filepath.Abs(needle)
	if err != nil {
		t.Fatal(err)
	}
	demo, err := filepath.Abs("../../docs/demo/document.txt")
	if err != nil {
		t.Fatal(err)
	}
	shared := new(daemonProcess)
	shared.start(t)
	testscript.Run(t, testscript.Params{
		Dir:      "testdata/script",
		Deadline: time.Now().Add(scriptLimit),
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			for _, v := range []string{"XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "RUNTIME_DIRECTORY"} {
				e.Setenv(v, "")
			}
			// The folders of the user, whoever runs the tests.
			e.Setenv("STATE_DIRECTORY", filepath.Join(e.WorkDir, "state"))
			e.Setenv("CONFIGURATION_DIRECTORY", filepath.Join(e.WorkDir, "conf"))
			e.Setenv("MODEL", model)
			e.Setenv("DEMO", demo)
			e.Setenv("EDGED_SOCKET", "")
			if strings.HasPrefix(filepath.Base(e.WorkDir), "script-daemon-") {
				e.Setenv("EDGED_SOCKET", shared.socket)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": cmdStatus, "waitfor": cmdWaitFor},
	})
}

// cmdStatus runs a program and checks its exit status: status N PROGRAM ARG...
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N PROGRAM ARG...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ProcessState.String()
		got = strings.TrimPrefix(got, "exit status ")
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != args[0] {
		ts.Fatalf("exit status %s, want %s", got, args[0])
	}
}

// cmdWaitFor waits until a socket answers: waitfor SOCKET
func cmdWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitfor SOCKET")
	}
	d := &daemonProcess{socket: ts.MkAbs(args[0])}
	ts.Check(d.waitReady(context.Background()))
}
