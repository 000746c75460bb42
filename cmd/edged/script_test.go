package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
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
	manager, err := listenAsManager(filepath.Join(dir, "notify"))
	if err != nil {
		return err
	}
	defer manager.Close()
	d.cmd = exec.Command(program, "serve", "--config", config, "--socket", d.socket, "--model", model)
	d.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(dir, "notify"), "STATE_DIRECTORY="+filepath.Join(dir, "state"))
	d.cmd.Stderr = log
	if err := d.cmd.Start(); err != nil {
		return err
	}
	t.Cleanup(func() {
		if err := errors.Join(d.cmd.Process.Signal(os.Interrupt), d.cmd.Wait()); err != nil {
			t.Errorf("the daemon did not end well: %v\n%s", err, d.readLog())
		}
	})
	if err := waitNotified(manager, "READY=1"); err != nil {
		return fmt.Errorf("%w\n%s", err, d.readLog())
	}
	return nil
}

// listenAsManager is the service manager's end of sd_notify.
func listenAsManager(path string) (*net.UnixConn, error) {
	return net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
}

// waitNotified reads what daemons report until one message contains text.
func waitNotified(manager *net.UnixConn, text string) error {
	if err := manager.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	for {
		n, err := manager.Read(buf)
		if err != nil {
			return fmt.Errorf("no daemon reported %q: %w", text, err)
		}
		if strings.Contains(string(buf[:n]), text) {
			return nil
		}
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
			notify := filepath.Join(e.WorkDir, ".notify")
			manager, err := listenAsManager(notify)
			if err != nil {
				return err
			}
			e.Defer(func() { manager.Close() })
			e.Values[managerKey{}] = manager
			e.Setenv("NOTIFY_SOCKET", notify)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": cmdStatus, "notified": cmdNotified},
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

// managerKey finds a script's end of sd_notify.
type managerKey struct{}

// cmdNotified waits until a daemon of the script reports something: notified TEXT
func cmdNotified(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: notified TEXT")
	}
	ts.Check(waitNotified(ts.Value(managerKey{}).(*net.UnixConn), args[0]))
}
