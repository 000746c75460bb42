package daemon

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// activated names the child process of the tests below.
const activated = "EDGED_TEST_ACTIVATED"

// TestActivatedChild is what the parent starts with a passed socket, as a
// service manager would.
func TestActivatedChild(t *testing.T) {
	if os.Getenv(activated) == "" {
		t.Skip("only as a child of TestSocketActivation")
	}
	ls, err := listen(Socket{Path: "/nonexistent/never-bound.sock", Mode: FileMode{defaultSocketMode}})
	if err == nil {
		ls, err = listenTCP(TCP{}, ls)
	}
	if err != nil {
		t.Fatal(err)
	}
	http.Serve(ls[0], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "inherited") }))
}

// child starts this test binary as TestActivatedChild with l as descriptor 3.
func child(t *testing.T, l interface{ File() (*os.File, error) }) *exec.Cmd {
	t.Helper()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" -test.run='^TestActivatedChild$'`, os.Args[0])
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", activated+"=1")
	cmd.ExtraFiles = []*os.File{f}
	return cmd
}

// A socket in a folder of a login session that is not there says what helps.
func TestSocketFolderWithoutLogin(t *testing.T) {
	_, err := listen(Socket{Path: filepath.Join(t.TempDir(), "user", "edged", "edged.sock"), Mode: FileMode{defaultSocketMode}})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "--socket") || !strings.Contains(err.Error(), "$XDG_RUNTIME_DIR") {
		t.Errorf("got %v", err)
	}
}

func TestSocketActivation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "unit.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	cmd := child(t, l.(*net.UnixListener))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}()
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close() // the descriptor that the child got stays open
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{Dial: func(string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
	resp, err := c.Get("http://edged/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "inherited" {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestSocketActivationRefusesTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, err := child(t, l.(*net.TCPListener)).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(string(out), "is a TCP socket, but neither tcp.token_file nor tcp.token_credential is set") {
		t.Errorf("got %v:\n%s", err, out)
	}
}

func TestSocketGroup(t *testing.T) {
	gid := uint32(os.Getgid())
	if os.Getuid() == 0 { // may give files away
		gid = 4_000_001
	}
	path := filepath.Join(t.TempDir(), "edged.sock")
	ls, err := listen(Socket{Path: path, Mode: FileMode{0o660}, Group: fmt.Sprint(gid)})
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(ls)
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := fi.Sys().(*syscall.Stat_t).Gid; got != gid || fi.Mode().Perm() != 0o660 {
		t.Errorf("group %d, mode %v", got, fi.Mode())
	}
	var config *ConfigError
	if _, err := listen(Socket{Path: path + "2", Group: "no-such-group"}); !errors.As(err, &config) || !strings.Contains(err.Error(), "no-such-group") {
		t.Errorf("a group that does not exist: %v", err)
	}
	if _, err := os.Stat(path + "2"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its socket is still there: %v", err)
	}
}
