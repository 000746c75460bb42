package catalog

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func splitSet(names ...string) (files map[string]served, hashes []string) {
	files = make(map[string]served)
	for i, name := range names {
		body := fakeModel(100_000+i, uint64(i+1))
		files["/d/"+name] = served{body, `"` + itoa(i) + `"`}
		hashes = append(hashes, hexHash(body))
	}
	return files, hashes
}

var threeParts = []string{"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"}

func TestSplitSet(t *testing.T) {
	files, hashes := splitSet(threeParts...)
	s := newServer(t, files)
	s.disturb = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.URL.RawQuery != "key=1" {
			t.Errorf("%s was asked without its query", r.URL)
		}
		return false
	}
	f := newFixture(t, s, Options{SHA256: hashes})
	var last int64
	f.progress = func(done, total int64) {
		if done < last || total != 300_003 {
			t.Errorf("progress %d of %d after %d", done, total, last)
		}
		last = done
	}
	got, err := f.pullFrom(t, s, "/d/"+threeParts[0]+"?key=1")
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "path", filepath.Join(f.dir, threeParts[0]), got)
	f.wantNames(t, threeParts...)
	for _, name := range threeParts {
		wantFile(t, filepath.Join(f.dir, name), files["/d/"+name].body)
	}
	if last != 300_003 {
		t.Errorf("progress ended at %d", last)
	}
}

func TestSplitSetAppearsOnlyWhole(t *testing.T) {
	files, _ := splitSet(threeParts...)
	third := files["/d/"+threeParts[2]]
	s := newServer(t, files)
	missing := true
	s.disturb = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if missing && r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, threeParts[2]) {
			w.WriteHeader(http.StatusGone)
			return true
		}
		return false
	}
	f := newFixture(t, s, Options{})
	_, err := f.pullFrom(t, s, "/d/"+threeParts[0])
	wantError(t, err, "answered 410 Gone")
	var left []string
	for _, name := range threeParts[:2] {
		left = append(left, name+".part", name+".part.json")
	}
	f.wantNames(t, left...)

	missing = false
	if _, err = f.pullFrom(t, s, "/d/"+threeParts[0]); err != nil {
		t.Fatal(err)
	}
	f.wantNames(t, threeParts...)
	wantFile(t, filepath.Join(f.dir, threeParts[2]), third.body)
	var bodies []string
	for _, r := range s.seen()[6:] { // after three HEAD and three GET
		if r.Method == http.MethodGet {
			bodies = append(bodies, r.Header.Get("Range"))
		}
	}
	diff(t, "ranges of the second pull", []string{"bytes=100000-", "bytes=100001-", ""}, bodies)
}

func TestSplitSetWithoutHead(t *testing.T) {
	files, _ := splitSet(threeParts...)
	s := newServer(t, files)
	s.disturb = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
		return r.Method == http.MethodHead
	}
	f := newFixture(t, s, Options{})
	f.progress = func(_, total int64) {
		if total != -1 {
			t.Errorf("total %d of a set of unknown size", total)
		}
	}
	if _, err := f.pullFrom(t, s, "/d/"+threeParts[0]); err != nil {
		t.Fatal(err)
	}
	f.wantNames(t, threeParts...)
}

func TestSplitSetRefusals(t *testing.T) {
	_, hashes := splitSet(threeParts...)
	for _, tc := range []struct {
		file   string
		hashes []string
		want   string
	}{
		{threeParts[1], nil, "is part 2 of a set; name its first part, " + threeParts[0]},
		{threeParts[0], hashes[:1], "has 3 files, so it needs as many SHA-256 values, in the order of the parts; got 1"},
		{"m.gguf", hashes, "has 1 files, so it needs as many"},
		{"m-00001-of-00000.gguf", nil, "this one claims 0"},
		{"m-00001-of-99999.gguf", nil, "a split set has 1 to 1000 parts, this one claims 99999"},
	} {
		s := newServer(t, nil)
		f := newFixture(t, s, Options{SHA256: tc.hashes})
		_, err := f.pullFrom(t, s, "/d/"+tc.file)
		wantError(t, err, tc.want)
		if n := len(s.seen()); n != 0 {
			t.Errorf("%s: %d requests", tc.file, n)
		}
	}
}

func TestHubReference(t *testing.T) {
	model := served{fakeModel(3000, 1), `"1"`}
	s := newServer(t, map[string]served{"/owner/Repo-1.5/resolve/main/Q8/m.gguf": model})
	f := newFixture(t, s, Options{HubURL: s.URL})
	ref, err := ParseRef("hf:owner/Repo-1.5/Q8/m.gguf")
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.pull(t.Context(), ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, got, model.body)
}

func TestConcurrentPullsExcludeEachOther(t *testing.T) {
	model := served{fakeModel(3000, 1), `"1"`}
	s := newServer(t, map[string]served{"/m.gguf": model})
	arrived, release := make(chan struct{}), make(chan struct{})
	s.disturb = func(int, http.ResponseWriter, *http.Request) bool {
		close(arrived)
		<-release
		return false
	}
	f := newFixture(t, s, Options{})
	first := make(chan error)
	go func() {
		_, err := f.pullFrom(t, s, "/m.gguf")
		first <- err
	}()
	<-arrived
	if _, err := f.pullFrom(t, s, "/m.gguf"); !errors.Is(err, ErrBusy) {
		t.Errorf("second pull: %v, want ErrBusy", err)
	}
	f.wantNames(t, "m.gguf.part") // the lock of the first
	close(release)
	if err := <-first; err != nil {
		t.Errorf("first pull: %v", err)
	}
	f.wantNames(t, "m.gguf")
	wantFile(t, filepath.Join(f.dir, "m.gguf"), model.body)
}

