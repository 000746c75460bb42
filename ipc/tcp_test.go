package ipc_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"edged/ipc"
	"edged/ipc/ipctest"
)

const tcpToken = "0123456789abcdef0123456789abcdef"

// serveTCP serves engine on a loopback port until the test ends.
func serveTCP(t testing.TB, engine ipc.Engine) *served {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	logged := &lockedBuffer{}
	s := ipc.New(engine, ipc.Options{Log: slog.New(slog.NewTextHandler(logged, nil))})
	serve := func() error {
		return s.ServeTCP(l, ipc.TCP{Token: tcpToken, Hosts: []string{"Workstation.lan"}, Origins: []string{"https://chat.example"}, UID: 77})
	}
	return runServer(t, s, serve, func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }, logged)
}

// raw sends bytes and returns the status codes of all answers, and the bodies.
func (s *served) raw(t testing.TB, request string) (codes []int, bodies []string) {
	t.Helper()
	c, err := s.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		w.CloseWrite()
	}
	in := bufio.NewReader(c)
	for {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return codes, bodies
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		codes, bodies = append(codes, resp.StatusCode), append(bodies, string(body))
		if err != nil || resp.Close {
			return codes, bodies
		}
	}
}

// Who may ask over TCP, and from where: the headers of a request, and its answer.
func TestTCPAccess(t *testing.T) {
	s := serveTCP(t, ipctest.New())
	const auth = "Authorization: Bearer " + tcpToken + "\r\n"
	for _, c := range []struct {
		name, headers string
		status        int
		code          string
	}{
		{"token", "Host: localhost\r\n" + auth, 200, ""},
		{"token as an API key", "Host: localhost\r\nX-Api-Key: " + tcpToken + "\r\n", 200, ""},
		{"both", "Host: localhost\r\nX-Api-Key: " + tcpToken + "\r\n" + auth, 200, ""},
		{"another case of the scheme", "Host: localhost\r\nAuthorization: bearer " + tcpToken + "\r\n", 200, ""},
		{"address", "Host: 127.0.0.1:8080\r\n" + auth, 200, ""},
		{"IPv6 address", "Host: [::1]:8080\r\n" + auth, 200, ""},
		{"final dot", "Host: localhost.:1\r\n" + auth, 200, ""},
		{"configured name", "Host: workstation.LAN:8080\r\n" + auth, 200, ""},
		{"configured page", "Host: localhost\r\nOrigin: https://chat.example\r\n" + auth, 200, ""},

		{"no token", "Host: localhost\r\n", 401, "invalid_api_key"},
		{"wrong token", "Host: localhost\r\nAuthorization: Bearer " + tcpToken[1:] + "x\r\n", 401, "invalid_api_key"},
		{"shorter token", "Host: localhost\r\nAuthorization: Bearer " + tcpToken[1:] + "\r\n", 401, "invalid_api_key"},
		{"empty token", "Host: localhost\r\nAuthorization: Bearer \r\n", 401, "invalid_api_key"},
		{"another scheme", "Host: localhost\r\nAuthorization: Basic " + tcpToken + "\r\n", 401, "invalid_api_key"},
		{"a right and a wrong token", "Host: localhost\r\n" + auth + "Authorization: Bearer x\r\n", 401, "invalid_api_key"},
		{"a right token and a wrong key", "Host: localhost\r\n" + auth + "X-Api-Key: x\r\n", 401, "invalid_api_key"},

		{"rebound name", "Host: attacker.example\r\n" + auth, 403, "host_refused"},
		{"name that begins well", "Host: localhost.attacker.example\r\n" + auth, 403, "host_refused"},
		{"name that ends well", "Host: xlocalhost\r\n" + auth, 403, "host_refused"},
		{"another address", "Host: 192.0.2.1\r\n" + auth, 403, "host_refused"},
		{"empty name", "Host: \r\n" + auth, 403, "host_refused"},
		{"another page", "Host: localhost\r\nOrigin: https://attacker.example\r\n" + auth, 403, "origin_refused"},
		{"page that begins well", "Host: localhost\r\nOrigin: https://chat.example.attacker.example\r\n" + auth, 403, "origin_refused"},
		{"page without encryption", "Host: localhost\r\nOrigin: http://chat.example\r\n" + auth, 403, "origin_refused"},
		{"page without a name", "Host: localhost\r\nOrigin: null\r\n" + auth, 403, "origin_refused"},
		{"two pages", "Host: localhost\r\nOrigin: https://chat.example\r\nOrigin: https://attacker.example\r\n" + auth, 403, "origin_refused"},
		{"referer alone", "Host: localhost\r\nReferer: https://attacker.example/x\r\n" + auth, 403, "origin_refused"},
		{"page without a token", "Host: localhost\r\nOrigin: https://chat.example\r\n", 401, "invalid_api_key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			codes, bodies := s.raw(t, "GET /v1/models HTTP/1.1\r\n"+c.headers+"Connection: close\r\n\r\n")
			if len(codes) != 1 || codes[0] != c.status || !strings.Contains(bodies[0], c.code) {
				t.Errorf("got %d %s", codes, bodies)
			}
			if c.status != 200 {
				if err := checkErrorBody([]byte(bodies[0])); err != nil {
					t.Error(err)
				}
			}
			if strings.Contains(s.log.String()+strings.Join(bodies, ""), tcpToken) {
				t.Error("the token is in the log or in an answer")
			}
		})
	}
}

// Every route needs the token, and every request of a connection.
func TestTCPTokenOnEveryRoute(t *testing.T) {
	s := serveTCP(t, ipctest.New())
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/status", "/v1/models", "/v1/sessions", "/nothing", "/v1/chat/completions"} {
		for _, method := range []string{"GET", "POST", "OPTIONS", "DELETE", "HEAD"} {
			if codes, bodies := s.raw(t, method+" "+path+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"); len(codes) != 1 || codes[0] != 401 {
				t.Errorf("%s %s: %d %s", method, path, codes, bodies)
			}
		}
	}
}

