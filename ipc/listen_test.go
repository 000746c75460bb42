package ipc_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"edged/ipc"
	"edged/ipc/ipctest"
)

func TestListenMode(t *testing.T) {
	old := unix.Umask(0)
	t.Cleanup(func() { unix.Umask(old) })
	for _, umask := range []int{0, 0o22, 0o277} {
		unix.Umask(umask)
		path := filepath.Join(t.TempDir(), "s")
		l, err := ipc.Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode(); got != fs.ModeSocket|0o600 {
			t.Errorf("umask %o: mode %v", umask, got)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket file is still there: %v", err)
		}
	}
}

func TestListenStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)

	if _, err := ipc.Listen(path); !errors.Is(err, ipc.ErrInUse) {
		t.Errorf("a socket in use: %v", err)
	}
	dead.Close()
	l, err := ipc.Listen(path)
	if err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	if _, err := ipc.Listen(path); !errors.Is(err, ipc.ErrInUse) {
		t.Errorf("our own socket: %v", err)
	}

	// Closing must not remove what a successor has put there.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	next, err := ipc.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("unix", path); err != nil {
		t.Errorf("the successor's socket is gone: %v", err)
	}
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(dir, strings.Repeat("x", 200))
	for _, tt := range []struct{ path, want string }{
		{file, "exists and is not a socket"},
		{"", "is not a file path"},
		{"@abstract", "is not a file path"},
		{filepath.Join(dir, "none", "s"), "no such file or directory"},
		{long, "has " + itoa(len(long)) + " bytes, but at most 107 are possible"},
	} {
		l, err := ipc.Listen(tt.path)
		if err == nil {
			l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want %q", tt.path, err, tt.want)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "keep" {
		t.Errorf("the file was touched: %q, %v", got, err)
	}
	// The longest possible path works.
	t.Chdir(dir)
	exact := strings.Repeat("y", ipc.MaxSocketPath)
	l, err := ipc.Listen(exact)
	if err != nil {
		t.Fatalf("path of %d bytes: %v", len(exact), err)
	}
	if _, err := net.Dial("unix", exact); err != nil {
		t.Errorf("dial path of %d bytes: %v", len(exact), err)
	}
	l.Close()
}

// TestInheritedListener checks that the file of a listener that was passed in
// survives the server.
func TestInheritedListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	manager, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	f, err := manager.File()
	if err != nil {
		t.Fatal(err)
	}
	inherited, err := net.FileListener(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, ipctest.New(), inherited, func() (net.Conn, error) { return net.Dial("unix", path) })
	s.mustServe(t)
	s.client.CloseIdleConnections()
	if err := s.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the socket file is gone: %v", err)
	}
}
