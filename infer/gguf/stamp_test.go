package gguf

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestStamp: whatever a file may become another one by shows.
func TestStamp(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"whole.gguf", "m-00001-of-00002.gguf"} {
		path := filepath.Join(dir, name)
		last := filepath.Join(dir, "m-00002-of-00002.gguf")
		if name == "whole.gguf" {
			last = path
		}
		then := time.Unix(1000, 5)
		seen := map[string]string{}
		look := func(what string) {
			t.Helper()
			s := Stamp(path)
			if before, ok := seen[s]; ok {
				t.Errorf("%s: %s looks like %s", name, what, before)
			}
			seen[s] = what
			if Stamp(path) != s {
				t.Errorf("%s: %s looks different the second time", name, what)
			}
		}
		do := func(what string, errs ...error) {
			t.Helper()
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			look(what)
		}
		look("none")
		do("a file", os.WriteFile(last, []byte("GGUF"), 0o600), os.Chtimes(last, then, then))
		do("a longer one", os.WriteFile(last, []byte("GGUF."), 0o600), os.Chtimes(last, then, then))
		do("one that was written later", os.Chtimes(last, then, then.Add(1)))
		do("another of its name", os.WriteFile(last+".new", []byte("GGUF!"), 0o600), os.Chtimes(last+".new", then, then.Add(1)), os.Rename(last+".new", last))
	}
}
