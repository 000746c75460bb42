package ipc_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"edged/ipc"
	"edged/ipc/ipctest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// served is a server under test with a client for it.
type served struct {
	*ipc.Server
	client *http.Client
	dial   func() (net.Conn, error)
	log    *lockedBuffer
}

// lockedBuffer collects log lines.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// serveSocket serves engine on a real socket until the test ends.
func serveSocket(t testing.TB, engine ipc.Engine, prepare ...func(*ipc.Server)) *served {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := ipc.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, engine, l, func() (net.Conn, error) { return net.Dial("unix", path) }, prepare...)
}

// servePipe serves engine on connections in memory, for use with synctest.
func servePipe(t testing.TB, engine ipc.Engine, prepare ...func(*ipc.Server)) *served {
	t.Helper()
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	return serve(t, engine, l, l.dial, append(prepare, (*ipc.Server).TrustPeers)...)
}

func serve(t testing.TB, engine ipc.Engine, l net.Listener, dial func() (net.Conn, error), prepare ...func(*ipc.Server)) *served {
	t.Helper()
	logged := &lockedBuffer{}
	s := ipc.New(engine, ipc.Options{Log: slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	s.FixIDs()
	for _, f := range prepare {
		f(s)
	}
	return runServer(t, s, func() error { return s.Serve(l) }, dial, logged)
}

// runServer serves in a goroutine until the test ends.
func runServer(t testing.TB, s *ipc.Server, serve func() error, dial func() (net.Conn, error), logged *lockedBuffer) *served {
	done := make(chan error, 1)
	go func() { done <- serve() }()
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return dial() }}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shut down: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return &served{Server: s, client: &http.Client{Transport: transport}, dial: dial, log: logged}
}

// unixClient connects to the socket at path.
func unixClient(t testing.TB, path string) *http.Client {
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request. header holds pairs of names and values.
func (s *served) do(t testing.TB, method, path, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://localhost"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read body: %v", err)
	}
	return answer{resp.StatusCode, resp.Header, string(got)}
}

// mustServe checks that an ordinary request is still answered.
func (s *served) mustServe(t testing.TB) {
	t.Helper()
	a := s.do(t, "POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":"What is it?"}],"max_tokens":8}`)
	if a.status != http.StatusOK || !strings.Contains(a.body, `"object":"chat.completion"`) {
		t.Fatalf("an ordinary request got %d %s", a.status, a.body)
	}
}

const chatBody = `{"model":"scripted","messages":[{"role":"user","content":"What is it?"}]}`

// pipeListener accepts net.Pipe connections.
type pipeListener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *pipeListener) dial() (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// scripted is the usual engine, with a change.
func scripted(change func(*ipctest.Engine)) *ipctest.Engine {
	e := ipctest.New()
	if change != nil {
		change(e)
	}
	return e
}

func itoa(n int) string { return strconv.Itoa(n) }
