package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mattn/go-sqlite3"
)

// refuses opens a folder and expects an error that is want.
func refuses(t *testing.T, o Options, want error) error {
	t.Helper()
	s, err := Open(context.Background(), o)
	if err == nil {
		s.Close()
		t.Fatal("the store was opened")
	}
	if !errors.Is(err, want) {
		t.Fatalf("refused with %v, should be %v", err, want)
	}
	return err
}

// edited makes a store, closes it, and changes its database.
func edited(t *testing.T, statements string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	s := openStore(t, Options{Dir: dir})
	must(s.User(1).Create(New{Title: "kept", Key: testKey()}))
	if _, err := s.db.writer.Exec(statements); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestRefusesOtherDatabases(t *testing.T) {
	refuses(t, Options{Dir: edited(t, "PRAGMA user_version = 7")}, ErrNewer)
	refuses(t, Options{Dir: edited(t, "PRAGMA application_id = 99")}, ErrInvalid)

	dir := filepath.Join(t.TempDir(), "store")
	if err := prepareDir(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, databaseFile), bytes.Repeat([]byte("no database "), 900), 0o600); err != nil {
		t.Fatal(err)
	}
	var notADB sqlite3.Error
	s, err := Open(context.Background(), Options{Dir: dir})
	if s != nil || !errors.As(err, &notADB) || notADB.Code != sqlite3.ErrNotADB {
		t.Fatal(err)
	}
}

func TestRefusesOtherKeys(t *testing.T) {
	one, two := bytes.Repeat([]byte{1}, KeyBytes), bytes.Repeat([]byte{2}, KeyBytes)
	clear, sealed := filepath.Join(t.TempDir(), "c"), filepath.Join(t.TempDir(), "s")
	for dir, key := range map[string][]byte{clear: nil, sealed: one} {
		if err := openStore(t, Options{Dir: dir, Key: key}).Close(); err != nil {
			t.Fatal(err)
		}
	}
	refuses(t, Options{Dir: sealed, Key: two}, ErrKey)
	refuses(t, Options{Dir: sealed}, ErrKey)
	refuses(t, Options{Dir: clear, Key: one}, ErrKey)
	refuses(t, Options{Dir: clear, Key: one[:16]}, ErrKey)
	refuses(t, Options{Dir: clear, Key: []byte{}}, ErrKey)
	if err := openStore(t, Options{Dir: sealed, Key: one}).Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRefusesSecondOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := openStore(t, Options{Dir: dir})
	_, err := Open(context.Background(), Options{Dir: dir})
	var locked *LockedError
	if !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Fatal(err)
	}
	must(s.User(1).Create(New{Key: testKey()})) // the first goes on
}

func TestRefusesOpenFolders(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := refuses(t, Options{Dir: dir}, ErrFolder); !strings.Contains(err.Error(), "not private: it has mode 0750") {
		t.Fatal(err)
	}
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := openStore(t, Options{Dir: dir})
	sess := must(s.User(1).Create(New{Key: testKey()}))
	must(s.User(1).Commit(context.Background(), sess.ID, Turn{Tail: payload(10, 1)}))
	n := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		n++
		return err
	})
	if err != nil || n < 7 { // two folders, lock, three of SQLite's, one chunk
		t.Fatal(n, err)
	}
}

// TestDamagedDatabaseIsFound: after an unclean end, a damaged page is found
// before anything is read from it.
func TestDamagedDatabaseIsFound(t *testing.T) {
	dir := edited(t, "PRAGMA wal_checkpoint(TRUNCATE)")
	path := filepath.Join(dir, databaseFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("kept"))
	page := at / 4096 * 4096
	copy(b[page:], bytes.Repeat([]byte{0xff}, 8))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, lockFile), []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, Options{Dir: dir}, ErrCorrupt)
}

