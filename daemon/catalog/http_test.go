package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func itoa(n int) string { return strconv.Itoa(n) }

func diff(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func wantError(t *testing.T, err error, part string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		t.Errorf("error = %v, want one with %q", err, part)
	}
}

func TestDownload(t *testing.T) {
	model := fakeModel(1<<20+7, 1)
	s := newServer(t, map[string]served{"/a/m.gguf": {model, `"1"`}})
	f := newFixture(t, s, Options{SHA256: []string{strings.ToUpper(hexHash(model))}})
	last, reports := int64(-1), 0
	f.progress = func(done, total int64) {
		if done < last || total != int64(len(model)) {
			t.Errorf("progress %d of %d after %d", done, total, last)
		}
		last, reports = done, reports+1
	}
	got, err := f.pullFrom(t, s, "/a/m.gguf?download=true")
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "path", filepath.Join(f.dir, "m.gguf"), got)
	wantFile(t, got, model)
	f.wantNames(t, "m.gguf")
	if last != int64(len(model)) || reports < 3 {
		t.Errorf("%d progress reports, the last of %d bytes", reports, last)
	}
	if r := s.seen()[0]; r.URL.RawQuery != "download=true" || r.Header.Get("Accept-Encoding") != "identity" || r.Header.Get("Range") != "" {
		t.Errorf("request %s with headers %v", r.URL, r.Header)
	}

	// The file is in place: nothing is asked, its hash decides.
	again, err := f.pullFrom(t, s, "/a/m.gguf")
	if err != nil || again != got || len(s.seen()) != 1 {
		t.Errorf("second pull: %s, %v, %d requests", again, err, len(s.seen()))
	}
	f.opts.SHA256 = []string{hexHash(nil)}
	_, err = f.pullFrom(t, s, "/a/m.gguf")
	var hash *HashError
	if !errors.As(err, &hash) || hash.Got != hexHash(model) {
		t.Errorf("pull with another hash over a file in place: %v", err)
	}
	f.opts.SHA256 = nil
	again, err = f.pullFrom(t, s, "/a/m.gguf")
	if again != got || !errors.Is(err, ErrExists) || !errors.Is(err, fs.ErrExist) {
		t.Errorf("pull without a hash over a file in place: %q, %v", again, err)
	}
	wantFile(t, got, model)
}

// rangesOf returns the Range and If-Range headers of all requests.
func rangesOf(s *server) []string {
	var list []string
	for _, r := range s.seen() {
		list = append(list, strings.TrimSpace(r.Header.Get("Range")+" "+r.Header.Get("If-Range")))
	}
	return list
}

func TestResumeAfterCutConnection(t *testing.T) {
	file := served{fakeModel(500_000, 1), `"v1"`}
	s := newServer(t, map[string]served{"/m.gguf": file})
	s.disturb = func(n int, w http.ResponseWriter, r *http.Request) bool {
		if n == 0 {
			cutAfter(200_000, file, w)
		}
		return false
	}
	f := newFixture(t, s, Options{})
	got, err := f.pullFrom(t, s, "/m.gguf")
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, got, file.body)
	diff(t, "ranges", []string{"", `bytes=200000- "v1"`}, rangesOf(s))
	f.wantNames(t, "m.gguf")
}

// leavePart prepares what an interrupted pull leaves behind.
func leavePart(t *testing.T, dir string, contents []byte, o origin) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := openPartial(dir, "m.gguf")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.restart(o); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Write(contents); err != nil {
		t.Fatal(err)
	}
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
}

