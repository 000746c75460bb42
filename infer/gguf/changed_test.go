package gguf_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edged/infer/gguf"
	"edged/infer/gguf/gguftest"
)

// TestUnchanged: what is written to a file that is open, or cut from it, is noticed;
// a file that takes its name is not the one that is open.
func TestUnchanged(t *testing.T) {
	b := new(gguftest.Builder)
	b.Float32s("w", []uint64{4096}, make([]float32, 4096))
	write := func(t *testing.T, path string) {
		if err := b.WriteFile(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Unix(1e9, 0)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		change func(path string) error
		want   string // in the error; "" for none
	}{
		{"nothing", func(string) error { return nil }, ""},
		{"removed", os.Remove, ""},
		{"other mode", func(p string) error { return os.Chmod(p, 0o400) }, ""},
		{"cut", func(p string) error { return os.Truncate(p, 100) }, "it has 100 bytes, and had "},
		{"written to", func(p string) error {
			f, err := os.OpenFile(p, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte{1}, 4096)
			return errors.Join(err, f.Close())
		}, "m.gguf: the file was changed while it was in use"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "m.gguf")
			write(t, path)
			f, err := gguf.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.change(path); err != nil {
				t.Fatal(err)
			}
			err = f.Unchanged()
			if got := errors.Is(err, gguf.ErrChanged); got != (c.want != "") || got && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q in it", err, c.want)
			}
			if n := testing.AllocsPerRun(10, func() { _ = f.Unchanged() }); c.want == "" && n > 0 {
				t.Errorf("%g allocations", n)
			}
			if err := errors.Join(f.Close(), f.Unchanged()); err != nil {
				t.Errorf("closed: %v", err)
			}
		})
	}
}
