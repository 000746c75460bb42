package catalog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// fakeModel returns n bytes that start like a GGUF file.
func fakeModel(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	r.Read(b)
	copy(b, "GGUF\x03\x00\x00\x00")
	return b
}

func hexHash(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// served is one file of a server.
type served struct {
	body []byte
	etag string // none when empty
}

// server is a TLS file server that records requests and can be disturbed.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	files    map[string]served // by path
	requests []*http.Request
	// disturb runs before a request is answered, with its number, from 0.
	// It returns whether it has answered.
	disturb func(n int, w http.ResponseWriter, r *http.Request) bool
}

func newServer(t *testing.T, files map[string]served) *server {
	t.Helper()
	s := &server{files: files}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.answer))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *server) answer(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	n, disturb := len(s.requests), s.disturb
	s.requests = append(s.requests, r.Clone(context.Background()))
	file, found := s.files[r.URL.Path]
	s.mu.Unlock()
	if disturb != nil && disturb(n, w, r) {
		return
	}
	if !found {
		http.NotFound(w, r)
		return
	}
	if file.etag != "" {
		w.Header().Set("ETag", file.etag)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file.body))
}

// seen returns the requests so far.
func (s *server) seen() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*http.Request(nil), s.requests...)
}

func (s *server) replace(path string, f served) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = f
}

// cutAfter answers with the whole body's head but breaks the connection after
// n bytes of it.
func cutAfter(n int, f served, w http.ResponseWriter) {
	w.Header().Set("Content-Length", itoa(len(f.body)))
	if f.etag != "" {
		w.Header().Set("ETag", f.etag)
	}
	w.Write(f.body[:n])
	http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// fixture is a puller on an empty models folder that never waits.
type fixture struct {
	*puller
	dir     string
	retries int
}

func newFixture(t *testing.T, s *server, opts Options) *fixture {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = filepath.Join(t.TempDir(), "models")
	}
	if s != nil {
		opts.HTTPClient = s.Client()
	}
	p, err := newPuller(opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{puller: p, dir: opts.Dir}
	p.backoff = func(context.Context, int) error { f.retries++; return nil }
	return f
}

func (f *fixture) pullFrom(t *testing.T, s *server, path string) (string, error) {
	t.Helper()
	ref, err := ParseRef(s.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	return f.pull(t.Context(), ref, nil)
}

// wantFile checks that dir holds the file with the given contents.
func wantFile(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	} else if !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes that differ from the %d expected ones", filepath.Base(path), len(got), len(want))
	}
}

// wantNames checks what the models folder holds.
func (f *fixture) wantNames(t *testing.T, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(f.dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	got := []string{}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if want == nil {
		want = []string{}
	}
	diff(t, "models folder", want, got)
}
