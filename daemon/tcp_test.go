package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edged/ipc"
)

const goodToken = "0123456789abcdef0123456789abcdef"

// Every configuration that would let others in is refused by name.
func TestTCPConfigRefuses(t *testing.T) {
	const token = "token_file = \"/t\"\n"
	for _, c := range []struct{ name, doc, want string }{
		{"no token", `listen = "127.0.0.1:1"`, "c.toml:2: tcp.listen needs tcp.token_file or tcp.token_credential: without a token"},
		{"every address", token + `listen = "0.0.0.0:80"`, `c.toml:3: tcp.listen must be a loopback address unless tcp.allow_remote is true, got "0.0.0.0:80"`},
		{"every IPv6 address", token + `listen = "[::]:80"`, "must be a loopback address"},
		{"address of the network", token + `listen = "192.0.2.7:80"`, "must be a loopback address"},
		{"name", token + `listen = "localhost:80"`, "must be an address and a port"},
		{"port alone", token + `listen = ":80"`, "must be an address and a port"},
		{"no port", token + `listen = "127.0.0.1"`, "must be an address and a port"},
		{"large port", token + `listen = "127.0.0.1:65536"`, "must be an address and a port"},
		{"two tokens", token + `token_credential = "x"`, "tcp.token_file and tcp.token_credential exclude each other"},
		{"path as a credential", `token_credential = "../x"`, "tcp.token_credential must be the name of a credential"},
		{"host with a port", `hosts = ["a:1"]`, `tcp.hosts must list names or addresses without a port, got "a:1"`},
		{"every host", `hosts = ["*"]`, "tcp.hosts must list"},
		{"every page", `origins = ["*"]`, "tcp.origins must list pages"},
		{"no page", `origins = ["null"]`, "tcp.origins must list pages"},
		{"page with a path", `origins = ["https://a/"]`, "tcp.origins must list pages"},
		{"page with a user", `origins = ["https://u@a"]`, "tcp.origins must list pages"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := ParseConfig("c.toml", []byte("[tcp]\n"+c.doc+"\n")); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	for _, doc := range []string{token + `listen = "127.0.0.1:80"`, token + `listen = "[::1]:80"`, token + "allow_remote = true\nlisten = \"0.0.0.0:80\"",
		`hosts = ["box", "box.lan", "192.0.2.1"]`, `origins = ["http://a:1", "https://b.example"]`} {
		if _, err := ParseConfig("c.toml", []byte("[tcp]\n"+doc+"\n")); err != nil {
			t.Errorf("%s: %v", doc, err)
		}
	}
}

func TestTokenFile(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := writeFile(t, filepath.Join(dir, name), content)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct{ path, want string }{
		{file("good", goodToken, 0o600), ""},
		{file("line", goodToken+"\n", 0o400), ""},
		{file("group", goodToken, 0o640), "has mode 0640, others could read or change it"},
		{file("world", goodToken, 0o604), "has mode 0604"},
		{file("short", goodToken[1:], 0o600), "must hold a token of 32 to 512 bytes, it has 31"},
		{file("empty", "", 0o600), "it has 0"},
		{file("long", strings.Repeat("x", 10_000), 0o600), "must hold a token of 32 to 512 bytes"},
		{file("space", goodToken+" x", 0o600), "printable ASCII without spaces, byte 32 is 0x20"},
		{file("lines", goodToken+"\n"+goodToken, 0o600), "byte 32 is 0x0a"},
		{dir, "is not a file"},
		{filepath.Join(dir, "absent"), "no such file"},
	} {
		tcp, err := TCP{TokenFile: c.path}.access("")
		if c.want == "" {
			if err != nil || tcp.Token != goodToken || tcp.UID != uint32(os.Geteuid()) {
				t.Errorf("%s: %+v, %v", c.path, tcp, err)
			}
			continue
		}
		if config := new(ConfigError); err == nil || !errors.As(err, &config) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), goodToken) {
			t.Errorf("%s: %v, want %s", c.path, err, c.want)
		}
	}
	if tcp, err := (TCP{TokenCredential: "good"}).access(dir); err != nil || tcp.Token != goodToken {
		t.Errorf("credential: %v, %v", tcp, err)
	}
	if _, err := (TCP{TokenCredential: "good"}).access(""); err == nil || !strings.Contains(err.Error(), "LoadCredential=good") {
		t.Errorf("no credentials: %v", err)
	}
}

func TestInheritedTCPNeedsAToken(t *testing.T) {
	loopback, all := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, &net.TCPAddr{IP: net.IPv4zero}
	for _, c := range []struct {
		tcp  TCP
		addr net.Addr
		want string
	}{
		{TCP{}, &net.UnixAddr{Name: "/s", Net: "unix"}, ""},
		{TCP{}, loopback, "without a token"},
		{TCP{TokenFile: "/t"}, loopback, ""},
		{TCP{TokenFile: "/t"}, all, "is not a loopback address"},
		{TCP{TokenFile: "/t", AllowRemote: true}, all, ""},
	} {
		if err := c.tcp.permits(c.addr); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v, %s: %v", c.tcp, c.addr, err)
		}
	}
}

// A service answers on both kinds of sockets, on each by its own rules.
func TestServiceOverTCP(t *testing.T) {
	opt := Options{Source: Source{}, Log: slog.New(slog.DiscardHandler)}
	engine := newFakeEngine()
	cfg := DefaultConfig()
	d := newService(opt, cfg, engine, engine, nil, nil)
	d.tcp = &ipc.TCP{Token: goodToken}
	ls, err := listenTCP(TCP{Listen: "127.0.0.1:0", TokenFile: "/t"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- d.serve(ls[0]) }()
	for token, want := range map[string]int{"": 401, "x": 401, goodToken: 200} {
		req, err := http.NewRequest("GET", fmt.Sprintf("http://%s/healthz", ls[0].Addr()), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("token %q: %d, want %d", token, resp.StatusCode, want)
		}
	}
	if err := errors.Join(d.server.Shutdown(t.Context()), <-done); err != nil {
		t.Error(err)
	}
}
