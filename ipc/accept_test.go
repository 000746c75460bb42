package ipc_test

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"edged/ipc"
	"edged/ipc/ipctest"
)

func TestPeerRefused(t *testing.T) {
	const stranger = 4_000_000
	s := serveSocket(t, ipctest.New(), func(s *ipc.Server) { s.SetPeerUID(stranger) })
	a := s.do(t, "POST", "/v1/chat/completions", chatBody)
	want := `{"error":{"message":"user id 4000000 may not use this daemon, which runs as user id ` + itoa(os.Geteuid()) +
		`","type":"permission_error","param":null,"code":"uid_not_allowed"}}`
	if a.status != http.StatusForbidden || a.body != want {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

func TestPeerAllowed(t *testing.T) {
	const friend = 4_000_001
	l, err := ipc.Listen(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	srv := ipc.New(ipctest.New(), ipc.Options{AllowedUIDs: []uint32{7, friend}, Log: slog.New(slog.DiscardHandler)})
	srv.SetPeerUID(friend)
	done := make(chan error)
	go func() { done <- srv.Serve(l) }()
	s := &served{Server: srv, client: &http.Client{Transport: &http.Transport{
		Dial: func(_, _ string) (net.Conn, error) { return net.Dial("unix", l.Addr().String()) },
	}}}
	s.mustServe(t)
	s.client.CloseIdleConnections()
	if err := errors.Join(srv.Shutdown(t.Context()), <-done); err != nil {
		t.Error(err)
	}
}

// TestPeerCredentials asks the kernel about a process of another user.
func TestPeerCredentials(t *testing.T) {
	if os.Getenv("EDGED_TEST_SOCKET") != "" {
		return // the child only needs the helper below
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to start a process as another user")
	}
	// The default of a temporary directory keeps other users out.
	dir, err := os.MkdirTemp("", "ipc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := ipc.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	group := uint32(4_000_001)
	serve(t, ipctest.New(), l, func() (net.Conn, error) { return net.Dial("unix", path) }, func(s *ipc.Server) { s.AllowGroup(&group) })
	exe := filepath.Join(dir, "test")
	copyExecutable(t, exe)

	// Without permission on the file, nobody gets as far as the check.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	stranger := syscall.Credential{Uid: 65534, Gid: 65534}
	if out := dialAs(t, stranger, exe, path); !strings.Contains(out, "permission denied") {
		t.Errorf("a socket of mode 0600 let another user in: %s", out)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if out := dialAs(t, stranger, exe, path); !strings.Contains(out, "403 Forbidden") || !strings.Contains(out, "user id 65534 may not use") {
		t.Errorf("another user got: %s", out)
	}
	many := syscall.Credential{Uid: 65534, Gid: 65534} // more groups than fit the first answer
	for g := range uint32(200) {
		many.Groups = append(many.Groups, 4_000_100+g)
	}
	if out := dialAs(t, many, exe, path); !strings.Contains(out, "403 Forbidden") {
		t.Errorf("a member of 200 other groups got: %s", out)
	}
	many.Groups[150] = group
	for name, c := range map[string]syscall.Credential{
		"root":                     {},
		"a member":                 {Uid: 65534, Gid: 65534, Groups: []uint32{5, group}},
		"one whose main group":     {Uid: 65534, Gid: group},
		"a member among 200 other": many,
	} {
		if out := dialAs(t, c, exe, path); !strings.Contains(out, "200 OK") {
			t.Errorf("%s got: %s", name, out)
		}
	}
}

func copyExecutable(t *testing.T, to string) {
	t.Helper()
	from, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
}

// dialAs runs TestHelperDial of this binary as another user.
func dialAs(t *testing.T, as syscall.Credential, exe, path string) string {
	t.Helper()
	cmd := exec.Command(exe, "-test.run=^TestHelperDial$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = []string{"EDGED_TEST_SOCKET=" + path}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &as}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("run as %d: %v: %s", as.Uid, err, out)
	}
	return string(out)
}

func TestHelperDial(t *testing.T) {
	path := os.Getenv("EDGED_TEST_SOCKET")
	if path == "" {
		t.Skip("only run by TestPeerCredentials")
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Log(err)
		return
	}
	defer c.Close()
	io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	out, err := io.ReadAll(c)
	t.Log(string(out), err)
}

// TestConnectionLimit fills every slot and checks that the next client is told,
// and that slots come back.
func TestConnectionLimit(t *testing.T) {
	s := serveSocket(t, ipctest.New())
	var conns []net.Conn
	for range ipc.MaxConns {
		c, err := s.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	a := s.do(t, "GET", "/healthz", "")
	want := `{"error":{"message":"the daemon serves 256 connections, which is its limit","type":"unavailable_error","param":null,"code":"too_many_connections"}}`
	if a.status != 503 || a.body != want || a.header.Get("Retry-After") != "1" {
		t.Errorf("got %d %v %s", a.status, a.header, a.body)
	}
	for _, c := range conns {
		c.Close()
	}
	for a.status != 200 { // until the server has seen that they are gone
		a = s.do(t, "GET", "/healthz", "")
	}
}
