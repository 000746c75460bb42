package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of so many MiB; it needs root.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillDisk takes what is left of a disk.
func fillDisk(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) || f.Close() != nil {
		t.Fatal(err)
	}
}

// TestDeletionOnAFullDisk: sessions can be deleted to make room where there is none, and
// what does not fit fails with the reason.
func TestDeletionOnAFullDisk(t *testing.T) {
	dir := smallDisk(t, "16m")
	s := openStore(t, Options{Dir: filepath.Join(dir, "store")})
	defer s.Close() // before the file system goes
	u := s.User(1)
	var ids []string
	text := bytes.Repeat([]byte("a document of some length "), 4000)
	for range 4 {
		sess := must(u.Create(New{Key: testKey()}))
		must(u.Commit(context.Background(), sess.ID, Turn{Messages: []Message{{Body: text}}, Tail: payload(1<<20, 1)}))
		ids = append(ids, sess.ID)
	}
	fillDisk(t, dir)
	_, err := u.Commit(context.Background(), ids[0], Turn{After: 1, Messages: []Message{{Body: text}}, Tail: payload(1<<20, 2)})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a turn with 1 MiB of payload: %v, want ENOSPC", err)
	}
	for _, id := range ids {
		if err := u.Delete(id); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	if _, err := s.GC(context.Background()); err != nil {
		t.Error(err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < 3<<20 {
		t.Errorf("%d bytes are free after all sessions were deleted", free)
	}
	sess, err := u.Create(New{Key: testKey()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Commit(context.Background(), sess.ID, Turn{Messages: []Message{{Body: text}}, Tail: payload(1<<20, 1)}); err != nil {
		t.Errorf("a turn in the room that was made: %v", err)
	}
}