// Whoever guesses tokens needs a connection for each.
func TestWrongTokenEndsTheConnection(t *testing.T) {
	s := serveTCP(t, ipctest.New())
	const second = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + tcpToken + "\r\n\r\n"
	for _, first := range []string{"", "Authorization: Bearer x\r\n"} {
		codes, _ := s.raw(t, "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"+first+"\r\n"+second)
		if len(codes) != 1 || codes[0] != 401 {
			t.Errorf("%q: answers %v, want one of 401", first, codes)
		}
	}
	if codes, _ := s.raw(t, second+second); len(codes) != 2 {
		t.Errorf("with the token: answers %v", codes)
	}
}

func TestTCPPages(t *testing.T) {
	s := serveTCP(t, ipctest.New())
	a := s.do(t, "OPTIONS", "/v1/chat/completions", "", "Origin", "https://chat.example", "Access-Control-Request-Method", "POST")
	if a.status != 204 || a.header.Get("Access-Control-Allow-Origin") != "https://chat.example" || !strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("preflight: %d %v", a.status, a.header)
	}
	a = s.do(t, "OPTIONS", "/v1/chat/completions", "", "Origin", "https://attacker.example", "Access-Control-Request-Method", "POST")
	if a.status != 403 || a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("preflight of another page: %d %v", a.status, a.header)
	}
	a = s.do(t, "GET", "/v1/models", "", "Authorization", "Bearer "+tcpToken)
	if a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("no page: %d %v", a.status, a.header)
	}
}

// Requests over TCP are those of the configured user.
func TestTCPUser(t *testing.T) {
	engine := ipctest.New()
	s := serveTCP(t, engine)
	body := `{"user":"alice",` + chatBody[1:]
	if a := s.do(t, "POST", "/v1/chat/completions", body, "Authorization", "Bearer "+tcpToken); a.status != 200 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	if r := engine.Requests()[0]; r.UID != 77 || r.Client != "tcp alice" {
		t.Errorf("user %d, client %q", r.UID, r.Client)
	}
}

// Whatever two readings of a request there are, what one hides in another is a
// request of its own, without a token.
func TestSmuggledRequests(t *testing.T) {
	s := serveTCP(t, ipctest.New())
	const hidden = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
	const start = "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + tcpToken + "\r\n"
	for _, c := range []struct{ name, request string }{
		{"length and chunks", start + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden},
		{"chunks and length", start + "Transfer-Encoding: chunked\r\nContent-Length: 70\r\n\r\n0\r\n\r\n" + hidden},
		{"two lengths", start + "Content-Length: 0\r\nContent-Length: 70\r\n\r\n" + hidden},
		{"list of lengths", start + "Content-Length: 0, 70\r\n\r\n" + hidden},
		{"length with a sign", start + "Content-Length: +0\r\n\r\n" + hidden},
		{"length in hexadecimal", start + "Content-Length: 0x0\r\n\r\n" + hidden},
		{"space before the colon", start + "Transfer-Encoding : chunked\r\nContent-Length: 0\r\n\r\n" + hidden},
		{"two encodings", start + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden},
		{"encodings in a list", start + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + hidden},
		{"misspelt encoding", start + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden},
		{"encoding with a tab", start + "Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n" + hidden},
		{"folded header", start + "X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden},
		{"chunk size with a sign", start + "Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n" + hidden},
		{"chunk extension", start + "Transfer-Encoding: chunked\r\n\r\n0;x=\"\n\"\r\n\r\n" + hidden},
		{"bare line feeds", start + "Transfer-Encoding: chunked\r\n\r\n0\n\n" + hidden},
		{"trailer with a token", start + "Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n0\r\nAuthorization: Bearer " + tcpToken + "\r\n\r\n" + hidden},
	} {
		t.Run(c.name, func(t *testing.T) {
			codes, bodies := s.raw(t, c.request)
			for i, code := range codes {
				if code/100 != 4 && code != 501 {
					t.Errorf("answer %d of %d: %d %s", i, len(codes), code, bodies[i])
				}
			}
			if len(codes) == 0 || strings.Contains(strings.Join(bodies, ""), `"object":"list"`) {
				t.Errorf("the hidden request was answered: %d %s", codes, bodies)
			}
		})
	}
	if a := s.do(t, "GET", "/v1/models", "", "Authorization", "Bearer "+tcpToken); a.status != 200 {
		t.Errorf("afterwards: %d", a.status)
	}
}

// Those who have no token cannot keep those away who come over the Unix socket.
func TestTCPConnectionsHaveTheirOwnLimit(t *testing.T) {
	s := serveTCP(t, ipctest.New())
	path := t.TempDir() + "/s"
	l, err := ipc.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() { s.Shutdown(context.Background()); <-done })
	for range ipc.MaxTCPConns {
		c, err := s.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		// An answer to a request without a token ends the connection; half a header holds it.
		if _, err := io.WriteString(c, "GET /v1/models HTTP/1.1\r\nHost: "); err != nil {
			t.Fatal(err)
		}
	}
	codes, bodies := s.raw(t, "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if len(codes) != 1 || codes[0] != 503 || !strings.Contains(bodies[0], "too_many_connections") {
		t.Errorf("one more over TCP: %d %s", codes, bodies)
	}
	local := &served{client: unixClient(t, path)}
	if a := local.do(t, "GET", "/v1/models", ""); a.status != 200 {
		t.Errorf("over the Unix socket: %d %s", a.status, a.body)
	}
}