// A pull that waited on nobody's lock, but looked before the other had
// published, must find the published file instead of fetching again.
func TestPartPublishedBetweenOpenAndLock(t *testing.T) {
	dir := t.TempDir()
	first, err := openPartial(dir, "m.gguf")
	if err != nil {
		t.Fatal(err)
	}
	stale, err := os.Open(first.path())
	if err != nil {
		t.Fatal(err)
	}
	defer stale.Close()
	if err := first.publish(); err != nil {
		t.Fatal(err)
	}
	if err := first.close(); err != nil {
		t.Fatal(err)
	}
	if same, err := lockInPlace(stale, first.path()); same || err != nil {
		t.Errorf("the published file counts as the partial one: %v, %v", same, err)
	}
}

func TestPartialFileIsNoLink(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(dir, "m.gguf.part")); err != nil {
		t.Fatal(err)
	}
	if _, err := openPartial(dir, "m.gguf"); err == nil {
		t.Error("a link was opened")
	}
	wantFile(t, victim, []byte("precious"))
}

func TestFreeSpaceIsCheckedFirst(t *testing.T) {
	files, _ := splitSet(threeParts...)
	files["/m.gguf"] = served{fakeModel(3000, 1), `"1"`}
	s := newServer(t, files)
	f := newFixture(t, s, Options{})
	f.freeBytes = func(string) (int64, error) { return 2999, nil }
	_, err := f.pullFrom(t, s, "/m.gguf")
	wantError(t, err, "has 2999 bytes free, the pull needs 3000")

	// Room for any part, not for the set.
	f.freeBytes = func(string) (int64, error) { return 200_000, nil }
	_, err = f.pullFrom(t, s, "/d/"+threeParts[0])
	wantError(t, err, "has 200000 bytes free, the pull needs 300003")

	// What is there already does not count.
	leavePart(t, f.dir, files["/m.gguf"].body[:1], origin{URL: s.URL + "/m.gguf", ETag: `"1"`, Bytes: 3000})
	f.freeBytes = func(string) (int64, error) { return 2999, nil }
	if _, err = f.pullFrom(t, s, "/m.gguf"); err != nil {
		t.Error(err)
	}
}

func TestFreeBytes(t *testing.T) {
	if n, err := freeBytes(t.TempDir()); err != nil || n <= 0 {
		t.Errorf("freeBytes = %d, %v", n, err)
	}
	if _, err := freeBytes("/does/not/exist"); err == nil {
		t.Error("a missing folder has free space")
	}
}

func TestBackoffEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := backoff(ctx, 20); !errors.Is(err, context.Canceled) { // otherwise 12 days
		t.Errorf("backoff = %v", err)
	}
}

func TestBadOptions(t *testing.T) {
	_, err := newPuller(Options{Dir: "x", SHA256: []string{"abc"}}, nil)
	wantError(t, err, `a SHA-256 is 64 hexadecimal digits, got "abc"`)
	_, err = newPuller(Options{}, nil)
	wantError(t, err, "no models folder")
}

func writeFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPullLocalFile(t *testing.T) {
	src := t.TempDir()
	model := fakeModel(600_000, 1)
	writeFile(t, filepath.Join(src, "m.gguf"), model)
	f := newFixture(t, nil, Options{})
	got, err := f.pull(t.Context(), Ref{RefPath, filepath.Join(src, "m.gguf")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "path", filepath.Join(f.dir, "m.gguf"), got)
	wantFile(t, got, model)
	f.wantNames(t, "m.gguf")

	// In place already: it stays, checked as far as possible.
	again, err := f.pull(t.Context(), Ref{RefPath, got}, nil)
	if again != got || err != nil {
		t.Errorf("pull of a file in the models folder: %s, %v", again, err)
	}
	f.opts.SHA256 = []string{hexHash(nil)}
	_, err = f.pull(t.Context(), Ref{RefPath, got}, nil)
	wantError(t, err, "has SHA-256 "+hexHash(model))
	wantFile(t, got, model)
}

func TestPullLocalSplitSet(t *testing.T) {
	src := t.TempDir()
	files, hashes := splitSet(threeParts...)
	for _, name := range threeParts[:2] {
		writeFile(t, filepath.Join(src, name), files["/d/"+name].body)
	}
	f := newFixture(t, nil, Options{SHA256: hashes})
	first := Ref{RefPath, filepath.Join(src, threeParts[0])}
	_, err := f.pull(t.Context(), first, nil)
	wantError(t, err, threeParts[2]+": no such file")
	f.wantNames(t)
	writeFile(t, filepath.Join(src, threeParts[2]), files["/d/"+threeParts[2]].body)
	if _, err := f.pull(t.Context(), first, nil); err != nil {
		t.Fatal(err)
	}
	f.wantNames(t, threeParts...)
}

func TestPullLocalRefusals(t *testing.T) {
	src := t.TempDir()
	writeFile(t, filepath.Join(src, "text.gguf"), []byte("just some text"))
	writeFile(t, filepath.Join(src, "a b.gguf"), fakeModel(100, 1))
	writeFile(t, filepath.Join(src, "model.bin"), fakeModel(100, 1))
	if err := os.Mkdir(filepath.Join(src, "folder.gguf"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"text.gguf":    `text.gguf: not a GGUF file: it starts with "just"`,
		"a b.gguf":     `got "a b.gguf"`,
		"model.bin":    `called NAME.gguf`,
		"folder.gguf":  "is not a regular file",
		"missing.gguf": "no such file",
	} {
		f := newFixture(t, nil, Options{})
		_, err := f.pull(t.Context(), Ref{RefPath, filepath.Join(src, name)}, nil)
		wantError(t, err, want)
		f.wantNames(t)
	}
}