func TestResumeOfEarlierPull(t *testing.T) {
	now := served{fakeModel(300_000, 1), `"now"`}
	old := fakeModel(300_000, 2)
	size := int64(len(now.body))
	for _, tc := range []struct {
		name    string
		have    []byte
		origin  origin // URL is filled in
		disturb func(n int, w http.ResponseWriter, r *http.Request) bool
		ranges  []string
		retries int
	}{
		{
			name: "unchanged", have: now.body[:1000], origin: origin{ETag: `"now"`, Bytes: size},
			ranges: []string{`bytes=1000- "now"`},
		},
		{
			name: "changed file", have: old[:1000], origin: origin{ETag: `"old"`, Bytes: size},
			ranges: []string{`bytes=1000- "old"`},
		},
		{
			name: "complete", have: now.body, origin: origin{ETag: `"now"`, Bytes: size},
			ranges: []string{`bytes=300000- "now"`},
		},
		{
			name: "longer than the file", have: append(now.body[:size:size], "more"...), origin: origin{ETag: `"now"`, Bytes: size},
			ranges: []string{`bytes=300004- "now"`, ""}, retries: 1,
		},
		{
			name: "weak ETag", have: old[:1000], origin: origin{ETag: `W/"old"`, Bytes: size},
			ranges: []string{""},
		},
		{
			name: "other URL", have: old[:1000], origin: origin{URL: "https://example.com/m.gguf", ETag: `"now"`, Bytes: size},
			ranges: []string{""},
		},
		{
			name: "server ignores ranges", have: old[:1000], origin: origin{ETag: `"now"`, Bytes: size},
			disturb: func(n int, w http.ResponseWriter, r *http.Request) bool {
				r.Header.Del("Range")
				return false
			},
			ranges: []string{`bytes=1000- "now"`},
		},
		{
			name: "server ignores If-Range", have: old[:1000], origin: origin{ETag: `"old"`, Bytes: size},
			disturb: func(n int, w http.ResponseWriter, r *http.Request) bool {
				r.Header.Del("If-Range")
				return false
			},
			ranges: []string{`bytes=1000- "old"`, ""}, retries: 1,
		},
		{
			name: "other offset", have: now.body[:1000], origin: origin{ETag: `"now"`, Bytes: size},
			disturb: func(n int, w http.ResponseWriter, r *http.Request) bool {
				if n == 0 {
					r.Header.Set("Range", "bytes=500-")
				}
				return false
			},
			ranges: []string{`bytes=1000- "now"`, ""}, retries: 1,
		},
		{
			name: "other length", have: now.body[:1000], origin: origin{ETag: `"now"`, Bytes: size + 1},
			ranges: []string{`bytes=1000- "now"`, ""}, retries: 1,
		},
		{
			name: "by date", have: now.body[:1000], origin: origin{LastModified: "Mon, 02 Jan 2006 15:04:05 GMT", Bytes: size},
			disturb: func(n int, w http.ResponseWriter, r *http.Request) bool {
				w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
				r.Header.Del("If-Range")
				return false
			},
			ranges: []string{"bytes=1000- Mon, 02 Jan 2006 15:04:05 GMT"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t, map[string]served{"/m.gguf": now})
			s.disturb = tc.disturb
			f := newFixture(t, s, Options{SHA256: []string{hexHash(now.body)}})
			if tc.origin.URL == "" {
				tc.origin.URL = s.URL + "/m.gguf"
			}
			leavePart(t, f.dir, tc.have, tc.origin)
			got, err := f.pullFrom(t, s, "/m.gguf")
			if err != nil {
				t.Fatal(err)
			}
			wantFile(t, got, now.body)
			f.wantNames(t, "m.gguf")
			diff(t, "ranges", tc.ranges, rangesOf(s))
			diff(t, "retries", tc.retries, f.retries)
		})
	}
}

func TestDamagedSidecarMeansNothingToResume(t *testing.T) {
	file := served{fakeModel(3000, 1), `"now"`}
	s := newServer(t, map[string]served{"/m.gguf": file})
	f := newFixture(t, s, Options{})
	leavePart(t, f.dir, file.body[:100], origin{URL: s.URL + "/m.gguf", ETag: `"now"`, Bytes: 3000})
	if err := os.WriteFile(filepath.Join(f.dir, "m.gguf.part.json"), []byte(`{"url":`), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := f.pullFrom(t, s, "/m.gguf")
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, got, file.body)
	diff(t, "ranges", []string{""}, rangesOf(s))
}

