package client

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestDiscover(t *testing.T) {
	run := t.TempDir()
	listen := func(path string) string {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return path
	}
	env := map[string]string{}
	find := func(uid int) string { return discover(func(k string) string { return env[k] }, uid, run) }
	own, system := filepath.Join(run, "user/1000/edged/edged.sock"), filepath.Join(run, "edged/edged.sock")
	want := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	want("no daemon", find(1000), own)
	listen(system)
	want("the system's daemon", find(1000), system)
	want("root", find(0), system)
	listen(own)
	want("both", find(1000), own)
	want("another user", find(1001), system)
	env["XDG_RUNTIME_DIR"] = "relative"
	want("a relative folder", find(1000), own)
	env["XDG_RUNTIME_DIR"] = filepath.Join(run, "elsewhere")
	want("no socket in the user's folder", find(1000), system)
	elsewhere := listen(filepath.Join(run, "elsewhere/edged/edged.sock"))
	want("the user's folder", find(1000), elsewhere)
	env["EDGED_SOCKET"] = "/x"
	want("the variable", find(1000), "/x")
	if err := os.WriteFile(filepath.Join(run, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want("a file", FirstSocket(filepath.Join(run, "file"), system), system)
}
