package gguf_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/infer/gguf"
	"edged/infer/gguf/gguftest"
)

// splitModel has five tensors with distinct values.
func splitModel() *gguftest.Builder {
	b := new(gguftest.Builder)
	b.Set("general.name", "split")
	b.Set("general.alignment", uint32(64))
	for i, name := range []string{"a", "b", "c", "d", "e"} {
		b.Float32s(name, []uint64{3}, []float32{float32(i), 10, 20})
	}
	return b
}

func TestOpenSplit(t *testing.T) {
	dir := t.TempDir()
	paths, err := splitModel().WriteSplit(dir, "m", 3)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"}, list(t, dir)); diff != "" {
		t.Fatalf("files (-want +got):\n%s", diff)
	}
	f, err := gguf.Open(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if f.Size() != size {
		t.Errorf("Size() = %d, want %d", f.Size(), size)
	}
	if name, _ := f.String("general.name"); name != "split" {
		t.Errorf("general.name = %q, want that of the first part", name)
	}
	names := ""
	for i, x := range f.Tensors() {
		names += x.Name
		v, ok := x.Float32s()
		if diff := cmp.Diff([]float32{float32(i), 10, 20}, v); !ok || diff != "" {
			t.Errorf("tensor %s (-want +got):\n%s", x.Name, diff)
		}
		if err := f.DropPages(x); err != nil {
			t.Error(err)
		}
	}
	if names != "abcde" {
		t.Errorf("tensors in order %s, want abcde", names)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenSplitRefuses(t *testing.T) {
	first := "m-00001-of-00003.gguf"
	rename := func(from, to string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T, dir string)
		open  string
		want  string
	}{
		{"second part", nil, "m-00002-of-00003.gguf", "part 2 of 3; open the first part, DIR/m-00001-of-00003.gguf"},
		{"other name", rename(first, "model.gguf"), "model.gguf", "split in 3 parts, but is not named NAME-00001-of-00003.gguf"},
		{"other count", rename(first, "m-00001-of-00004.gguf"), "m-00001-of-00004.gguf", `named as one of 00004 parts, but key "split.count" is 3`},
		{"other number", rename(first, "m-00003-of-00003.gguf"), "m-00003-of-00003.gguf", "this is the first part and must be named DIR/m-00001-of-00003.gguf"},
		{"swapped", rename("m-00003-of-00003.gguf", "m-00002-of-00003.gguf"), first, "m-00002-of-00003.gguf: holds part 3 of 3, expected part 2 of 3"},
		{"missing", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "m-00003-of-00003.gguf")); err != nil {
				t.Fatal(err)
			}
		}, first, "part 3 of 3 is missing"},
		{"cut", func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, "m-00002-of-00003.gguf"), 100); err != nil {
				t.Fatal(err)
			}
		}, first, "m-00002-of-00003.gguf: gguf: offset"},
		{"part of another model", func(t *testing.T, dir string) {
			b := new(gguftest.Builder)
			for _, name := range []string{"p", "q", "r", "s", "a", "t"} {
				b.Float32s(name, []uint64{1}, []float32{0})
			}
			overwritePart(t, b, dir, "m-00003-of-00003.gguf")
		}, first, `tensor "a" occurs in part 3 and in an earlier part`},
		{"too few tensors", func(t *testing.T, dir string) {
			b := new(gguftest.Builder)
			b.Float32s("only", []uint64{1}, []float32{0})
			overwritePart(t, b, dir, "m-00003-of-00003.gguf")
		}, first, `the 3 parts hold 4 tensors, but key "split.tensors.count" is 5`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := splitModel().WriteSplit(dir, "m", 3); err != nil {
				t.Fatal(err)
			}
			if tc.spoil != nil {
				tc.spoil(t, dir)
			}
			want := strings.ReplaceAll(tc.want, "DIR", dir)
			_, err := gguf.Open(filepath.Join(dir, tc.open))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v\nwant one with %q", err, want)
			}
			if tc.name == "missing" && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("error %v is not fs.ErrNotExist", err)
			}
		})
	}
}

// overwritePart replaces one file in dir by the part of that name of b.
func overwritePart(t *testing.T, b *gguftest.Builder, dir, name string) {
	t.Helper()
	other := t.TempDir()
	if _, err := b.WriteSplit(other, "m", 3); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(other, name), filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func TestParseRefusesPartOfSplit(t *testing.T) {
	paths, err := splitModel().WriteSplit(t.TempDir(), "m", 2)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(paths[1])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gguf.Parse(b); err == nil || !strings.Contains(err.Error(), "part 2 of a file split in 2") {
		t.Errorf("error %v, want that the bytes are a part", err)
	}
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