func TestCancelKeepsThePart(t *testing.T) {
	file := served{fakeModel(4<<20, 1), `"v1"`}
	s := newServer(t, map[string]served{"/m.gguf": file})
	f := newFixture(t, s, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	f.progress = func(done, total int64) {
		if done > 1<<20 {
			cancel()
		}
	}
	ref, err := ParseRef(s.URL + "/m.gguf")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.pull(ctx, ref, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled pull: %v", err)
	}
	f.wantNames(t, "m.gguf.part", "m.gguf.part.json")
	info, err := os.Stat(filepath.Join(f.dir, "m.gguf.part"))
	if err != nil || info.Size() <= 1<<20 {
		t.Fatalf("part has %d bytes, %v", info.Size(), err)
	}
	f.progress = func(int64, int64) {}
	got, err := f.pullFrom(t, s, "/m.gguf")
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, got, file.body)
	diff(t, "ranges", []string{"", fmt.Sprintf(`bytes=%d- "v1"`, info.Size())}, rangesOf(s))
}

func TestRefusedAnswers(t *testing.T) {
	model := served{fakeModel(3000, 1), `"1"`}
	status := func(code int) func(int, http.ResponseWriter, *http.Request) bool {
		return func(_ int, w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(code); return true }
	}
	v1 := fakeModel(3000, 1)
	v1[4] = 1
	for _, tc := range []struct {
		name     string
		file     served
		opts     Options
		disturb  func(n int, w http.ResponseWriter, r *http.Request) bool
		want     string
		requests int
		left     []string
	}{
		{name: "not found", disturb: status(404), want: "/m.gguf answered 404 Not Found", requests: 1},
		{name: "login", disturb: status(401), want: "behind a login", requests: 1},
		{name: "overloaded", disturb: status(503), want: "give up after 4 retries", requests: 5},
		{name: "unasked part", disturb: status(206), want: "answered 206", requests: 1},
		{name: "wrong hash", opts: Options{SHA256: []string{hexHash([]byte("x"))}}, want: "has SHA-256 " + hexHash(model.body) + ", expected", requests: 1},
		{name: "page", file: served{[]byte("<!DOCTYPE html><html></html>"), ""}, want: `not a GGUF file: it starts with "<!DO"`, requests: 1},
		{name: "short", file: served{[]byte("GGUF"), ""}, want: "not a GGUF file: it ends after 4 bytes", requests: 1},
		{name: "empty", file: served{[]byte{}, ""}, want: "not a GGUF file: it ends after 0 bytes", requests: 1},
		{name: "old version", file: served{v1, ""}, want: "GGUF version 1 is not supported", requests: 1},
		{
			name: "encoded", want: `content encoding "gzip"`, requests: 1,
			disturb: func(_ int, w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Content-Encoding", "gzip")
				w.WriteHeader(200)
				return true
			},
		},
		{
			name: "no length", want: "does not state the length", requests: 1,
			disturb: func(_ int, w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(200)
				http.NewResponseController(w).Flush()
				w.Write(model.body)
				return true
			},
		},
		{
			name: "cut for ever", want: "give up after 4 retries", requests: 5, left: []string{"m.gguf.part", "m.gguf.part.json"},
			disturb: func(n int, w http.ResponseWriter, r *http.Request) bool {
				if n == 0 {
					cutAfter(1000, model, w)
				}
				panic(http.ErrAbortHandler)
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.file.body == nil {
				tc.file = model
			}
			s := newServer(t, map[string]served{"/m.gguf": tc.file})
			s.disturb = tc.disturb
			f := newFixture(t, s, tc.opts)
			_, err := f.pullFrom(t, s, "/m.gguf")
			wantError(t, err, tc.want)
			diff(t, "requests", tc.requests, len(s.seen()))
			f.wantNames(t, tc.left...)
		})
	}
}

func TestUnstatedLengthWithHash(t *testing.T) {
	model := served{fakeModel(3000, 1), `"1"`}
	s := newServer(t, map[string]served{"/m.gguf": model})
	s.disturb = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(200)
		http.NewResponseController(w).Flush()
		w.Write(model.body)
		return true
	}
	f := newFixture(t, s, Options{SHA256: []string{hexHash(model.body)}})
	got, err := f.pullFrom(t, s, "/m.gguf")
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, got, model.body)
}

