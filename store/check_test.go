package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/store/chunk"
)

// TestCheckFinds damages a store in each way that Check knows, and expects it
// to be found, once with all payload read and, where that is enough, without.
func TestCheckFinds(t *testing.T) {
	chunkFile := func(change func(path string, b []byte) error) func(*Store) error {
		return func(s *Store) error {
			var ref chunk.Ref
			err := queryAll(reads{s.db}, func(from scanner) (err error) { ref, err = scanChunk(from); return err }, "SELECT id, sum, bytes FROM chunks WHERE tail = 0 LIMIT 1")
			if err != nil {
				return err
			}
			path := filepath.Join(s.dir, ref.Name())
			b, err := os.ReadFile(path)
			return errors.Join(err, change(path, b))
		}
	}
	statement := func(query string) func(*Store) error {
		return func(s *Store) error { _, err := s.db.writer.Exec(query); return err }
	}
	for name, c := range map[string]struct {
		damage  func(*Store) error
		payload bool // found only when payload is read
		want    Fault
	}{
		"missing file":        {damage: chunkFile(func(path string, _ []byte) error { return os.Remove(path) }), want: FaultMissing},
		"truncated file":      {damage: chunkFile(func(path string, b []byte) error { return os.Truncate(path, int64(len(b)/2)) }), want: FaultDamaged},
		"empty file":          {damage: chunkFile(func(path string, _ []byte) error { return os.Truncate(path, 0) }), want: FaultDamaged},
		"flipped bit":         {damage: chunkFile(func(path string, b []byte) error { b[len(b)/2] ^= 1; return os.WriteFile(path, b, 0o600) }), payload: true, want: FaultDamaged},
		"flipped bit of head": {damage: chunkFile(func(path string, b []byte) error { b[45] ^= 1; return os.WriteFile(path, b, 0o600) }), want: FaultDamaged},
		"flipped bit of foot": {damage: chunkFile(func(path string, b []byte) error { b[len(b)-20] ^= 1; return os.WriteFile(path, b, 0o600) }), want: FaultDamaged},
		"orphan": {damage: chunkFile(func(path string, b []byte) error {
			return os.WriteFile(filepath.Join(filepath.Dir(path), "00000000000000aa-00000000000000bb"), b, 0o600)
		}), want: FaultOrphan},
		"unfinished file": {damage: chunkFile(func(path string, b []byte) error {
			return os.WriteFile(path[:len(path)-33]+"00000000000000aa.tmp", b, 0o600)
		}), want: FaultOrphan},
		"foreign file":        {damage: chunkFile(func(path string, b []byte) error { return os.WriteFile(path+"~", b, 0o600) }), want: FaultOrphan},
		"reference count":     {damage: statement("UPDATE blocks SET refs = refs + 1 WHERE shared = 1"), want: FaultCount},
		"lost reference":      {damage: statement("UPDATE blocks SET refs = 0 WHERE shared = 1"), want: FaultCount},
		"live bytes":          {damage: statement("UPDATE chunks SET live = live - 1"), want: FaultCount},
		"session's blocks":    {damage: statement("UPDATE sessions SET blocks = blocks + 1"), want: FaultCount},
		"session's bytes":     {damage: statement("UPDATE sessions SET bytes = 1"), want: FaultCount},
		"extent's place":      {damage: statement("UPDATE extents SET off = off + 1"), want: FaultDamaged},
		"other tokens":        {damage: statement("UPDATE messages SET ids = zeroblob(length(ids))"), want: FaultChain},
		"other policy":        {damage: statement("UPDATE sessions SET policy = 'other'"), want: FaultChain},
		"broken chain":        {damage: statement("UPDATE blocks SET chain = zeroblob(32) WHERE shared = 1 AND id = 1"), want: FaultChain},
		"blocks exchanged":    {damage: statement("UPDATE refs SET block = CASE idx WHEN 0 THEN 2 WHEN 1 THEN 1 ELSE block END"), want: FaultChain},
		"missing message":     {damage: statement("DELETE FROM messages"), want: FaultText},
		"tokens cut":          {damage: statement("UPDATE messages SET ids = zeroblob(8)"), want: FaultText},
		"broken tags":         {damage: statement("UPDATE sessions SET tags = x'00'"), want: FaultText},
		"dangling reference":  {damage: statement("PRAGMA foreign_keys = 0; DELETE FROM chunks WHERE tail = 1; PRAGMA foreign_keys = 1"), want: FaultDatabase},
		"another user's data": {damage: statement("UPDATE blocks SET owner = 77"), want: FaultCount},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, Options{})
			sess := must(s.User(1).Create(New{Key: testKey()}))
			turn := doc(3, 0)
			turn.Tail = payload(100, 1)
			must(s.User(1).Commit(context.Background(), sess.ID, turn))
			if err := checkClean(s, false); err != nil {
				t.Fatal(err)
			}
			if err := c.damage(s); err != nil {
				t.Fatal(err)
			}
			for _, payload := range []bool{false, true} {
				got := map[Fault]bool{}
				for _, p := range must(s.Check(context.Background(), payload)).Problems {
					got[p.Fault] = true
				}
				if want := payload || !c.payload; got[c.want] != want {
					t.Errorf("reading payload %v: found %v", payload, got)
				}
			}
		})
	}
}

// TestDamageIsContained: a session whose payload is damaged is refused with
// the reason, others go on, its block is taken by nobody, and its text is
// replayed.
func TestDamageIsContained(t *testing.T) {
	s := openStore(t, Options{})
	u := s.User(1)
	hurt, well := must(u.Create(New{Key: testKey()})), must(u.Create(New{Key: testKey()}))
	must(u.Commit(context.Background(), hurt.ID, doc(3, 0)))
	must(u.Commit(context.Background(), well.ID, doc(3, 1)))
	snap := must(u.Restore(hurt.ID, testKey()))
	path := filepath.Join(s.dir, snap.plan[1].ref.Name())
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[snap.plan[1].Off+5] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	var last error
	for p, err := range snap.Read(context.Background(), 0) {
		if last = err; err == nil && !bytes.Equal(p.Data, fill(100_000, byte(p.Block))) {
			t.Fatal("wrong bytes were given")
		}
	}
	if !errors.Is(last, ErrCorrupt) {
		t.Fatal(last)
	}
	if err := snap.Close(); err != nil {
		t.Fatal(err)
	}
	prefix := must(u.Prefix(testKey(), toks(3*BlockTok, 0)))
	if n := len(prefix.Blocks); n > 1 {
		t.Fatalf("%d blocks are still found, the second is damaged", n)
	}
	if err := prefix.Close(); err != nil {
		t.Fatal(err)
	}
	must(u.Demote(hurt.ID, testKey(), "m"))
	again := doc(3, 0)
	again.After, again.Messages = 1, nil
	must(u.Commit(context.Background(), hurt.ID, again))
	for id, salt := range map[string]int32{hurt.ID: 0, well.ID: 1} {
		snap := must(u.Restore(id, testKey()))
		if got := readAll(t, snap); len(got) != 3 || !bytes.Equal(got[1], fill(100_000, 1)) {
			t.Fatalf("session of %d has other bytes", salt)
		}
		if err := snap.Close(); err != nil {
			t.Fatal(err)
		}
	}
	must(s.GC(context.Background()))
	if d := cmp.Diff(error(nil), checkClean(s, false)); d != "" {
		t.Fatal(d)
	}
}
