package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edged/store/chunk"
)

// kept makes a store with a session of some chunk files, closes it, and returns its folder.
func kept(t *testing.T, key []byte) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	s := openStore(t, Options{Dir: dir, Key: key})
	sess := must(s.User(1).Create(New{Title: "kept", Key: testKey()}))
	turn := doc(3, 0)
	turn.Tail = payload(100, 1)
	must(s.User(1).Commit(context.Background(), sess.ID, turn))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func chunkNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	for _, e := range must(os.ReadDir(filepath.Join(dir, chunk.Dir))) {
		names = append(names, e.Name())
	}
	return names
}

// TestRefusesALostIndex: chunk files beside no index, or one that is new, are kept,
// and nothing is made in the index's place; with the index put back all is there.
func TestRefusesALostIndex(t *testing.T) {
	for name, lose := range map[string]func(path string) error{
		"removed":  os.Remove,
		"empty":    func(path string) error { return os.Truncate(path, 0) },
		"new":      func(path string) error { return os.WriteFile(path, newIndex(t), 0o600) },
		"nameless": func(path string) error { return os.WriteFile(path, namelessIndex(t), 0o600) },
	} {
		for kind, key := range map[string][]byte{"clear": nil, "sealed": bytes.Repeat([]byte{3}, KeyBytes)} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				dir := kept(t, key)
				path := filepath.Join(dir, databaseFile)
				index, names := must(os.ReadFile(path)), chunkNames(t, dir)
				if err := lose(path); err != nil {
					t.Fatal(err)
				}
				for range 2 { // the first refusal makes nothing that lets the second start in
					err := refuses(t, Options{Dir: dir, Key: key}, ErrIndexLost)
					if text := err.Error(); !strings.Contains(text, dir) || !strings.Contains(text, "2 chunk files") {
						t.Errorf("%q lacks the folder or the number of files", text)
					}
				}
				if _, err := os.Stat(path); name == "removed" && !os.IsNotExist(err) {
					t.Errorf("an index was made: %v", err)
				}
				if got := chunkNames(t, dir); !slices.Equal(got, names) {
					t.Fatalf("%v are there, should be %v", got, names)
				}
				if err := os.WriteFile(path, index, 0o600); err != nil {
					t.Fatal(err)
				}
				s := openStore(t, Options{Dir: dir, Key: key})
				must(s.GC(context.Background()))
				if c := must(s.Check(context.Background(), true)); len(c.Problems) > 0 || c.Sessions != 1 || c.Chunks != len(names) {
					t.Errorf("after the index was put back: %+v", c)
				}
			})
		}
	}
}

// newIndex is a database in which nothing was made yet.
func newIndex(t *testing.T) []byte {
	path := filepath.Join(t.TempDir(), databaseFile)
	db, err := openDatabase(path)
	if err != nil {
		t.Fatal(err)
	}
	var mode string
	if err := errors.Join(db.writer.QueryRow("PRAGMA journal_mode = WAL").Scan(&mode), db.close()); err != nil {
		t.Fatal(err)
	}
	return must(os.ReadFile(path))
}

// namelessIndex is one of a store that has no id yet.
func namelessIndex(t *testing.T) []byte { return indexAfter(t, "DELETE FROM settings") }

func indexAfter(t *testing.T, statements string) []byte {
	t.Helper()
	return must(os.ReadFile(filepath.Join(edited(t, statements), databaseFile)))
}

// TestLostIndexWithoutFiles: what a crash leaves of a store's making is no loss.
func TestLostIndexWithoutFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if err := prepareDir(dir); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{databaseFile: "", lockFile: "1\n", chunk.Dir + "/00000000000000aa.tmp": "half", chunk.Dir + "/notes.txt": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	openStore(t, Options{Dir: dir})
	if got := chunkNames(t, dir); !slices.Equal(got, []string{"notes.txt"}) {
		t.Errorf("%v are left", got)
	}
}

// TestFilesOfAnotherStoreStay: GC removes this store's orphans, and reports those of
// another, sealed ones too.
func TestFilesOfAnotherStoreStay(t *testing.T) {
	other := map[string]bool{}
	dir := filepath.Join(t.TempDir(), "store")
	s := openStore(t, Options{Dir: dir})
	sess := must(s.User(1).Create(New{Key: testKey()}))
	must(s.User(1).Commit(context.Background(), sess.ID, Turn{Tail: payload(100, 1)}))
	own := chunkNames(t, dir)
	for _, from := range []string{kept(t, nil), kept(t, bytes.Repeat([]byte{3}, KeyBytes))} {
		for _, name := range chunkNames(t, from) {
			other[name] = true
			copyChunk(t, filepath.Join(from, chunk.Dir, name), filepath.Join(dir, chunk.Dir, name))
		}
	}
	copyChunk(t, filepath.Join(dir, chunk.Dir, own[0]), filepath.Join(dir, chunk.Dir, "00000000000000aa-00000000000000bb"))

	c := must(s.GC(context.Background()))
	if c.Orphans != 1 || c.Foreign != len(other) || c.ForeignBytes == 0 {
		t.Errorf("collected %+v, want 1 orphan and %d files of other stores", c, len(other))
	}
	if got := chunkNames(t, dir); len(got) != len(other)+1 || !slices.Contains(got, own[0]) {
		t.Errorf("%v are left", got)
	}
	found := must(s.Check(context.Background(), true))
	for _, p := range found.Problems {
		if p.Fault != FaultForeign || !other[strings.TrimPrefix(p.Where, chunk.Dir+"/")] || !strings.Contains(p.Detail, "of store ") {
			t.Errorf("found %v", p)
		}
	}
	if len(found.Problems) != len(other) {
		t.Errorf("found %d files of other stores, there are %d", len(found.Problems), len(other))
	}
}

func copyChunk(t *testing.T, from, to string) {
	t.Helper()
	if err := os.WriteFile(to, must(os.ReadFile(from)), 0o600); err != nil {
		t.Fatal(err)
	}
}
