package store

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"path/filepath"
	"syscall"
	"testing"

	"edged/store/disk"
	"edged/store/disk/disktest"
)

// faultyStore is a store with one session of two turns.
func faultyStore(t *testing.T, fault disktest.Fault, key []byte) (*Store, *disktest.Faulty, Session) {
	dir := filepath.Join(t.TempDir(), "store")
	if err := prepareDir(dir); err != nil {
		t.Fatal(err)
	}
	root, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	f := &disktest.Faulty{FS: root, Fault: fault}
	f.Disarm()
	s := openStore(t, Options{Dir: dir, FS: f, Key: key})
	u := s.User(1)
	sess := must(u.Create(New{Title: "t", Key: testKey()}))
	sess = must(u.Commit(context.Background(), sess.ID, faultTurn(0)))
	return s, f, sess
}

// faultTurn takes two chunks for blocks and one for the tail.
func faultTurn(after int) Turn {
	return Turn{
		After:    after,
		Messages: []Message{{Role: "user", Body: []byte("text"), Tokens: toks(3*BlockTok, int32(after))}},
		Blocks:   []Block{{Provenance: Decoded, Parts: payload(9<<20, byte(after))}, {Provenance: Decoded, Parts: payload(8<<20, byte(after+1))}, {Provenance: Decoded, Parts: payload(5000, 7)}},
		Tail:     payload(2<<20, byte(after+9)),
	}
}

// wholeTurns is what a session of n turns of faultTurn holds.
func wholeTurns(t *testing.T, s *Store, id string, n int) {
	t.Helper()
	u := s.User(1)
	if sess := must(u.Get(id)); sess.Messages != n || sess.Blocks != 3*n {
		t.Fatalf("the session has %d messages and %d blocks after %d turns", sess.Messages, sess.Blocks, n)
	}
	snap := must(u.Restore(id, testKey()))
	defer snap.Close()
	got := readAll(t, snap)
	for i := range n {
		for k, want := range map[int][]byte{3 * i: fill(9<<20, byte(i)), 3*i + 1: fill(8<<20, byte(i+1)), 3*i + 2: fill(5000, 7), TailBlock: fill(2<<20, byte(n-1+9))} {
			if !bytes.Equal(got[k], want) {
				t.Fatalf("block %d has other bytes", k)
			}
		}
	}
}

// TestWriteFaults spoils every call of a turn in turn: it fails, nothing has
// changed, no file is left behind by it that GC does not remove, and the same
// turn succeeds when the disk is well again.
func TestWriteFaults(t *testing.T) {
	for name, fault := range map[string]disktest.Fault{"full disk": disktest.NoSpace, "EIO": disktest.IOError, "short write": disktest.ShortWrite} {
		t.Run(name, func(t *testing.T) {
			s, f, sess := faultyStore(t, fault, nil)
			turns := 1
			for n := 0; ; n++ {
				f.Arm(n)
				_, err := s.User(1).Commit(context.Background(), sess.ID, faultTurn(turns))
				fired := f.Disarm()
				if err == nil {
					turns++
				}
				if !fired {
					break
				}
				if err == nil && fault != disktest.IOError { // removing the former tail's file may fail unharmed
					t.Fatalf("call %d failed unnoticed", n)
				}
				if err != nil && fault != disktest.ShortWrite && !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("call %d: the cause is lost: %v", n, err)
				}
				if err := checkClean(s, true); err != nil {
					t.Fatalf("after call %d: %v", n, err)
				}
				must(s.GC(context.Background()))
				if err := checkClean(s, false); err != nil {
					t.Fatalf("after call %d and GC: %v", n, err)
				}
				if n > 200 {
					t.Fatal("there is no end of calls")
				}
			}
			wholeTurns(t, s, sess.ID, turns)
		})
	}
}

// TestReadFaults spoils every read of a restore in turn: no wrong byte is ever
// taken for right, and damage is told from a disk that cannot be read.
func TestReadFaults(t *testing.T) {
	t.Run("read", func(t *testing.T) { readFaults(t, restoreRight) })
	t.Run("fill", func(t *testing.T) { readFaults(t, fillRight) })
}

// fillRight is restoreRight into memory of the caller's.
func fillRight(t *testing.T, s *Store, id string, want map[int][]byte) error {
	snap, err := s.User(1).Restore(id, testKey())
	if err != nil {
		return err
	}
	defer snap.Close()
	got, err := fillAll(snap, 0)
	if err == nil && !maps.EqualFunc(got, want, bytes.Equal) {
		t.Fatal("wrong bytes were filled in")
	}
	return err
}

func readFaults(t *testing.T, restore func(*testing.T, *Store, string, map[int][]byte) error) {
	for name, key := range map[string][]byte{"clear": nil, "sealed": bytes.Repeat([]byte{3}, KeyBytes)} {
		for fname, fault := range map[string]disktest.Fault{"EIO": disktest.ReadError, "short read": disktest.ShortRead, "bit flip": disktest.BitFlip} {
			t.Run(name+"/"+fname, func(t *testing.T) {
				s, f, sess := faultyStore(t, fault, key)
				want := map[int][]byte{0: fill(9<<20, 0), 1: fill(8<<20, 1), 2: fill(5000, 7), TailBlock: fill(2<<20, 9)}
				for n := 0; ; n++ {
					f.Arm(n)
					err := restore(t, s, sess.ID, want)
					if !f.Disarm() {
						if err != nil {
							t.Fatal(err)
						}
						return
					}
					if err == nil {
						t.Fatalf("read %d was spoilt unnoticed", n)
					}
					if errors.Is(err, ErrCorrupt) != (fault != disktest.ReadError) {
						t.Fatalf("read %d: %v", n, err)
					}
				}
			})
		}
	}
}

// restoreRight fails the test when a wrong byte is given.
func restoreRight(t *testing.T, s *Store, id string, want map[int][]byte) error {
	snap, err := s.User(1).Restore(id, testKey())
	if err != nil {
		return err
	}
	defer snap.Close()
	for p, err := range snap.Read(context.Background(), 0) {
		if err != nil {
			return err
		}
		if !bytes.Equal(p.Data, want[p.Block][p.Off:p.Off+int64(len(p.Data))]) {
			t.Fatal("wrong bytes were given")
		}
	}
	return nil
}

// TestImportFaults: an import that fails leaves no session and no files.
func TestImportFaults(t *testing.T) {
	s, f, sess := faultyStore(t, disktest.NoSpace, nil)
	var b bytes.Buffer
	if err := s.User(1).Export(context.Background(), sess.ID, &b); err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		f.Arm(n)
		_, err := s.User(2).Import(context.Background(), bytes.NewReader(b.Bytes()), 0)
		if !f.Disarm() {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("call %d: %v", n, err)
		}
		if list := must(s.User(2).List(Filter{})); len(list) > 0 {
			t.Fatal("a failed import left a session")
		}
		if err := checkClean(s, false); err != nil {
			t.Fatal(err)
		}
	}
}