func TestOverloadPasses(t *testing.T) {
	model := served{fakeModel(3000, 1), `"1"`}
	s := newServer(t, map[string]served{"/m.gguf": model})
	s.disturb = func(n int, w http.ResponseWriter, _ *http.Request) bool {
		if n < 3 {
			w.WriteHeader(http.StatusTooManyRequests)
		}
		return n < 3
	}
	f := newFixture(t, s, Options{})
	got, err := f.pullFrom(t, s, "/m.gguf")
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, got, model.body)
	diff(t, "retries", 3, f.retries)
}

func TestRedirects(t *testing.T) {
	model := served{fakeModel(3000, 1), `"1"`}
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a plain http server was asked")
	}))
	defer plain.Close()
	for _, tc := range []struct {
		name     string
		location string
		want     string // "" is success
		requests int
	}{
		{"to https", "/other/name", "", 2},
		{"to http", plain.URL + "/m.gguf", "refuse redirect: models are pulled over https only", 1},
		{"with credentials", "https://user:secret@example.com/m.gguf", "holds a user name", 1},
		{"in a circle", "/m.gguf", "more than 10 in a row", 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t, map[string]served{"/other/name": model})
			s.disturb = func(_ int, w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/m.gguf" {
					http.Redirect(w, r, tc.location, http.StatusFound)
				}
				return r.URL.Path == "/m.gguf"
			}
			f := newFixture(t, s, Options{})
			got, err := f.pullFrom(t, s, "/m.gguf")
			if tc.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				wantFile(t, got, model.body)
			} else {
				wantError(t, err, tc.want)
				if strings.Contains(fmt.Sprint(err), "secret") {
					t.Errorf("the error shows a password: %v", err)
				}
				f.wantNames(t)
			}
			diff(t, "requests", tc.requests, len(s.seen()))
		})
	}
}

func TestUntrustedCertificateIsNotRetried(t *testing.T) {
	s := newServer(t, nil)
	f := newFixture(t, nil, Options{HTTPClient: &http.Client{}})
	_, err := f.pullFrom(t, s, "/m.gguf")
	wantError(t, err, "certificate")
	diff(t, "retries", 0, f.retries)
}

// The server sends nothing and only notices when it is given up, so the short
// limit decides nothing but how long the test takes.
func TestStalledConnection(t *testing.T) {
	model := served{fakeModel(3000, 1), `"1"`}
	s := newServer(t, map[string]served{"/m.gguf": model})
	s.disturb = func(n int, w http.ResponseWriter, r *http.Request) bool {
		if n == 0 {
			w.Header().Set("Content-Length", "3000")
			w.Header().Set("ETag", model.etag)
			w.Write(model.body[:1000])
			http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
		return true
	}
	f := newFixture(t, s, Options{})
	f.stall = 50 * time.Millisecond
	_, err := f.pullFrom(t, s, "/m.gguf")
	if !errors.Is(err, errStalled) {
		t.Errorf("error = %v, want a stall", err)
	}
}

func TestParseContentRange(t *testing.T) {
	for s, want := range map[string][2]int64{
		"bytes 0-9/10": {0, 10}, "bytes 5-9/*": {5, -1}, "bytes 5-5/6": {5, 6},
	} {
		first, total, err := parseContentRange(s)
		if err != nil || first != want[0] || total != want[1] {
			t.Errorf("%q: %d, %d, %v", s, first, total, err)
		}
	}
	for _, s := range []string{
		"", "bytes", "bytes */10", "bytes 5-4/10", "bytes 5-10/10", "bytes -1-4/10", "items 0-9/10",
		"bytes 0-9", "bytes 0-9/x", "bytes 0-99999999999999999999/*",
	} {
		if first, total, err := parseContentRange(s); err == nil {
			t.Errorf("%q was accepted as %d, %d", s, first, total)
		}
	}
}