// TestMigrationStep: a step that fails changes nothing, and one that breaks
// references fails.
func TestMigrationStep(t *testing.T) {
	s := openStore(t, Options{})
	sess := must(s.User(1).Create(New{Key: testKey()}))
	must(s.User(1).Commit(context.Background(), sess.ID, Turn{Messages: []Message{{Body: []byte("x")}}}))
	for name, step := range map[string]string{
		"bad statement":    "CREATE TABLE added (x); INSERT INTO nowhere VALUES (1)",
		"broken reference": "CREATE TABLE added (x INTEGER REFERENCES sessions(id)); PRAGMA defer_foreign_keys = 1; INSERT INTO added VALUES (999)",
	} {
		if err := migrate(context.Background(), s.db.writer, append(migrations, step)); err == nil {
			t.Fatalf("%s: migration succeeded", name)
		}
		var version, tables int
		if err := errors.Join(s.db.writer.QueryRow("PRAGMA user_version").Scan(&version), s.db.writer.QueryRow("SELECT count(*) FROM sqlite_schema WHERE name = 'added'").Scan(&tables)); err != nil {
			t.Fatal(err)
		}
		if version != len(migrations) || tables != 0 {
			t.Fatalf("%s: version %d, %d tables", name, version, tables)
		}
	}
	if err := migrate(context.Background(), s.db.writer, append(migrations, "CREATE TABLE added (x)")); err != nil {
		t.Fatal(err)
	}
	if _, err := checkVersion(context.Background(), s.db.writer, len(migrations)); !errors.Is(err, ErrNewer) {
		t.Fatal(err)
	}
}

// TestSealedStoreTellsNothing looks for everything that was stored in every
// file of a sealed store; in a store without a key, all of it is found.
func TestSealedStoreTellsNothing(t *testing.T) {
	for name, key := range map[string][]byte{"clear": nil, "sealed": bytes.Repeat([]byte{5}, KeyBytes)} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			s := openStore(t, Options{Dir: dir, Key: key})
			u := s.User(1)
			sess := must(u.Create(New{Title: "title-of-it", Tags: []string{"tag-of-it"}, Key: testKey()}))
			ids := toks(BlockTok, 77)
			must(u.Commit(context.Background(), sess.ID, Turn{
				Messages: []Message{{Role: "user", Body: []byte("body-of-it"), Tokens: ids}},
				Blocks:   []Block{{Parts: payload(9000, 0x5a)}}, Tail: payload(9000, 0xa5),
			}))
			chain := seed(nil, testKey().Fingerprint).next(ids)
			secrets := map[string][]byte{
				"title": []byte("title-of-it"), "tag": []byte("tag-of-it"), "body": []byte("body-of-it"), "tokens": encodeTokens(ids)[:64],
				"block": fill(9000, 0x5a)[:64], "tail": fill(9000, 0xa5)[:64], "hash of the tokens": chain[:],
			}
			if key != nil {
				secrets["key"] = key
			}
			var all []byte
			err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				b, err := os.ReadFile(path)
				all = append(all, b...)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			for what, secret := range secrets {
				if found := bytes.Contains(all, secret); found != (key == nil) {
					t.Errorf("%s found: %v", what, found)
				}
			}
		})
	}
}

// TestDatabaseFull: when SQLite cannot grow, the turn fails as a whole.
func TestDatabaseFull(t *testing.T) {
	s := openStore(t, Options{})
	u := s.User(1)
	sess := must(u.Create(New{Key: testKey()}))
	a, b := must(s.db.writer.Conn(context.Background())), must(s.db.writer.Conn(context.Background()))
	for _, c := range []*sql.Conn{a, b} {
		must(c.ExecContext(context.Background(), "PRAGMA max_page_count = 1")) // as many as there are
	}
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
	_, err := u.Commit(context.Background(), sess.ID, Turn{Messages: []Message{{Body: make([]byte, 1<<20)}}, Tail: payload(1000, 1)})
	var full sqlite3.Error
	if !errors.As(err, &full) || full.Code != sqlite3.ErrFull || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := checkClean(s, false); err != nil {
		t.Fatal(err)
	}
	if got := must(u.Get(sess.ID)); got.Messages != 0 || got.Tail {
		t.Fatal(got)
	}
}
