package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edged/store"
)

// TestStoreIsCleanedWhileItIsUsed leaves an orphan as a crash does, at the start
// and later.
func TestStoreIsCleanedWhileItIsUsed(t *testing.T) {
	dir := t.TempDir() + "/sessions"
	s, err := store.Open(t.Context(), store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	orphan := filepath.Join(dir, "chunks", "00000000000000ff-0123456789abcdef")
	var log logBuffer
	ticks := make(chan time.Time)
	writeFile(t, orphan, "x")
	stop := startCollecting(s, testLog(&log), newHealth(), ticks)
	ticks <- time.Time{} // taken when the first pass has ended
	gone := func(when string) {
		t.Helper()
		if _, err := os.Stat(orphan); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the orphan is there: %v", when, err)
		}
	}
	gone("at the start")
	ticks <- time.Time{} // the second pass, of nothing, has ended; the third may begin
	ticks <- time.Time{}
	writeFile(t, orphan, "y")
	ticks <- time.Time{}
	ticks <- time.Time{}
	gone("later")
	stop()
	if n := strings.Count(log.String(), "store cleaned"); n != 2 {
		t.Errorf("%d passes had something to do, want 2:\n%s", n, &log)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	startCollecting(nil, nil, nil, nil)() // no store
}

// Files of another store are a condition while they lie there, and are left.
func TestForeignFilesAreACondition(t *testing.T) {
	dir := t.TempDir() + "/sessions"
	s := openStore(t, dir)
	foreign := writeFile(t, filepath.Join(dir, "chunks", "00000000000000ff-0123456789abcdef"), "edgedchk\x02\x00\x00\x00\x00\x00\x00\x00anotherstoresid!")
	h := newHealth()
	collect(t.Context(), s, testLog(new(logBuffer)), h)
	if found := h.Findings(); len(found) != 1 || found[0].Condition != storeForeign || !strings.Contains(found[0].Text, "1 file ") {
		t.Errorf("with such a file: %+v", found)
	}
	if err := os.Remove(foreign); err != nil { // it is there
		t.Error(err)
	}
	collect(t.Context(), s, testLog(new(logBuffer)), h)
	if found := h.Findings(); len(found) > 0 {
		t.Errorf("without: %+v", found)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A pass that fails is a condition until one succeeds.
func TestFailedCleaningIsACondition(t *testing.T) {
	dir := t.TempDir() + "/sessions"
	s, err := store.Open(t.Context(), store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	chunks, aside := filepath.Join(dir, "chunks"), filepath.Join(dir, "aside")
	h := newHealth()
	for _, c := range []struct {
		from, to string
		holds    int
	}{{chunks, aside, 1}, {aside, chunks, 0}} {
		if err := os.Rename(c.from, c.to); err != nil {
			t.Fatal(err)
		}
		collect(t.Context(), s, testLog(new(logBuffer)), h)
		found := h.Findings()
		if len(found) != c.holds || c.holds == 1 && found[0].Condition != storeUnclean {
			t.Errorf("with %s moved to %s: %+v", filepath.Base(c.from), filepath.Base(c.to), found)
		}
	}
}
