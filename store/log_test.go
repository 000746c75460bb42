package store

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// killed makes a store whose process ended without closing it, after some turns in one
// session, and returns copies of its files, and the length of its log after each turn.
func killed(t *testing.T, turns int) (dir string, ends []int64) {
	t.Helper()
	s := openStore(t, Options{})
	sess := must(s.User(1).Create(New{Title: "kept", Key: testKey()}))
	wal := filepath.Join(s.dir, databaseFile+"-wal")
	for i := range turns {
		must(s.User(1).Commit(context.Background(), sess.ID, Turn{After: i, Messages: []Message{{Role: "user", Body: fmt.Appendf(nil, "turn %d", i)}}}))
		ends = append(ends, must(os.Stat(wal)).Size())
	}
	dir = filepath.Join(t.TempDir(), "killed")
	if err := prepareDir(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{databaseFile, databaseFile + "-wal", lockFile} {
		copyChunk(t, filepath.Join(s.dir, name), filepath.Join(dir, name))
	}
	return dir, ends
}

func changeLog(t *testing.T, dir string, change func(b []byte) []byte) string {
	t.Helper()
	path := filepath.Join(dir, databaseFile+"-wal")
	if err := os.WriteFile(path, change(must(os.ReadFile(path))), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func flip(at int64) func([]byte) []byte {
	return func(b []byte) []byte { b[at] ^= 4; return b }
}

// keeps opens a store and expects a number of turns of its session.
func keeps(t *testing.T, dir string, turns int) {
	t.Helper()
	s := openStore(t, Options{Dir: dir})
	list := must(s.User(1).List(Filter{}))
	if len(list) != 1 || list[0].Messages != turns {
		t.Errorf("%+v are there, want one session of %d turns", list, turns)
	}
}

// TestDamagedLogIsFound: durable turns behind a damaged place in SQLite's log are not
// dropped in silence, and the log is left as it is until it is cut where the error says.
func TestDamagedLogIsFound(t *testing.T) {
	for name, at := range map[string]func(end int64) int64{
		"page":     func(end int64) int64 { return end + frameHead + 100 },
		"checksum": func(end int64) int64 { return end + 17 },
		"salt":     func(end int64) int64 { return end + 9 },
	} {
		t.Run(name, func(t *testing.T) {
			dir, ends := killed(t, 6)
			path := changeLog(t, dir, flip(at(ends[1])))
			log := must(os.ReadFile(path))
			err := refuses(t, Options{Dir: dir}, ErrCorrupt)
			cut := regexp.MustCompile("`truncate -s ([0-9]+)`").FindStringSubmatch(err.Error())
			if cut == nil || cut[1] != strconv.FormatInt(ends[1], 10) {
				t.Fatalf("%q does not say that the log holds up to %d", err, ends[1])
			}
			if !bytes.Equal(log, must(os.ReadFile(path))) {
				t.Error("the log was changed")
			}
			if err := os.Truncate(path, ends[1]); err != nil {
				t.Fatal(err)
			}
			keeps(t, dir, 2)
		})
	}
	dir, _ := killed(t, 3)
	changeLog(t, dir, flip(20))
	refuses(t, Options{Dir: dir}, ErrCorrupt)
}

// TestTornLogIsNoDamage: what a crash may leave of the last transaction is dropped.
func TestTornLogIsNoDamage(t *testing.T) {
	for name, c := range map[string]struct {
		change func(ends []int64, b []byte) []byte
		turns  int
	}{
		"whole":          {func(_ []int64, b []byte) []byte { return b }, 4},
		"cut":            {func(_ []int64, b []byte) []byte { return b[:len(b)-100] }, 3},
		"page not there": {func(ends []int64, b []byte) []byte { clear(b[ends[2]+frameHead : ends[2]+frameHead+512]); return b }, 3},
		"end only":       {func(ends []int64, b []byte) []byte { clear(b[ends[2]:][:frameHead]); return b }, 3},
		"frames of before": {func(ends []int64, b []byte) []byte {
			return append(b, bytes.Repeat([]byte{7}, int(ends[2]))...)
		}, 4},
		"a failed one's": {func(ends []int64, b []byte) []byte { return append(b, b[ends[1]:ends[2]]...) }, 4},
	} {
		t.Run(name, func(t *testing.T) {
			dir, ends := killed(t, 4)
			changeLog(t, dir, func(b []byte) []byte { return c.change(ends, b[:ends[3]]) })
			keeps(t, dir, c.turns)
		})
	}
}
